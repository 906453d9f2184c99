//! Who belongs to the hypercube, and what is wished for all of it.

use super::*;

#[test]
fn a_peer_joins_at_the_next_vertex_and_follows_the_metadata() {
    let mut meta = cube(3, 3);
    let member = join(&mut meta, newcomer(900, 3));
    assert_eq!((member.node, member.vertex, member.standing), (NodeId(4), Vertex(3), Standing::Active));
    assert_eq!(nodes(&meta.metadata), (vec![1, 2, 3], vec![4], vec![]));
    assert!(!meta.metadata.settled && meta.metadata.version == meta.epoch);
    assert_eq!(
        refused(&meta, Change::AddMember(newcomer(901, 5))),
        ChangeRefusal::NotNext { next: Vertex(4) }
    );
    let taken = ChangeRefusal::VertexTaken { vertex: Vertex(3), node: NodeId(4) };
    assert_eq!(refused(&meta, Change::AddMember(newcomer(901, 3))), taken);
    assert_eq!(join(&mut meta, newcomer(901, 4)).node, NodeId(5));
}

#[test]
fn a_disk_joins_once() {
    let mut meta = cube(3, 1);
    let member = join(&mut meta, newcomer(900, 3));
    // The same peer asks again, under another address: it is a member already.
    let again = NewMember { peer_address: "elsewhere:1".to_owned(), ..newcomer(900, 3) };
    assert_eq!(join(&mut meta, again), member);
    let used = |node| ChangeRefusal::IncarnationUsed { node: NodeId(node) };
    assert_eq!(refused(&meta, Change::AddMember(newcomer(900, 4))), used(4));
    settle(&mut meta, META);
    drain(&mut meta, 4);
    make(&mut meta, Change::RemoveMember { node: NodeId(4) });
    assert_eq!(refused(&meta, Change::AddMember(newcomer(900, 3))), used(4));
    join(&mut meta, replacement(901, 0, 1));
    assert_eq!(refused(&meta, Change::AddMember(newcomer(101, 3))), used(1));
}

#[test]
fn a_hypercube_has_an_end() {
    let meta = cube(limits::PEERS_MAX, 1);
    assert_eq!(
        refused(&meta, Change::AddMember(newcomer(9000, limits::PEERS_MAX))),
        ChangeRefusal::TooManyPeers
    );
}

#[test]
fn nonsense_texts_are_refused() {
    let meta = cube(1, 1);
    let text = |what: &str| ChangeRefusal::Text(what.to_owned());
    let long = "a".repeat(limits::ADDRESS_BYTES_MAX + 1);
    let longest = long[1..].to_owned();
    for address in [String::new(), long.clone()] {
        let peer = NewMember { peer_address: address.clone(), ..newcomer(900, 1) };
        assert_eq!(refused(&meta, Change::AddMember(peer)), text("the peer address"));
        let client = NewMember { client_address: address, ..newcomer(900, 1) };
        assert_eq!(refused(&meta, Change::AddMember(client)), text("the client address"));
    }
    assert_eq!(
        refused(&meta, Change::AddMember(NewMember { zone: long, ..newcomer(900, 1) })),
        text("the zone")
    );
    let good = NewMember { zone: String::new(), peer_address: longest, ..newcomer(900, 1) };
    assert!(meta.clone().change(Change::AddMember(good)).is_ok());
}

#[test]
fn a_replacement_takes_the_vertex_the_standing_and_the_vote_but_not_the_lead() {
    let mut meta = cube(3, 3);
    drain_allowed(&mut meta);
    let leader = meta.metadata.leader;
    let old = meta.members[&leader].clone();
    let vertex = old.vertex.0;
    let member = join(&mut meta, replacement(900, vertex, leader.0));
    assert_eq!((member.node, member.vertex, member.standing), (NodeId(4), old.vertex, Standing::Active));
    assert!(!meta.members.contains_key(&leader));
    assert_eq!(meta.lost[&leader].standing, Standing::Dead);
    assert!(meta.metadata.votes(NodeId(4)) && !meta.metadata.votes(leader));
    assert_ne!(meta.metadata.leader, NodeId(4), "it has nothing yet");
    assert_eq!(meta.metadata.leaving.len(), 1);
    // Its slots still name the lost one, which stays known until none does.
    assert!(meta.placement[0].votes(leader));
    settle(&mut meta, META);
    assert!(meta.lost.contains_key(&leader));
    for slot in 1..=4 {
        put(&mut meta, GroupId(slot), &[2, 3, 4], &[]);
        settle(&mut meta, GroupId(slot));
    }
    assert!(meta.lost.is_empty());
    assert_eq!(refused(&meta, Change::Drain { node: leader }), ChangeRefusal::Retired(leader));
}

/// R may be lowered at any time; raised only as far as drains allow.
fn drain_allowed(meta: &mut Meta) {
    make(meta, Change::SetReplication { replication: 1 });
}

#[test]
fn a_replacement_of_a_peer_that_leaves_leaves_as_well() {
    let mut meta = cube(3, 1);
    drain(&mut meta, 3);
    assert_eq!(join(&mut meta, replacement(900, 2, 3)).standing, Standing::Draining);
}

#[test]
fn only_the_peer_at_that_vertex_is_replaced() {
    let mut meta = cube(3, 1);
    let replace = |vertex, node| Change::AddMember(replacement(900, vertex, node));
    let not = |vertex, node| ChangeRefusal::NotReplaced { vertex: Vertex(vertex), node: NodeId(node) };
    assert_eq!(refused(&meta, replace(1, 1)), not(1, 2));
    assert_eq!(refused(&meta, replace(7, 1)), not(0, 1));
    assert_eq!(refused(&meta, replace(7, 9)), ChangeRefusal::UnknownNode(NodeId(9)));
    join(&mut meta, replacement(901, 1, 2));
    assert_eq!(refused(&meta, replace(1, 2)), not(1, 4), "it was replaced already");
    assert_eq!(refused(&meta, replace(7, 2)), ChangeRefusal::Retired(NodeId(2)));
}

#[test]
fn peers_leave_from_the_highest_vertex_down_and_at_most_two_at_once() {
    let mut meta = cube(6, 3);
    let not_highest = |vertex| ChangeRefusal::NotHighest { highest: Vertex(vertex) };
    assert_eq!(refused(&meta, Change::Drain { node: NodeId(5) }), not_highest(5));
    drain(&mut meta, 6);
    assert_eq!(refused(&meta, Change::Drain { node: NodeId(4) }), not_highest(4));
    drain(&mut meta, 5);
    assert_eq!(refused(&meta, Change::Drain { node: NodeId(4) }), ChangeRefusal::DrainLimit);
    assert_eq!(refused(&meta, Change::Drain { node: NodeId(9) }), ChangeRefusal::UnknownNode(NodeId(9)));
    assert_eq!(refused(&meta, Change::AddMember(newcomer(900, 6))), ChangeRefusal::Draining(NodeId(5)));
    // Only the highest of those that leave can be removed.
    empty(&mut meta, 5);
    empty(&mut meta, 6);
    assert_eq!(refused(&meta, Change::RemoveMember { node: NodeId(5) }), not_highest(5));
    assert_eq!(make(&mut meta, Change::RemoveMember { node: NodeId(6) }), Changed::Removed(NodeId(6)));
    settle(&mut meta, META);
    assert_eq!(make(&mut meta, Change::RemoveMember { node: NodeId(5) }), Changed::Removed(NodeId(5)));
}

#[test]
fn a_drain_that_is_cancelled_keeps_those_below_it_too() {
    let standings = |meta: &Meta| -> Vec<bool> {
        meta.members.values().map(|member| member.standing == Standing::Draining).collect()
    };
    let mut meta = cube(4, 1);
    drain(&mut meta, 4);
    drain(&mut meta, 3);
    make(&mut meta, Change::CancelDrain { node: NodeId(3) });
    assert_eq!(standings(&meta), [false, false, false, true]);
    drain(&mut meta, 3);
    make(&mut meta, Change::CancelDrain { node: NodeId(4) });
    assert_eq!(standings(&meta), [false; 4]);
    let epoch = meta.epoch;
    make(&mut meta, Change::CancelDrain { node: NodeId(4) });
    assert_eq!(meta.epoch, epoch, "nothing was cancelled");
    assert_eq!(
        refused(&meta, Change::CancelDrain { node: NodeId(9) }),
        ChangeRefusal::UnknownNode(NodeId(9))
    );
}

#[test]
fn as_many_peers_stay_as_there_are_replicas() {
    let mut meta = cube(5, 3);
    drain(&mut meta, 5);
    drain(&mut meta, 4);
    let few = |left, replication| ChangeRefusal::TooFewPeers { left, replication };
    assert_eq!(refused(&meta, Change::SetReplication { replication: 5 }), few(3, 5));
    let mut small = cube(3, 3);
    assert_eq!(refused(&small, Change::Drain { node: NodeId(3) }), few(2, 3));
    make(&mut small, Change::SetReplication { replication: 1 });
    drain(&mut small, 3);
    assert_eq!(refused(&small, Change::SetReplication { replication: 3 }), few(2, 3));
    drain(&mut small, 2);
    assert_eq!(refused(&cube(1, 1), Change::Drain { node: NodeId(1) }), few(0, 1));
}

#[test]
fn the_replication_factor_is_small_and_odd_and_may_be_wished_for_in_advance() {
    let mut meta = cube(3, 3);
    for replication in [0, 2, 4, 6, 8, 9] {
        assert_eq!(
            refused(&meta, Change::SetReplication { replication }),
            ChangeRefusal::Replication(replication)
        );
    }
    for replication in [7, 5, 1, 3] {
        make(&mut meta, Change::SetReplication { replication });
        assert_eq!(meta.replication, replication);
    }
}

#[test]
fn only_a_drained_and_empty_peer_is_removed_and_its_ids_never_return() {
    let mut meta = cube(4, 3);
    let remove = Change::RemoveMember { node: NodeId(4) };
    assert_eq!(refused(&meta, remove.clone()), ChangeRefusal::NotDraining(NodeId(4)));
    let unknown = Change::RemoveMember { node: NodeId(9) };
    assert_eq!(refused(&meta, unknown), ChangeRefusal::UnknownNode(NodeId(9)));
    drain(&mut meta, 4);
    let held = meta.replicas_held(NodeId(4));
    assert!(held > 0);
    assert_eq!(refused(&meta, remove.clone()), ChangeRefusal::NotEmpty { node: NodeId(4), replicas: held });
    let at_first = meta.clone();
    empty(&mut meta, 4);
    // What is not settled may still count on it; so may the metadata group.
    put(&mut meta, SLOT, &[1, 2, 4], &[]);
    settle(&mut meta, SLOT);
    put(&mut meta, SLOT, &[1, 2, 3], &[]);
    assert!(matches!(refused(&meta, remove.clone()), ChangeRefusal::NotEmpty { replicas: 1, .. }));
    settle(&mut meta, SLOT);
    put(&mut meta, META, &[1], &[]);
    assert!(matches!(refused(&meta, remove.clone()), ChangeRefusal::NotEmpty { replicas: 1, .. }));
    settle(&mut meta, META);
    assert_eq!(make(&mut meta, remove.clone()), Changed::Removed(NodeId(4)));
    assert_eq!(nodes(&meta.metadata).2, [4], "it is told before it is let go");
    settle(&mut meta, META);
    assert_eq!(nodes(&meta.metadata).2, []);
    assert_eq!(meta.retired[&Incarnation(104)], NodeId(4));
    for change in [Change::Drain { node: NodeId(4) }, Change::CancelDrain { node: NodeId(4) }] {
        assert_eq!(refused(&meta, change), ChangeRefusal::Retired(NodeId(4)));
    }
    let next = join(&mut meta, newcomer(900, 3));
    assert_eq!(next.node, NodeId(5), "node ids are not used again");
    let before: Vec<ReplicaId> = at_first.groups().flat_map(|(_, p)| p.all().map(|r| r.id)).collect();
    let replica = meta.metadata.replica_on(next.node).unwrap();
    assert!(!before.contains(&replica) && replica.0 > before.iter().map(|id| id.0).max().unwrap());
}

#[test]
fn read_replicas_are_wished_for_by_topic_and_end_with_it() {
    let mut meta = cube(4, 1);
    let name: Name = "orders".parse().unwrap();
    let id = TopicId(7);
    let set = |count| Change::SetReadReplicas { topic: "orders".parse().unwrap(), count };
    assert_eq!(refused(&meta, set(1)), ChangeRefusal::UnknownTopic);
    let topic = Topic { id, name: name.clone(), partitions: 2, retention: Retention::default() };
    meta.apply(Command::CreateTopic(topic)).unwrap();
    assert_eq!(refused(&meta, set(limits::READ_REPLICAS_MAX + 1)), ChangeRefusal::TooManyReadReplicas);
    for count in [limits::READ_REPLICAS_MAX, 0, 2] {
        make(&mut meta, set(count));
        assert_eq!(meta.read_replicas_of(id), count);
    }
    let epoch = meta.epoch;
    meta.apply(Command::DeleteTopic { name, id: None }).unwrap();
    assert!(meta.read_replicas.is_empty());
    assert_eq!(meta.epoch, epoch + 1, "whoever places replicas is told by the epoch");
}

#[test]
fn a_pause_is_remembered() {
    let mut meta = cube(1, 1);
    for paused in [true, false] {
        let epoch = meta.epoch;
        make(&mut meta, Change::SetPaused { paused });
        assert_eq!((meta.paused, meta.epoch), (paused, epoch + 1));
    }
}

#[test]
fn refusals_come_through_the_command() {
    let mut meta = cube(1, 1);
    let outcome = meta.apply(Command::Change(Change::SetReplication { replication: 2 }));
    assert_eq!(outcome, Err(Refusal::Change(ChangeRefusal::Replication(2))));
    assert_eq!(outcome.unwrap_err().to_string(), "the replication factor is 1, 3, 5 or 7, not 2");
}

#[test]
fn the_feature_level_rises_and_never_falls() {
    let mut meta = cube(3, 3);
    let (level, epoch) = (meta.feature_level, meta.epoch);
    for (asked, found, at) in [(level + 2, level + 2, epoch + 1), (level + 1, level + 2, epoch + 1)] {
        let change = Change::RaiseLevel { level: asked };
        assert_eq!(
            meta.apply(Command::Change(change)),
            Ok(crate::meta::command::Effect::Changed(Changed::Done))
        );
        assert_eq!((meta.feature_level, meta.epoch), (found, at));
    }
}
