//! The simulated world: time, machines, the network between them, and what is due when.

mod act;
mod disk;
mod forgetful;
mod links;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use hcube_broker::{Config, Event, Now, Reply, Request, RequestId};
use hcube_core::ids::Incarnation;
use hcube_core::meta::Meta;

use crate::invariants::Invariants;
use crate::machine::{Machine, NEW_LEVEL, Started};
use crate::network::Network;
use crate::planted::Planted;
use crate::report::Counts;
use crate::streams::{Streams, once_in};

use disk::Job;

/// A tick of every peer, in microseconds of its own clock.
const TICK_US: u64 = 100_000;
/// The wall clock of a machine that is not ahead, at the beginning of the world.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// Something that will happen to a machine.
#[derive(Debug)]
pub(crate) enum Due {
    Tick,
    /// A frame of another machine's process arrives.
    Deliver {
        from: usize,
        bytes: Vec<u8>,
    },
    /// An invitation to the hypercube arrives.
    Invited(Vec<u8>),
    /// The disk is ready for the writes that wait.
    DiskBegins,
    /// The disk is done with the writes that it was given.
    DiskEnds,
    /// A full disk is looked at again.
    DiskLook,
    /// A read, compaction or the like is carried out now.
    Storage(Job),
    Event(Event),
    /// Whoever looks after the machine starts its process again.
    Start,
}

/// How a world begins.
pub(crate) struct Setup {
    pub meta: Meta,
    pub config: Config,
    pub log_config: hcube_log::Config,
    /// Requests travel over edges of the cube alone; replication goes straight all the same.
    pub edges_only: bool,
    pub planted: Option<Planted>,
}

pub(crate) struct World {
    pub time_us: u64,
    pub machines: Vec<Machine>,
    pub network: Network,
    pub invariants: Invariants,
    pub counts: Counts,
    pub streams: Streams,
    pub log_config: hcube_log::Config,
    /// Whether requests go over edges of the cube alone.
    pub edges_only: bool,
    planted: Option<Planted>,
    config: Config,
    queue: BTreeMap<(u64, u64), (usize, u64, Due)>,
    order: u64,
    trace: u64,
    next_request: u64,
    next_incarnation: u128,
    genesis: Meta,
    /// Until then nobody loses a disk: slots may be on their way to a single replica.
    pub no_losses_before_us: u64,
    /// Pairs of machines between which there was ever a link for requests.
    ever_linked: BTreeSet<(usize, usize)>,
    pub replies: BTreeMap<RequestId, Reply>,
    /// How often each machine gave each batch, by its offset, to each node.
    #[cfg(test)]
    pub given: BTreeMap<(usize, hcube_core::ids::NodeId, u64), u64>,
}

impl World {
    pub fn new(setup: Setup, mut streams: Streams) -> Self {
        let Setup { meta, config, log_config, edges_only, planted } = setup;
        let mut world = Self {
            time_us: 0,
            machines: Vec::new(),
            network: Network::new(streams.network.split()),
            invariants: Invariants::new(&meta),
            counts: Counts::default(),
            streams,
            log_config,
            edges_only,
            planted,
            config,
            queue: BTreeMap::new(),
            order: 0,
            trace: 0,
            next_request: 0,
            next_incarnation: 0,
            genesis: meta.clone(),
            no_losses_before_us: 0,
            ever_linked: BTreeSet::new(),
            replies: BTreeMap::new(),
            #[cfg(test)]
            given: BTreeMap::new(),
        };
        for member in meta.members.values() {
            let at = world.provide();
            assert_eq!(world.machines[at].incarnation, member.incarnation, "founders count from 1");
            world.machines[at].feature_level = meta.feature_level;
            world.machines[at].found(member.node, &meta, &world.log_config);
        }
        for at in 0..world.machines.len() {
            world.start(at);
        }
        world
    }

    /// A number that every event so far has gone into.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Whether this mistake is planted.
    pub fn plants(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// Brings a new machine with an empty disk, which is off.
    pub fn provide(&mut self) -> usize {
        self.next_incarnation += 1;
        let rng = &mut self.streams.machines;
        let (ahead, speed) = (rng.below(500), 990 + rng.below(21));
        let machine = Machine::fresh(Incarnation(self.next_incarnation), ahead, speed);
        self.machines.push(machine);
        self.machines.len() - 1
    }

    /// Whether the hypercube is at a newer feature level than at its founding.
    pub fn level_was_raised(&self) -> bool {
        self.newest().feature_level > self.genesis.feature_level
    }

    fn now(&self, at: usize) -> Now {
        let machine = &self.machines[at];
        let mono_ms = self.time_us * machine.clock_speed / 1_000_000;
        Now { mono_ms, wall_ms: EPOCH_MS + mono_ms + machine.clock_ahead_ms }
    }

    /// Starts a machine that is off, perhaps with a newer program.
    pub fn start(&mut self, at: usize) {
        if once_in(&mut self.streams.machines, 3) {
            self.machines[at].feature_level = NEW_LEVEL;
        }
        let (now, seed) = (self.now(at), self.streams.machines.next_u64());
        self.spoil(&self.machines[at].disk);
        match self.machines[at].start(&self.config, &self.log_config, now, seed) {
            Started::Unbound => {}
            Started::Peer(recovery) => {
                self.counts.torn_bytes += recovery.torn_bytes;
                self.invariants.started(at, &self.machines[at], &recovery);
                self.events(at, Vec::new());
            }
            Started::Refused(reason) => return self.refused(at, &reason),
        }
        let first_tick = self.streams.machines.below(TICK_US);
        self.due(at, first_tick, Due::Tick);
    }

    /// A disk does not start. That is right where it was damaged, or where it is another peer's by now.
    fn refused(&mut self, at: usize, reason: &str) {
        // A sync that fails while the log is opened ends the process; the next start finds what is there.
        if reason.contains("the disk failed to sync") {
            return self.due(at, 1_000_000, Due::Start);
        }
        self.invariants.refused(&self.machines[at], reason);
        self.machines[at].refused = true;
        self.counts.refused_starts += 1;
    }

    /// A machine loses power.
    pub fn crash(&mut self, at: usize) {
        let seed = self.streams.disk.next_u64();
        self.machines[at].crash(seed);
        self.invariants.ended(at);
        self.counts.crashes += 1;
        self.spoil_after_crash(at);
    }

    /// A process ends by itself, and is started again by whoever looks after it.
    fn end(&mut self, at: usize) {
        self.machines[at].end();
        self.invariants.ended(at);
        let pause = 200_000 + self.streams.machines.below(2_000_000);
        self.due(at, pause, Due::Start);
    }

    /// A machine is switched off and not looked after any more.
    pub fn switch_off(&mut self, at: usize) {
        if !self.machines[at].is_off() {
            self.crash(at);
        }
    }

    /// Asks a machine; the reply turns up in `replies`, unless the machine dies first.
    pub fn ask(&mut self, at: usize, request: Request, patience_ms: u32) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.due(at, 0, Due::Event(Event::Request { id, request, patience_ms }));
        id
    }

    /// Whoever asked is gone.
    pub fn cancel(&mut self, at: usize, id: RequestId) {
        self.due(at, 0, Due::Event(Event::Cancel(id)));
    }

    fn due(&mut self, at: usize, delay_us: u64, due: Due) {
        self.order += 1;
        let life = self.machines[at].life;
        self.queue.insert((self.time_us + delay_us, self.order), (at, life, due));
    }

    /// Lets the next thing happen, if it is due before `until_us`.
    pub fn step(&mut self, until_us: u64) -> bool {
        let Some(entry) = self.queue.first_entry() else {
            self.time_us = until_us;
            return false;
        };
        if entry.key().0 > until_us {
            self.time_us = until_us;
            return false;
        }
        let ((time_us, order), (at, life, due)) = entry.remove_entry();
        self.time_us = time_us;
        let machine = &self.machines[at];
        // A frame on its way reaches whoever is there; everything else ends with the process.
        let current = machine.life == life || matches!(due, Due::Deliver { .. });
        if !current || (machine.is_off() && !matches!(due, Due::Start)) {
            return true;
        }
        if machine.paused && !matches!(due, Due::DiskBegins | Due::DiskEnds) {
            self.queue.insert((time_us + 50_000, order), (at, life, due));
            return true;
        }
        self.note(at, &due);
        self.happen(at, due);
        true
    }

    /// Lets time pass.
    pub fn run_until(&mut self, until_us: u64) {
        while self.step(until_us) {}
    }

    fn note(&mut self, at: usize, due: &Due) {
        let text = match due {
            Due::Deliver { from, bytes } => format!("{from} {:x}", crc32c::crc32c(bytes)),
            Due::Invited(bytes) => format!("{:x}", crc32c::crc32c(bytes)),
            other => format!("{other:?}"),
        };
        let line = format!("{} {at} {text}", self.time_us);
        self.trace = self.trace.rotate_left(5) ^ u64::from(crc32c::crc32c(line.as_bytes()));
    }

    fn happen(&mut self, at: usize, due: Due) {
        match due {
            Due::Tick => self.tick(at),
            Due::Deliver { from, bytes } => self.delivered(at, from, bytes),
            Due::Invited(bytes) => self.invited(at, bytes),
            Due::DiskBegins => self.disk_begins(at),
            Due::DiskEnds => self.disk_ends(at),
            Due::DiskLook => self.disk_looked_at(at),
            Due::Storage(job) => self.storage(at, job),
            Due::Event(event) => self.event(at, event),
            Due::Start if self.machines[at].is_off() => self.start(at),
            Due::Start => {}
        }
    }

    fn tick(&mut self, at: usize) {
        let interval = TICK_US * 1000 / self.machines[at].clock_speed;
        self.due(at, interval, Due::Tick);
        if self.machines[at].is_unbound() {
            return;
        }
        self.tend_links(at);
        self.invite_strangers(at);
        self.event(at, Event::Tick);
        let Some(process) = self.machines[at].process_mut() else { return };
        process.ticks += 1;
        // What costs more than it shows is looked at every third tick.
        let thorough = process.ticks % 3 == 0;
        self.invariants.look(at, &self.machines[at], thorough);
        if self.machines[at].peer().is_some_and(hcube_broker::Peer::is_removed) {
            // As the node does: whoever has left for ever stops taking part.
            self.counts.left += 1;
            self.machines[at].end();
            self.invariants.ended(at);
        }
    }

    /// Ends every fault of network, disk and clock.
    pub fn heal(&mut self) {
        self.network.heal();
        for at in 0..self.machines.len() {
            self.machines[at].paused = false;
            self.machines[at].disk_us = 2_000;
            self.machines[at].disk.set_capacity(None);
            self.machines[at].disk.clear_sync_failure();
            if self.machines[at].feature_level != NEW_LEVEL {
                // The rolling update comes to its end.
                self.switch_off(at);
                self.machines[at].feature_level = NEW_LEVEL;
            }
        }
    }
}
