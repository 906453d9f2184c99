//! Compaction, and the snapshots that take the place of what it dropped.

use hcube_core::ids::ReplicaId;
use hcube_log::{Base, Op};
use raft::eraftpb;
use raft::{ProgressState, SnapshotStatus, StateRole, Storage};

use super::{Group, Turn};
use crate::Restored;
use crate::conf::{self, History};
use crate::storage::SnapshotData;

impl Group {
    /// Moves the base to an applied index; the next write tells the log.
    pub fn compact(&mut self, index: u64, data: SnapshotData) {
        assert!(index <= self.applied, "only applied entries are compacted");
        if index < self.base_index() {
            return;
        }
        let term = self.raw.store().term(index).expect("an applied entry above the base has a term");
        let conf = self.confs.at(index).clone();
        let base = Base {
            index,
            term,
            conf: conf.clone(),
            state: data.state.clone(),
            files: data.files.clone(),
            keep_tail: true,
        };
        self.confs.compact(index);
        self.raw.mut_store().compact(index, term, conf, data);
        self.compaction = Some(base);
    }

    pub(super) fn restore(&mut self, snapshot: &eraftpb::Snapshot, turn: &mut Turn<'_>) {
        let metadata = snapshot.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        let conf = conf::from_raft(metadata.get_conf_state());
        let data = SnapshotData::decode(snapshot.data.clone()).expect("checked before it was stepped");
        let (state, files) = (data.state.clone(), data.files.clone());
        let base = Base { index, term, conf: conf.clone(), state, files, keep_tail: false };
        turn.ops.push(Op::Base { group: self.id, replica: self.replica, base });
        self.compaction = None;
        self.confs = History::new(conf.clone());
        self.raw.mut_store().restore(index, term, conf, data.clone());
        self.applied = index;
        turn.out.restored.push(Restored { group: self.id, index, term, data });
    }

    /// Until a snapshot is durable, `raft` would look for unapplied entries below it if it stood for election.
    fn snapshot_under_way(&self) -> bool {
        self.flights.iter().any(|flight| flight.snapshot.is_some())
    }

    /// Whether `raft` may be led to an election: it trusts that whoever wins one has its log on disk, and a sole
    /// voter wins without waiting for anybody.
    pub(super) fn may_stand(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        let written = log.persisted == log.last_index();
        let alone = self.raw.raft.promotable() && self.raw.raft.prs().is_singleton();
        !self.snapshot_under_way() && (written || !alone)
    }

    /// A snapshot message may be lost, and `raft` waits for its report for ever.
    pub(super) fn fail_stuck_snapshots(&mut self, limit: u64) {
        let now = self.ticks;
        let waiting: Vec<u64> = match self.raw.raft.state {
            StateRole::Leader => {
                let progress = self.raw.raft.prs().iter();
                progress.filter(|(_, p)| p.state == ProgressState::Snapshot).map(|(id, _)| *id).collect()
            }
            _ => Vec::new(),
        };
        self.snapshot_since.retain(|id, _| waiting.contains(id));
        for id in waiting {
            if now - *self.snapshot_since.entry(id).or_insert(now) >= limit {
                self.snapshot_since.remove(&id);
                self.raw.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }

    /// The receiver of a snapshot is still fetching its files.
    pub fn snapshot_progress(&mut self, replica: ReplicaId) {
        if let Some(since) = self.snapshot_since.get_mut(&replica.0) {
            *since = self.ticks;
        }
    }
}
