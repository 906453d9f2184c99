//! One simulated machine: a disk that can forget, and what runs on it while it is up.

mod durable;
mod join;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hcube_broker::storage::{self, Storage};
use hcube_broker::{Now, Peer, start};
use hcube_consensus::Write;
use hcube_core::feature;
use hcube_core::ids::{ClusterId, GroupId, Incarnation, NodeId, ReplicaId};
use hcube_core::meta::Meta;
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::identity::{Identity, Membership};
use hcube_log::{HardState, Log, Op, Position, Recovery, WriteError};

pub(crate) use durable::Wanted;

/// A process of a peer that belongs to the hypercube.
pub(crate) struct Process {
    pub peer: Peer,
    pub log: Log<FaultyDisk>,
    pub storage: Storage<FaultyDisk>,
    /// Writes that wait for the disk.
    pub queue: VecDeque<Write>,
    /// Writes handed to the disk, not synced yet, with the positions of their entries.
    pub writing: Vec<(Write, Vec<Position>)>,
    pub sync: bool,
    /// Writes under way that were reported before their sync, with the mistake planted.
    pub told: BTreeSet<u64>,
    /// Whether the first write of the queue did not fit on the disk.
    pub stuck: bool,
    /// Whether the peer was told that the disk is full.
    pub told_full: bool,
    /// What is written but not synced, of terms and votes.
    pub unsynced: Vec<(GroupId, Option<HardState>)>,
    /// Replicas that were destroyed by what is written but not synced.
    pub buried: Vec<ReplicaId>,
    /// Terms and votes that survive whatever happens.
    pub durable: BTreeMap<GroupId, HardState>,
    /// The machines to which this one has a link, and how that stands.
    pub links: BTreeMap<usize, Link>,
    /// Ticks so far.
    pub ticks: u64,
}

/// What programs know after their rolling update, in seeds that begin at [`hcube_core::feature::OLDEST`].
pub(crate) const NEW_LEVEL: u32 =
    if feature::NEWEST > feature::OLDEST { feature::NEWEST } else { feature::OLDEST + 1 };

/// One end of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// The process at the other end.
    pub life: u64,
    /// When this end will notice that the link is gone, if it is.
    pub ends_us: Option<u64>,
}

/// What a machine does.
pub(crate) enum Running {
    /// It is off.
    Nothing,
    /// Its process waits to be invited: its disk belongs to no hypercube.
    Unbound,
    /// Its process is a peer.
    Peer(Box<Process>),
}

/// What came of starting a machine.
pub(crate) enum Started {
    Unbound,
    Peer(Box<Recovery>),
    /// The process ended at once, and why.
    Refused(String),
}

/// A machine: one disk for all its life.
pub(crate) struct Machine {
    pub incarnation: Incarnation,
    /// The node that the disk is bound to.
    pub node: Option<NodeId>,
    /// The newest feature level that its program knows.
    pub feature_level: u32,
    pub disk: FaultyDisk,
    pub running: Running,
    /// Rises with every start and end, so that what was begun before is recognised.
    pub life: u64,
    /// A paused machine neither ticks nor receives.
    pub paused: bool,
    /// Added to the time to make this machine's wall clock.
    pub clock_ahead_ms: u64,
    /// How fast its clocks run, in thousandths of the true speed.
    pub clock_speed: u64,
    /// How long its disk takes at most, in microseconds.
    pub disk_us: u64,
    /// Nobody counts on this disk any more: its replicas are as good as gone.
    pub lost: bool,
    /// The disk holds nothing any more.
    pub wiped: bool,
    /// So much of the disk was damaged that the process must not start from it.
    pub spoilt: bool,
    /// Replicas whose part of the disk was damaged.
    pub damaged: BTreeSet<ReplicaId>,
    /// The process does not start from what is on the disk; somebody has to give the peer another one.
    pub refused: bool,
}

impl Machine {
    /// A new machine with an empty disk, bound to nothing.
    pub fn fresh(incarnation: Incarnation, clock_ahead_ms: u64, clock_speed: u64) -> Self {
        let disk = FaultyDisk::new();
        let unbound = Identity { incarnation, member: None };
        unbound.store(&disk).expect("an empty disk takes an identity");
        Self {
            incarnation,
            node: None,
            feature_level: NEW_LEVEL,
            disk,
            running: Running::Nothing,
            life: 0,
            paused: false,
            clock_ahead_ms,
            clock_speed,
            disk_us: 2_000,
            lost: false,
            wiped: false,
            spoilt: false,
            damaged: BTreeSet::new(),
            refused: false,
        }
    }

    /// Puts the founding state on the disk.
    pub fn found(&mut self, node: NodeId, meta: &Meta, config: &hcube_log::Config) {
        let unbound = Identity { incarnation: self.incarnation, member: None };
        unbound.store(&self.disk).expect("an empty disk takes an identity");
        let (mut log, _) = Log::open(self.disk.clone(), config.clone()).expect("an empty disk opens");
        log.write(&start::genesis_ops(meta, node)).expect("an empty disk takes the founding");
        log.mark_idle().expect("an empty disk syncs");
        self.bind(meta.cluster, node);
    }

    fn bind(&mut self, cluster: ClusterId, node: NodeId) {
        let member = Some(Membership { cluster, node });
        Identity { incarnation: self.incarnation, member }.store(&self.disk).expect("the disk works");
        self.node = Some(node);
    }

    pub fn process(&self) -> Option<&Process> {
        match &self.running {
            Running::Peer(process) => Some(process),
            _ => None,
        }
    }

    pub fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.running {
            Running::Peer(process) => Some(process),
            _ => None,
        }
    }

    pub fn peer(&self) -> Option<&Peer> {
        self.process().map(|process| &process.peer)
    }

    pub fn is_off(&self) -> bool {
        matches!(self.running, Running::Nothing)
    }

    pub fn is_unbound(&self) -> bool {
        matches!(self.running, Running::Unbound)
    }

    /// Starts the process from whatever the disk holds.
    pub fn start(
        &mut self,
        config: &hcube_broker::Config,
        log_config: &hcube_log::Config,
        now: Now,
        seed: u64,
    ) -> Started {
        assert!(self.is_off(), "two processes on one disk");
        self.life += 1;
        let identity = match Identity::load(&self.disk) {
            Ok(Some(identity)) => identity,
            Ok(None) => return Started::Refused("the disk has no identity".to_owned()),
            Err(error) => return Started::Refused(error.to_string()),
        };
        let Some(member) = identity.member else {
            self.running = Running::Unbound;
            return Started::Unbound;
        };
        self.node = Some(member.node);
        match self.open(member.node, config, log_config, now, seed) {
            Ok((process, recovery)) => {
                self.running = Running::Peer(Box::new(process));
                Started::Peer(Box::new(recovery))
            }
            Err(reason) => Started::Refused(reason),
        }
    }

    fn open(
        &self,
        node: NodeId,
        config: &hcube_broker::Config,
        log_config: &hcube_log::Config,
        now: Now,
        seed: u64,
    ) -> Result<(Process, Recovery), String> {
        let opened = Log::open(self.disk.clone(), log_config.clone());
        let (log, recovery) = opened.map_err(|error| error.to_string())?;
        let reader = log.reader();
        let read = |position| reader.read(position);
        let config = hcube_broker::Config { feature_level: self.feature_level, ..config.clone() };
        let peer =
            Peer::start(config, node, &recovery, read, now, seed).map_err(|error| error.to_string())?;
        storage::clean(&self.disk, &recovery).map_err(|error| error.to_string())?;
        // Batches are small here.
        let storage = Storage::new(self.disk.clone(), log.reader()).keeping_batches_of(1);
        let durable = recovery.groups.iter().map(|(group, found)| (*group, found.hard_state)).collect();
        let process = Process {
            peer,
            log,
            storage,
            queue: VecDeque::new(),
            writing: Vec::new(),
            sync: false,
            told: BTreeSet::new(),
            stuck: false,
            told_full: false,
            unsynced: Vec::new(),
            buried: Vec::new(),
            durable,
            links: BTreeMap::new(),
            ticks: 0,
        };
        Ok((process, recovery))
    }

    /// The process ends. What it wrote stays as the operating system has it.
    pub fn end(&mut self) {
        self.running = Running::Nothing;
        self.life += 1;
        self.paused = false;
    }

    /// Power is lost: the process is gone, and whatever was not synced may be.
    pub fn crash(&mut self, seed: u64) {
        self.end();
        self.disk.crash(seed);
    }
}

impl Process {
    /// A write was handed to the disk.
    pub fn wrote(&mut self, write: Write, positions: Vec<Position>) {
        self.sync |= write.sync;
        self.unsynced.extend(write.ops.iter().filter_map(|op| match op {
            Op::HardState { group, hard_state } => Some((*group, Some(*hard_state))),
            Op::Destroy { group, .. } => Some((*group, None)),
            Op::Append { .. } | Op::Base { .. } => None,
        }));
        self.buried.extend(write.ops.iter().filter_map(|op| match op {
            Op::Destroy { replica, .. } => Some(*replica),
            _ => None,
        }));
        self.writing.push((write, positions));
    }

    /// Everything written is on the disk. Returns the replicas that are gone for good by that.
    pub fn synced(&mut self) -> Vec<ReplicaId> {
        for (group, hard_state) in self.unsynced.drain(..) {
            match hard_state {
                Some(hard_state) => _ = self.durable.insert(group, hard_state),
                None => _ = self.durable.remove(&group),
            }
        }
        std::mem::take(&mut self.buried)
    }

    /// What the node's log thread does beside writing.
    pub fn tend(&mut self, reclaimed: &mut u64) -> Result<(), WriteError> {
        if self.log.stats().reclaimable_segments > 0 {
            match self.log.reclaim() {
                Ok(segments) => *reclaimed += segments as u64,
                Err(WriteError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        if self.log.is_full() {
            // This is how it is found out that there is room again.
            let _still_full = self.log.prepare_segment().map_err(WriteError::Io)?;
        }
        Ok(())
    }
}
