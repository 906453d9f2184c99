//! Power failures and compactions in the middle of a change.

use hcube_consensus::ConfStep;
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;

use super::world::{GROUP, World, ids};

impl World {
    /// One thing happens: a node is drained, a write finishes, or a message arrives.
    fn one_event(&mut self) -> bool {
        for node in self.up() {
            if self.drain(node) || self.persist(node) {
                return true;
            }
        }
        let something = !self.network.is_empty();
        self.deliver(0, false);
        something
    }
}

/// Three voters and a learner, with its leader and what the other voters are.
fn with_learner(seed: u64) -> (World, u64, Vec<u64>) {
    let mut world = World::found(&[1, 2, 3], seed);
    world.place(4, 4);
    world.step(&ConfStep::AddLearner(ReplicaId(4)));
    world.publish(b"before");
    let leader = world.level();
    let rest = (1..=3).filter(|node| *node != leader).collect();
    (world, leader, rest)
}

/// Begins to bring the group to the wish and crashes the leader after so many events; whether it got there first.
fn crash_after(world: &mut World, wish: &[ReplicaId], events: usize) -> bool {
    for _ in 0..events {
        if !world.one_event() {
            if world.reconcile(wish) {
                return true;
            }
            for node in world.up() {
                world.groups(node).tick();
            }
        }
    }
    let leader = world.leader().unwrap_or(1);
    // Torn at different places of its first unfinished write.
    world.crash(leader, events % 4, events / 4 % 3);
    for _ in 0..60 {
        world.tick();
        world.reconcile(wish);
    }
    world.restart(leader);
    false
}

#[test]
fn a_joint_change_comes_to_its_end_whenever_its_leader_crashes() {
    for leader_leaves in [false, true] {
        for events in 0.. {
            let (mut world, leader, rest) = with_learner(events as u64);
            let wish = if leader_leaves { vec![rest[0], rest[1], 4] } else { vec![leader, rest[0], 4] };
            let mut wish_sorted = wish.clone();
            wish_sorted.sort_unstable();
            let done = crash_after(&mut world, &ids(&wish_sorted), events);
            world.bring_to(&wish_sorted);
            world.publish(b"after");
            let kept = world.entries.values().any(|applied| applied.data == b"before"[..]);
            assert!(kept, "what was committed before stays");
            if done {
                assert!(events > 20, "a change takes some steps");
                break;
            }
        }
    }
}

/// A group in the joint configuration of 1, 2, 3 and 1, 2, 4, everybody level.
fn in_joint(seed: u64) -> (World, ConfState) {
    let (mut world, ..) = with_learner(seed);
    world.step(&ConfStep::EnterJoint { voters: ids(&[1, 2, 4]), demote: Vec::new() });
    let joint = ConfState { voters_outgoing: ids(&[1, 2, 3]), ..ConfState::simple(ids(&[1, 2, 4]), vec![]) };
    for node in 1..=4 {
        assert_eq!(world.conf(node), joint);
    }
    (world, joint)
}

fn restart_all(world: &mut World) {
    for node in world.up() {
        world.crash(node, 0, 0);
    }
    for node in 1..=4 {
        world.restart(node);
    }
}

#[test]
fn a_group_restarts_in_its_joint_configuration_and_a_successor_leaves_it() {
    for seed in 0..10 {
        let (mut world, joint) = in_joint(seed);
        restart_all(&mut world);
        for node in 1..=4 {
            assert_eq!(world.conf(node), joint, "before anybody leads");
        }
        world.step(&ConfStep::LeaveJoint);
        world.bring_to(&[1, 2, 4]);
    }
}

#[test]
fn a_compaction_keeps_the_configuration_of_its_own_index() {
    let (mut world, joint) = in_joint(2);
    let now = world.applied(1);
    let plain = ConfState::simple(ids(&[1, 2, 3]), ids(&[4]));
    // Before the joint change, and behind it.
    for (index, conf) in [(now - 1, plain), (now, joint.clone())] {
        for node in 1..=4 {
            world.compact(node, index);
        }
        world.settle();
        restart_all(&mut world);
        for node in 1..=4 {
            let base = &world.nodes[&node].disk.held.as_ref().unwrap().base;
            assert_eq!((base.index, &base.conf), (index, &conf));
            assert_eq!(world.conf(node), joint);
        }
    }
    world.bring_to(&[1, 2, 4]);
}

#[test]
fn a_follower_that_was_away_gets_the_joint_configuration_in_a_snapshot() {
    let (mut world, leader, rest) = with_learner(6);
    world.crash(rest[1], 0, 0);
    world.step(&ConfStep::EnterJoint { voters: ids(&[leader, rest[0], 4]), demote: Vec::new() });
    world.publish(b"meanwhile");
    let leader = world.level();
    world.compact(leader, world.applied(leader));
    world.settle();
    world.restart(rest[1]);
    world.level();
    let base = &world.nodes[&rest[1]].disk.held.as_ref().unwrap().base;
    assert!(!base.conf.voters_outgoing.is_empty(), "it came in a snapshot");
    world.crash(rest[1], 0, 0);
    world.restart(rest[1]);
    assert!(!world.conf(rest[1]).voters_outgoing.is_empty());
    world.step(&ConfStep::LeaveJoint);
    world.publish(b"after");
}

#[test]
fn a_lost_commit_index_does_not_bring_a_superseded_configuration_back() {
    let (mut world, _) = in_joint(4);
    world.step(&ConfStep::LeaveJoint);
    let joint_at = world.applied(1) - 1;
    world.crash(3, 0, 0);
    // The write with the last change was torn before the commit index that came with it.
    world.nodes.get_mut(&3).unwrap().disk.held.as_mut().unwrap().hard_state.commit = 1;
    world.restart(3);
    assert_eq!(world.groups(3).indexes(GROUP).unwrap().commit, joint_at);
    world.drain(3);
    assert!(!world.conf(3).voters_outgoing.is_empty());
    // What it knows not to be committed for certain, it does not hold for committed.
    assert_eq!(world.applied(3), joint_at);
}
