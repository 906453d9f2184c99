//! What the log remembers of a group while it runs: enough to check writes and to know which segments it pins.

use hcube_core::ids::ReplicaId;

use crate::ops::{HardState, Position};

/// One replica of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its id.
    pub(crate) replica: ReplicaId,
    /// Index of its base.
    pub(crate) base_index: u64,
    /// Term of its base.
    pub(crate) base_term: u64,
    /// The payload of the latest base frame.
    pub(crate) base: Position,
    /// The latest hard state and the segment with its frame.
    pub(crate) hard_state: Option<(HardState, u64)>,
    /// Which segments hold the entries above the base; in order and dense.
    pub(crate) runs: Vec<Run>,
}

/// Consecutive entries in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// First index.
    pub(crate) first: u64,
    /// Last index.
    pub(crate) last: u64,
}

impl Group {
    /// The index of the last entry, or of the base when there is none.
    pub(crate) fn last(&self) -> u64 {
        self.runs.last().map_or(self.base_index, |run| run.last)
    }

    /// The oldest segment that holds an entry above the base.
    pub(crate) fn oldest_needed(&self) -> Option<u64> {
        self.runs.iter().map(|run| run.segment).min()
    }

    /// Drops the entries at and beyond an index.
    pub(crate) fn truncate(&mut self, first: u64) {
        self.runs.retain(|run| run.first < first);
        if let Some(run) = self.runs.last_mut() {
            run.last = run.last.min(first - 1);
        }
    }

    /// Adds the next entry.
    pub(crate) fn push(&mut self, index: u64, segment: u64) {
        match self.runs.last_mut() {
            Some(run) if run.segment == segment => run.last = index,
            _ => self.runs.push(Run { segment, first: index, last: index }),
        }
    }

    /// Drops the entries at and below an index.
    pub(crate) fn compact(&mut self, index: u64) {
        self.runs.retain(|run| run.last > index);
        if let Some(run) = self.runs.first_mut() {
            run.first = run.first.max(index.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_appends_truncations_and_compactions() {
        let base = Position { segment: 1, offset: 64, length: 0 };
        let (replica, hard_state, runs) = (ReplicaId(1), None, Vec::new());
        let mut group = Group { replica, base_index: 3, base_term: 1, base, hard_state, runs };
        assert_eq!((group.last(), group.oldest_needed()), (3, None));
        for (index, segment) in [(4, 1), (5, 1), (6, 2), (7, 3)] {
            group.push(index, segment);
        }
        group.truncate(6);
        assert_eq!((group.last(), group.runs.len()), (5, 1));
        group.push(6, 4);
        group.truncate(5);
        group.push(5, 4);
        assert_eq!(
            group.runs,
            [Run { segment: 1, first: 4, last: 4 }, Run { segment: 4, first: 5, last: 5 }]
        );
        group.compact(4);
        assert_eq!(group.oldest_needed(), Some(4));
        group.compact(5);
        assert_eq!(group.oldest_needed(), None);
    }
}
