//! The plan against the best of all placements, where those can be listed.

use std::collections::BTreeMap;

use hcube_core::placement::{Assignment, Candidate, plan};
use proptest::prelude::*;

use super::{active, diff, loads};

/// What the planner minimises, in its order of priority; a smaller one is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Squares of the replicas of one slot in one zone, summed up: least when spread most evenly.
    crowding: usize,
    /// Squares of the peers' loads, summed up: least when most balanced.
    load: usize,
    /// Replicas that are new where they are.
    moves: usize,
}

fn cost(candidates: &[Candidate], current: &[Assignment], plan: &[Assignment]) -> Cost {
    let zone: BTreeMap<_, _> = candidates.iter().map(|c| (c.node, c.zone.as_str())).collect();
    let squares = |counts: &[usize]| counts.iter().map(|count| count * count).sum::<usize>();
    let crowd = |assignment: &Assignment| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        assignment.replicas.iter().for_each(|node| *counts.entry(zone[node]).or_default() += 1);
        squares(&counts.into_values().collect::<Vec<_>>())
    };
    Cost {
        crowding: plan.iter().map(crowd).sum(),
        load: squares(&loads(candidates, plan).0),
        moves: diff(current, plan).iter().map(|step| step.add.len()).sum(),
    }
}

/// The cost of the best placement of all.
fn best(candidates: &[Candidate], replicas: u32, current: &[Assignment], slots: usize) -> Cost {
    let sets: Vec<Assignment> = (0..1_u32 << candidates.len())
        .filter(|set| set.count_ones() == replicas)
        .map(|set| {
            let members = candidates.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
            let replicas: Vec<_> = members.map(|(_, candidate)| candidate.node).collect();
            Assignment { leader: replicas[0], replicas }
        })
        .collect();
    let choice = |number: usize| {
        let digit = |slot: u32| sets[number / sets.len().pow(slot) % sets.len()].clone();
        (0..slots as u32).map(digit).collect::<Vec<_>>()
    };
    let all = (0..sets.len().pow(slots as u32)).map(|number| cost(candidates, current, &choice(number)));
    all.min().unwrap()
}

/// Squares of the numbers of slots that the peers lead, summed up: least when most balanced.
fn unfairness(candidates: &[Candidate], plan: &[Assignment]) -> usize {
    loads(candidates, plan).1.iter().map(|led| led * led).sum()
}

/// The least unfairness of all choices of leaders among these replicas.
fn fairest(candidates: &[Candidate], plan: &[Assignment]) -> usize {
    let choices: usize = plan.iter().map(|assignment| assignment.replicas.len()).product();
    let choice = |mut number: usize| {
        let mut plan = plan.to_vec();
        for assignment in &mut plan {
            assignment.leader = assignment.replicas[number % assignment.replicas.len()];
            number /= assignment.replicas.len();
        }
        unfairness(candidates, &plan)
    };
    (0..choices).map(choice).min().unwrap()
}

/// Peers in zones, the slots, the replicas of each, and a table with any number of replicas.
fn small() -> impl Strategy<Value = (Vec<Candidate>, u16, u8, Vec<Assignment>)> {
    let zones = proptest::collection::vec(0..3_u8, 3..=5);
    (zones, 1..=3_u16, prop_oneof![Just(1), Just(3)]).prop_flat_map(|(zones, slots, replication)| {
        let candidates: Vec<Candidate> =
            (0..).zip(zones).map(|(node, zone)| active(node, &zone.to_string())).collect();
        let nodes: Vec<_> = candidates.iter().map(|candidate| candidate.node).collect();
        let held = proptest::sample::subsequence(nodes, 1..=3);
        let assignment = held.prop_map(|replicas| Assignment { leader: replicas[0], replicas });
        let table = proptest::collection::vec(assignment, usize::from(slots));
        (Just(candidates), Just(slots), Just(replication), table)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_placement_is_better((candidates, slots, replication, current) in small()) {
        let planned = plan(&candidates, slots, replication, &current).unwrap();
        let best = best(&candidates, replication.into(), &current, slots.into());
        prop_assert_eq!(cost(&candidates, &current, &planned), best);
        prop_assert_eq!(unfairness(&candidates, &planned), fairest(&candidates, &planned));
    }
}
