//! The arithmetic of the incomplete hypercube, for every small N and at random for the others.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

use std::collections::{BTreeSet, VecDeque};

use hcube_core::cube::{Cube, LabelError};
use hcube_core::ids::Vertex;
use hcube_core::limits::PEERS_MAX;
use proptest::prelude::*;

fn cube(peers: u16) -> Cube {
    Cube::new(peers).unwrap()
}

/// A hypercube of any size and two of its vertices.
fn cube_and_pair() -> impl Strategy<Value = (Cube, Vertex, Vertex)> {
    let pair = |n: u16| (Just(cube(n)), (0..n).prop_map(Vertex), (0..n).prop_map(Vertex));
    (1..=PEERS_MAX).prop_flat_map(pair)
}

#[test]
fn sizes_outside_the_limits_are_refused() {
    assert_eq!(Cube::new(0).unwrap_err().to_string(), "a hypercube has 1 to 1024 peers, not 0");
    assert!(Cube::new(PEERS_MAX).is_ok() && Cube::new(PEERS_MAX + 1).is_err());
}

#[test]
fn dimension_is_the_rounded_up_logarithm() {
    for n in 1..=PEERS_MAX {
        let dimension = cube(n).dimension();
        assert!(u32::from(n) <= 1 << dimension, "{n}");
        assert!(dimension == 0 || u32::from(n) > 1 << (dimension - 1), "{n}");
    }
}

#[test]
fn labels_read_back_for_every_vertex_of_every_size() {
    for n in [1, 2, 3, 5, 8, 9, 64, 100, PEERS_MAX] {
        for v in cube(n).vertices() {
            let label = cube(n).label(v);
            assert_eq!(label.len(), cube(n).dimension().max(1) as usize);
            assert_eq!(cube(n).parse_label(&label), Ok(v));
        }
    }
}

#[test]
fn wrong_labels_are_refused_with_width_and_range() {
    let form = cube(6).parse_label("10").unwrap_err().to_string();
    assert_eq!(form, "\"10\" is not a label: 3 binary digits are, from 000 to 101");
    let absent = cube(6).parse_label("110").unwrap_err().to_string();
    assert_eq!(absent, "no peer has the label \"110\": the last of the 6 labels is 101");
    for wrong in ["", "+01", "1O1", "0101", " 01", "١٠١"] {
        assert!(matches!(cube(6).parse_label(wrong), Err(LabelError::Form { .. })), "{wrong}");
    }
}

#[test]
fn edges_join_numbers_that_differ_in_one_bit() {
    for n in 1..=130 {
        let cube = cube(n);
        let listed: BTreeSet<_> = cube.edges().collect();
        assert_eq!(listed.len(), cube.edge_count() as usize);
        assert_eq!(cube.edges().count(), listed.len());
        let differing = |u: u16| (0..u).filter(move |v| (u ^ v).is_power_of_two());
        let expected: BTreeSet<_> =
            (0..n).flat_map(|u| differing(u).map(move |v| (Vertex(u), Vertex(v)))).collect();
        assert_eq!(listed, expected);
        let largest = cube.vertices().map(|v| cube.neighbours(v).count()).max();
        assert_eq!(largest, Some(cube.dimension() as usize), "vertex 0 has every dimension");
    }
}

#[test]
fn folded_edges_are_symmetric_contain_the_plain_ones_and_bound_the_degree() {
    for n in 2..=300 {
        let cube = cube(n);
        for v in cube.vertices() {
            let folded = cube.folded_neighbours(v);
            assert!(folded.is_sorted_by(|a, b| a < b) && !folded.contains(&v));
            assert!(cube.neighbours(v).all(|w| folded.contains(&w)));
            assert!(folded.iter().all(|w| cube.contains(*w) && cube.folded_neighbours(*w).contains(&v)));
            assert!(folded.len() >= n.ilog2() as usize, "{n} {v}");
            assert!(n <= 4 || folded.len() <= 2 * (cube.dimension() as usize - 1), "{n} {v}");
        }
    }
}

/// Whether the vertices that are not dead reach each other along folded edges.
fn connected(cube: Cube, dead: &BTreeSet<Vertex>) -> bool {
    let mut left: BTreeSet<Vertex> = cube.vertices().filter(|v| !dead.contains(v)).collect();
    let mut queue: VecDeque<Vertex> = left.pop_first().into_iter().collect();
    while let Some(at) = queue.pop_front() {
        queue.extend(cube.folded_neighbours(at).into_iter().filter(|next| left.remove(next)));
    }
    left.is_empty()
}

#[test]
fn too_few_dead_vertices_never_cut_a_small_hypercube() {
    for n in 2..=20_u16 {
        for dead in 0..1_u32 << n {
            if dead.count_ones() < n.ilog2() {
                let dead = (0..n).filter(|v| dead >> v & 1 == 1).map(Vertex).collect();
                assert!(connected(cube(n), &dead), "{n} {dead:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn too_few_dead_vertices_never_cut_a_large_hypercube(
        n in 21..=PEERS_MAX, around in any::<u16>(), picks in proptest::collection::vec(any::<u16>(), 9),
    ) {
        // Dead vertices around one vertex cut it off soonest.
        let cube = cube(n);
        let near = cube.folded_neighbours(Vertex(around % n));
        let dead = picks.iter().take(n.ilog2() as usize - 1).map(|pick| near[usize::from(*pick) % near.len()]);
        prop_assert!(connected(cube, &dead.collect()));
    }

    #[test]
    fn route_stays_inside_and_is_as_long_as_the_distance((cube, s, t) in cube_and_pair()) {
        let route = cube.route(s, t);
        prop_assert_eq!((route[0], route[route.len() - 1]), (s, t));
        prop_assert_eq!(route.len() as u32 - 1, cube.distance(s, t));
        prop_assert!(cube.distance(s, t) <= cube.dimension());
        prop_assert!(route.iter().all(|v| cube.contains(*v)));
        prop_assert!(route.windows(2).all(|hop| cube.neighbours(hop[0]).any(|v| v == hop[1])));
        prop_assert_eq!(cube.next_hop(s, t), route.get(1).copied());
        let lowest = route.iter().position(|v| v.0 == s.0 & t.0).unwrap();
        prop_assert!(route[..=lowest].is_sorted_by(|a, b| a > b) && route[lowest..].is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn broadcast_tells_everybody_once_within_the_dimension((cube, root, _) in cube_and_pair()) {
        let mut depth = vec![None; usize::from(cube.peers())];
        depth[usize::from(root.0)] = Some(0);
        let mut queue = VecDeque::from([root]);
        let mut messages = 0;
        while let Some(at) = queue.pop_front() {
            let children = cube.broadcast_children(at, root);
            prop_assert!(children.len() <= cube.dimension() as usize);
            for child in children {
                messages += 1;
                // What goes to the root from everywhere comes by the same edges.
                prop_assert_eq!(cube.next_hop(child, root), Some(at));
                prop_assert!(depth[usize::from(child.0)].is_none(), "{child} is told twice");
                depth[usize::from(child.0)] = depth[usize::from(at.0)].map(|depth| depth + 1);
                queue.push_back(child);
            }
        }
        prop_assert_eq!(messages, cube.peers() - 1);
        prop_assert!(cube.vertices().all(|v| depth[usize::from(v.0)] == Some(cube.distance(root, v))));
    }

    #[test]
    fn a_join_moves_keys_from_the_parent_to_the_new_vertex_only(n in 1..PEERS_MAX, hash in any::<u64>()) {
        let (before, after) = (cube(n).home(hash), cube(n + 1).home(hash));
        prop_assert!(cube(n).contains(before));
        if before != after {
            prop_assert_eq!((before.0, after.0), (n ^ (1 << n.ilog2()), n));
        }
    }
}

#[test]
fn every_vertex_is_home_to_its_share() {
    for n in 1..=PEERS_MAX {
        let mut homes = vec![0; usize::from(n)];
        let all = 1_u64 << cube(n).dimension();
        (0..all).for_each(|hash| homes[usize::from(cube(n).home(hash).0)] += 1);
        assert!(homes.iter().all(|count| (1..=2).contains(count)), "{n}");
    }
}
