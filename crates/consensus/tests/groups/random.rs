//! Whatever happens in whatever order: one log, one history of configurations.

use hcube_core::ids::NodeId;
use proptest::prelude::*;

use super::world::{GROUP, World, ids};

const NODES: u64 = 5;
const WISHES: [&[u64]; 7] = [&[1], &[1, 2, 3], &[2, 3, 4], &[3, 4, 5], &[1, 2, 3, 4, 5], &[4, 5], &[5]];

#[derive(Debug, Clone)]
enum Action {
    Drain(u64),
    Persist(u64),
    Deliver(prop::sample::Index),
    Lose(prop::sample::Index),
    Tick(u64),
    /// Everything goes well for so many ticks.
    Calm(usize),
    Cut(u64, u64),
    Heal,
    Crash(u64, usize, usize),
    Restart(u64),
    Propose(u64),
    Campaign(u64),
    /// A node loses its link to another.
    Doubt(u64, u64),
    Reconcile(usize),
    /// Compacts a node's log up to so many entries before the end.
    Compact(u64, u64),
}

fn actions() -> impl Strategy<Value = Action> {
    let node = || 1..=NODES;
    prop_oneof![
        20 => node().prop_map(Action::Drain),
        20 => node().prop_map(Action::Persist),
        30 => any::<prop::sample::Index>().prop_map(Action::Deliver),
        2 => any::<prop::sample::Index>().prop_map(Action::Lose),
        6 => node().prop_map(Action::Tick),
        6 => (1usize..30).prop_map(Action::Calm),
        2 => (node(), node()).prop_map(|(a, b)| Action::Cut(a, b)),
        2 => Just(Action::Heal),
        2 => (node(), 0usize..4, 0usize..3).prop_map(|(node, ops, entries)| Action::Crash(node, ops, entries)),
        5 => node().prop_map(Action::Restart),
        6 => node().prop_map(Action::Propose),
        2 => node().prop_map(Action::Campaign),
        4 => (node(), node()).prop_map(|(node, of)| Action::Doubt(node, of)),
        16 => (0..WISHES.len()).prop_map(Action::Reconcile),
        2 => (node(), 0u64..4).prop_map(|(node, back)| Action::Compact(node, back)),
    ]
}

fn act(world: &mut World, action: Action) {
    match action {
        Action::Drain(node) => {
            world.drain(node);
        }
        Action::Persist(node) if world.is_up(node) => {
            world.persist(node);
        }
        Action::Deliver(at) if !world.network.is_empty() => {
            world.deliver(at.index(world.network.len()), false)
        }
        Action::Lose(at) if !world.network.is_empty() => world.deliver(at.index(world.network.len()), true),
        Action::Tick(node) if world.is_up(node) => world.groups(node).tick(),
        Action::Calm(ticks) => world.ticks(ticks),
        Action::Cut(a, b) => {
            world.cut.insert((a, b));
        }
        Action::Heal => world.cut.clear(),
        Action::Crash(node, ops, entries) if world.is_up(node) => world.crash(node, ops, entries),
        Action::Restart(node) if !world.is_up(node) => world.restart(node),
        Action::Propose(node) if world.is_up(node) => {
            // Refused where it does not lead.
            let _ = world.propose(node, b"entry");
        }
        Action::Doubt(node, of) if world.is_up(node) => world.groups(node).doubt(NodeId(of), 0),
        Action::Campaign(node) if world.is_up(node) => world.groups(node).campaign(GROUP),
        Action::Reconcile(wish) => {
            world.reconcile(&ids(WISHES[wish]));
        }
        Action::Compact(node, back) if world.is_up(node) => {
            let at = world.groups(node).indexes(GROUP).unwrap();
            if at.applied > at.base + back {
                world.compact(node, at.applied - back);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn all_replicas_agree_whatever_happens(
        seed: u64,
        actions in prop::collection::vec(actions(), 1..500),
        wish in 0..WISHES.len(),
    ) {
        let mut world = World::found(&[1, 2, 3], seed);
        for node in [4, 5] {
            world.place(node, node);
        }
        world.settle();
        for action in actions {
            act(&mut world, action);
        }
        world.cut.clear();
        for node in 1..=NODES {
            if !world.is_up(node) {
                world.restart(node);
            }
        }
        world.bring_to(WISHES[wish]);
        let last = world.publish(b"last");
        world.level();
        for node in WISHES[wish] {
            prop_assert_eq!(world.applied(*node), last);
            prop_assert_eq!(&world.nodes[node].state, &world.nodes[&WISHES[wish][0]].state);
        }
    }
}
