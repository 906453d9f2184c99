//! A log in plain memory, against which the real one is compared.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::disk::faulty::{Choices, FaultyDisk};
use hcube_log::{Base, Config, Entry, HardState, Log, Op, Recovery};

/// Small segments, so that a few batches fill several.
pub const SMALL: Config = Config { segment_bytes: 4096, sealed_segments_target: 2 };

/// What one replica should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub replica: ReplicaId,
    pub hard_state: HardState,
    pub base: Base,
    pub entries: Vec<Entry>,
}

/// What a log should hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub groups: BTreeMap<GroupId, Group>,
    pub tombstones: BTreeSet<(GroupId, ReplicaId)>,
}

/// A state with every state that a crash may leave instead: those after each frame since the last sync.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub now: State,
    pub possible: Vec<State>,
}

impl State {
    /// What a recovery holds, with the entries' data read from the disk.
    pub fn of(log: &Log<FaultyDisk>, recovery: &Recovery) -> Self {
        let reader = log.reader();
        let groups = recovery.groups.iter().map(|(id, group)| {
            let entry = |entry: &hcube_log::RecoveredEntry| Entry {
                index: entry.index,
                term: entry.term,
                kind: entry.kind,
                data: reader.read(entry.position).unwrap(),
            };
            let entries = group.entries.iter().map(entry).collect();
            let (replica, hard_state, base) = (group.replica, group.hard_state, group.base.clone());
            (*id, Group { replica, hard_state, base, entries })
        });
        Self { groups: groups.collect(), tombstones: recovery.tombstones.clone() }
    }

    fn apply_entry(&mut self, id: GroupId, entry: &Entry) {
        let group = self.groups.get_mut(&id).unwrap();
        group.entries.retain(|old| old.index < entry.index);
        group.entries.push(entry.clone());
    }

    /// Applies anything but entries.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { .. } => unreachable!("entries are applied one by one"),
            Op::HardState { group, hard_state } => {
                self.groups.get_mut(group).unwrap().hard_state = *hard_state;
            }
            Op::Base { group, replica, base } => {
                let old = self.groups.remove(group);
                let (hard_state, mut entries) =
                    old.map(|old| (old.hard_state, old.entries)).unwrap_or_default();
                entries.retain(|entry| base.keep_tail && entry.index > base.index);
                let base = Base { keep_tail: true, ..base.clone() };
                self.groups.insert(*group, Group { replica: *replica, hard_state, base, entries });
            }
            Op::Destroy { group, replica } => {
                self.tombstones.insert((*group, *replica));
                if self.groups.get(group).is_some_and(|held| held.replica == *replica) {
                    self.groups.remove(group);
                }
            }
        }
    }
}

impl Model {
    pub fn write(&mut self, ops: &[Op]) {
        for op in ops {
            if let Op::Append { group, entries } = op {
                for entry in entries {
                    self.possible.push(self.now.clone());
                    self.now.apply_entry(*group, entry);
                }
            } else {
                self.possible.push(self.now.clone());
                self.now.apply(op);
            }
        }
    }

    pub fn sync(&mut self) {
        self.possible.clear();
    }

    /// Asserts that the recovered state is one that may be, and goes on from it.
    pub fn recover(&mut self, recovered: State, context: &str) {
        assert!(
            recovered == self.now || self.possible.contains(&recovered),
            "{context}: recovered {recovered:#?}\nwhich is none of {} states up to {:#?}",
            self.possible.len(),
            self.now
        );
        *self = Self { now: recovered, possible: Vec::new() };
    }
}

/// Opens the log and asserts that nothing is damaged.
pub fn open(disk: &FaultyDisk) -> (Log<FaultyDisk>, State) {
    let (log, recovery) = Log::open(disk.clone(), SMALL).unwrap();
    assert_eq!(recovery.damage, None);
    let state = State::of(&log, &recovery);
    (log, state)
}

/// Files that were segments and wait to become some.
pub fn retired(disk: &FaultyDisk) -> usize {
    disk.files().iter().filter(|(path, _)| path.ends_with("-retired.tmp")).count()
}

pub fn base(index: u64, state: &[u8], keep_tail: bool) -> Base {
    let conf = ConfState::simple(vec![ReplicaId(1), ReplicaId(2), ReplicaId(index + 3)], vec![]);
    Base { index, term: index / 3, conf, state: Bytes::copy_from_slice(state), files: vec![], keep_tail }
}

pub fn create(group: u32, replica: u64) -> Op {
    Op::Base { group: GroupId(group), replica: ReplicaId(replica), base: base(0, b"born", false) }
}

pub fn append(group: u32, indices: std::ops::RangeInclusive<u64>, bytes: usize) -> Op {
    let entry = |index: u64| Entry {
        index,
        term: index / 2,
        kind: (index % 5) as u8,
        data: vec![(index % 251) as u8 ^ group as u8; bytes].into(),
    };
    Op::Append { group: GroupId(group), entries: indices.map(entry).collect() }
}

pub fn vote(group: u32, term: u64, vote: u64) -> Op {
    Op::HardState { group: GroupId(group), hard_state: HardState { term, vote, commit: term } }
}

pub fn compact(group: u32, replica: u64, index: u64) -> Op {
    Op::Base { group: GroupId(group), replica: ReplicaId(replica), base: base(index, b"compacted", true) }
}

/// A random op that the log must accept in this state.
pub fn random_op(state: &State, choices: &mut Choices) -> Vec<Op> {
    let group = 1 + choices.below(4) as u32;
    let id = GroupId(group);
    let Some(held) = state.groups.get(&id) else {
        let born = state.tombstones.iter().filter(|(dead, _)| *dead == id).count() as u64;
        return vec![create(group, 10 + born)];
    };
    let last = held.entries.last().map_or(held.base.index, |entry| entry.index);
    let replica = held.replica.0;
    match choices.below(20) {
        0 => vec![Op::Destroy { group: id, replica: held.replica }],
        1 => {
            let snapshot = base(last + choices.below(5), &[3; 200], false);
            vec![Op::Base { group: id, replica: held.replica, base: snapshot }]
        }
        2..=4 => vec![compact(group, replica, held.base.index + choices.below(last - held.base.index + 1))],
        5..=8 => vec![vote(group, choices.below(100), choices.below(3))],
        9 => {
            let first = held.base.index + 1 + choices.below(last - held.base.index + 1);
            vec![append(group, first..=first + choices.below(3), choices.below(600) as usize)]
        }
        _ => {
            let entries = append(group, last + 1..=last + 1 + choices.below(4), choices.below(600) as usize);
            vec![vote(group, choices.below(100), 1), entries]
        }
    }
}
