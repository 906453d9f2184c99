//! The last resort after the loss of a majority: one replica goes on alone.

use bytes::Bytes;
use hcube_log::{Entry, HardState, Op};

use super::commits::Commits;
use super::start::raw_node;
use super::{Flight, Group, Turn};
use crate::conf::{ConfChange, Shape};
use crate::entry::{CONF, NORMAL};
use crate::storage::Store;
use crate::{Config, ProposeError};

/// What makes a replica the sole voter.
pub(crate) struct Forced {
    /// Of the change of the configuration, for the caller.
    pub version: u64,
    /// An entry that follows it, and is committed with it.
    pub entry: Option<Bytes>,
}

impl Group {
    pub fn force_sole(&mut self, forced: Forced) -> Result<(), ProposeError> {
        // A replica that was never part of the group knows nothing of its state.
        if !self.conf().contains(self.replica) {
            return Err(ProposeError::Invalid);
        }
        if self.forcing.is_some() || self.being_forced() {
            return Err(ProposeError::Dropped);
        }
        self.forcing = Some(forced);
        Ok(())
    }

    /// Whether the write that makes this replica the sole voter is under way.
    pub(super) fn being_forced(&self) -> bool {
        self.flights.iter().any(|flight| flight.forces)
    }

    /// Declares everything in the log committed, and behind it the entry that leaves this replica alone in the
    /// configuration, as if a majority had agreed in a term of its own. The entry is one like any other: it
    /// outlasts restarts and compactions, and replicas that are added later find it in its place.
    ///
    /// The state that is committed stands last in the write: either all of this is durable, or nothing has happened.
    pub(super) fn force(&mut self, forced: Forced, turn: &mut Turn<'_>, config: &Config) {
        let term = self.raw.raft.term + 1;
        let first = self.raw.store().last() + 1;
        let data = ConfChange { shape: Shape::Sole(self.replica), version: forced.version }.encode();
        let behind = forced.entry.into_iter().map(|data| (NORMAL, data));
        let all = std::iter::once((CONF, data)).chain(behind);
        let entries: Vec<Entry> =
            (first..).zip(all).map(|(index, (kind, data))| Entry { index, term, kind, data }).collect();
        let index = first - 1 + entries.len() as u64;
        let hard_state = HardState { term, vote: self.replica.0, commit: index };
        let mut store = std::mem::replace(self.raw.mut_store(), Store::empty());
        store.append(&entries);
        store.set_hard_state(hard_state);
        store.set_initial(self.conf().clone());
        self.raw = raw_node(self.id, self.replica, store, self.applied, config);
        self.drawn_for = None;
        self.snapshot_since.clear();
        self.fetching.clear();
        // Writes that are still under way end before this one, until which the new state machine hands out nothing
        // that it could take them for.
        for flight in &mut self.flights {
            // It began with every snapshot applied.
            flight.snapshot = None;
        }
        let appended = entries.iter().map(|entry| (entry.index, entry.term)).collect();
        turn.ops.push(Op::Append { group: self.id, entries });
        turn.ops.push(Op::HardState { group: self.id, hard_state });
        self.commits = Commits::default();
        self.flights.push_back(Flight {
            write: turn.write,
            ready: 0,
            appended,
            snapshot: None,
            messages: Vec::new(),
            votes: true,
            forces: true,
        });
    }
}
