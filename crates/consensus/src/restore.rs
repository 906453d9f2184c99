//! Taking up a replica from what its log was found to hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_core::codec::DecodeError;
use hcube_core::ids::{NodeId, ReplicaId};
use hcube_log::{HardState, RecoveredGroup};

use crate::conf::{ConfChange, Shape};
use crate::entry::{CONF, entry_type};
use crate::group::Start;
use crate::storage::Store;

/// What the owner of a replica has read back from its log.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// The index up to which the owner has applied the entries, all of them known to be committed.
    pub applied: u64,
    /// Index and data of every [`crate::EntryKind::Conf`] among those entries.
    pub confs: Vec<(u64, Bytes)>,
    /// Data of every entry above `applied`, in order.
    pub tail: Vec<Bytes>,
}

/// An entry in the log that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} does not decode: {source}")]
pub struct RestoreError {
    /// Which.
    pub index: u64,
    /// Why.
    pub source: DecodeError,
}

impl Replayed {
    pub(crate) fn start(
        self,
        recovered: &RecoveredGroup,
        nodes: BTreeMap<ReplicaId, NodeId>,
        cache_bytes: usize,
    ) -> Result<Start, RestoreError> {
        let Self { applied, confs, tail } = self;
        let RecoveredGroup { base, entries, hard_state, .. } = recovered;
        let last = base.index + entries.len() as u64;
        assert_eq!(last - tail.len() as u64, applied, "whatever is not applied must be in memory");
        // The commit index is written behind the entries that it speaks of, so it may be behind them only.
        assert!(hard_state.commit <= last, "a commit index stands before its entries");
        for entry in entries {
            entry_type(entry.kind).map_err(|source| RestoreError { index: entry.index, source })?;
        }
        let indexes = |from: u64, to: u64| {
            let within = entries.iter().filter(move |entry| entry.kind == CONF && entry.index > from);
            within.map(|entry| entry.index).take_while(move |index| *index <= to)
        };
        let given = confs.iter().map(|(index, _)| *index);
        assert!(given.eq(indexes(base.index, applied)), "every applied change of configuration is needed");
        let above = |index: u64| (index, tail[(index - applied - 1) as usize].clone());
        let changes = decode(confs)?;
        let pending = decode(indexes(applied, last).map(above))?;
        let commit = hard_state.commit.max(applied).max(sealed(&pending));
        let newest = entries.last().map_or(base.term, |entry| entry.term);
        let hard_state = if newest > hard_state.term {
            // Entries were kept whose term was cut off behind them. No vote of that term was ever sent.
            HardState { term: newest, vote: 0, commit }
        } else {
            HardState { commit, ..*hard_state }
        };
        let store = Store::new(hard_state, base, entries, tail, cache_bytes);
        Ok(Start { store, applied, conf: base.conf.clone(), changes, nodes })
    }
}

fn decode(confs: impl IntoIterator<Item = (u64, Bytes)>) -> Result<Vec<(u64, ConfChange)>, RestoreError> {
    let change = |(index, data): (u64, Bytes)| match ConfChange::decode(&data) {
        Ok(change) => Ok((index, change)),
        Err(source) => Err(RestoreError { index, source }),
    };
    confs.into_iter().map(change).collect()
}

/// The last change of configuration that must have been committed, because a leader proposes one only when it has
/// applied the one before. The commit index that said so may have been cut off behind the later one; without it, a
/// replica could hold an election by a configuration that two later ones have superseded.
fn sealed(pending: &[(u64, ConfChange)]) -> u64 {
    // A forced change tells nothing of those before it.
    let proposed = pending.iter().rposition(|(_, change)| !matches!(change.shape, Shape::Sole(_)));
    proposed.and_then(|at| at.checked_sub(1)).map_or(0, |before| pending[before].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(shape: Shape) -> ConfChange {
        ConfChange { shape, version: 1 }
    }

    #[test]
    fn of_the_changes_in_a_log_only_the_newest_may_be_uncommitted() {
        let (leave, sole) = (change(Shape::Leave), change(Shape::Sole(ReplicaId(1))));
        assert_eq!(sealed(&[]), 0);
        assert_eq!(sealed(&[(4, leave.clone())]), 0);
        assert_eq!(sealed(&[(4, leave.clone()), (9, leave.clone())]), 4);
        assert_eq!(sealed(&[(4, leave.clone()), (9, sole.clone())]), 0);
        assert_eq!(sealed(&[(4, leave.clone()), (9, sole), (11, leave)]), 9);
    }
}
