//! Where replicas go that only read: beside those that vote, for slots whose topics are read much.

use std::collections::BTreeMap;

use super::{Assignment, Candidate, Standing};
use crate::ids::{NodeId, Vertex};

/// Chooses the nodes of each slot's read replicas, sorted: as many as `wanted` asks for and the active nodes allow.
///
/// Those of `current` stay where they can. New ones go first to nodes that hold few of them, then to vertices far
/// from the slot's other replicas, so that every peer has one near. `wanted`, `voters` and `current` are by slot;
/// `current` may be empty.
#[must_use]
pub fn readers(
    candidates: &[Candidate],
    voters: &[Assignment],
    wanted: &[u8],
    current: &[Vec<NodeId>],
) -> Vec<Vec<NodeId>> {
    let mut places: Vec<Place> = candidates
        .iter()
        .filter(|candidate| candidate.standing == Standing::Active)
        .map(|candidate| Place { node: candidate.node, vertex: candidate.vertex, load: 0 })
        .collect();
    places.sort_unstable_by_key(|place| place.vertex);
    let number: BTreeMap<NodeId, usize> = places.iter().map(|place| place.node).zip(0..).collect();
    let numbers = |nodes: &[NodeId]| nodes.iter().filter_map(|node| number.get(node).copied()).collect();
    // Of each slot, the places taken by voters and then by readers.
    let mut taken: Vec<(Vec<usize>, Vec<usize>)> = (0..voters.len())
        .map(|slot| {
            if wanted[slot] == 0 {
                return (Vec::new(), Vec::new());
            }
            let voting: Vec<usize> = numbers(&voters[slot].replicas);
            let mut reading: Vec<usize> = numbers(current.get(slot).map_or(&[], Vec::as_slice));
            reading.retain(|place| !voting.contains(place));
            reading.truncate(wanted[slot].into());
            (voting, reading)
        })
        .collect();
    taken.iter().flat_map(|(_, reading)| reading).for_each(|place| places[*place].load += 1);
    for (slot, (voting, reading)) in taken.iter_mut().enumerate() {
        while reading.len() < usize::from(wanted[slot]) {
            let Some(place) = best(&places, voting, reading) else { break };
            places[place].load += 1;
            reading.push(place);
        }
    }
    let named = |(_, reading): (_, Vec<usize>)| {
        let mut nodes: Vec<NodeId> = reading.into_iter().map(|place| places[place].node).collect();
        nodes.sort_unstable();
        nodes
    };
    taken.into_iter().map(named).collect()
}

/// A node that may read.
struct Place {
    node: NodeId,
    vertex: Vertex,
    /// Slots that it reads.
    load: u32,
}

/// The place that suits one more reader best; none where all are taken.
fn best(places: &[Place], voting: &[usize], reading: &[usize]) -> Option<usize> {
    let taken: Vec<usize> = voting.iter().chain(reading).copied().collect();
    let near: Vec<u16> = taken.iter().map(|place| places[*place].vertex.0).collect();
    let nearest = |place: usize| near.iter().map(|other| (other ^ places[place].vertex.0).count_ones()).min();
    let mut best: Option<(usize, Option<u32>)> = None;
    for place in 0..places.len() {
        let load = places[place].load;
        let least = best.map(|(best, _)| places[best].load);
        // How near it is counts among those with the least load only, and is not worked out for others.
        if least.is_some_and(|least| load > least) || taken.contains(&place) {
            continue;
        }
        let distance = nearest(place);
        if least != Some(load) || best.is_some_and(|(_, farthest)| distance > farthest) {
            best = Some((place, distance));
        }
    }
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::plan;

    fn cube(peers: u16) -> Vec<Candidate> {
        let candidate = |vertex: u16| Candidate {
            node: NodeId(u64::from(vertex) + 1),
            vertex: Vertex(vertex),
            zone: String::new(),
            standing: Standing::Active,
        };
        (0..peers).map(candidate).collect()
    }

    #[test]
    fn readers_are_even_never_voters_and_as_many_as_wanted() {
        let candidates = cube(8);
        let voters = plan(&candidates, 16, 3, &[]).unwrap();
        let all = readers(&candidates, &voters, &[2; 16], &[]);
        let mut load = BTreeMap::new();
        for (slot, held) in all.iter().enumerate() {
            assert_eq!(held.len(), 2);
            assert!(held.iter().all(|node| !voters[slot].replicas.contains(node)));
            held.iter().for_each(|node| *load.entry(*node).or_insert(0) += 1);
        }
        let (low, high) = (load.values().min().unwrap(), load.values().max().unwrap());
        assert!(high - low <= 2, "{load:?}");
        assert_eq!(readers(&candidates, &voters, &[2; 16], &all), all, "a plan that holds is kept");
    }

    #[test]
    fn more_than_there_are_nodes_is_all_of_them() {
        let mut candidates = cube(5);
        let voters = plan(&candidates, 4, 3, &[]).unwrap();
        let all = readers(&candidates, &voters, &[9, 0, 1, 0], &[]);
        assert_eq!([all[0].len(), all[1].len(), all[2].len()], [2, 0, 1]);
        candidates[4].standing = Standing::Draining;
        let moved = readers(&candidates, &voters, &[9, 0, 1, 0], &all);
        assert!(moved.iter().flatten().all(|node| *node != candidates[4].node));
    }
}
