//! Walks round dead vertices and cut links, against an adversary who decides what is dead only when it is tried.
//!
//! A walk depends on nothing but the faults that it has met, so branching at every first try covers every set of
//! faults without listing them.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

use hcube_core::cube::Cube;
use hcube_core::ids::Vertex;
use proptest::prelude::*;

/// What the adversary has fixed so far.
struct Adversary {
    cube: Cube,
    cuts_allowed: bool,
    dead: Vec<Vertex>,
    cut: Vec<(Vertex, Vertex)>,
    longest: usize,
}

fn link(u: Vertex, v: Vertex) -> (Vertex, Vertex) {
    (u.min(v), u.max(v))
}

impl Adversary {
    fn new(cube: Cube, cuts_allowed: bool) -> Self {
        Self { cube, cuts_allowed, dead: Vec::new(), cut: Vec::new(), longest: 0 }
    }

    /// Takes the next step in every way that `left` more faults allow.
    fn walk(&mut self, walk: &mut Vec<Vertex>, target: Vertex, left: u32) {
        let at = walk[walk.len() - 1];
        if at == target {
            self.longest = self.longest.max(walk.len() - 1);
            return;
        }
        assert!(walk.len() < 2 * usize::from(self.cube.peers()), "lost on {walk:?}, dead {:?}", self.dead);
        let usable = |next| !self.dead.contains(&next) && !self.cut.contains(&link(at, next));
        let next = self.cube.detour(at, target, walk, usable).unwrap_or_else(|| {
            panic!("stuck after {walk:?}, dead {:?}, cut {:?}", self.dead, self.cut);
        });
        let known = walk.contains(&next);
        walk.push(next);
        self.walk(walk, target, left);
        walk.pop();
        if left > 0 && !known {
            if next != target {
                self.dead.push(next);
                self.walk(walk, target, left - 1);
                self.dead.pop();
            }
            if self.cuts_allowed {
                self.cut.push(link(at, next));
                self.walk(walk, target, left - 1);
                self.cut.pop();
            }
        }
    }
}

/// The longest walk between any two vertices with fewer than `floor(log2 N)` faults.
fn longest_walk(n: u16, cuts_allowed: bool) -> usize {
    let cube = Cube::new(n).unwrap();
    let mut adversary = Adversary::new(cube, cuts_allowed);
    for s in cube.vertices() {
        for t in cube.vertices() {
            adversary.walk(&mut vec![s], t, n.ilog2().saturating_sub(1));
        }
    }
    adversary.longest
}

#[test]
fn walks_round_every_set_of_dead_vertices_arrive_within_three_dimensions() {
    let longest: Vec<usize> = (1..=17).map(|n| longest_walk(n, false)).collect();
    assert_eq!(longest, [0, 1, 1, 2, 2, 3, 3, 5, 7, 6, 6, 5, 5, 5, 6, 8, 8]);
    for (n, longest) in (1..=17).zip(longest) {
        assert!(longest <= 3 * Cube::new(n).unwrap().dimension() as usize);
    }
}

#[test]
fn walks_round_dead_vertices_and_cut_links_arrive_within_their_time_to_live() {
    for n in 1..=15 {
        assert!(longest_walk(n, true) <= Cube::new(n).unwrap().ttl() as usize, "{n}");
    }
}

#[test]
fn without_faults_a_detour_is_no_longer_than_the_route() {
    for n in 1..=64 {
        let cube = Cube::new(n).unwrap();
        for (s, t) in cube.vertices().flat_map(|s| cube.vertices().map(move |t| (s, t))) {
            let mut walk = vec![s];
            while walk[walk.len() - 1] != t {
                let at = walk[walk.len() - 1];
                walk.push(cube.detour(at, t, &walk, |_| true).unwrap());
            }
            assert!(walk.len() < 2 + cube.distance(s, t) as usize, "{n} {walk:?}");
        }
    }
}

#[test]
fn a_walk_goes_back_where_it_came_from_and_ends_at_its_source() {
    let cube = Cube::new(8).unwrap();
    let (v0, v1, v3) = (Vertex(0), Vertex(1), Vertex(3));
    assert_eq!(cube.detour(v3, Vertex(7), &[v0, v1, v3], |next| next == v1), Some(v1));
    assert_eq!(cube.detour(v1, Vertex(7), &[v0, v1, v3, v1], |next| next == v0), Some(v0));
    assert_eq!(cube.detour(v0, Vertex(7), &[v0, v1, v3, v1, v0], |_| false), None);
    assert_eq!(cube.detour(v1, Vertex(7), &[v0, v1], |_| false), None, "the way back is cut as well");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn walks_in_larger_hypercubes_arrive_within_their_time_to_live(
        n in 18..=1024_u16, s in any::<u16>(), t in any::<u16>(), near_source in any::<bool>(),
        picks in proptest::collection::vec((any::<u16>(), any::<bool>()), 9),
    ) {
        let cube = Cube::new(n).unwrap();
        let (s, t) = (Vertex(s % n), Vertex(t % n));
        let mut walk = vec![s];
        let mut near = cube.folded_neighbours(if near_source { s } else { t });
        near.retain(|v| *v != s && *v != t);
        // Faults close to an end are the hardest; every other one is two hops away.
        let dead: Vec<Vertex> = picks.iter().take(n.ilog2() as usize - 1).map(|(pick, far)| {
            let close = near[usize::from(*pick) % near.len()];
            if *far { cube.folded_neighbours(close)[0] } else { close }
        }).filter(|v| *v != s && *v != t).collect();
        while walk[walk.len() - 1] != t {
            prop_assert!(walk.len() <= cube.ttl() as usize, "{:?} dead {:?}", walk, dead);
            let at = walk[walk.len() - 1];
            walk.push(cube.detour(at, t, &walk, |next| !dead.contains(&next)).unwrap());
        }
    }
}
