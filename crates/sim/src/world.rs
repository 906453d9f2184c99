//! The simulated world: time, machines, the network between them, and what is due when.

use std::collections::BTreeMap;

use hcube_broker::storage::Storage;
use hcube_broker::{Action, Config, Event, Frame, Now, Reply, Request, RequestId};
use hcube_consensus::Rng;
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::Meta;
use hcube_log::WriteError;
use hcube_log::disk::faulty::FaultyDisk;

use crate::history::History;
use crate::machine::Machine;
use crate::network::Network;

/// A tick of every peer, in microseconds.
const TICK_US: u64 = 100_000;
/// How long it takes until a full disk is tried again, in microseconds.
const FULL_DISK_US: u64 = 200_000;
/// The wall clock at the beginning of the world.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// Something that will happen to a machine.
#[derive(Debug)]
pub(crate) enum Due {
    Tick,
    Deliver {
        from: usize,
        bytes: Vec<u8>,
    },
    /// The disk is ready for the writes that wait.
    DiskBegins,
    /// The disk is done with the writes that it was given.
    DiskEnds,
    /// A full disk is looked at again.
    DiskLook,
    /// A read, compaction or the like is carried out now.
    Storage(Job),
    Event(Event),
}

/// Work for the disk beside the log.
#[derive(Debug)]
pub(crate) enum Job {
    Read(hcube_broker::ReadToken, hcube_broker::ReadPlan),
    Fetch(hcube_consensus::Fetch),
    ReadFile(hcube_broker::ReadToken, hcube_log::SortedFileMeta, u64, u32),
    Compact(hcube_broker::Compaction),
    Stage(GroupId, hcube_log::SortedFileMeta, u64, bytes::Bytes),
}

/// What happened how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Machines that lost power.
    pub crashes: u64,
    /// Bytes of logs that were torn and cut.
    pub torn_bytes: u64,
    /// Links cut.
    pub cuts: u64,
    /// Machines paused.
    pub pauses: u64,
    /// Compactions into sorted files.
    pub compactions: u64,
    /// Parts of files staged for snapshots.
    pub staged_parts: u64,
    /// Log segments deleted.
    pub reclaimed: u64,
    /// Fetches of old entries for followers.
    pub fetches: u64,
    /// Disks that filled up.
    pub full: u64,
}

pub(crate) struct World {
    pub time_us: u64,
    pub machines: Vec<Machine>,
    pub network: Network,
    pub history: History,
    pub counts: Counts,
    pub meta: Meta,
    /// Requests travel over edges of the cube alone; replication goes straight all the same.
    edges_only: bool,
    pub rng: Rng,
    disk_rng: Rng,
    config: Config,
    log_config: hcube_log::Config,
    queue: BTreeMap<(u64, u64), (usize, u64, Due)>,
    order: u64,
    trace: u64,
    next_request: u64,
    pub replies: BTreeMap<RequestId, Reply>,
}

impl World {
    pub fn new(meta: Meta, config: Config, log_config: hcube_log::Config, mut rng: Rng) -> Self {
        let machines: Vec<Machine> = meta
            .members
            .keys()
            .map(|node| Machine::found(*node, &meta, &log_config, rng.below(500)))
            .collect();
        let mut world = Self {
            edges_only: rng.below(3) == 0,
            time_us: 0,
            network: Network::new(rng.split()),
            history: History::default(),
            counts: Counts::default(),
            meta,
            disk_rng: rng.split(),
            rng,
            config,
            log_config,
            queue: BTreeMap::new(),
            order: 0,
            trace: 0,
            next_request: 0,
            replies: BTreeMap::new(),
            machines,
        };
        for at in 0..world.machines.len() {
            world.start(at);
        }
        world
    }

    /// A number that every event so far has gone into.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn now(&self, at: usize) -> Now {
        let mono_ms = self.time_us / 1000;
        Now { mono_ms, wall_ms: EPOCH_MS + mono_ms + self.machines[at].clock_skew_ms }
    }

    /// Starts a machine that is down.
    pub fn start(&mut self, at: usize) {
        let (now, seed) = (self.now(at), self.rng.next_u64());
        let recovery = self.machines[at].start(&self.config, &self.log_config, now, seed);
        self.counts.torn_bytes += recovery.torn_bytes;
        let first_tick = self.rng.below(TICK_US);
        self.due(at, first_tick, Due::Tick);
        for other in 0..self.machines.len() {
            if other != at {
                self.link(at, other);
            }
        }
    }

    /// Whether requests may go from one machine to the other: over every pair, or over edges of the cube alone.
    pub fn are_joined(&self, one: usize, other: usize) -> bool {
        let vertex = |at: usize| self.meta.members[&self.machines[at].node].vertex;
        !self.edges_only || self.meta.cube().folded_neighbours(vertex(one)).contains(&vertex(other))
    }

    /// A machine loses power.
    pub fn crash(&mut self, at: usize) {
        let seed = self.disk_rng.next_u64();
        self.machines[at].crash(seed);
        self.machines[at].paused = false;
        self.counts.crashes += 1;
        let node = self.machines[at].node;
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            let delay = 100 + self.rng.below(300_000);
            self.due(other, delay, Due::Event(Event::LinkDown(node)));
        }
    }

    /// Machines that are up and not cut off from one another notice that they are linked.
    fn link(&mut self, one: usize, other: usize) {
        if self.network.is_cut(one, other) || self.network.is_cut(other, one) || !self.are_joined(one, other)
        {
            return;
        }
        for (at, peer) in [(one, other), (other, one)] {
            if self.machines[at].process.is_some() && self.machines[peer].process.is_some() {
                let node = self.machines[peer].node;
                self.due(at, 500, Due::Event(Event::LinkUp(node)));
            }
        }
    }

    /// Frames from one machine to the other are lost from now on.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.network.cut(from, to);
        self.counts.cuts += 1;
        for (at, peer) in [(from, to), (to, from)] {
            let node = self.machines[peer].node;
            let delay = self.rng.below(2_000_000);
            self.due(at, delay, Due::Event(Event::LinkDown(node)));
        }
    }

    /// A machine's disk takes only so many more bytes.
    pub fn fill(&mut self, at: usize, room_bytes: u64) {
        let used: u64 = self.machines[at].disk.files().iter().map(|(_, bytes)| bytes).sum();
        self.machines[at].disk.set_capacity(Some(used + room_bytes));
    }

    /// Ends every fault of network and clock, and starts whoever is down.
    pub fn heal(&mut self) {
        for (from, to) in self.network.heal() {
            self.link(from, to);
        }
        for at in 0..self.machines.len() {
            self.machines[at].paused = false;
            self.machines[at].disk_us = 2_000;
            self.machines[at].disk.set_capacity(None);
            if self.machines[at].process.is_none() {
                self.start(at);
            }
        }
        // A cut that is noticed late would otherwise leave a healed link unused.
        for one in 0..self.machines.len() {
            for other in (0..one).filter(|other| self.are_joined(one, *other)).collect::<Vec<_>>() {
                for (at, peer) in [(one, other), (other, one)] {
                    let node = self.machines[peer].node;
                    self.due(at, 3_000_000, Due::Event(Event::LinkUp(node)));
                }
            }
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

    /// Requests under way at each machine.
    pub fn calls(&self) -> Vec<usize> {
        let calls = |machine: &Machine| machine.process.as_ref().map_or(0, |p| p.peer.status().calls);
        self.machines.iter().map(calls).collect()
    }

    fn due(&mut self, at: usize, delay_us: u64, due: Due) {
        self.order += 1;
        let life = self.machines[at].life;
        self.queue.insert((self.time_us + delay_us, self.order), (at, life, due));
    }

    /// Lets the next thing happen, if it is due before `until_us`.
    pub fn step(&mut self, until_us: u64) -> bool {
        let Some(entry) = self.queue.first_entry() else { return false };
        if entry.key().0 > until_us {
            self.time_us = until_us;
            return false;
        }
        let ((time_us, order), (at, life, due)) = entry.remove_entry();
        self.time_us = time_us;
        // A frame on its way reaches whoever is there; everything else ends with the process.
        let current = self.machines[at].life == life || matches!(due, Due::Deliver { .. });
        if !current || self.machines[at].process.is_none() {
            return true;
        }
        if self.machines[at].paused && !matches!(due, Due::DiskBegins | Due::DiskEnds) {
            self.queue.insert((time_us + 50_000, order), (at, life, due));
            return true;
        }
        self.note(at, &due);
        self.happen(at, due);
        true
    }

    fn note(&mut self, at: usize, due: &Due) {
        let text = match due {
            Due::Deliver { from, bytes } => format!("{from} {:x}", crc(bytes)),
            other => format!("{other:?}"),
        };
        let line = format!("{} {at} {text}", self.time_us);
        self.trace = self.trace.rotate_left(5) ^ u64::from(crc(line.as_bytes()));
    }

    fn happen(&mut self, at: usize, due: Due) {
        match due {
            Due::Tick => {
                self.due(at, TICK_US, Due::Tick);
                self.event(at, Event::Tick);
                self.observe(at);
            }
            Due::Deliver { from, bytes } => {
                let frame = Frame::decode(bytes.into()).expect("peers send frames that decode");
                let from = self.machines[from].node;
                self.event(at, Event::Frame { from, frame });
            }
            Due::DiskBegins => self.disk_begins(at),
            Due::DiskEnds => self.disk_ends(at),
            Due::DiskLook => self.disk_looked_at(at),
            Due::Storage(job) => self.storage(at, job),
            Due::Event(event) => self.event(at, event),
        }
    }

    fn event(&mut self, at: usize, event: Event) {
        let now = self.now(at);
        let Some(process) = &mut self.machines[at].process else { return };
        let actions = process.peer.handle(now, event);
        for action in actions {
            self.act(at, action);
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Write(write) => {
                let Some(process) = &mut self.machines[at].process else { return };
                process.queue.push_back(write);
                if process.writing.is_empty() && process.queue.len() == 1 {
                    self.due(at, 20, Due::DiskBegins);
                }
            }
            Action::Send { to, frame } => self.send(at, to, &frame),
            Action::Reply { id, reply } => {
                self.replies.insert(id, reply);
            }
            Action::RemoveFiles(files) => {
                if let Some(process) = &self.machines[at].process {
                    process.storage.remove(&files).expect("the simulated disk removes files");
                }
            }
            Action::Read { token, plan } => self.later(at, Job::Read(token, plan)),
            Action::Fetch(fetch) => self.later(at, Job::Fetch(fetch)),
            Action::ReadFile { token, file, at: from, length } => {
                self.later(at, Job::ReadFile(token, file, from, length));
            }
            Action::Compact(compaction) => self.later(at, Job::Compact(compaction)),
            Action::Stage { group, file, at: from, part } => {
                self.later(at, Job::Stage(group, file, from, part));
            }
        }
    }

    fn later(&mut self, at: usize, job: Job) {
        let delay = 50 + self.disk_rng.below(self.machines[at].disk_us);
        self.due(at, delay, Due::Storage(job));
    }

    fn send(&mut self, from: usize, to: NodeId, frame: &Frame) {
        let Some(at) = self.machines.iter().position(|machine| machine.node == to) else { return };
        for delay in self.network.deliveries(from, at, frame) {
            let bytes = frame.encode();
            self.due(at, delay, Due::Deliver { from, bytes });
        }
    }

    /// Hands everything that waits to the disk: written, but lost if the power fails before the sync. What a full
    /// disk does not take stays first in the queue.
    fn disk_begins(&mut self, at: usize) {
        let Some(process) = &mut self.machines[at].process else { return };
        if !process.writing.is_empty() {
            return;
        }
        process.stuck = false;
        while let Some(write) = process.queue.front() {
            match process.log.write(&write.ops) {
                Ok(positions) => {
                    process.sync |= write.sync;
                    process.writing.push((write.number, positions));
                    process.queue.pop_front();
                }
                Err(WriteError::Full) => {
                    process.stuck = true;
                    break;
                }
                Err(error) => panic!("the simulated disk works: {error}"),
            }
        }
        let nothing = process.writing.is_empty();
        let takes = if nothing { FULL_DISK_US } else { 100 + self.disk_rng.below(self.machines[at].disk_us) };
        self.due(at, takes, Due::DiskEnds);
    }

    fn disk_ends(&mut self, at: usize) {
        let Some(process) = &mut self.machines[at].process else { return };
        if std::mem::take(&mut process.sync) {
            process.log.sync().expect("the simulated disk syncs");
        }
        let written = std::mem::take(&mut process.writing);
        for (number, positions) in written {
            self.event(at, Event::Written { number, positions });
        }
        self.tend_log(at);
        let Some(process) = &mut self.machines[at].process else { return };
        if !process.queue.is_empty() {
            return self.due(at, 20, Due::DiskBegins);
        }
        match process.log.mark_idle() {
            Ok(_) | Err(WriteError::Full) => {}
            Err(error) => panic!("the simulated disk works: {error}"),
        }
    }

    fn disk_looked_at(&mut self, at: usize) {
        // While a write is under way, its end looks.
        if self.machines[at].process.as_ref().is_some_and(|process| process.writing.is_empty()) {
            self.tend_log(at);
        }
    }

    /// What the node's log thread does beside writing.
    fn tend_log(&mut self, at: usize) {
        let Some(process) = &mut self.machines[at].process else { return };
        if process.log.stats().reclaimable_segments > 0 {
            match process.log.reclaim() {
                Ok(segments) => self.counts.reclaimed += segments as u64,
                Err(WriteError::Full) => {}
                Err(error) => panic!("the simulated disk works: {error}"),
            }
        }
        if process.log.is_full() {
            // This is how it is found out that there is room again.
            let _still_full = process.log.prepare_segment().expect("the simulated disk works");
        }
        let full = process.log.is_full() || process.stuck;
        if full {
            // Somebody has to look again even where nothing is written any more.
            self.due(at, FULL_DISK_US, Due::DiskLook);
        }
        let Some(process) = &mut self.machines[at].process else { return };
        let pressure = process.log.pressure();
        if full != process.told_full || !pressure.is_empty() {
            self.counts.full += u64::from(full && !process.told_full);
            process.told_full = full;
            self.event(at, Event::Disk { pressure, full });
        }
    }

    fn storage(&mut self, at: usize, job: Job) {
        let Some(process) = &self.machines[at].process else { return };
        let event = carry_out(&process.storage, job, &mut self.counts);
        self.event(at, event);
    }

    /// Voters of a group on whose disks a batch is sure to survive, and voters in all.
    pub fn durable_copies(
        &self,
        group: GroupId,
        partition: hcube_broker::PartitionId,
        base_offset: u64,
        batch: &bytes::Bytes,
    ) -> (usize, usize) {
        let voters = &self.meta.placement_of(group).expect("every slot is placed").voters;
        let holds = |machine: &&Machine| {
            voters.iter().any(|voter| voter.node == machine.node)
                && machine.holds_durably(&self.log_config, group, partition, base_offset, batch)
        };
        (self.machines.iter().filter(holds).count(), voters.len())
    }

    /// How each replica of a group stands, for the message of a failure.
    pub fn describe(&self, group: GroupId) -> String {
        let states = self.machines.iter().filter_map(|machine| {
            let status = machine.process.as_ref()?.peer.status();
            let state = status.groups.get(&group)?;
            Some(format!(
                "node {}: {state:?}, links {:?}, restoring {:?}",
                machine.node, status.links, status.restoring
            ))
        });
        states.collect::<Vec<_>>().join("; ")
    }

    /// Looks at who leads what.
    fn observe(&mut self, at: usize) {
        let Some(process) = &self.machines[at].process else { return };
        let groups: Vec<GroupId> = self.meta.groups().map(|(group, _)| group).collect();
        for group in groups {
            if let Some(role) = process.peer.role(group).filter(|role| role.leads) {
                self.history.leads(group, role.term, self.machines[at].node);
            }
        }
    }
}

fn carry_out(storage: &Storage<FaultyDisk>, job: Job, counts: &mut Counts) -> Event {
    match job {
        Job::Read(token, plan) => Event::ReadDone { token, result: storage.read(&plan) },
        Job::Fetch(fetch) => {
            counts.fetches += 1;
            Event::Fetched { group: fetch.group, token: fetch.token, entries: storage.fetch(&fetch) }
        }
        Job::ReadFile(token, file, at, length) => {
            Event::FileRead { token, result: storage.read_file(&file, at, length) }
        }
        Job::Compact(compaction) => {
            counts.compactions += 1;
            Event::Compacted { group: compaction.group, result: storage.compact(&compaction) }
        }
        Job::Stage(group, file, at, part) => {
            counts.staged_parts += 1;
            Event::Staged { group, file: file.id, at, result: storage.stage(&file, at, &part) }
        }
    }
}

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
