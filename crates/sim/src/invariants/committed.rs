//! Committed entries never change: at one index of a group, every replica that knows it to be committed has the same
//! entry, for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hcube_broker::command::batch_of;
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::{Op, RecoveredGroup, Recovery};

use super::hold;
use crate::machine::Machine;

const NAME: &str = "committed entries never change";
/// [`hcube_log::Entry::kind`] of a change of the group's configuration.
const CONF: u8 = 1;

/// What identifies an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    term: u64,
    kind: u8,
    hash: u64,
    /// The batch inside, if it is a publish.
    batch: Option<u64>,
}

impl Mark {
    fn of(term: u64, kind: u8, data: &Bytes) -> Self {
        let batch = if kind == CONF { None } else { batch_of(data).map(|batch| hash(&batch)) };
        Self { term, kind, hash: hash(data), batch }
    }
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    (u64::from(crc32c::crc32c(bytes)) << 32) | bytes.len() as u64
}

/// A replica's log as its peer has it, written or not.
struct Shadow {
    replica: ReplicaId,
    base: u64,
    entries: VecDeque<Mark>,
    commit: u64,
}

/// The entries of one group that are committed.
#[derive(Default)]
struct Agreed {
    entries: BTreeMap<u64, Mark>,
    confs: BTreeSet<u64>,
    batches: BTreeMap<u64, u64>,
}

/// All that is known to be committed, and every log that is written now.
#[derive(Default)]
pub(crate) struct Committed {
    groups: BTreeMap<GroupId, Agreed>,
    shadows: BTreeMap<(usize, GroupId), Shadow>,
}

impl Committed {
    pub fn started(&mut self, at: usize, machine: &Machine, recovery: &Recovery) {
        self.ended(at);
        let Some(process) = machine.process() else { return };
        let reader = process.log.reader();
        for (group, found) in &recovery.groups {
            if recovery.damage.as_ref().is_some_and(|damage| damage.concerns(*group)) {
                continue;
            }
            let RecoveredGroup { replica, base, entries, hard_state } = found;
            let mark = |entry: &hcube_log::RecoveredEntry| {
                let data = reader.read(entry.position).expect("what was recovered can be read");
                Mark::of(entry.term, entry.kind, &data)
            };
            let entries = entries.iter().map(mark).collect();
            let shadow = Shadow { replica: *replica, base: base.index, entries, commit: base.index };
            self.shadows.insert((at, *group), shadow);
            self.knows(at, *group, hard_state.commit);
        }
    }

    pub fn ended(&mut self, at: usize) {
        self.shadows.retain(|(machine, _), _| *machine != at);
    }

    pub fn writes(&mut self, at: usize, op: &Op) {
        let group = op.group();
        match op {
            Op::Append { entries, .. } => {
                let Some(shadow) = self.shadows.get_mut(&(at, group)) else { return };
                let Some(first) = entries.first().map(|entry| entry.index) else { return };
                let keep = usize::try_from(first - shadow.base - 1).expect("logs are short");
                let marks = entries.iter().map(|entry| Mark::of(entry.term, entry.kind, &entry.data));
                let marks: Vec<Mark> = marks.collect();
                let below = (first..=shadow.commit).zip(&marks).zip(shadow.entries.iter().skip(keep));
                for ((index, new), old) in below {
                    let replica = shadow.replica;
                    hold!(NAME, new == old, "replica {replica} of group {group} changes its entry {index}");
                }
                let end = first + marks.len() as u64;
                hold!(
                    NAME,
                    end > shadow.commit,
                    "replica {} of group {group} cuts its log to {end}, committed up to {}",
                    shadow.replica,
                    shadow.commit
                );
                shadow.entries.truncate(keep);
                shadow.entries.extend(marks);
            }
            Op::HardState { hard_state, .. } => self.knows(at, group, hard_state.commit),
            Op::Base { replica, base, .. } => {
                let fresh = || Shadow { replica: *replica, base: 0, entries: VecDeque::new(), commit: 0 };
                let shadow = self.shadows.entry((at, group)).or_insert_with(fresh);
                if shadow.replica != *replica {
                    *shadow = fresh();
                }
                let gone = usize::try_from(base.index.saturating_sub(shadow.base)).expect("logs are short");
                let gone = if base.keep_tail { gone.min(shadow.entries.len()) } else { shadow.entries.len() };
                shadow.entries.drain(..gone);
                shadow.base = base.index;
                shadow.commit = shadow.commit.max(base.index);
            }
            Op::Destroy { .. } => _ = self.shadows.remove(&(at, group)),
        }
    }

    /// A replica knows its entries to be committed up to an index.
    pub fn knows(&mut self, at: usize, group: GroupId, commit: u64) {
        let Some(shadow) = self.shadows.get_mut(&(at, group)) else { return };
        if commit <= shadow.commit {
            return;
        }
        let agreed = self.groups.entry(group).or_default();
        for index in shadow.commit.max(shadow.base) + 1..=commit {
            let at = usize::try_from(index - shadow.base - 1).expect("logs are short");
            let Some(mark) = shadow.entries.get(at).copied() else {
                super::violated(
                    NAME,
                    &format!("replica {} of group {group} commits {index}, which it lacks", shadow.replica),
                );
            };
            let first = *agreed.entries.entry(index).or_insert(mark);
            hold!(
                NAME,
                first == mark,
                "entry {index} of group {group} is {mark:?} for replica {} and was {first:?}",
                shadow.replica
            );
            if mark.kind == CONF {
                agreed.confs.insert(index);
            }
            if let Some(batch) = mark.batch {
                agreed.batches.entry(batch).or_insert(index);
            }
        }
        shadow.commit = shadow.commit.max(commit);
    }

    /// The index of a batch that is committed.
    pub fn index_of(&self, group: GroupId, batch: &Bytes) -> Option<u64> {
        self.groups.get(&group)?.batches.get(&hash(batch)).copied()
    }

    /// The last entry of a group that any replica knows to be committed.
    pub fn last(&self, group: GroupId) -> u64 {
        let last = self.groups.get(&group).and_then(|agreed| agreed.entries.last_key_value());
        last.map(|(index, _)| *index).unwrap_or_default()
    }

    /// The last change of a group's configuration up to an index; 0 for the one that it began with.
    pub fn conf_index(&self, group: GroupId, index: u64) -> u64 {
        let confs = self.groups.get(&group).map(|agreed| &agreed.confs);
        confs.and_then(|confs| confs.range(..=index).next_back()).copied().unwrap_or_default()
    }
}
