//! What a hypercube without faults owes its subscribers: every peer's get everything, and no peer gives a batch to more
//! than D others, nor twice to one.

use std::collections::{BTreeMap, BTreeSet};

use hcube_broker::request::{From, TopicRef};
use hcube_broker::{Answer, Config, Request, RequestId};
use hcube_core::ids::{NodeId, TopicId};
use hcube_core::topic::Retention;

use crate::clients::{Publisher, pull, values};
use crate::scenario::founding;
use crate::streams::Streams;
use crate::world::{Setup, World};

const BATCHES: u64 = 40;

/// Subscribers at peers, each with its poll under way and the offset that it wants next.
struct Subscribers {
    topic: TopicRef,
    polls: BTreeMap<RequestId, usize>,
    next: BTreeMap<usize, u64>,
}

impl Subscribers {
    fn poll(&mut self, world: &mut World, at: usize) {
        let from = From::Offset(self.next[&at]);
        let id = world.ask(at, pull(&self.topic, 0, from, 20_000, None), 25_000);
        self.polls.insert(id, at);
    }

    /// Lets time pass; whoever gets an answer polls again.
    fn run_until(&mut self, world: &mut World, until_us: u64) {
        while world.step(until_us) {
            for (id, reply) in std::mem::take(&mut world.replies) {
                let Some(at) = self.polls.remove(&id) else { continue };
                let Ok(Answer::Pulled { from, batches, .. }) = reply.result else {
                    panic!("a poll was answered {:?}", reply.result)
                };
                let next = self.next.entry(at).or_default();
                assert_eq!(from, *next);
                *next += values(from, &batches).len() as u64;
                self.poll(world, at);
            }
        }
    }
}

fn asked(world: &mut World, at: usize, request: &Request) -> Answer {
    for _ in 0..50 {
        let id = world.ask(at, request.clone(), 2_000);
        let until = world.time_us + 2_500_000;
        while !world.replies.contains_key(&id) && world.step(until) {}
        if let Some(Ok(answer)) = world.replies.remove(&id).map(|reply| reply.result) {
            return answer;
        }
    }
    panic!("{request:?} is not answered");
}

/// A publisher's batches, with so much time between two of them, to a hypercube with subscribers at these peers.
fn follow(peers: u16, pause_us: u64, at: impl Iterator<Item = usize>) -> World {
    let setup = Setup {
        meta: founding(peers, 8, 3, 1),
        config: Config::default(),
        log_config: hcube_log::Config { segment_bytes: 1 << 20, sealed_segments_target: 1 },
        edges_only: false,
        planted: None,
    };
    let mut world = World::new(setup, Streams::new(peers.into()));
    let name: hcube_core::topic::Name = "followed".parse().expect("valid");
    let topic = TopicRef { name: name.clone(), id: TopicId(1) };
    let retention = Retention::default();
    asked(&mut world, 0, &Request::CreateTopic { name, id: topic.id, partitions: 1, retention });
    world.run_until(world.time_us + 3_000_000);
    let mut subscribers =
        Subscribers { topic: topic.clone(), polls: BTreeMap::new(), next: at.map(|at| (at, 0)).collect() };
    for at in subscribers.next.keys().copied().collect::<Vec<_>>() {
        subscribers.poll(&mut world, at);
    }
    let start_us = world.time_us + 1_000_000;
    subscribers.run_until(&mut world, start_us);
    let mut records = 0;
    for number in 0..BATCHES {
        // A publisher each: frames overtake each other here.
        let mut publisher = Publisher::new(number, topic.clone(), 0);
        let request = publisher.next(&mut world.streams.clients);
        world.ask(0, request, 10_000);
        records += publisher.acknowledged().1.len() as u64;
        let until_us = world.time_us + pause_us;
        subscribers.run_until(&mut world, until_us);
    }
    let until_us = world.time_us + 2_000_000;
    subscribers.run_until(&mut world, until_us);
    assert!(subscribers.next.values().all(|next| *next == records), "{:?} of {records}", subscribers.next);
    world
}

#[test]
fn a_batch_goes_to_at_most_d_peers_from_any_one_and_to_every_subscriber() {
    for peers in 2..=17 {
        // One batch at a time, and more than the way to the subscribers takes.
        for pause_us in [20_000, 300] {
            let world = follow(peers, pause_us, 0..usize::from(peers));
            let dimension = u64::from(world.newest().cube().dimension());
            let mut receivers: BTreeMap<(usize, u64), u64> = BTreeMap::new();
            for ((from, to, offset), times) in &world.given {
                assert_eq!(*times, 1, "{from} gave offset {offset} to {to} again, among {peers} peers");
                *receivers.entry((*from, *offset)).or_default() += 1;
            }
            let most = receivers.values().copied().max().unwrap_or(0);
            assert!(most <= dimension, "a batch went to {most} peers, among {peers}");
        }
    }
}

#[test]
fn nothing_goes_where_nobody_subscribed() {
    let world = follow(16, 20_000, [15].into_iter());
    let givers: BTreeSet<usize> = world.given.keys().map(|(from, ..)| *from).collect();
    // The way from whoever serves it is one chain of at most D edges.
    assert!((1..=4).contains(&givers.len()), "{givers:?}");
    let mut receivers: BTreeMap<usize, BTreeSet<NodeId>> = BTreeMap::new();
    for (from, to, _) in world.given.keys() {
        receivers.entry(*from).or_default().insert(*to);
    }
    assert!(receivers.values().all(|to| to.len() == 1), "{receivers:?}");
}
