//! Going on alone after the loss of a majority.

use bytes::Bytes;
use hcube_consensus::{ConfStep, ProposeError};
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;

use super::world::{GROUP, World, ids};

/// A leader of five with a joint change and an entry in its log that reached nobody; all others are lost.
fn cut_off(seed: u64) -> (World, u64) {
    let mut world = World::found(&[1, 2, 3, 4, 5], seed);
    for node in [6, 7] {
        world.place(node, node);
        world.step(&ConfStep::AddLearner(ReplicaId(node)));
    }
    world.publish(b"before");
    let leader = world.level();
    world.cut = (1..=7).map(|node| (leader, node)).collect();
    let voters = ids(&[1, 6, 7]);
    world.groups(leader).propose_conf(GROUP, &ConfStep::EnterJoint { voters, demote: vec![] }, 5).unwrap();
    world.propose(leader, b"reached nobody").unwrap();
    world.settle();
    for node in (1..=7).filter(|node| *node != leader) {
        world.crash(node, 0, 0);
    }
    world.ticks(60);
    (world, leader)
}

fn sole(replica: u64) -> ConfState {
    ConfState::simple(ids(&[replica]), Vec::new())
}

#[test]
fn a_survivor_goes_on_alone_with_everything_in_its_log() {
    for seed in 0..10 {
        let (mut world, survivor) = cut_off(seed);
        assert_eq!(world.leader(), None, "alone it leads nothing");
        world.groups(survivor).force_sole(GROUP, 9).unwrap();
        world.settle();
        assert_eq!(world.conf(survivor), sole(survivor));
        assert!(world.nodes[&survivor].state.iter().any(|applied| applied.data == b"reached nobody"[..]));
        assert_eq!(world.elect(), survivor);
        let last = world.publish(b"after");
        world.crash(survivor, 0, 0);
        world.restart(survivor);
        assert_eq!(world.conf(survivor), sole(survivor));
        assert_eq!(world.elect(), survivor);
        assert!(world.applied(survivor) > last);
    }
}

#[test]
fn an_entry_behind_the_forced_one_comes_true_with_it_or_not_at_all() {
    // How much of the write a crash leaves: the two entries, then the state that says that they are committed.
    for (ops, entries, survives) in [(0, 0, false), (0, 1, false), (0, 2, false), (1, 0, false), (9, 0, true)]
    {
        let (mut world, survivor) = cut_off(8);
        let conf = world.conf(survivor);
        let proposed = world.groups(survivor).force_sole_with(GROUP, 9, Bytes::from_static(b"why")).unwrap();
        world.drain(survivor);
        world.crash(survivor, ops, entries);
        world.restart(survivor);
        // What was durable before anybody heard of it is found applied by the start.
        for applied in world.nodes[&survivor].state.clone() {
            world.entries.entry(applied.index).or_insert(applied);
        }
        world.drain(survivor);
        let why = world.nodes[&survivor].state.iter().find(|applied| applied.data == b"why"[..]);
        assert_eq!(why.map(|why| why.index), survives.then_some(proposed.index), "{ops} {entries}");
        assert_eq!(world.conf(survivor), if survives { sole(survivor) } else { conf });
        if survives {
            assert_eq!(world.elect(), survivor);
            world.publish(b"after");
        }
    }
}

#[test]
fn replicas_that_come_later_pass_the_lost_voters_by() {
    for compacts in [false, true] {
        let (mut world, survivor) = cut_off(3);
        world.groups(survivor).force_sole(GROUP, 9).unwrap();
        world.settle();
        world.elect();
        if compacts {
            world.compact(survivor, world.applied(survivor));
            world.settle();
        }
        world.cut.clear();
        for node in [8, 9] {
            world.place(node, node);
        }
        let mut voters = vec![survivor, 8, 9];
        voters.sort_unstable();
        world.bring_to(&voters);
        world.crash(survivor, 0, 0);
        world.publish(b"without the survivor");
    }
}

#[test]
fn nothing_is_handed_out_before_the_forced_write_is_durable() {
    let (mut world, survivor) = cut_off(4);
    let (before, conf) = (world.applied(survivor), world.conf(survivor));
    world.groups(survivor).force_sole(GROUP, 9).unwrap();
    world.drain(survivor);
    for _ in 0..60 {
        world.groups(survivor).tick();
        world.drain(survivor);
    }
    assert_eq!((world.applied(survivor), world.conf(survivor)), (before, conf));
    assert!(!world.groups(survivor).role(GROUP).unwrap().leads);
    assert_eq!(world.propose(survivor, b"no"), Err(ProposeError::NotLeader));
    world.settle();
    assert_eq!(world.conf(survivor), sole(survivor));
}

#[test]
fn a_forced_write_that_is_lost_leaves_the_group_as_it_was() {
    for (ops, entries) in [(0, 0), (0, 1), (1, 0)] {
        let (mut world, survivor) = cut_off(5);
        let conf = world.conf(survivor);
        world.groups(survivor).force_sole(GROUP, 9).unwrap();
        world.drain(survivor);
        world.crash(survivor, ops, entries);
        world.restart(survivor);
        world.drain(survivor);
        assert_eq!(world.conf(survivor), conf);
        // The others come back after all.
        world.cut.clear();
        for node in (1..=7).filter(|node| *node != survivor) {
            world.restart(node);
        }
        world.publish(b"together");
        world.level();
    }
}

#[test]
fn a_survivor_in_a_joint_configuration_or_a_learner_can_be_forced() {
    for survivor in [1, 3, 4] {
        let mut world = World::found(&[1, 2, 3], 6);
        world.place(4, 4);
        world.step(&ConfStep::AddLearner(ReplicaId(4)));
        if survivor != 4 {
            world.step(&ConfStep::EnterJoint { voters: ids(&[1, 2, 4]), demote: ids(&[3]) });
        }
        for node in (1..=4).filter(|node| *node != survivor) {
            world.crash(node, 0, 0);
        }
        world.groups(survivor).force_sole(GROUP, 9).unwrap();
        world.settle();
        assert_eq!(world.conf(survivor), sole(survivor));
        world.publish(b"alone");
    }
}

#[test]
fn a_replica_that_was_never_part_of_the_group_is_not_forced() {
    let mut world = World::found(&[1], 7);
    world.place(2, 2);
    world.settle();
    assert_eq!(world.groups(2).force_sole(GROUP, 9), Err(ProposeError::Invalid));
}
