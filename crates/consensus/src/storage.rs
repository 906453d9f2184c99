//! What the crate `raft` reads of one replica's log: the tail in memory, and where the rest lies on disk.

mod snapshot;

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;
use hcube_log::{Base, Entry, HardState, Position, RecoveredEntry};
use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

pub use snapshot::SnapshotData;

use crate::conf;
use crate::entry::entry_type;

/// A request for entries that only the log holds.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// First index.
    pub low: u64,
    /// Where the entries lie.
    pub positions: Vec<Position>,
    /// What `raft` wants back with them.
    pub context: GetEntriesContext,
}

/// An entry whose data may have left memory.
#[derive(Debug, Clone, Copy)]
struct Known {
    term: u64,
    /// As the log knows it; checked when the entry came in.
    kind: u8,
    /// Where the data lies, once written.
    position: Option<Position>,
    bytes: u32,
}

/// One replica's log as `raft` sees it. Entries are readable from the moment they are handed to the log
/// thread, long before they are durable.
#[derive(Debug)]
pub(crate) struct Store {
    hard_state: HardState,
    /// The configuration at the base.
    conf: ConfState,
    /// The configuration that `raft` begins with.
    initial: ConfState,
    base_index: u64,
    base_term: u64,
    snapshot: SnapshotData,
    /// Entries from `base_index + 1` on, without gaps.
    known: VecDeque<Known>,
    /// Data of the last entries, up to the newest.
    cache: VecDeque<Bytes>,
    cached_bytes: usize,
    cache_limit: usize,
    /// Data read back from the log for a follower: first index and entries.
    fetched: Option<(u64, Vec<Bytes>)>,
    wanted: RefCell<Vec<Wanted>>,
}

impl Store {
    /// A log as recovered; `tail` holds the data of its last entries.
    pub fn new(
        hard_state: HardState,
        base: &Base,
        entries: &[RecoveredEntry],
        tail: Vec<Bytes>,
        cache_limit: usize,
    ) -> Self {
        let known = |entry: &RecoveredEntry| Known {
            term: entry.term,
            kind: entry.kind,
            position: Some(entry.position),
            bytes: entry.position.length,
        };
        let known: VecDeque<_> = entries.iter().map(known).collect();
        assert!(tail.len() <= known.len(), "more data than entries");
        Self {
            hard_state,
            conf: base.conf.clone(),
            initial: base.conf.clone(),
            base_index: base.index,
            base_term: base.term,
            snapshot: SnapshotData { state: base.state.clone(), files: base.files.clone() },
            known,
            cached_bytes: tail.iter().map(Bytes::len).sum(),
            cache: tail.into(),
            cache_limit,
            fetched: None,
            wanted: RefCell::default(),
        }
    }

    /// A log that nobody has written to.
    pub fn empty() -> Self {
        Self::new(HardState::default(), &Base::default(), &[], Vec::new(), 0)
    }

    pub fn last(&self) -> u64 {
        self.base_index + self.known.len() as u64
    }

    pub fn base_index(&self) -> u64 {
        self.base_index
    }

    /// Sets what `raft` is to begin with when it is made anew over this log.
    pub fn set_initial(&mut self, conf: ConfState) {
        self.initial = conf;
    }

    /// Term, vote and commit index as they were set last.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Returns whether it brings a new term or vote.
    pub fn set_hard_state(&mut self, new: HardState) -> bool {
        let old = std::mem::replace(&mut self.hard_state, new);
        (old.term, old.vote) != (new.term, new.vote)
    }

    /// Adds entries, replacing any at or beyond the first one's index.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first().map(|entry| entry.index) else { return };
        assert!(first > self.base_index && first <= self.last() + 1, "entries must continue the log");
        let keep = usize::try_from(first - self.base_index - 1).expect("the log's tail fits in memory");
        let drop = self.known.len() - keep;
        self.known.truncate(keep);
        for _ in 0..drop {
            if let Some(data) = self.cache.pop_back() {
                self.cached_bytes -= data.len();
            }
        }
        for Entry { term, kind, data, .. } in entries {
            let bytes = u32::try_from(data.len()).expect("entries are limited far below 4 GiB");
            self.known.push_back(Known { term: *term, kind: *kind, position: None, bytes });
            self.cached_bytes += data.len();
            self.cache.push_back(data.clone());
        }
        self.fetched = None;
    }

    /// Notes where an entry was written, unless it was replaced meanwhile.
    pub fn written(&mut self, index: u64, term: u64, position: Position) {
        if let Some(known) = self.slot(index).filter(|known| known.term == term) {
            known.position = Some(position);
        }
    }

    /// Where an entry lies in the log; none before it is written.
    pub fn position(&self, index: u64) -> Option<Position> {
        self.known.get(self.place(index)?)?.position
    }

    /// Where an entry lies, and its data while that is in memory.
    pub fn locate(&self, index: u64) -> Option<Located> {
        let known = self.known.get(self.place(index)?)?;
        let data = self.cached(index).cloned();
        match (data, known.position) {
            (Some(data), _) => Some(Located::Memory(data)),
            (None, Some(position)) => Some(Located::Disk(position)),
            (None, None) => unreachable!("an entry without a position stays in memory"),
        }
    }

    /// Forgets the data of applied, written entries beyond the limit.
    pub fn trim(&mut self, applied: u64) {
        while self.cached_bytes > self.cache_limit {
            let oldest = self.last() + 1 - self.cache.len() as u64;
            let written = self.slot(oldest).is_some_and(|known| known.position.is_some());
            if oldest > applied || !written {
                break;
            }
            if let Some(data) = self.cache.pop_front() {
                self.cached_bytes -= data.len();
            }
        }
    }

    /// Moves the base forward over applied entries; the entries behind it stay.
    pub fn compact(&mut self, index: u64, term: u64, conf: ConfState, snapshot: SnapshotData) {
        assert!(index >= self.base_index && index <= self.last(), "only what is in the log is compacted");
        let gone = usize::try_from(index - self.base_index).expect("the log's tail fits in memory");
        self.known.drain(..gone);
        while self.cache.len() > self.known.len() {
            if let Some(data) = self.cache.pop_front() {
                self.cached_bytes -= data.len();
            }
        }
        (self.base_index, self.base_term, self.conf, self.snapshot) = (index, term, conf, snapshot);
    }

    /// Replaces everything by a snapshot.
    pub fn restore(&mut self, index: u64, term: u64, conf: ConfState, snapshot: SnapshotData) {
        (self.base_index, self.base_term, self.conf, self.snapshot) = (index, term, conf, snapshot);
        self.known.clear();
        self.cache.clear();
        self.cached_bytes = 0;
        self.fetched = None;
    }

    pub fn set_fetched(&mut self, fetched: Option<(u64, Vec<Bytes>)>) {
        self.fetched = fetched;
    }

    pub fn take_wanted(&self) -> Vec<Wanted> {
        self.wanted.take()
    }

    fn slot(&mut self, index: u64) -> Option<&mut Known> {
        let place = self.place(index)?;
        self.known.get_mut(place)
    }

    /// Where an entry stands in `known`, if it is beyond the base.
    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base_index + 1)?).ok()
    }

    fn cached(&self, index: u64) -> Option<&Bytes> {
        let first = self.last() + 1 - self.cache.len() as u64;
        self.cache.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn data(&self, index: u64) -> Option<&Bytes> {
        self.cached(index).or_else(|| {
            let (first, entries) = self.fetched.as_ref()?;
            entries.get(usize::try_from(index.checked_sub(*first)?).ok()?)
        })
    }

    fn known_at(&self, index: u64) -> Option<&Known> {
        self.known.get(usize::try_from(index.checked_sub(self.base_index + 1)?).ok()?)
    }

    /// The longest run from `low` that stays below `high` and `max_bytes`, at least one entry.
    fn within(&self, low: u64, high: u64, max_bytes: u64) -> u64 {
        let mut bytes = 0;
        let fits = |index: &u64| {
            bytes += self.known_at(*index).map_or(0, |known| u64::from(known.bytes) + 32);
            *index == low || bytes <= max_bytes
        };
        (low..high).take_while(fits).last().map_or(low, |last| last + 1)
    }
}

/// Where an entry's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// Here.
    Memory(Bytes),
    /// In the log.
    Disk(Position),
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let hard_state = eraftpb::HardState {
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            commit: self.hard_state.commit,
            ..Default::default()
        };
        Ok(RaftState::new(hard_state, conf::to_raft(&self.initial)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.base_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "raft asked for entries beyond the log");
        let high = self.within(low, high, max_size.into().unwrap_or(u64::MAX));
        let here: Vec<_> = (low..high).map_while(|index| self.entry(index)).collect();
        if !here.is_empty() || low == high {
            return Ok(here);
        }
        assert!(context.can_async(), "entries that are not applied stay in memory");
        let positions = (low..high).map_while(|index| self.known_at(index)?.position).collect();
        self.wanted.borrow_mut().push(Wanted { low, positions, context });
        Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base_index {
            return Ok(self.base_term);
        }
        if index < self.base_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let known = self.known_at(index).ok_or(raft::Error::Store(StorageError::Unavailable))?;
        Ok(known.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base_index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        if self.base_index == 0 || self.base_index < request_index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = eraftpb::Snapshot::default();
        snapshot.set_data(self.snapshot.encode());
        let metadata = snapshot.mut_metadata();
        metadata.index = self.base_index;
        metadata.term = self.base_term;
        metadata.set_conf_state(conf::to_raft(&self.conf));
        if !self.conf.contains(ReplicaId(to)) {
            // `raft` refuses a snapshot that does not name its receiver. The entry that adds it lies above the
            // base, and adding a learner once more changes nothing.
            metadata.mut_conf_state().learners.push(to);
        }
        Ok(snapshot)
    }
}

impl Store {
    fn entry(&self, index: u64) -> Option<eraftpb::Entry> {
        let Known { term, kind, .. } = *self.known_at(index)?;
        let entry_type = entry_type(kind).expect("checked when the entry came in");
        Some(eraftpb::Entry {
            index,
            term,
            entry_type,
            data: self.data(index)?.clone(),
            ..Default::default()
        })
    }
}
