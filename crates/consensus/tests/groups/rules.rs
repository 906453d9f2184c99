//! What is refused, and what waits for the disk.

use bytes::Bytes;
use hcube_consensus::{ConfStep, EntryKind, Groups, ProposeError, Replayed};
use hcube_core::ids::{GroupId, ReplicaId};

use super::world::{GROUP, World, ids};

#[test]
fn changes_are_refused_with_their_reason() {
    let mut world = World::found(&[1, 2, 3], 1);
    let leader = world.elect();
    let follower = (1..=3).find(|node| *node != leader).unwrap();
    let add = ConfStep::AddLearner(ReplicaId(4));
    assert_eq!(world.groups(leader).propose_conf(GroupId(1), &add, 1), Err(ProposeError::NoReplica));
    assert_eq!(world.groups(follower).propose_conf(GROUP, &add, 1), Err(ProposeError::NotLeader));
    assert_eq!(
        world.groups(leader).propose_conf(GROUP, &ConfStep::LeaveJoint, 1),
        Err(ProposeError::Invalid)
    );
    let proposed = world.groups(leader).propose_conf(GROUP, &add, 77).unwrap();
    assert!(world.groups(leader).conf_pending(GROUP));
    let second = ConfStep::AddLearner(ReplicaId(5));
    assert_eq!(world.groups(leader).propose_conf(GROUP, &second, 1), Err(ProposeError::Dropped));
    world.settle();
    assert!(!world.groups(leader).conf_pending(GROUP));
    let applied = &world.entries[&proposed.index];
    assert_eq!(EntryKind::of(1, &applied.data), Ok(EntryKind::Conf { version: 77 }));
    assert_eq!(world.groups(leader).propose_conf(GROUP, &add, 1), Err(ProposeError::Invalid));
}

#[test]
fn a_leader_that_hands_over_takes_no_change() {
    let mut world = World::found(&[1, 2, 3], 2);
    let leader = world.elect();
    let other = (1..=3).find(|node| *node != leader).unwrap();
    world.groups(leader).transfer(GROUP, ReplicaId(other));
    let add = ConfStep::AddLearner(ReplicaId(4));
    assert_eq!(world.groups(leader).propose_conf(GROUP, &add, 1), Err(ProposeError::Dropped));
}

#[test]
fn a_learner_hears_nothing_of_a_term_that_its_sole_voter_may_forget() {
    let mut world = World::found(&[1], 3);
    world.place(2, 2);
    world.step(&ConfStep::AddLearner(ReplicaId(2)));
    world.crash(1, 0, 0);
    world.restart(1);
    for _ in 0..40 {
        world.groups(1).tick();
        world.drain(1);
    }
    assert!(world.groups(1).role(GROUP).unwrap().leads, "it elects itself without its disk");
    world.propose(1, b"same place, same term").unwrap();
    world.drain(1);
    assert!(world.network.is_empty(), "its term is not durable yet");
    world.settle();
    assert_eq!(world.applied(2), world.applied(1));
}

#[test]
fn a_sole_voter_does_not_stand_before_its_log_is_written() {
    let mut world = World::found(&[1, 2], 4);
    let leader = world.elect();
    let other = 3 - leader;
    world.step(&ConfStep::EnterJoint { voters: ids(&[other]), demote: Vec::new() });
    world.groups(leader).propose_conf(GROUP, &ConfStep::LeaveJoint, 1).unwrap();
    world.drain(leader);
    world.deliver_all();
    world.drain(other);
    world.persist(other);
    // One more entry is on its way to the disk when it finds itself alone.
    world.propose(leader, b"behind").unwrap();
    world.drain(leader);
    world.persist(leader);
    world.deliver_all();
    world.drain(leader);
    world.deliver_all();
    world.drain(other);
    assert_eq!(world.conf(other).voters, ids(&[other]));
    assert!(!world.nodes[&other].writes.is_empty());
    for _ in 0..60 {
        world.groups(other).tick();
        world.groups(other).campaign(GROUP);
        world.drain(other);
    }
    assert!(!world.groups(other).role(GROUP).unwrap().leads);
    world.settle();
    world.groups(other).campaign(GROUP);
    assert!(world.groups(other).role(GROUP).unwrap().leads);
    world.publish(b"after");
}

#[test]
fn the_same_seed_gives_the_same_elections_through_changes() {
    let run = || {
        let mut world = World::found(&[1, 2, 3, 4, 5], 6);
        let mut trace = Vec::new();
        for voters in [&[1, 2, 3][..], &[4, 5], &[1, 2, 3, 4, 5]] {
            let leader = world.elect();
            for id in voters {
                if !world.conf(leader).contains(ReplicaId(*id)) {
                    world.step(&ConfStep::AddLearner(ReplicaId(*id)));
                }
            }
            // Whoever leads, stays or goes with the old half.
            world.step(&ConfStep::EnterJoint { voters: ids(voters), demote: Vec::new() });
            let leader = world.elect();
            world.groups(leader).propose_conf(GROUP, &ConfStep::LeaveJoint, 1).unwrap();
            for _ in 0..40 {
                world.tick();
                let roles = world.up().into_iter().map(|node| world.groups(node).role(GROUP).unwrap());
                trace.push(roles.map(|role| (role.term, role.leader)).collect::<Vec<_>>());
            }
            world.publish(b"entry");
        }
        trace
    };
    assert_eq!(run(), run());
}

#[test]
fn entries_of_unknown_kinds_are_not_taken_up() {
    let mut world = World::found(&[1], 5);
    world.step(&ConfStep::AddLearner(ReplicaId(2)));
    world.crash(1, 0, 0);
    let held = world.nodes[&1].disk.held.as_ref().unwrap();
    let tail: Vec<_> = held.entries.iter().map(|(entry, _)| entry.data.clone()).collect();
    let replayed = Replayed { applied: held.base.index, confs: Vec::new(), tail };
    let recovered = world.nodes[&1].disk.recover().unwrap();
    let conf_at = recovered.entries.iter().position(|entry| entry.kind == 1).unwrap();
    let restore = |recovered, replayed| {
        Groups::new(world.config.clone(), 1).restore(GROUP, &recovered, replayed, world.homes.clone())
    };
    let mut unknown = recovered.clone();
    unknown.entries[conf_at].kind = 2;
    let index = unknown.entries[conf_at].index;
    assert_eq!(restore(unknown, replayed.clone()).unwrap_err().index, index);
    let mut empty = replayed.clone();
    empty.tail[conf_at] = Bytes::new();
    assert_eq!(restore(recovered.clone(), empty).unwrap_err().index, index);
    assert!(restore(recovered, replayed).is_ok());
}
