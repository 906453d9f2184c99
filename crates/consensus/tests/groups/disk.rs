//! A disk that keeps one group the way the log does, and checks what the log would check.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hcube_consensus::EntryKind;
use hcube_core::ids::ReplicaId;
use hcube_log::{Base, Entry, HardState, Op, Position, RecoveredEntry, RecoveredGroup};

use super::world::{Applied, decode_state};

/// What one node has on its disk.
#[derive(Debug, Default)]
pub struct Disk {
    pub held: Option<Held>,
    pub tombstones: BTreeSet<ReplicaId>,
    /// Data by segment number: each entry has one to itself.
    blobs: BTreeMap<u64, Bytes>,
}

/// A replica on the disk.
#[derive(Debug, Clone)]
pub struct Held {
    pub replica: ReplicaId,
    pub base: Base,
    pub hard_state: HardState,
    pub entries: Vec<(Entry, Position)>,
}

impl Held {
    fn last(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    fn truncate(&mut self, first: u64) {
        assert!(first > self.base.index && first <= self.last() + 1, "entries are dense above the base");
        self.entries.truncate(usize::try_from(first - self.base.index - 1).unwrap());
    }
}

impl Disk {
    /// Carries out an op, of an append only the first `entries_max` entries. Returns the positions.
    pub fn write(&mut self, op: &Op, entries_max: usize) -> Vec<Position> {
        match op {
            Op::Append { entries, .. } => {
                let mut positions = Vec::new();
                for entry in entries.iter().take(entries_max) {
                    let segment = self.blobs.len() as u64 + 1;
                    let length = u32::try_from(entry.data.len()).unwrap();
                    let position = Position { segment, offset: 0, length };
                    self.blobs.insert(segment, entry.data.clone());
                    let held = self.held.as_mut().expect("only a replica appends");
                    held.truncate(entry.index);
                    held.entries.push((entry.clone(), position));
                    positions.push(position);
                }
                return positions;
            }
            Op::HardState { hard_state, .. } => {
                let held = self.held.as_mut().expect("only a replica has a hard state");
                assert!(hard_state.term >= held.hard_state.term, "terms rise");
                held.hard_state = *hard_state;
            }
            Op::Base { replica, base, .. } => self.write_base(*replica, base),
            Op::Destroy { replica, .. } => {
                self.tombstones.insert(*replica);
                self.held.take_if(|held| held.replica == *replica);
            }
        }
        Vec::new()
    }

    fn write_base(&mut self, replica: ReplicaId, base: &Base) {
        assert!(!self.tombstones.contains(&replica), "a destroyed replica never comes back");
        let (base, keep) = (Base { keep_tail: true, ..base.clone() }, base.keep_tail);
        let new = Held { replica, base: base.clone(), hard_state: HardState::default(), entries: Vec::new() };
        let held = self.held.get_or_insert(new);
        assert_eq!(held.replica, replica, "the other replica is destroyed first");
        assert!(base.index >= held.base.index, "a base never moves back");
        held.entries.retain(|(entry, _)| keep && entry.index > base.index);
        held.base = base;
    }

    pub fn read(&self, position: Position) -> Bytes {
        self.blobs[&position.segment].clone()
    }

    /// What a scan finds of the replica.
    pub fn recover(&self) -> Option<RecoveredGroup> {
        let held = self.held.as_ref()?;
        let entry = |(entry, position): &(Entry, Position)| RecoveredEntry {
            index: entry.index,
            term: entry.term,
            kind: entry.kind,
            position: *position,
        };
        Some(RecoveredGroup {
            replica: held.replica,
            hard_state: held.hard_state,
            base: held.base.clone(),
            entries: held.entries.iter().map(entry).collect(),
        })
    }

    /// The state machine with everything known to be committed.
    pub fn replay(&self) -> Vec<Applied> {
        let Some(held) = &self.held else { return Vec::new() };
        let mut state = decode_state(held.base.state.clone());
        for (entry, _) in &held.entries {
            if entry.index <= held.hard_state.commit {
                let kind = EntryKind::of(entry.kind, &entry.data).unwrap();
                let (index, term, data) = (entry.index, entry.term, entry.data.clone());
                state.push(Applied { index, term, conf: kind != EntryKind::Normal, data });
            }
        }
        state
    }
}
