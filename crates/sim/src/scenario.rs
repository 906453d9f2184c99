//! A run: chaos under load, then everything heals, then everything promised must be there.

use bytes::Bytes;
use hcube_broker::Config;
use hcube_broker::request::{From, TopicRef};
use hcube_core::feature;
use hcube_core::ids::{ClusterId, Incarnation, Vertex};
use hcube_core::meta::{Founder, Meta, genesis};

use crate::admin::Admin;
use crate::clients::{Clients, PARTITIONS, pull, read_replica};
use crate::faults;
use crate::invariants::{converged, hold};
use crate::machine::NEW_LEVEL;
use crate::planted::Planted;
use crate::report::Report;
use crate::streams::{Streams, once_in, pick};
use crate::world::{Setup, World};

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Everything else follows from it.
    pub seed: u64,
    /// Peers at the founding.
    pub peers: u16,
    /// Slots, a power of two.
    pub slots: u16,
    /// Publishers, each with one partition; several share one.
    pub publishers: u64,
    /// How long faults go on, in milliseconds of simulated time.
    pub chaos_ms: u64,
    /// A deliberate mistake.
    pub planted: Option<Planted>,
}

impl Scenario {
    /// The scenario of a seed: founded with 1 to 6 peers.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let peers = [3, 4, 5, 3, 1, 6, 2, 3][usize::try_from(seed % 8).expect("below 8")];
        Self { seed, peers, slots: 8, publishers: 12, chaos_ms: 20_000, planted: None }
    }
}

/// After the faults end, everything must be well within this, in microseconds.
const HEALING_US: u64 = 240_000_000;

/// Runs a scenario.
///
/// # Panics
/// When an invariant does not hold; the message names it.
#[must_use]
pub fn run(scenario: &Scenario) -> Report {
    let mut run = Run::new(scenario);
    run.clients.create_topics(&mut run.world);
    run.chaos();
    run.heal();
    run.check();
    run.abandon();
    run.report()
}

struct Run {
    scenario: Scenario,
    world: World,
    admin: Admin,
    clients: Clients,
}

/// The metadata of a hypercube at its founding, its machines numbered by their vertices.
pub(crate) fn founding(peers: u16, slots: u16, replication: u8, zones: u64) -> Meta {
    let founders = (0..peers)
        .map(|vertex| Founder {
            incarnation: Incarnation(u128::from(vertex) + 1),
            vertex: Vertex(vertex),
            zone: if zones > 1 { format!("zone-{}", u64::from(vertex) % zones) } else { String::new() },
            peer_address: format!("peer-{vertex}:1"),
            client_address: format!("client-{vertex}:1"),
        })
        .collect();
    genesis(ClusterId(1), founders, slots, replication).expect("a valid founding")
}

impl Run {
    fn new(scenario: &Scenario) -> Self {
        let mut streams = Streams::new(scenario.seed);
        let shape = &mut streams.shape;
        let replication = pick(shape, &[3, 3, 3, 5, 1]).unwrap_or(3);
        let zones = pick(shape, &[1, 1, 3]).unwrap_or(1);
        let edges_only = once_in(shape, 3);
        let (loss, repetition, delay_us) = (shape.below(30), shape.below(30), 1_000 + shape.below(60_000));
        // Half the hypercubes get a rolling update to a newer level.
        let mut meta = founding(scenario.peers, scenario.slots, replication, zones);
        meta.feature_level = if once_in(shape, 2) { feature::OLDEST } else { NEW_LEVEL };
        let consensus = hcube_consensus::Config { cache_bytes: 4 << 10, ..Default::default() };
        let setup = Setup {
            meta,
            config: Config { consensus, file_part_bytes: 4 << 10, retention_ticks: 10, ..Config::default() },
            log_config: hcube_log::Config { segment_bytes: 64 << 10, sealed_segments_target: 1 },
            edges_only,
            planted: scenario.planted,
        };
        let mut world = World::new(setup, streams);
        world.network.loss = loss;
        world.network.repetition = repetition;
        world.network.delay_us = delay_us;
        let clients = Clients::new(scenario.slots, scenario.publishers);
        Self { scenario: scenario.clone(), world, admin: Admin::default(), clients }
    }

    fn run_for(&mut self, us: u64) {
        let until = self.world.time_us + us;
        while self.world.step(until) {
            if !self.world.replies.is_empty() {
                self.answers();
            }
        }
        self.clients.give_up(self.world.time_us);
    }

    /// Takes note of what came back.
    fn answers(&mut self) {
        for (id, reply) in std::mem::take(&mut self.world.replies) {
            if let Some(reply) = self.clients.answered(&mut self.world, id, reply) {
                // What nobody waits for any more is an answer that came too late.
                self.admin.answered(&mut self.world, id, reply.result);
            }
        }
    }

    /// Whom clients ask while things go wrong: every machine that is or was a member's.
    fn known(&self) -> Vec<usize> {
        (0..self.world.machines.len()).filter(|at| self.world.machines[*at].node.is_some()).collect()
    }

    fn chaos(&mut self) {
        let end = self.world.time_us + 1000 * self.scenario.chaos_ms;
        let names = self.clients.names();
        while self.world.time_us < end {
            let ask = self.known();
            self.clients.publish(&mut self.world, &ask, true);
            self.clients.live_on(&mut self.world, &ask);
            self.clients.read_something(&mut self.world, &ask);
            self.clients.follow_on(&mut self.world, &ask);
            if once_in(&mut self.world.streams.admin, 10) {
                self.admin.wish(&mut self.world, &names);
            }
            self.admin.run(&mut self.world, &ask);
            if once_in(&mut self.world.streams.faults, 4) {
                faults::inject(&mut self.world, &mut self.admin);
            }
            let pause = 10_000 + self.world.streams.clients.below(150_000);
            self.run_for(pause);
        }
    }

    /// Ends the faults, and lets every client and the hypercube itself come to rest.
    fn heal(&mut self) {
        self.world.heal();
        self.admin.finish(&self.world);
        let end = self.world.time_us + HEALING_US;
        let lives = self.clients.lives();
        loop {
            self.bring_back();
            let stuck = self.clients.lives().iter().zip(&lives).any(|(life, before)| life == before);
            let done = self.clients.are_done() && !stuck && self.admin.open().is_empty();
            if done && converged(&self.world).is_empty() {
                return;
            }
            if self.world.time_us >= end {
                self.give_up();
            }
            let ask = self.world.current();
            self.clients.live_on(&mut self.world, &ask);
            self.clients.publish(&mut self.world, &ask, false);
            self.admin.run(&mut self.world, &ask);
            self.run_for(200_000);
        }
    }

    fn give_up(&self) -> ! {
        let message = format!(
            "after {} s without faults: {}; the administrator wants {:?}; {}",
            HEALING_US / 1_000_000,
            self.clients.describe(),
            self.admin.open(),
            converged(&self.world).join("; "),
        );
        crate::invariants::violated("everything heals", &message)
    }

    /// Whoever looks after the machines sees to it that members are up; disks whose peers were replaced come back
    /// too, to be refused.
    fn bring_back(&mut self) {
        faults::let_twins_back(&mut self.world);
        for at in 0..self.world.machines.len() {
            let member = self.world.is_member(at);
            let machine = &self.world.machines[at];
            let Some(node) = machine.node else {
                if machine.is_off() {
                    self.world.start(at);
                }
                continue;
            };
            let (off, refused, gone) = (machine.is_off(), machine.refused, machine.wiped);
            if member && (refused || gone) {
                self.admin.replace(&mut self.world, node);
                continue;
            }
            let lost = member && self.world.machines[at].lost;
            if off && !refused && !gone && !lost {
                self.world.start(at);
            }
        }
    }

    /// Reads every replica whole, and compares.
    fn check(&mut self) {
        for topic in self.clients.topics.clone() {
            for partition in 0..PARTITIONS {
                let content = self.content(&topic, partition);
                let invariants = &mut self.world.invariants;
                let at = (topic.id, partition);
                invariants.acknowledged.check(&mut invariants.offsets, at, &content);
                self.follow(&topic, partition, content.len() as u64);
            }
        }
        self.clients.stop_following();
    }

    /// Subscribers get everything.
    fn follow(&mut self, topic: &TopicRef, partition: u16, records: u64) {
        let end = self.world.time_us + HEALING_US;
        loop {
            let reached = self.clients.followed_to(topic, partition);
            if reached.iter().all(|next| *next == records) {
                return;
            }
            let name = &topic.name;
            hold!(
                "subscribers get everything",
                self.world.time_us < end,
                "those of {name}/{partition} are at {reached:?} of {records}"
            );
            let ask = self.world.current();
            self.clients.follow_on(&mut self.world, &ask);
            self.run_for(200_000);
        }
    }

    /// The content of a partition, once all its replicas hold the same.
    fn content(&mut self, topic: &TopicRef, partition: u16) -> Vec<Bytes> {
        let group = self.clients.group(&topic.name, partition);
        let placement = self.world.newest().placement_of(group).expect("every slot is placed").clone();
        let end = self.world.time_us + HEALING_US;
        loop {
            let read = |r: hcube_core::meta::Replica| {
                read_replica(&self.clients, &mut self.world, topic, partition, r.node)
            };
            let mut contents: Vec<Vec<Bytes>> = placement.replicas().map(read).collect();
            if contents.windows(2).all(|pair| pair[0] == pair[1]) {
                return contents.swap_remove(0);
            }
            let lengths: Vec<usize> = contents.iter().map(Vec::len).collect();
            hold!(
                "replicas become equal",
                self.world.time_us < end,
                "{}/{partition} has {lengths:?} records; {}",
                topic.name,
                self.world.describe(group)
            );
            self.run_for(1_000_000);
        }
    }

    /// Polls whose clients go away end everywhere, also at the peers that they were forwarded to.
    fn abandon(&mut self) {
        const NAME: &str = "no call stays";
        self.run_for(5_000_000);
        hold!(NAME, self.world.calls() == 0, "{} calls stay", self.world.calls());
        let mut polls = Vec::new();
        let ask = self.world.current();
        for number in 0..20 {
            let topic = self.clients.topics[number % 3].clone();
            let partition = u16::try_from(number / 3 % usize::from(PARTITIONS)).expect("small");
            let Some(at) = pick(&mut self.world.streams.clients, &ask) else { return };
            let request = pull(&topic, partition, From::Latest, 20_000, None);
            polls.push((at, self.world.ask(at, request, 25_000)));
            // These wait for each other.
            let followed = &self.clients.topics[0];
            let end = self.clients.followed_to(followed, 0)[0];
            let request = pull(followed, 0, From::Offset(end), 20_000, None);
            polls.push((at, self.world.ask(at, request, 25_000)));
        }
        self.run_for(500_000);
        hold!(NAME, self.world.calls() > 0, "no poll waits");
        for (at, id) in polls {
            self.world.cancel(at, id);
        }
        self.run_for(1_000_000);
        hold!(NAME, self.world.calls() == 0, "{} polls stay", self.world.calls());
    }

    fn report(&self) -> Report {
        let (commits, repeats) = self.clients.figures();
        let world = &self.world;
        Report {
            seed: self.scenario.seed,
            trace: world.trace(),
            commits,
            records: world.invariants.acknowledged.count() as u64,
            elections: world.invariants.leaders.elections,
            repeats,
            lives: self.clients.lives().iter().sum(),
            durability_checks: self.clients.durability_checks,
            longest_path: self.clients.longest_path,
            polls_shared: world.polls_shared(),
            moves: world.invariants.placement.moves,
            configurations: world.invariants.configurations.changes,
            joint: world.invariants.configurations.joint,
            raises: u64::from(world.level_was_raised()),
            peers: world.newest().members.len() as u64,
            counts: world.counts,
            changes: self.admin.changes,
            frames_lost: world.network.lost,
            frames_repeated: world.network.repeated,
            simulated_ms: world.time_us / 1000,
        }
    }
}
