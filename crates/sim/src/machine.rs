//! One simulated machine: a disk that can forget, a log, and the peer that runs on it while it is up.

use std::collections::VecDeque;

use bytes::Bytes;
use hcube_broker::command::batch_of;
use hcube_broker::slot::Slot;
use hcube_broker::storage::Storage;
use hcube_broker::{Now, PartitionId, Peer, start};
use hcube_consensus::Write;
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::Meta;
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::{Log, Position, Recovery};

/// What runs on a machine that is up.
pub(crate) struct Process {
    pub peer: Peer,
    pub log: Log<FaultyDisk>,
    pub storage: Storage<FaultyDisk>,
    /// Writes that wait for the disk.
    pub queue: VecDeque<Write>,
    /// Writes handed to the disk, not synced yet, with the positions of their entries.
    pub writing: Vec<(u64, Vec<Position>)>,
    pub sync: bool,
    /// Whether the first write of the queue did not fit on the disk.
    pub stuck: bool,
    /// Whether the peer was told that the disk is full.
    pub told_full: bool,
}

/// A machine.
pub(crate) struct Machine {
    pub node: NodeId,
    pub disk: FaultyDisk,
    pub process: Option<Process>,
    /// Rises with every start, so that what was begun before is recognised.
    pub life: u64,
    /// A paused machine neither ticks nor receives.
    pub paused: bool,
    /// Added to the time to make this machine's wall clock.
    pub clock_skew_ms: u64,
    /// How long its disk takes at most, in microseconds.
    pub disk_us: u64,
}

impl Machine {
    /// A founder with its founding state on disk.
    pub fn found(node: NodeId, meta: &Meta, config: &hcube_log::Config, clock_skew_ms: u64) -> Self {
        let disk = FaultyDisk::new();
        let (mut log, _) = Log::open(disk.clone(), config.clone()).expect("an empty disk opens");
        log.write(&start::genesis_ops(meta, node)).expect("an empty disk takes the founding");
        log.sync().expect("an empty disk syncs");
        drop(log);
        Self { node, disk, process: None, life: 0, paused: false, clock_skew_ms, disk_us: 2_000 }
    }

    /// Starts the process from whatever the disk holds. Returns what its log was found to hold.
    pub fn start(
        &mut self,
        config: &hcube_broker::Config,
        log_config: &hcube_log::Config,
        now: Now,
        seed: u64,
    ) -> Recovery {
        assert!(self.process.is_none(), "two processes on one disk");
        let (log, recovery) = Log::open(self.disk.clone(), log_config.clone()).expect("the log opens");
        let reader = log.reader();
        let read = |position| reader.read(position);
        let peer = Peer::start(config.clone(), self.node, &recovery, read, now, seed)
            .unwrap_or_else(|error| panic!("node {} does not start: {error}", self.node));
        let storage = Storage::new(self.disk.clone(), log.reader());
        self.life += 1;
        let (queue, writing) = (VecDeque::new(), Vec::new());
        self.process =
            Some(Process { peer, log, storage, queue, writing, sync: false, stuck: false, told_full: false });
        recovery
    }

    /// Whether a batch would survive if the power failed now: invariant 1 asks it of a majority.
    pub fn holds_durably(
        &self,
        log_config: &hcube_log::Config,
        group: GroupId,
        partition: PartitionId,
        base_offset: u64,
        batch: &Bytes,
    ) -> bool {
        let opened = Log::open(self.disk.durable_fork(), log_config.clone());
        let (log, recovery) = opened.expect("the durable part of a log opens");
        let Some(recovered) = recovery.groups.get(&group) else { return false };
        let base = Slot::decode(&recovered.base.state).expect("a base's state decodes");
        let compacted = base.partition(partition).is_some_and(|state| state.next_offset() > base_offset);
        let reader = log.reader();
        compacted
            || recovered.entries.iter().any(|entry| {
                let data = reader.read(entry.position).expect("what was recovered can be read");
                batch_of(&data).as_ref() == Some(batch)
            })
    }

    /// Power is lost: the process is gone, and whatever was not synced may be.
    pub fn crash(&mut self, seed: u64) {
        self.process = None;
        self.life += 1;
        self.disk.crash(seed);
    }
}
