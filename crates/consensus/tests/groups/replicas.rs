//! Replicas that begin with nothing, and replicas that go.

use hcube_consensus::ConfStep;
use hcube_core::conf::ConfState;
use hcube_core::ids::{NodeId, ReplicaId};
use hcube_log::{Base, HardState, Op};

use super::world::{GROUP, World, ids};

#[test]
fn a_replica_that_holds_nothing_waits_through_restarts() {
    let mut world = World::found(&[1], 1);
    world.place(2, 2);
    world.settle();
    for _ in 0..3 {
        world.ticks(60);
        world.groups(2).campaign(GROUP);
        world.settle();
        let held = world.nodes[&2].disk.held.as_ref().unwrap();
        assert_eq!((held.base.index, held.hard_state), (0, HardState::default()));
        assert_eq!((world.conf(2), world.applied(2)), (ConfState::default(), 0));
        assert!(!world.groups(2).role(GROUP).unwrap().leads);
        world.crash(2, 0, 0);
        world.restart(2);
    }
    world.step(&ConfStep::AddLearner(ReplicaId(2)));
    assert_eq!(world.applied(2), world.applied(1));
}

#[test]
fn a_new_replica_is_filled_by_a_snapshot_from_before_and_from_after_it_was_added() {
    for added_before in [false, true] {
        let mut world = World::found(&[1], 2);
        world.publish(b"one");
        world.place(2, 2);
        if added_before {
            world.cut.insert((1, 2));
            world.groups(1).propose_conf(GROUP, &ConfStep::AddLearner(ReplicaId(2)), 1).unwrap();
            world.settle();
        }
        world.compact(1, world.applied(1));
        world.settle();
        let own = world.nodes[&1].disk.held.as_ref().unwrap().base.clone();
        assert_eq!(own.conf.contains(ReplicaId(2)), added_before);
        world.cut.clear();
        if added_before {
            world.level();
        } else {
            world.step(&ConfStep::AddLearner(ReplicaId(2)));
        }
        world.publish(b"two");
        world.level();
        let got = &world.nodes[&2].disk.held.as_ref().unwrap().base;
        assert_eq!((got.index, &got.conf), (own.index, &ConfState::simple(ids(&[1]), ids(&[2]))));
        assert_eq!(world.nodes[&1].state, world.nodes[&2].state);
        world.crash(2, 0, 0);
        world.restart(2);
        world.bring_to(&[1, 2]);
    }
}

#[test]
fn another_replica_takes_a_destroyed_ones_place_in_one_write() {
    let mut world = World::found(&[1, 2, 3], 3);
    world.publish(b"before");
    world.level();
    // Writes of the old replica are still under way.
    let leader = world.elect();
    let node = (1..=3).find(|node| *node != leader).unwrap();
    world.propose(leader, b"under way").unwrap();
    world.drain(leader);
    world.deliver_all();
    world.drain(node);
    let under_way = world.nodes[&node].writes.len();
    assert!(under_way > 0);
    assert_eq!(world.groups(node).destroy(GROUP), Some(ReplicaId(node)));
    assert_eq!(world.groups(node).destroy(GROUP), None);
    world.place(node, 13);
    world.drain(node);
    let write = world.nodes[&node].writes.back().unwrap();
    assert!(write.sync && world.nodes[&node].writes.len() == under_way + 1);
    let shape = |op: &Op| match op {
        Op::Destroy { replica, .. } => ("destroy", replica.0),
        Op::Base { replica, base, .. } => ("base", replica.0 + base.index),
        Op::HardState { hard_state, .. } => ("hard state", hard_state.term),
        Op::Append { .. } => ("append", 0),
    };
    assert_eq!(
        write.ops.iter().map(shape).collect::<Vec<_>>(),
        [("destroy", node), ("base", 13), ("hard state", 0)]
    );
    world.settle();
    assert_eq!(world.applied(node), 0);
    assert!(world.nodes[&node].disk.tombstones.contains(&ReplicaId(node)));
    let mut voters: Vec<_> = (1..=3).filter(|other| *other != node).chain([13]).collect();
    voters.sort_unstable();
    world.bring_to(&voters);
    assert_eq!(world.nodes[&node].state, world.nodes[&leader].state);
    world.crash(node, 0, 0);
    world.restart(node);
    world.publish(b"after");
    world.level();
}

#[test]
fn a_replica_created_and_destroyed_before_any_write_leaves_its_tombstone() {
    let mut world = World::found(&[1], 4);
    world.place(2, 2);
    world.groups(2).destroy(GROUP);
    world.place(2, 12);
    world.settle();
    let disk = &world.nodes[&2].disk;
    assert_eq!(disk.held.as_ref().unwrap().replica, ReplicaId(12));
    assert!(disk.tombstones.contains(&ReplicaId(2)));
}

#[test]
fn a_replica_that_was_not_taken_up_can_be_buried() {
    let mut world = World::found(&[1], 5);
    world.crash(1, 0, 0);
    let mut groups = hcube_consensus::Groups::new(world.config.clone(), 1);
    groups.bury(GROUP, ReplicaId(1));
    groups.create(GROUP, ReplicaId(11), Base::default(), world.homes.clone());
    let write = groups.ready().write.unwrap();
    assert_eq!(write.ops[0], Op::Destroy { group: GROUP, replica: ReplicaId(1) });
    let disk = &mut world.nodes.get_mut(&1).unwrap().disk;
    for op in &write.ops {
        disk.write(op, usize::MAX);
    }
    assert_eq!(disk.held.as_ref().unwrap().replica, ReplicaId(11));
}

#[test]
fn a_leader_that_placement_does_not_name_yet_is_heard_once_its_node_is_known() {
    let mut world = World::found(&[1, 2, 3], 5);
    world.publish(b"before");
    let leader = world.level();
    let follower = (1..=3).find(|node| *node != leader).unwrap();
    let mut others = world.homes.clone();
    others.remove(&ReplicaId(leader));
    world.groups(follower).set_nodes(GROUP, others.clone());
    let behind = world.applied(follower);
    world.publish(b"unheard");
    assert_eq!(world.applied(follower), behind, "a stranger's messages are dropped");
    // Only its own node speaks for a replica, and who is named already stays where it is.
    let third = (1..=3).find(|node| ![leader, follower].contains(node)).unwrap();
    world.groups(follower).add_node(GROUP, ReplicaId(leader), NodeId(99));
    world.groups(follower).add_node(GROUP, ReplicaId(third), NodeId(leader));
    world.publish(b"of another node");
    assert_eq!(world.applied(follower), behind);
    world.groups(follower).set_nodes(GROUP, others);
    world.groups(follower).add_node(GROUP, ReplicaId(leader), NodeId(leader));
    world.publish(b"heard");
    world.level();
    assert!(world.applied(follower) > behind);
}
