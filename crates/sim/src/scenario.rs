//! A run: chaos under load, then everything heals, then everything promised must be there.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_broker::request::{From, TopicRef};
use hcube_broker::{Answer, Config, Error, PartitionId, RequestId};
use hcube_consensus::Rng;
use hcube_core::ids::{ClusterId, GroupId, Incarnation, TopicId, Vertex};
use hcube_core::meta::{Founder, genesis};
use hcube_core::topic::{Retention, slot_of};

use crate::client::{self, Publisher};
use crate::lifecycle::Lifecycle;
use crate::world::{Counts, World};

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Everything else follows from it.
    pub seed: u64,
    /// Peers.
    pub peers: u16,
    /// Slots, a power of two.
    pub slots: u16,
    /// Publishers, each with one partition; several share one.
    pub publishers: u64,
    /// How long faults go on, in milliseconds of simulated time.
    pub chaos_ms: u64,
}

impl Scenario {
    /// The scenario of a seed: 1 to 8 peers, more often small ones.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let peers = [3, 5, 8, 4, 3, 6, 3, 1][usize::try_from(seed % 8).expect("below 8")];
        Self { seed, peers, slots: 8, publishers: 12, chaos_ms: 20_000 }
    }
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The scenario's seed.
    pub seed: u64,
    /// A number that every event went into: the same seed gives the same.
    pub trace: u64,
    /// Batches that were acknowledged.
    pub commits: u64,
    /// Records that were acknowledged, each found again.
    pub records: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Times a publisher repeated a batch whose end it did not know.
    pub repeats: u64,
    /// Lives of topics from creation to deletion.
    pub lives: u64,
    /// Acknowledgements for which a majority of the disks was looked at.
    pub durability_checks: u64,
    /// Vertices on the longest way that a request went.
    pub longest_path: u64,
    /// Faults, and what the storage did.
    pub counts: Counts,
    /// Frames lost.
    pub frames_lost: u64,
    /// Frames that arrived twice.
    pub frames_repeated: u64,
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
}

const TOPICS: u128 = 3;
/// Clients that create and delete topics.
const LIVES: u64 = 3;
const PARTITIONS: u16 = 3;
/// Of so many acknowledgements, the disks are looked at for one.
const DURABILITY_SAMPLE: u64 = 20;
/// After the faults end, everything must be well within this, in microseconds.
const HEALING_US: u64 = 60_000_000;

/// Runs a scenario.
///
/// # Panics
/// When an invariant does not hold; the message names it.
#[must_use]
pub fn run(scenario: &Scenario) -> Report {
    let mut run = Run::new(scenario);
    run.create_topics();
    run.chaos();
    run.heal();
    run.check();
    run.abandon();
    run.report()
}

struct Run {
    scenario: Scenario,
    world: World,
    topics: Vec<TopicRef>,
    publishers: Vec<Publisher>,
    /// Requests of publishers under way, and when each gives up waiting.
    asked: BTreeMap<RequestId, (usize, u64)>,
    readers: BTreeMap<RequestId, (PartitionId, u64)>,
    lives: Vec<Lifecycle>,
    /// Requests of lifecycle clients under way, and when each gives up waiting.
    living: BTreeMap<RequestId, (usize, u64)>,
    durability_checks: u64,
    longest_path: u64,
}

impl Run {
    fn new(scenario: &Scenario) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let founders = (0..scenario.peers)
            .map(|vertex| Founder {
                incarnation: Incarnation(u128::from(vertex) + 1),
                vertex: Vertex(vertex),
                zone: String::new(),
                peer_address: String::new(),
                client_address: String::new(),
            })
            .collect();
        let meta = genesis(ClusterId(1), founders, scenario.slots, 3).expect("a valid founding");
        let consensus = hcube_consensus::Config { cache_bytes: 4 << 10, ..Default::default() };
        let config = Config { consensus, file_part_bytes: 4 << 10, retention_ticks: 10, ..Config::default() };
        let log = hcube_log::Config { segment_bytes: 64 << 10, sealed_segments_target: 1 };
        let mut world = World::new(meta, config, log, rng.split());
        world.network.loss = rng.below(30);
        world.network.repetition = rng.below(30);
        world.network.delay_us = 1_000 + rng.below(60_000);
        let topics = (0..TOPICS)
            .map(|id| TopicRef { name: format!("topic-{id}").parse().expect("valid"), id: TopicId(id + 1) })
            .collect();
        Self {
            scenario: scenario.clone(),
            world,
            topics,
            publishers: Vec::new(),
            asked: BTreeMap::new(),
            readers: BTreeMap::new(),
            lives: (0..LIVES).map(Lifecycle::new).collect(),
            living: BTreeMap::new(),
            durability_checks: 0,
            longest_path: 0,
        }
    }

    fn run_for(&mut self, us: u64) {
        let until = self.world.time_us + us;
        while self.world.step(until) {
            self.answers();
        }
    }

    fn create_topics(&mut self) {
        for topic in self.topics.clone() {
            let created = (0..100).any(|_| {
                let at = self.pick_peer();
                let request = hcube_broker::Request::CreateTopic {
                    name: topic.name.clone(),
                    id: topic.id,
                    partitions: PARTITIONS,
                    retention: Retention::default(),
                };
                let id = self.world.ask(at, request, 2_000);
                self.run_for(1_000_000);
                self.world.replies.remove(&id).is_some_and(|reply| reply.result.is_ok())
            });
            assert!(created, "a topic could not be created");
        }
        for number in 0..self.scenario.publishers {
            let topic = self.topics[usize::try_from(number % 3).expect("small")].clone();
            let partition = u16::try_from((number / 3) % u64::from(PARTITIONS)).expect("small");
            self.publishers.push(Publisher::new(number, topic, partition));
        }
    }

    fn pick_peer(&mut self) -> usize {
        usize::try_from(self.world.rng.below(self.world.machines.len() as u64)).expect("small")
    }

    fn publish_all(&mut self) {
        let busy: Vec<usize> = self.asked.values().map(|(publisher, _)| *publisher).collect();
        for number in (0..self.publishers.len()).filter(|number| !busy.contains(number)) {
            let at = self.pick_peer();
            let request = self.publishers[number].next(&mut self.world.rng);
            let patience_ms = 1_000 + u32::try_from(self.world.rng.below(2_000)).expect("small");
            let id = self.world.ask(at, request, patience_ms);
            let gives_up = self.world.time_us + 1000 * u64::from(patience_ms) + 500_000;
            self.asked.insert(id, (number, gives_up));
        }
    }

    fn live_on(&mut self) {
        let busy: Vec<usize> = self.living.values().map(|(number, _)| *number).collect();
        for number in (0..self.lives.len()).filter(|number| !busy.contains(number)) {
            let at = self.pick_peer();
            let id = self.world.ask(at, self.lives[number].request(), 2_000);
            self.living.insert(id, (number, self.world.time_us + 2_500_000));
        }
    }

    fn read_something(&mut self) {
        let topic = self.topics[self.world.rng.below(3) as usize % 3].clone();
        let partition = u16::try_from(self.world.rng.below(PARTITIONS.into())).expect("small");
        let at = self.pick_peer();
        let offset = self.world.rng.below(200);
        let (from, at_least) = match self.world.rng.below(4) {
            0 => (From::Earliest, 0),
            1 => (From::Latest, 0),
            _ => (From::Offset(offset), offset),
        };
        let wait_ms = [0, 300][usize::try_from(self.world.rng.below(2)).expect("small")];
        let request = client::pull(&topic, partition, from, wait_ms, None);
        let id = self.world.ask(at, request, 2_000);
        self.readers.insert(id, ((topic.id, partition), at_least));
    }

    /// Takes note of what came back.
    fn answers(&mut self) {
        for (id, reply) in std::mem::take(&mut self.world.replies) {
            self.follow(&reply.path);
            if let Some((number, _)) = self.asked.remove(&id) {
                self.published(number, reply.result);
            } else if let Some((partition, at_least)) = self.readers.remove(&id) {
                if let Ok(Answer::Pulled { from, batches, .. }) = reply.result {
                    assert!(from >= at_least, "a pull began before its offset");
                    for (offset, value) in client::values(from, &batches) {
                        self.world.history.saw(partition, offset, &value);
                    }
                }
            } else if let Some((number, _)) = self.living.remove(&id) {
                self.lives[number].answered(reply.result);
            } else {
                self.world.replies.insert(id, reply);
            }
        }
        let now = self.world.time_us;
        self.asked.retain(|_, (_, gives_up)| *gives_up > now);
        self.living.retain(|_, (_, gives_up)| *gives_up > now);
    }

    /// A request goes where there are links, and nowhere else.
    fn follow(&mut self, path: &[Vertex]) {
        self.longest_path = self.longest_path.max(path.len() as u64);
        for hop in path.windows(2) {
            let (from, to) = (usize::from(hop[0].0), usize::from(hop[1].0));
            assert!(self.world.are_joined(from, to), "a request went from {from} to {to} without a link");
        }
    }

    fn published(&mut self, number: usize, result: Result<Answer, Error>) {
        let publisher = &mut self.publishers[number];
        match result {
            Ok(Answer::Published { base_offset, .. }) => {
                let (batch, values) = publisher.acknowledged();
                let partition = publisher.partition_id();
                let topic = publisher.topic.name.clone();
                self.world.history.acknowledge(partition, base_offset, &values);
                if self.world.rng.below(DURABILITY_SAMPLE) == 0 {
                    let group = slot_of(&topic, partition.1, self.scenario.slots).into();
                    let (copies, voters) = self.world.durable_copies(group, partition, base_offset, &batch);
                    assert!(copies > voters / 2, "acknowledged with {copies} durable copies of {voters}");
                    self.durability_checks += 1;
                }
            }
            Ok(other) => panic!("a publish was answered with {other:?}"),
            // The batch stays under way and is sent again, with the same sequence.
            Err(error) if error.is_passing() => {}
            Err(error) => panic!("publisher {number} was refused: {error}"),
        }
    }

    fn chaos(&mut self) {
        let end = self.world.time_us + 1000 * self.scenario.chaos_ms;
        while self.world.time_us < end {
            self.publish_all();
            self.live_on();
            self.read_something();
            if self.world.rng.below(4) == 0 {
                self.fault();
            }
            let pause = 10_000 + self.world.rng.below(150_000);
            self.run_for(pause);
        }
    }

    fn fault(&mut self) {
        let at = self.pick_peer();
        let up = self.world.machines[at].process.is_some();
        match self.world.rng.below(12) {
            0..=2 if up => self.world.crash(at),
            0..=4 if !up => self.world.start(at),
            3 => {
                // Everything loses power at once, and comes back.
                for at in 0..self.world.machines.len() {
                    if self.world.machines[at].process.is_some() {
                        self.world.crash(at);
                    }
                }
                for at in 0..self.world.machines.len() {
                    self.world.start(at);
                }
            }
            5 | 6 => {
                let other = self.pick_peer();
                if other != at {
                    self.world.cut(at, other);
                    if self.world.rng.below(2) == 0 {
                        self.world.cut(other, at);
                    }
                }
            }
            7 => {
                for other in (0..self.world.machines.len()).filter(|other| *other != at) {
                    self.world.cut(at, other);
                    self.world.cut(other, at);
                }
            }
            8 => self.world.machines[at].disk_us = 2_000 + self.world.rng.below(200_000),
            9 if up => {
                self.world.counts.pauses += u64::from(!self.world.machines[at].paused);
                self.world.machines[at].paused = true;
            }
            10 if self.world.rng.below(2) == 0 => {
                let room = self.world.rng.below(100_000);
                self.world.fill(at, room);
            }
            10 => {
                for machine in &mut self.world.machines {
                    machine.paused = false;
                }
            }
            _ => {
                let (loss, repetition, delay) =
                    (self.world.network.loss, self.world.network.repetition, self.world.network.delay_us);
                self.world.heal();
                (self.world.network.loss, self.world.network.repetition) = (loss, repetition);
                self.world.network.delay_us = delay;
            }
        }
    }

    /// Ends the faults and lets every publisher finish.
    fn heal(&mut self) {
        self.world.heal();
        let end = self.world.time_us + HEALING_US;
        let lives: Vec<u64> = self.lives.iter().map(|life| life.lives).collect();
        while self.world.time_us < end {
            let unfinished = self.publishers.iter().any(|publisher| publisher.under_way.is_some());
            let stuck = self.lives.iter().zip(&lives).any(|(life, before)| life.lives == *before);
            if !unfinished && !stuck {
                return;
            }
            self.live_on();
            let busy: Vec<usize> = self.asked.values().map(|(publisher, _)| *publisher).collect();
            for number in 0..self.publishers.len() {
                if self.publishers[number].under_way.is_some() && !busy.contains(&number) {
                    let at = self.pick_peer();
                    let request = self.publishers[number].next(&mut self.world.rng);
                    let id = self.world.ask(at, request, 2_000);
                    let gives_up = self.world.time_us + 2_500_000;
                    self.asked.insert(id, (number, gives_up));
                }
            }
            self.run_for(100_000);
        }
        panic!(
            "after {} s without faults a client still cannot go on: {:?}",
            HEALING_US / 1_000_000,
            self.lives
        );
    }

    /// Reads every replica whole, and compares.
    fn check(&mut self) {
        for topic in self.topics.clone() {
            for partition in 0..PARTITIONS {
                let content = self.converged(&topic, partition);
                self.world.history.check_content((topic.id, partition), &content);
            }
        }
    }

    /// The content of a partition, once all its replicas hold the same.
    fn converged(&mut self, topic: &TopicRef, partition: u16) -> Vec<Bytes> {
        let group: GroupId = slot_of(&topic.name, partition, self.scenario.slots).into();
        let placement = self.world.meta.placement_of(group).expect("every slot is placed").clone();
        let end = self.world.time_us + HEALING_US;
        loop {
            let mut contents: Vec<Vec<Bytes>> =
                placement.replicas().map(|r| self.read_replica(topic, partition, r.node)).collect();
            if contents.windows(2).all(|pair| pair[0] == pair[1]) {
                return contents.swap_remove(0);
            }
            let lengths: Vec<usize> = contents.iter().map(Vec::len).collect();
            assert!(
                self.world.time_us < end,
                "replicas of {}/{partition} stay different after healing: {lengths:?} records; {}",
                topic.name,
                self.world.describe(group),
            );
            self.run_for(1_000_000);
        }
    }

    /// Everything that one replica holds, offsets from 0, through a peer picked at random.
    fn read_replica(
        &mut self,
        topic: &TopicRef,
        partition: u16,
        node: hcube_core::ids::NodeId,
    ) -> Vec<Bytes> {
        let mut content = Vec::new();
        let mut failures = 0;
        loop {
            let at = self.pick_peer();
            let from = From::Offset(content.len() as u64);
            let id = self.world.ask(at, client::pull(topic, partition, from, 0, Some(node)), 2_000);
            let until = self.world.time_us + 2_500_000;
            while !self.world.replies.contains_key(&id) && self.world.step(until) {}
            match self.world.replies.remove(&id).map(|reply| reply.result) {
                Some(Ok(Answer::Pulled { from, batches, high_watermark, .. })) => {
                    let values = client::values(from, &batches);
                    assert!(
                        !values.is_empty() || high_watermark == content.len() as u64,
                        "a replica's records end at {} of {high_watermark}",
                        content.len()
                    );
                    if values.is_empty() {
                        return content;
                    }
                    for (offset, value) in values {
                        assert_eq!(offset, content.len() as u64, "offsets are not dense");
                        content.push(value);
                    }
                }
                Some(Ok(other)) => panic!("a pull was answered with {other:?}"),
                other => {
                    failures += 1;
                    assert!(failures < 10, "a replica cannot be read: {other:?}");
                }
            }
        }
    }

    /// Polls whose clients go away end everywhere, also at the peers that they were forwarded to.
    fn abandon(&mut self) {
        self.run_for(5_000_000);
        assert!(self.world.calls().iter().all(|calls| *calls == 0), "calls stay: {:?}", self.world.calls());
        let mut polls = Vec::new();
        for _ in 0..20 {
            let topic = self.topics[self.world.rng.below(3) as usize % 3].clone();
            let partition = u16::try_from(self.world.rng.below(PARTITIONS.into())).expect("small");
            let at = self.pick_peer();
            let request = client::pull(&topic, partition, From::Latest, 20_000, None);
            polls.push((at, self.world.ask(at, request, 25_000)));
        }
        self.run_for(500_000);
        assert!(self.world.calls().iter().any(|calls| *calls > 0), "no poll waits");
        for (at, id) in polls {
            self.world.cancel(at, id);
        }
        self.run_for(1_000_000);
        assert!(self.world.calls().iter().all(|calls| *calls == 0), "polls stay: {:?}", self.world.calls());
    }

    fn report(&self) -> Report {
        let sum = |of: fn(&Publisher) -> u64| self.publishers.iter().map(of).sum();
        Report {
            seed: self.scenario.seed,
            trace: self.world.trace(),
            commits: sum(|publisher| publisher.acknowledged_batches),
            records: self.world.history.acknowledged_count() as u64,
            elections: self.world.history.elections,
            repeats: sum(|publisher| publisher.repeats),
            lives: self.lives.iter().map(|life| life.lives).sum(),
            durability_checks: self.durability_checks,
            longest_path: self.longest_path,
            counts: self.world.counts,
            frames_lost: self.world.network.lost,
            frames_repeated: self.world.network.repeated,
            simulated_ms: self.world.time_us / 1000,
        }
    }
}
