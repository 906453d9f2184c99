//! What the mover promises, whatever is wished for in whatever order: an end, balance, few moves at a time, and no
//! replica id twice.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

#[path = "mover/world.rs"]
mod world;

use std::collections::BTreeMap;

use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::Change;
use hcube_core::meta::mover::{self, Limits, Mover};
use hcube_core::placement::{Standing, effective_replication};
use proptest::prelude::*;
use world::{World, arrivals, led, loads, unevenness};

/// Something that happens to a hypercube. Numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Event {
    Join,
    Drain,
    Cancel(usize),
    Remove,
    Replace(usize),
    Replication(u8),
    Readers(usize, u8),
    Pause(bool),
    Damage(usize, usize),
    /// The groups whose bit is set report that they are as wished.
    Settle(u64),
    Look,
    /// Another peer comes to lead the metadata.
    NewLeader,
}

fn event() -> impl Strategy<Value = Event> {
    let replication = prop_oneof![Just(1_u8), Just(3), Just(5), Just(7)];
    prop_oneof![
        3 => Just(Event::Join),
        3 => Just(Event::Drain),
        1 => any::<usize>().prop_map(Event::Cancel),
        2 => Just(Event::Remove),
        2 => any::<usize>().prop_map(Event::Replace),
        1 => replication.prop_map(Event::Replication),
        1 => (0..2_usize, 0..4_u8).prop_map(|(topic, count)| Event::Readers(topic, count)),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => any::<(usize, usize)>().prop_map(|(group, replica)| Event::Damage(group, replica)),
        6 => any::<u64>().prop_map(Event::Settle),
        8 => Just(Event::Look),
        1 => Just(Event::NewLeader),
    ]
}

fn happen(world: &mut World, event: Event) {
    match event {
        Event::Join => world.join(),
        Event::Drain => world.drain(),
        Event::Cancel(which) => world.cancel(which),
        Event::Remove => world.remove(),
        Event::Replace(which) => world.replace(which),
        Event::Replication(replication) => world.try_change(Change::SetReplication { replication }),
        Event::Readers(topic, count) => world.read_replicas(topic, count),
        Event::Pause(paused) => world.try_change(Change::SetPaused { paused }),
        Event::Damage(group, replica) => world.damage(group, replica),
        Event::Settle(bits) => world.settle(|group| bits >> (group.0 % 64) & 1 == 1),
        Event::Look => drop(world.look()),
        Event::NewLeader => world.mover = Mover::default(),
    }
}

/// Lets everything come to its end: how often each group was placed and given another leader on the way.
fn come_to_rest(world: &mut World) -> BTreeMap<GroupId, (usize, usize)> {
    world.try_change(Change::SetPaused { paused: false });
    world.recover_lost();
    let mut asked: BTreeMap<GroupId, (usize, usize)> = BTreeMap::new();
    for _ in 0..200 {
        let changes = world.look();
        if changes.is_empty() && world.meta.groups().all(|(_, placement)| placement.settled) {
            return asked;
        }
        for change in changes {
            match change {
                Change::Place { group, .. } => asked.entry(group).or_default().0 += 1,
                Change::Lead { group, .. } => asked.entry(group).or_default().1 += 1,
                other => panic!("not the mover's to ask for: {other:?}"),
            }
        }
        world.settle(|_| true);
    }
    panic!("the mover never comes to its end");
}

/// Everything is where a plan says, evenly, and stays there.
fn assert_at_rest(world: &mut World) {
    let meta = &world.meta;
    let target = mover::target(meta).unwrap();
    for (placement, wish) in meta.placement.iter().zip(&target.slots) {
        assert!(placement.voting_nodes().eq(wish.replicas.iter().copied()), "{placement:?} not {wish:?}");
        assert_eq!(placement.leader, wish.leader);
    }
    let progress = mover::Progress::default();
    assert_eq!(mover::progress(meta, &target), progress);
    assert_eq!(Mover::default().next(meta, Limits::default()).unwrap(), [], "another leader moves nothing");
    assert_eq!(world.mover.next(meta, Limits::default()).unwrap(), []);
    assert!(meta.lost.is_empty(), "{:?}", meta.lost);
    assert!(unevenness(&loads(meta)) <= 1, "{:?}", loads(meta));
    assert!(unevenness(&led(meta)) <= 1, "leaders: {:?}", led(meta));
    let stays = |node: &NodeId| meta.members[node].standing == Standing::Active;
    assert!(meta.placement.iter().all(|placement| placement.all().all(|replica| stays(&replica.node))));
    let voters: Vec<NodeId> = meta.metadata.voting_nodes().collect();
    let staying = meta.members.keys().filter(|node| stays(node)).count();
    assert_eq!(voters.len(), usize::from(effective_replication(5, staying)));
    assert!(voters.iter().all(stays) && stays(&meta.metadata.leader));
    let readers = |topic: usize| world.readers_of(topic);
    for topic in 0..2 {
        let free = staying - usize::from(mover::replication(meta)).min(staying);
        let wanted = usize::from(world.wanted_readers(topic)).min(free);
        assert!(readers(topic).iter().all(|held| *held >= wanted), "{:?} below {wanted}", readers(topic));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_wishes_come_to_a_balanced_end(
        peers in 1..=10_u16,
        slots in prop_oneof![Just(1_u16), Just(4), Just(16), Just(32)],
        replication in prop_oneof![Just(1_u8), Just(3), Just(5), Just(7)],
        slots_max in 1..=8_usize,
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(peers, slots, replication);
        world.limits.slots_max = slots_max;
        for event in events {
            happen(&mut world, event);
        }
        let asked = come_to_rest(&mut world);
        assert_at_rest(&mut world);
        // Nothing goes to and fro: away from who leaves at once, then there.
        for (group, (places, leads)) in asked {
            prop_assert!(places <= 1 && leads <= 2, "group {}: {} {}", group, places, leads);
        }
        while world.meta.members.values().any(|member| member.standing == Standing::Draining) {
            let members = world.meta.members.len();
            world.remove();
            prop_assert_eq!(world.meta.members.len(), members - 1, "the drained are empty");
            come_to_rest(&mut world);
        }
        assert_at_rest(&mut world);
    }
}

#[test]
fn a_join_moves_no_more_than_the_newcomers_share() {
    for (slots, replication) in [(16, 1), (64, 1), (64, 3), (128, 3), (32, 5)] {
        for peers in u16::from(replication)..=10 {
            if effective_replication(replication, peers.into())
                != effective_replication(replication, usize::from(peers) + 1)
            {
                continue;
            }
            let mut world = World::new(peers, slots, replication);
            let before = world.meta.clone();
            world.join();
            come_to_rest(&mut world);
            assert_at_rest(&mut world);
            let share = (usize::from(slots) * usize::from(replication)).div_ceil(usize::from(peers) + 1);
            let came = arrivals(&before, &world.meta);
            assert!(came.values().sum::<usize>() <= share, "{peers} peers: {came:?} beyond {share}");
        }
    }
}

#[test]
fn a_drain_moves_only_what_the_drained_peer_holds() {
    for (slots, replication) in [(16, 1), (64, 1), (64, 3), (128, 3), (32, 5)] {
        for peers in u16::from(replication) + 1..=10 {
            let mut world = World::new(peers, slots, replication);
            let before = world.meta.clone();
            world.drain();
            let drained = NodeId(peers.into());
            let held = before.placement.iter().filter(|placement| placement.votes(drained)).count();
            come_to_rest(&mut world);
            assert_at_rest(&mut world);
            assert_eq!(arrivals(&before, &world.meta).values().sum::<usize>(), held, "{peers} peers");
            assert_eq!(world.meta.replicas_held(drained), 0);
        }
    }
}

#[test]
fn peers_joining_one_by_one_and_leaving_again_stay_balanced_and_lead_evenly() {
    let mut world = World::new(1, 32, 3);
    for _ in 1..10 {
        world.join();
        come_to_rest(&mut world);
        assert_at_rest(&mut world);
    }
    assert_eq!(world.meta.members.len(), 10);
    while world.meta.members.len() > 3 {
        world.drain();
        come_to_rest(&mut world);
        assert_at_rest(&mut world);
        world.remove();
        come_to_rest(&mut world);
    }
    assert_eq!(world.meta.metadata.voters.len(), 3);
}

#[test]
fn five_voters_on_the_metadata_become_three_before_the_fifth_peer_leaves() {
    let mut world = World::new(5, 4, 3);
    world.try_change(Change::Lead { group: GroupId::META, version: 1, leader: NodeId(5) });
    world.drain();
    let changes = world.look();
    let placed = changes.iter().find_map(|change| match change {
        Change::Place { group: GroupId::META, voters, leader, .. } => Some((voters.len(), *leader)),
        _ => None,
    });
    let (voters, leader) = placed.expect("the metadata's voters change at once");
    assert_eq!(voters, 3);
    assert_ne!(leader, NodeId(5), "who leaves does not lead");
    come_to_rest(&mut world);
    world.remove();
    assert_eq!(world.meta.members.len(), 4);
}

#[test]
fn a_newcomer_that_takes_a_vote_and_never_comes_up_can_be_drained() {
    let mut world = World::new(4, 4, 1);
    // The peer at the highest vertex votes on the metadata, is lost and replaced, and so is its replacement's vote.
    let version = world.meta.metadata.version;
    let voters = vec![NodeId(1), NodeId(2), NodeId(4)];
    world.change(Change::Place {
        group: GroupId::META,
        version,
        voters,
        learners: vec![],
        leader: NodeId(1),
    });
    world.settle(|_| true);
    world.replace(3);
    assert!(world.meta.metadata.votes(NodeId(5)) && !world.meta.metadata.settled);
    world.drain();
    world.look();
    assert!(!world.meta.metadata.votes(NodeId(5)), "its vote goes although it never settled");
}

#[test]
fn the_lead_leaves_who_leaves_at_once_and_replicas_follow_few_at_a_time() {
    let mut world = World::new(5, 64, 3);
    world.limits.slots_max = 2;
    let led_by_drained = |world: &World| led(&world.meta)[&NodeId(5)];
    world.meta.groups().for_each(|(_, placement)| assert!(placement.settled));
    assert!(led_by_drained(&world) > 10);
    world.drain();
    world.look();
    assert!(world.meta.placement.iter().all(|placement| placement.leader != NodeId(5)));
    assert_eq!(world.unsettled(), 2);
}

#[test]
fn a_pause_holds_slots_but_not_the_lead() {
    let mut world = World::new(5, 16, 3);
    world.change(Change::SetPaused { paused: true });
    world.drain();
    let changes = world.look();
    let places_slot =
        |change: &Change| matches!(change, Change::Place { group, .. } if group.slot().is_some());
    assert!(!changes.iter().any(places_slot));
    assert!(world.meta.placement.iter().all(|placement| placement.leader != NodeId(5)));
    come_to_rest(&mut world);
    assert_at_rest(&mut world);
}

#[test]
fn a_slot_without_a_majority_waits_and_does_not_hold_up_the_others() {
    let mut world = World::new(8, 64, 3);
    world.limits.slots_max = 2;
    let shared =
        |a, b| world.meta.placement.iter().filter(|p| p.votes(NodeId(a)) && p.votes(NodeId(b))).count();
    let pairs = (1..=8).flat_map(|a| (a + 1..=8).map(move |b| (a, b)));
    let (both, (a, b)) = pairs.map(|(a, b)| (shared(a, b), (a, b))).max().unwrap();
    assert!(both > 4, "more slots than may move at once");
    world.replace(usize::try_from(a).unwrap() - 1);
    world.replace(usize::try_from(b).unwrap() - 1);
    for _ in 0..64 {
        world.look();
        world.settle(|_| true);
    }
    let target = mover::target(&world.meta).unwrap();
    let progress = mover::progress(&world.meta, &target);
    assert_eq!((progress.without_majority, progress.waiting, progress.moving), (both, both, 0));
    come_to_rest(&mut world);
    assert_at_rest(&mut world);
    assert_eq!(world.meta.losses.len(), both);
}

#[test]
fn slots_that_never_settle_do_not_hold_up_what_was_lost() {
    let mut world = World::new(7, 64, 3);
    world.join();
    world.look();
    let stuck = world.unsettled();
    assert_eq!(stuck, world.limits.slots_max, "the newcomer never comes up");
    assert_eq!(world.look(), [], "and nothing else moves");
    world.replace(0);
    world.look();
    let lost = NodeId(1);
    let repaired = |placement: &&hcube_core::meta::Placement| {
        !placement.votes(lost) && placement.leaving.iter().any(|replica| replica.node == lost)
    };
    assert!(world.meta.placement.iter().filter(repaired).count() >= world.limits.slots_max);
}

#[test]
fn the_last_survivor_is_alone_first_and_gets_others_then() {
    let mut world = World::new(4, 4, 3);
    let group = GroupId(1);
    let placement = world.meta.placement_of(group).unwrap().clone();
    let survivor = placement.voters[0].node;
    world.change(Change::Recover { group, version: placement.version, survivor: Some(survivor) });
    assert!(!world.look().iter().any(|change| matches!(change, Change::Place { .. })));
    world.settle(|settling| settling == group);
    assert!(world.look().iter().any(|change| matches!(change, Change::Place { .. })));
    come_to_rest(&mut world);
    assert_at_rest(&mut world);
}

#[test]
fn what_is_under_way_turns_round_when_it_is_not_wished_for_any_more() {
    let mut world = World::new(7, 64, 3);
    let before = world.meta.clone();
    world.join();
    world.look();
    let moved = arrivals(&before, &world.meta);
    assert_eq!(moved[&NodeId(8)], 8);
    world.drain();
    world.look();
    assert!(world.meta.placement.iter().all(|placement| !placement.votes(NodeId(8))));
    come_to_rest(&mut world);
    assert_eq!(arrivals(&before, &world.meta), BTreeMap::new(), "everything is where it was");
    // With a change of R, those under way are among the first.
    world.change(Change::SetReplication { replication: 5 });
    world.look();
    let grown = world.meta.placement.iter().filter(|placement| placement.voters.len() == 5).count();
    assert_eq!(grown, world.limits.slots_max);
    world.change(Change::SetReplication { replication: 3 });
    world.look();
    assert!(world.meta.placement.iter().all(|placement| placement.voters.len() == 3));
}

#[test]
fn a_preview_is_what_the_mover_then_does() {
    for (peers, then) in [(5, 6), (6, 5), (3, 8)] {
        let mut world = World::new(peers, 32, 3);
        let preview = mover::preview(&world.meta, Some(then), None).unwrap();
        assert_eq!(preview.members.len(), usize::from(peers.max(then)));
        if then == peers + 1 {
            world.join();
        } else if then + 1 == peers {
            world.drain();
        } else {
            continue;
        }
        let before = world.meta.clone();
        come_to_rest(&mut world);
        assert!(world.meta.placement.iter().zip(&preview.target.slots).all(|(placement, wish)| {
            placement.voting_nodes().eq(wish.replicas.iter().copied()) && placement.leader == wish.leader
        }));
        let added: usize = preview.moves.iter().map(|step| step.add.len()).sum();
        assert_eq!(arrivals(&before, &world.meta).values().sum::<usize>(), added);
        assert_eq!(mover::moved_slots(&preview.moves).len(), added, "no slot gets two");
    }
}
