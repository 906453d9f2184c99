//! Every change and every refusal, as facts.

mod bytes;
mod members;
mod places;

use super::*;
use crate::ids::{ClusterId, TopicId};
use crate::meta::command::{Command, Refusal};
use crate::meta::{Founder, Loss, Placement, Topic, genesis};
use crate::placement::Standing;
use crate::topic::Retention;

const META: GroupId = GroupId::META;
const SLOT: GroupId = GroupId(1);

/// Nodes 1 to N at the vertices 0 to N-1, with the incarnations 101 to 100+N.
fn cube(peers: u16, replication: u8) -> Meta {
    let founder = |vertex: u16| Founder {
        incarnation: Incarnation(101 + u128::from(vertex)),
        vertex: Vertex(vertex),
        zone: String::new(),
        peer_address: format!("peer-{vertex}:1"),
        client_address: format!("client-{vertex}:1"),
    };
    genesis(ClusterId(1), (0..peers).map(founder).collect(), 4, replication).unwrap()
}

fn newcomer(incarnation: u128, vertex: u16) -> NewMember {
    NewMember {
        incarnation: Incarnation(incarnation),
        vertex: Vertex(vertex),
        zone: "east".to_owned(),
        peer_address: "peer:1".to_owned(),
        client_address: "client:1".to_owned(),
        replaces: None,
    }
}

fn replacement(incarnation: u128, vertex: u16, node: u64) -> NewMember {
    NewMember { replaces: Some(NodeId(node)), ..newcomer(incarnation, vertex) }
}

/// Makes a change twice, which must answer and do the same as making it once.
fn make(meta: &mut Meta, change: Change) -> Changed {
    let before = meta.epoch;
    let answer = meta.change(change.clone()).unwrap();
    let once = meta.clone();
    assert!(once.epoch - before <= 1, "one change, one epoch");
    assert_eq!(meta.change(change), Ok(answer.clone()));
    assert_eq!(*meta, once, "a repetition changes nothing");
    answer
}

/// Makes a change that names a version, and so cannot be made twice.
fn make_once(meta: &mut Meta, change: Change) {
    assert_eq!(meta.change(change.clone()), Ok(Changed::Done));
    let once = meta.clone();
    assert!(matches!(meta.change(change), Err(ChangeRefusal::Stale { .. })));
    assert_eq!(*meta, once);
}

/// The change is refused, and nothing has changed.
fn refused(meta: &Meta, change: Change) -> ChangeRefusal {
    let mut after = meta.clone();
    let refusal = after.change(change).unwrap_err();
    assert_eq!(after, *meta, "a refusal changes nothing");
    refusal
}

fn join(meta: &mut Meta, new: NewMember) -> Member {
    match make(meta, Change::AddMember(new)) {
        Changed::Member(member) => member,
        other => panic!("not a member: {other:?}"),
    }
}

fn drain(meta: &mut Meta, node: u64) {
    let changed = make(meta, Change::Drain { node: NodeId(node) });
    assert!(matches!(changed, Changed::Member(Member { standing: Standing::Draining, .. })));
}

fn settle(meta: &mut Meta, group: GroupId) {
    let version = meta.placement_of(group).unwrap().version;
    make(meta, Change::Settled { group, version });
}

fn place(meta: &Meta, group: GroupId, voters: &[u64], learners: &[u64]) -> Change {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let (voters, learners) = (nodes(voters), nodes(learners));
    let version = meta.placement_of(group).map_or(0, |placement| placement.version);
    let leader = voters.first().copied().unwrap_or_default();
    Change::Place { group, version, voters, learners, leader }
}

/// Makes these nodes a group's wish.
fn put(meta: &mut Meta, group: GroupId, voters: &[u64], learners: &[u64]) {
    let change = place(meta, group, voters, learners);
    if nodes(meta.placement_of(group).unwrap()) != (voters.to_vec(), learners.to_vec(), vec![]) {
        make_once(meta, change);
    }
}

/// Takes every replica and vote off a node and lets that settle.
fn empty(meta: &mut Meta, node: u64) {
    let node = NodeId(node);
    let groups: Vec<GroupId> = meta.groups().map(|(group, _)| group).collect();
    for group in groups {
        let placement = meta.placement_of(group).unwrap();
        if !placement.votes(node) {
            continue;
        }
        let others = meta.staying().map(|member| member.node).filter(|n| *n != node && !placement.votes(*n));
        let kept = placement.voting_nodes().filter(|n| *n != node).count();
        let mut voters: Vec<NodeId> = placement.voting_nodes().filter(|n| *n != node).collect();
        voters.extend(others.take(1 - kept % 2));
        let (version, leader) = (placement.version, voters[0]);
        make_once(meta, Change::Place { group, version, voters, learners: vec![], leader });
        settle(meta, group);
    }
}

fn nodes(placement: &Placement) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
    let of = |replicas: &[crate::meta::Replica]| replicas.iter().map(|replica| replica.node.0).collect();
    (of(&placement.voters), of(&placement.learners), of(&placement.leaving))
}
