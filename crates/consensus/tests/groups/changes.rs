//! Growing, shrinking and replacing while everybody does as they should.

use hcube_consensus::ConfStep;
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;

use super::world::{GROUP, World, ids};

#[test]
fn a_group_grows_from_one_to_three_to_five() {
    let mut world = World::found(&[1], 1);
    world.publish(b"one");
    for node in [2, 3] {
        world.place(node, node);
    }
    world.bring_to(&[1, 2, 3]);
    world.publish(b"three");
    for node in [4, 5] {
        world.place(node, node);
    }
    world.bring_to(&[1, 2, 3, 4, 5]);
    let last = world.publish(b"five");
    world.level();
    assert!(world.up().into_iter().all(|node| world.applied(node) == last));
}

#[test]
fn a_group_shrinks_from_five_to_three_to_one_without_its_leader() {
    for seed in 0..20 {
        let mut world = World::found(&[1, 2, 3, 4, 5], seed);
        let leader = world.elect();
        world.publish(b"five");
        let others: Vec<_> = (1..=5).filter(|node| *node != leader).collect();
        world.bring_to(&others[..3]);
        world.publish(b"three");
        let leader = world.elect();
        let last: Vec<_> = others[..3].iter().copied().filter(|node| *node != leader).take(1).collect();
        world.bring_to(&last);
        world.publish(b"one");
        assert_eq!(world.leader(), Some(last[0]));
    }
}

#[test]
fn a_leader_that_leaves_the_configuration_steps_down_and_the_rest_go_on() {
    for seed in 0..20 {
        let mut world = World::found(&[1, 2, 3], seed);
        let leader = world.elect();
        let rest: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
        world.step(&ConfStep::EnterJoint { voters: ids(&rest), demote: Vec::new() });
        world.groups(leader).propose_conf(GROUP, &ConfStep::LeaveJoint, 1).unwrap();
        // What it has proposed behind its own removal commits without it, and is on its disk only later.
        world.propose(leader, b"behind").unwrap();
        world.drain(leader);
        world.deliver_all();
        for node in &rest {
            world.drain(*node);
            world.persist(*node);
            world.drain(*node);
        }
        world.settle();
        assert!(!world.groups(leader).role(GROUP).unwrap().leads);
        let next = world.level();
        assert!(rest.contains(&next));
        assert_eq!(world.conf(next).voters, ids(&rest));
        world.publish(b"after");
        // It has no vote left to stand for election with.
        world.groups(leader).campaign(GROUP);
        world.ticks(60);
        assert_eq!(world.leader(), Some(next));
    }
}

#[test]
fn a_demoted_voter_goes_on_as_a_learner() {
    let mut world = World::found(&[1, 2, 3], 5);
    let leader = world.elect();
    let rest: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
    world.step(&ConfStep::EnterJoint { voters: ids(&rest), demote: ids(&[leader]) });
    assert_eq!(world.conf(leader).learners_next, ids(&[leader]));
    world.step(&ConfStep::LeaveJoint);
    let last = world.publish(b"after");
    world.level();
    assert_eq!(world.conf(leader), ConfState::simple(ids(&rest), ids(&[leader])));
    assert_eq!(world.applied(leader), last);
    let now = world.leader().unwrap();
    let followers = world.groups(now).followers(GROUP);
    assert_eq!(followers.len(), 3);
    assert!(followers.iter().all(|one| one.voter == (one.replica != ReplicaId(leader))));
}

#[test]
fn a_dead_voter_is_replaced() {
    for seed in 0..20 {
        let mut world = World::found(&[1, 2, 3], seed);
        world.publish(b"before");
        world.crash(1 + seed % 3, 0, 0);
        world.place(4, 4);
        let rest: Vec<_> = (1..=4).filter(|node| *node != 1 + seed % 3).collect();
        world.bring_to(&rest);
        // The dead one's place counts again: a second may be lost now.
        world.crash(rest[0], 0, 0);
        world.publish(b"after");
    }
}

#[test]
fn a_learner_that_never_catches_up_holds_nobody_up() {
    let mut world = World::found(&[1], 3);
    world.step(&ConfStep::AddLearner(ReplicaId(9)));
    for _ in 0..50 {
        world.publish(b"on");
        world.tick();
    }
    let followers = world.groups(1).followers(GROUP);
    assert_eq!((followers[1].replica, followers[1].matched, followers[1].active), (ReplicaId(9), 0, false));
    world.step(&ConfStep::RemoveLearner(ReplicaId(9)));
    assert_eq!(world.conf(1), ConfState::simple(ids(&[1]), Vec::new()));
    assert_eq!(world.groups(1).followers(GROUP).len(), 1);
}

#[test]
fn both_halves_of_a_joint_configuration_must_agree() {
    let mut world = World::found(&[1, 2, 3], 8);
    for node in [4, 5] {
        world.place(node, node);
        world.step(&ConfStep::AddLearner(ReplicaId(node)));
    }
    let leader = world.elect();
    let rest: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
    world.step(&ConfStep::EnterJoint { voters: ids(&[leader, 4, 5]), demote: Vec::new() });
    // Without either half's majority nothing commits and no read is confirmed, though the other is all there.
    for lost in [rest, vec![4, 5]] {
        let before = world.applied(leader);
        world.cut = lost.iter().map(|node| (leader, *node)).collect();
        world.propose(leader, b"entry").unwrap();
        world.groups(leader).read_index(GROUP, 1).unwrap();
        world.ticks(2);
        assert_eq!((world.applied(leader), world.reads.len()), (before, 0));
        world.cut.clear();
        world.ticks(4);
        assert_eq!((world.applied(leader), world.reads.len()), (before + 1, 1));
        world.reads.clear();
    }
}
