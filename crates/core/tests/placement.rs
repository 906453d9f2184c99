//! What every placement promises, and how it compares with the best of all placements on small cases.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

#[path = "placement/brute_force.rs"]
mod brute_force;

use std::collections::BTreeMap;

use hcube_core::ids::{NodeId, Slot, Vertex};
use hcube_core::placement::{
    Assignment, Candidate, Move, PlanError, Standing, diff, effective_replication, metadata_voters, plan,
};
use proptest::prelude::*;

fn active(node: u64, zone: &str) -> Candidate {
    let vertex = Vertex(u16::try_from(node).unwrap());
    Candidate { node: NodeId(node), vertex, zone: zone.to_owned(), standing: Standing::Active }
}

/// N active peers at the vertices 0..N, dealt to the zones in turn.
fn peers(n: u64, zones: u64) -> Vec<Candidate> {
    (0..n).map(|node| active(node, &format!("z{}", node % zones))).collect()
}

/// How many slots each active node holds, and how many it leads.
fn loads(candidates: &[Candidate], plan: &[Assignment]) -> (Vec<usize>, Vec<usize>) {
    let of = |c: &&Candidate| c.standing == Standing::Active;
    let held = |c: &Candidate| plan.iter().filter(|a| a.replicas.contains(&c.node)).count();
    let led = |c: &Candidate| plan.iter().filter(|a| a.leader == c.node).count();
    (candidates.iter().filter(of).map(held).collect(), candidates.iter().filter(of).map(led).collect())
}

fn unevenness(loads: &[usize]) -> usize {
    loads.iter().max().unwrap() - loads.iter().min().unwrap()
}

fn added(moves: &[Move]) -> usize {
    moves.iter().map(|step| step.add.len()).sum()
}

/// Distinct nodes at distinct vertices, sorted, led by one of them.
fn assert_sound(candidates: &[Candidate], plan: &[Assignment]) {
    let vertex: BTreeMap<NodeId, Vertex> = candidates.iter().map(|c| (c.node, c.vertex)).collect();
    for assignment in plan {
        assert!(assignment.replicas.is_sorted_by(|a, b| a < b), "{assignment:?}");
        assert!(assignment.replicas.contains(&assignment.leader));
        let mut vertices: Vec<Vertex> = assignment.replicas.iter().map(|node| vertex[node]).collect();
        vertices.sort_unstable();
        assert!(vertices.is_sorted_by(|a, b| a < b), "one vertex twice: {assignment:?}");
    }
}

#[test]
fn effective_replication_is_odd_and_fits_the_peers() {
    let table =
        [(3, 8, 3), (3, 2, 1), (3, 3, 3), (5, 4, 3), (7, 1, 1), (4, 9, 3), (3, 0, 0), (255, 1000, 255)];
    for (wanted, peers, effective) in table {
        assert_eq!(effective_replication(wanted, peers), effective);
    }
}

#[test]
fn nonsense_is_refused() {
    let three = peers(3, 1);
    assert!(matches!(plan(&three, 0, 3, &[]), Err(PlanError::Nothing { .. })));
    assert!(matches!(plan(&three, 4, 0, &[]), Err(PlanError::Nothing { .. })));
    assert_eq!(plan(&[], 4, 3, &[]), Err(PlanError::Nowhere(Slot(0))));
    let one = plan(&three, 1, 3, &[]).unwrap();
    assert_eq!(plan(&three, 4, 3, &one), Err(PlanError::CurrentSlots { slots: 4, found: 1 }));
    let twice = [active(1, ""), active(1, "")];
    assert_eq!(plan(&twice, 4, 3, &[]), Err(PlanError::SharedNode(NodeId(1))));
    let crowd = [active(1, ""), Candidate { node: NodeId(9), ..active(1, "") }];
    assert_eq!(plan(&crowd, 4, 3, &[]), Err(PlanError::SharedVertex(Vertex(1))));
    assert_eq!(plan(&[active(1024, "")], 4, 3, &[]), Err(PlanError::Vertex(Vertex(1024))));
}

#[test]
fn growing_and_shrinking_in_equal_zones_keeps_balance_with_fewest_moves() {
    for (slots, replication) in [(64, 3), (64, 1), (16, 5), (128, 3)] {
        let mut plans: Vec<Vec<Assignment>> = Vec::new();
        for n in 1..=24_u64 {
            let now = peers(n, 1);
            let before = plans.last().map_or(&[][..], |plan| plan);
            let next = plan(&now, slots, replication, before).unwrap();
            assert_sound(&now, &next);
            let effective = effective_replication(replication, now.len());
            assert!(next.iter().all(|a| a.replicas.len() == usize::from(effective)));
            let (held, led) = loads(&now, &next);
            assert!(unevenness(&held) <= 1, "{n} peers hold {held:?}");
            assert!(unevenness(&led) <= 1, "{n} peers lead {led:?}");
            if n > 1 && effective == effective_replication(replication, now.len() - 1) {
                let most = (usize::from(slots) * usize::from(effective)).div_ceil(now.len());
                assert!(added(&diff(before, &next)) <= most, "joining as peer {n} moves too much");
            }
            plans.push(next);
        }
        // The way back: the highest drains, and only what it held moves.
        let mut at = plans.pop().unwrap();
        for n in (usize::from(replication) + 1..=24).rev() {
            let mut now = peers(n as u64, 1);
            now[n - 1].standing = Standing::Draining;
            let left = plan(&now, slots, replication, &at).unwrap();
            let gone = NodeId(n as u64 - 1);
            let held = at.iter().filter(|a| a.replicas.contains(&gone)).count();
            let moves = diff(&at, &left);
            assert_eq!(added(&moves), held);
            assert!(moves.iter().all(|step| step.remove.iter().all(|node| *node == gone)));
            let (held, led) = loads(&now, &left);
            assert!(unevenness(&held) <= 1 && unevenness(&led) <= 1, "{n}: {held:?} {led:?}");
            at = left;
        }
    }
}

#[test]
fn equal_zones_get_one_replica_each_and_equal_loads() {
    for zones in [3, 4, 5] {
        let now = peers(zones * 4, zones);
        let placed = plan(&now, 64, 3, &[]).unwrap();
        let (held, led) = loads(&now, &placed);
        assert!(unevenness(&held) <= 1 && unevenness(&led) <= 1);
        for assignment in &placed {
            let mut used: Vec<u64> = assignment.replicas.iter().map(|node| node.0 % zones).collect();
            used.sort_unstable();
            assert!(used.is_sorted_by(|a, b| a < b), "{assignment:?}");
        }
    }
}

#[test]
fn a_slot_stays_on_a_lost_node_only_while_places_are_too_few() {
    let mut now = peers(3, 1);
    let placed = plan(&now, 8, 3, &[]).unwrap();
    now[1].standing = Standing::Dead;
    let waiting = plan(&now, 8, 3, &placed).unwrap();
    assert!(waiting.iter().all(|a| a.replicas.contains(&NodeId(1)) && a.leader != NodeId(1)));
    // Its replacement at the same vertex takes over everything, and nothing else moves.
    now.push(Candidate { node: NodeId(7), ..active(1, "z0") });
    let replaced = plan(&now, 8, 3, &waiting).unwrap();
    for step in diff(&waiting, &replaced) {
        assert!((step.add.is_empty() && step.remove.is_empty()) || step.add == [NodeId(7)], "{step:?}");
    }
    assert!(replaced.iter().all(|a| a.replicas == [NodeId(0), NodeId(2), NodeId(7)]));
    // At birth nobody has anything to stay for.
    now.pop();
    assert!(plan(&now, 8, 3, &[]).unwrap().iter().all(|a| a.replicas.len() == 1));
}

#[test]
fn a_lowered_replication_only_removes() {
    let now = peers(7, 1);
    let five = plan(&now, 32, 5, &[]).unwrap();
    let three = plan(&now, 32, 3, &five).unwrap();
    assert_eq!(added(&diff(&five, &three)), 0);
    assert!(unevenness(&loads(&now, &three).0) <= 1);
}

#[test]
fn metadata_voters_are_odd_spread_and_change_little() {
    let numbers = |voters: Vec<NodeId>| voters.into_iter().map(|node| node.0).collect::<Vec<_>>();
    assert_eq!(metadata_voters(&[], &[]), []);
    for (n, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (64, 5)] {
        assert_eq!(metadata_voters(&peers(n, 1), &[]).len(), voters);
    }
    assert_eq!(numbers(metadata_voters(&peers(8, 3), &[])).iter().filter(|node| *node % 3 == 0).count(), 2);
    let mut now = peers(5, 1);
    let five = metadata_voters(&now, &[]);
    now[4].standing = Standing::Draining;
    assert_eq!(numbers(metadata_voters(&now, &five)).iter().filter(|node| **node < 4).count(), 3);
    let mut now = peers(8, 1);
    let voters = metadata_voters(&now, &[NodeId(1), NodeId(3), NodeId(7)]);
    assert!([1, 3, 7].iter().all(|node| voters.contains(&NodeId(*node))) && voters.len() == 5);
    now[3].standing = Standing::Dead;
    let kept = metadata_voters(&now, &voters);
    assert_eq!(kept.iter().filter(|node| !voters.contains(node)).count(), 1);
    assert!(!kept.contains(&NodeId(3)));
}

#[test]
fn a_thousand_peers_and_four_thousand_slots_are_balanced() {
    let born = plan(&peers(1000, 3), 4096, 3, &[]).unwrap();
    let (held, _) = loads(&peers(1000, 3), &born);
    assert!(unevenness(&held) <= 1);
    let grown = peers(1001, 3);
    let next = plan(&grown, 4096, 3, &born).unwrap();
    assert!(added(&diff(&born, &next)) <= (4096_usize * 3).div_ceil(1001));
}

/// Up to nine peers of any standing in up to four zones, and slots that lie anywhere on them or on strangers.
fn troubled() -> impl Strategy<Value = (Vec<Candidate>, u16, u8, Vec<Assignment>)> {
    let peer = (
        0..4_u8,
        prop_oneof![5 => Just(Standing::Active), 1 => Just(Standing::Draining), 1 => Just(Standing::Dead)],
    );
    let table = proptest::collection::vec(proptest::collection::vec(0..11_u64, 1..6), 16);
    (proptest::collection::vec(peer, 1..10), 1..=16_u16, 1..=7_u8, table, any::<bool>()).prop_map(
        |(peers, slots, replication, table, birth)| {
            let candidate = |(node, (zone, standing)): (u64, (u8, Standing))| Candidate {
                standing,
                ..active(node, &zone.to_string())
            };
            let assignment = |nodes: Vec<u64>| Assignment {
                leader: NodeId(nodes[0]),
                replicas: nodes.into_iter().map(NodeId).collect(),
            };
            let current = if birth { 0 } else { slots.into() };
            let current = table.into_iter().take(current).map(assignment).collect();
            ((0..).zip(peers).map(candidate).collect(), slots, replication, current)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_table_is_brought_in_order_once_and_for_all((now, slots, replication, current) in troubled()) {
        let Ok(next) = plan(&now, slots, replication, &current) else {
            prop_assert!(now.iter().all(|c| c.standing != Standing::Active));
            return Ok(());
        };
        assert_sound(&now, &next);
        let standing: BTreeMap<NodeId, Standing> = now.iter().map(|c| (c.node, c.standing)).collect();
        let places = standing.values().filter(|standing| **standing == Standing::Active).count();
        let want = effective_replication(replication, now.len());
        for (slot, assignment) in next.iter().enumerate() {
            let on_active = assignment.replicas.iter().filter(|node| standing[node] == Standing::Active).count();
            prop_assert!(on_active == assignment.replicas.len() || places < usize::from(want));
            prop_assert!(assignment.replicas.len() % 2 == 1);
            prop_assert!(assignment.replicas.len() >= usize::from(effective_replication(replication, places)));
            let held = current.get(slot).map_or(&[][..], |a| &a.replicas);
            let stays = |node: &NodeId| standing[node] == Standing::Active || held.contains(node);
            prop_assert!(assignment.replicas.iter().all(stays));
        }
        prop_assert_eq!(diff(&next, &plan(&now, slots, replication, &next).unwrap()), []);
        let mut shuffled = now.clone();
        shuffled.reverse();
        prop_assert_eq!(plan(&shuffled, slots, replication, &current).unwrap(), next);
    }

    #[test]
    fn diff_leads_from_one_placement_to_another((now, slots, replication, current) in troubled()) {
        let next = plan(&now, slots, replication, &current).unwrap_or_default();
        let mut table: Vec<Assignment> = current.clone();
        table.resize(next.len(), Assignment { replicas: Vec::new(), leader: NodeId(u64::MAX) });
        for step in diff(&current, &next) {
            let assignment = &mut table[usize::from(step.slot.0)];
            assignment.replicas.retain(|node| !step.remove.contains(node));
            assignment.replicas.extend(step.add);
            assignment.replicas.sort_unstable();
            assignment.replicas.dedup();
            assignment.leader = step.leader.unwrap_or(assignment.leader);
        }
        for (done, wanted) in table.iter().zip(&next) {
            let mut replicas = done.replicas.clone();
            replicas.sort_unstable();
            replicas.dedup();
            prop_assert_eq!((&replicas, done.leader), (&wanted.replicas, wanted.leader));
        }
    }
}
