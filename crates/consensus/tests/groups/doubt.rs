//! A leader whose node is gone is followed by another at once; one that lives stays.

use hcube_core::ids::NodeId;

use super::world::{GROUP, World};

/// Ticks in which a leader is heard from, if it lives.
const SILENT: usize = 3;
/// Ticks in which nobody stands without a doubt.
const ELECTION: usize = 10;

fn others(world: &World, than: u64) -> Vec<u64> {
    world.up().into_iter().filter(|node| *node != than).collect()
}

fn term(world: &mut World) -> u64 {
    let leader = world.elect();
    world.groups(leader).role(GROUP).unwrap().term
}

#[test]
fn the_followers_of_a_killed_leader_do_not_wait_for_the_time_out() {
    for (seed, voters) in (0..20).flat_map(|seed| [(seed, &[1, 2, 3][..]), (seed, &[1, 2, 3, 4, 5])]) {
        let mut world = World::found(voters, seed);
        let leader = world.elect();
        world.level();
        let before = term(&mut world);
        world.crash(leader, 0, 0);
        world.ticks(SILENT);
        for node in others(&world, leader) {
            world.groups(node).doubt(NodeId(leader), SILENT);
        }
        let ticks = (1..ELECTION).find(|_| {
            world.tick();
            world.leader().is_some()
        });
        assert_eq!(ticks, Some(1), "seed {seed}");
        assert_eq!(term(&mut world), before + 1, "the votes were not split");
    }
}

#[test]
fn when_the_first_in_turn_is_dead_too_the_next_stands() {
    let mut world = World::found(&[1, 2, 3, 4, 5], 1);
    let leader = world.elect();
    world.level();
    let first = leader % 5 + 1;
    world.crash(leader, 0, 0);
    world.crash(first, 0, 0);
    world.ticks(SILENT);
    for node in others(&world, leader) {
        world.groups(node).doubt(NodeId(leader), SILENT);
    }
    world.ticks(3);
    assert_eq!(world.leader(), Some(first % 5 + 1));
}

#[test]
fn a_leader_that_is_heard_stays() {
    let mut world = World::found(&[1, 2, 3], 2);
    let leader = world.elect();
    world.level();
    let before = term(&mut world);
    // Its links broke and were made again.
    world.ticks(SILENT);
    for node in others(&world, leader) {
        world.groups(node).doubt(NodeId(leader), SILENT);
    }
    world.ticks(ELECTION);
    assert_eq!((world.leader(), term(&mut world)), (Some(leader), before));
}

#[test]
fn a_leader_that_one_follower_alone_lost_stays() {
    let mut world = World::found(&[1, 2, 3], 3);
    let leader = world.elect();
    world.level();
    let before = term(&mut world);
    let alone = others(&world, leader)[0];
    world.cut.insert((alone, leader));
    world.cut.insert((leader, alone));
    world.ticks(SILENT);
    world.groups(alone).doubt(NodeId(leader), SILENT);
    world.ticks(8 * ELECTION);
    assert_eq!((world.leader(), term(&mut world)), (Some(leader), before));
}
