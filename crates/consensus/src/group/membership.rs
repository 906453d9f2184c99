//! Changes of the group's configuration: proposing them and putting them into effect.

use hcube_core::conf::ConfState;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{StateRole, Storage};

use super::Group;
use crate::conf::{self, ConfChange, ConfStep};
use crate::{ProposeError, Proposed};

impl Group {
    /// The configuration as applied last.
    pub fn conf(&self) -> &ConfState {
        self.confs.latest()
    }

    /// Whether a change may be in the log that is not applied yet.
    pub fn conf_pending(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// The state as applied last: its index, that index's term, and its configuration.
    pub fn snapshot_point(&self) -> (u64, u64, ConfState) {
        let term = self.raw.store().term(self.applied).expect("what is applied is in the log or its base");
        (self.applied, term, self.conf().clone())
    }

    pub fn propose_conf(&mut self, step: &ConfStep, version: u64) -> Result<Proposed, ProposeError> {
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        // `raft` would put an empty entry in the place of a second change.
        if self.conf_pending() {
            return Err(ProposeError::Dropped);
        }
        let change = step.change(self.conf(), version).ok_or(ProposeError::Invalid)?;
        let entry =
            Entry { entry_type: EntryType::EntryConfChangeV2, data: change.encode(), ..Default::default() };
        let message = Message {
            msg_type: MessageType::MsgPropose,
            from: self.replica.0,
            entries: vec![entry].into(),
            ..Default::default()
        };
        self.raw.step(message).map_err(|_| ProposeError::Dropped)?;
        Ok(Proposed { term: self.raw.raft.term, index: self.raw.raft.raft_log.last_index() })
    }

    /// A committed change takes effect.
    pub(super) fn apply_conf(&mut self, index: u64, change: &ConfChange) {
        let mut applied = None;
        for change in change.for_raft(self.confs.latest()) {
            match self.raw.apply_conf_change(&change) {
                Ok(conf) => applied = Some(conf::from_raft(&conf)),
                // Whether a change fits depends on the log alone: all replicas pass over it alike.
                Err(_) => break,
            }
        }
        if let Some(conf) = applied {
            self.confs.push(index, conf);
        }
        // `raft` leaves a leader without a vote where it is, and dies of it at the next entry that commits.
        let raft = &mut self.raw.raft;
        if !self.confs.latest().is_voter(self.replica) && raft.state != StateRole::Follower {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }
}
