//! The last resort after the loss of a majority: one replica goes on alone.

use hcube_log::{Entry, HardState, Op};

use super::start::raw_node;
use super::{Flight, Group, Turn};
use crate::conf::{ConfChange, Shape};
use crate::entry::CONF;
use crate::storage::Store;
use crate::{Config, ProposeError};

impl Group {
    pub fn force_sole(&mut self, version: u64) -> Result<(), ProposeError> {
        // A replica that was never part of the group knows nothing of its state.
        if !self.conf().contains(self.replica) {
            return Err(ProposeError::Invalid);
        }
        self.forcing = Some(version);
        Ok(())
    }

    /// Whether the write that makes this replica the sole voter is under way.
    pub(super) fn being_forced(&self) -> bool {
        self.flights.iter().any(|flight| flight.forces)
    }

    /// Declares everything in the log committed, and behind it the entry that leaves this replica alone in the
    /// configuration, as if a majority had agreed in a term of its own. The entry is one like any other: it
    /// outlasts restarts and compactions, and replicas that are added later find it in its place.
    pub(super) fn force(&mut self, version: u64, turn: &mut Turn<'_>, config: &Config) {
        let term = self.raw.raft.term + 1;
        let index = self.raw.store().last() + 1;
        let data = ConfChange { shape: Shape::Sole(self.replica), version }.encode();
        let entry = Entry { index, term, kind: CONF, data };
        let hard_state = HardState { term, vote: self.replica.0, commit: index };
        let mut store = std::mem::replace(self.raw.mut_store(), Store::empty());
        store.append(std::slice::from_ref(&entry));
        store.set_hard_state(hard_state);
        store.set_initial(self.conf().clone());
        self.raw = raw_node(self.replica, store, self.applied, config);
        self.drawn_for = None;
        self.snapshot_since.clear();
        self.fetching.clear();
        // Writes that are still under way end before this one, until which the new state machine hands out nothing
        // that it could take them for.
        for flight in &mut self.flights {
            // It began with every snapshot applied.
            flight.snapshot = None;
        }
        turn.ops.push(Op::Append { group: self.id, entries: vec![entry] });
        turn.ops.push(Op::HardState { group: self.id, hard_state });
        self.flights.push_back(Flight {
            write: turn.write,
            ready: 0,
            appended: vec![(index, term)],
            snapshot: None,
            messages: Vec::new(),
            votes: true,
            forces: true,
        });
    }
}
