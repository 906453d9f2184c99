//! All clients of a run: publishers that repeat until they know, readers, subscribers, and clients that live through
//! whole lives of topics.

mod follower;
mod lifecycle;
mod publisher;

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_broker::request::{From, StoredBatch, TopicRef};
use hcube_broker::{Answer, Error, PartitionId, Reply, Request, RequestId};
use hcube_core::ids::{GroupId, NodeId, TopicId, Vertex};
use hcube_core::topic::{Name, Retention, slot_of};

use crate::invariants::{Promise, hold};
use crate::streams::{once_in, pick};
use crate::world::World;

use follower::Follower;
use lifecycle::Lifecycle;

pub(crate) use publisher::{Publisher, pull, values};

const TOPICS: u128 = 3;
/// Clients that create and delete topics.
const LIVES: u64 = 3;
pub(crate) const PARTITIONS: u16 = 3;
/// The topics and partitions that subscribers follow: most of them the same one, so that their polls meet.
const FOLLOWED: [(usize, u16); 6] = [(0, 0), (0, 0), (0, 0), (0, 0), (1, 1), (1, 1)];
/// Of so many acknowledgements, the disks are looked at for one.
const DURABILITY_SAMPLE: u64 = 20;

/// A read under way.
struct Reading {
    topic: TopicRef,
    partition: u16,
    at_least: u64,
}

/// The clients, and what they wait for.
pub(crate) struct Clients {
    slots: u16,
    pub topics: Vec<TopicRef>,
    publishers: Vec<Publisher>,
    /// Requests of publishers under way, and when each gives up waiting.
    asked: BTreeMap<RequestId, (usize, u64)>,
    readers: BTreeMap<RequestId, Reading>,
    followers: Vec<Follower>,
    /// Polls of subscribers under way, and when each gives up waiting.
    polls: BTreeMap<RequestId, (usize, u64)>,
    lives: Vec<Lifecycle>,
    /// Requests of lifecycle clients under way, and when each gives up waiting.
    living: BTreeMap<RequestId, (usize, u64)>,
    pub durability_checks: u64,
    pub longest_path: u64,
}

impl Clients {
    pub fn new(slots: u16, publishers: u64) -> Self {
        let topics: Vec<TopicRef> = (0..TOPICS)
            .map(|id| TopicRef { name: format!("topic-{id}").parse().expect("valid"), id: TopicId(id + 1) })
            .collect();
        let publisher = |number: u64| {
            let topic = topics[usize::try_from(number % 3).expect("small")].clone();
            let partition = u16::try_from((number / 3) % u64::from(PARTITIONS)).expect("small");
            Publisher::new(number, topic, partition)
        };
        let followed = FOLLOWED.map(|(topic, partition)| Follower::new(topics[topic].clone(), partition));
        Self {
            slots,
            publishers: (0..publishers).map(publisher).collect(),
            topics,
            asked: BTreeMap::new(),
            readers: BTreeMap::new(),
            followers: followed.into(),
            polls: BTreeMap::new(),
            lives: (0..LIVES).map(Lifecycle::new).collect(),
            living: BTreeMap::new(),
            durability_checks: 0,
            longest_path: 0,
        }
    }

    pub fn names(&self) -> Vec<Name> {
        self.topics.iter().map(|topic| topic.name.clone()).collect()
    }

    pub fn group(&self, topic: &Name, partition: u16) -> GroupId {
        slot_of(topic, partition, self.slots).into()
    }

    /// Creates the topics of the publishers.
    pub fn create_topics(&self, world: &mut World) {
        for topic in &self.topics {
            let created = (0..100).any(|_| {
                let all: Vec<usize> = (0..world.machines.len()).collect();
                let Some(at) = pick(&mut world.streams.clients, &all) else { return false };
                let request = Request::CreateTopic {
                    name: topic.name.clone(),
                    id: topic.id,
                    partitions: PARTITIONS,
                    retention: Retention::default(),
                };
                let id = world.ask(at, request, 2_000);
                world.run_until(world.time_us + 1_000_000);
                world.replies.remove(&id).is_some_and(|reply| reply.result.is_ok())
            });
            hold!("clients go on", created, "a topic could not be created");
        }
    }

    /// Every publisher without a request under way sends one: a new batch where `new` says so, else what it must
    /// repeat.
    pub fn publish(&mut self, world: &mut World, ask: &[usize], new: bool) {
        let busy: Vec<usize> = self.asked.values().map(|(publisher, _)| *publisher).collect();
        for number in (0..self.publishers.len()).filter(|number| !busy.contains(number)) {
            if !new && self.publishers[number].under_way.is_none() {
                continue;
            }
            let Some(at) = pick(&mut world.streams.clients, ask) else { return };
            let request = self.publishers[number].next(&mut world.streams.clients);
            let patience_ms = 1_000 + u32::try_from(world.streams.clients.below(2_000)).expect("small");
            let id = world.ask(at, request, patience_ms);
            let gives_up = world.time_us + 1000 * u64::from(patience_ms) + 500_000;
            self.asked.insert(id, (number, gives_up));
        }
    }

    /// Every lifecycle client without a request under way takes its next step.
    pub fn live_on(&mut self, world: &mut World, ask: &[usize]) {
        let busy: Vec<usize> = self.living.values().map(|(number, _)| *number).collect();
        for number in (0..self.lives.len()).filter(|number| !busy.contains(number)) {
            let Some(at) = pick(&mut world.streams.clients, ask) else { return };
            let id = world.ask(at, self.lives[number].request(), 2_000);
            self.living.insert(id, (number, world.time_us + 2_500_000));
        }
    }

    /// Somebody reads from somewhere.
    pub fn read_something(&mut self, world: &mut World, ask: &[usize]) {
        let rng = &mut world.streams.clients;
        let Some(topic) = pick(rng, &[0, 1, 2]).map(|at: usize| self.topics[at].clone()) else { return };
        let partition = u16::try_from(rng.below(PARTITIONS.into())).expect("small");
        let offset = rng.below(200);
        let (from, at_least) = match rng.below(4) {
            0 => (From::Earliest, 0),
            1 => (From::Latest, 0),
            _ => (From::Offset(offset), offset),
        };
        let wait_ms = if once_in(rng, 2) { 300 } else { 0 };
        let Some(at) = pick(rng, ask) else { return };
        let id = world.ask(at, pull(&topic, partition, from, wait_ms, None), 2_000);
        self.readers.insert(id, Reading { topic, partition, at_least });
    }

    /// Every subscriber without a poll under way sends one.
    pub fn follow_on(&mut self, world: &mut World, ask: &[usize]) {
        let busy: Vec<usize> = self.polls.values().map(|(number, _)| *number).collect();
        for number in (0..self.followers.len()).filter(|number| !busy.contains(number)) {
            self.poll(world, number, ask);
        }
    }

    fn poll(&mut self, world: &mut World, number: usize, ask: &[usize]) {
        if let Some((at, request)) = self.followers[number].poll(world, ask) {
            let id = world.ask(at, request, follower::PATIENCE_MS);
            let gives_up = world.time_us + 1000 * u64::from(follower::PATIENCE_MS) + 500_000;
            self.polls.insert(id, (number, gives_up));
        }
    }

    fn followed(&mut self, world: &mut World, number: usize, result: Result<Answer, Error>) {
        match result {
            Ok(Answer::Pulled { from, batches, .. }) => {
                let follower = &self.followers[number];
                let (topic, partition) = (follower.topic.clone(), follower.partition);
                self.saw(world, &topic, partition, from, &batches);
                self.followers[number].read(from, &batches);
                if !self.followers[number].stopped {
                    // As a feed does: at once, and at the same peer.
                    let ask = world.current();
                    self.poll(world, number, &ask);
                }
            }
            Ok(other) => {
                crate::invariants::violated("answers fit", &format!("a poll was answered {other:?}"))
            }
            Err(error) => self.followers[number].failed(&error),
        }
    }

    /// How far each subscriber of a partition has come.
    pub fn followed_to(&self, topic: &TopicRef, partition: u16) -> Vec<u64> {
        let here = |follower: &&Follower| follower.topic.id == topic.id && follower.partition == partition;
        self.followers.iter().filter(here).map(|follower| follower.next).collect()
    }

    /// Subscribers poll no more.
    pub fn stop_following(&mut self) {
        for follower in &mut self.followers {
            follower.stopped = true;
        }
    }

    /// Takes an answer, if it is one to these clients.
    pub fn answered(&mut self, world: &mut World, id: RequestId, reply: Reply) -> Option<Reply> {
        self.follow(world, &reply.path);
        if let Some((number, _)) = self.asked.remove(&id) {
            self.published(world, number, reply.result);
        } else if let Some(reading) = self.readers.remove(&id) {
            if let Ok(Answer::Pulled { from, batches, .. }) = reply.result {
                hold!("readers get what they asked for", from >= reading.at_least, "a pull began too early");
                self.saw(world, &reading.topic, reading.partition, from, &batches);
            }
        } else if let Some((number, _)) = self.polls.remove(&id) {
            self.followed(world, number, reply.result);
        } else if let Some((number, _)) = self.living.remove(&id) {
            self.lives[number].answered(reply.result);
        } else {
            return Some(reply);
        }
        None
    }

    /// Batches were read.
    pub fn saw(
        &self,
        world: &mut World,
        topic: &TopicRef,
        partition: u16,
        from: u64,
        batches: &[StoredBatch],
    ) -> Vec<(u64, Bytes)> {
        let group = self.group(&topic.name, partition);
        for stored in batches {
            world.invariants.told("read", group, &stored.batch);
        }
        let values = values(from, batches);
        world.invariants.offsets.saw_run((topic.id, partition), from, &values);
        values
    }

    /// Forgets requests that nobody waits for any more.
    pub fn give_up(&mut self, now_us: u64) {
        self.asked.retain(|_, (_, gives_up)| *gives_up > now_us);
        self.polls.retain(|_, (_, gives_up)| *gives_up > now_us);
        self.living.retain(|_, (_, gives_up)| *gives_up > now_us);
    }

    /// A request goes where there are links, and nowhere else.
    fn follow(&mut self, world: &World, path: &[Vertex]) {
        self.longest_path = self.longest_path.max(path.len() as u64);
        for hop in path.windows(2) {
            let linked = world
                .stood_at(hop[0])
                .iter()
                .any(|one| world.stood_at(hop[1]).iter().any(|other| world.were_linked(*one, *other)));
            let (from, to) = (hop[0], hop[1]);
            hold!("requests go over links", linked, "a request went from {from} to {to} without a link");
        }
    }

    fn published(&mut self, world: &mut World, number: usize, result: Result<Answer, Error>) {
        match result {
            Ok(Answer::Published { base_offset, .. }) => self.acknowledged(world, number, base_offset),
            // The batch stays under way and is sent again, with the same sequence.
            Err(error) if error.is_passing() => {}
            other => {
                let message = format!("publisher {number} was answered {other:?}");
                crate::invariants::violated("publishers are not refused", &message)
            }
        }
    }

    fn acknowledged(&mut self, world: &mut World, number: usize, base_offset: u64) {
        let publisher = &mut self.publishers[number];
        let (batch, values) = publisher.acknowledged();
        let partition: PartitionId = publisher.partition_id();
        let name = publisher.topic.name.clone();
        let group = self.group(&name, partition.1);
        let promise = Promise { group, partition, base_offset, batch: &batch, values: &values };
        world.invariants.acknowledge(&promise);
        if once_in(&mut world.streams.clients, DURABILITY_SAMPLE) {
            world.check_durable(&promise);
            self.durability_checks += 1;
        }
    }

    /// Whether no publisher has anything left to repeat.
    pub fn are_done(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.under_way.is_none())
    }

    /// Lives that came to their end, for each client that lives them.
    pub fn lives(&self) -> Vec<u64> {
        self.lives.iter().map(|life| life.lives).collect()
    }

    /// What is not done, for the message of a failure.
    pub fn describe(&self) -> String {
        let waiting = self.publishers.iter().filter(|publisher| publisher.under_way.is_some());
        let waiting: Vec<u64> = waiting.map(|publisher| publisher.number).collect();
        format!("publishers {waiting:?} repeat; {:?}", self.lives)
    }

    /// Batches acknowledged, and times one was repeated.
    pub fn figures(&self) -> (u64, u64) {
        let sum = |of: fn(&Publisher) -> u64| self.publishers.iter().map(of).sum();
        (sum(|publisher| publisher.acknowledged_batches), sum(|publisher| publisher.repeats))
    }
}

/// Everything that one replica holds, offsets from 0, through a peer picked at random.
pub(crate) fn read_replica(
    clients: &Clients,
    world: &mut World,
    topic: &TopicRef,
    partition: u16,
    node: NodeId,
) -> Vec<Bytes> {
    let mut content: Vec<Bytes> = Vec::new();
    let mut failures = 0;
    loop {
        let ask = world.current();
        let Some(at) = pick(&mut world.streams.clients, &ask) else { return content };
        let from = From::Offset(content.len() as u64);
        let id = world.ask(at, pull(topic, partition, from, 0, Some(node)), 2_000);
        let until = world.time_us + 2_500_000;
        while !world.replies.contains_key(&id) && world.step(until) {}
        match world.replies.remove(&id).map(|reply| reply.result) {
            Some(Ok(Answer::Pulled { from, batches, high_watermark, .. })) => {
                let values = clients.saw(world, topic, partition, from, &batches);
                let whole = !values.is_empty() || high_watermark == content.len() as u64;
                hold!("replicas are whole", whole, "records end at {} of {high_watermark}", content.len());
                if values.is_empty() {
                    return content;
                }
                content.extend(values.into_iter().map(|(_, value)| value));
            }
            other => {
                failures += 1;
                hold!("replicas are whole", failures < 10, "a replica on {node} cannot be read: {other:?}");
            }
        }
    }
}
