//! A replica votes at most once in a term, and its vote is durable before it is sent.

use std::collections::BTreeMap;

use hcube_consensus::Envelope;
use hcube_core::ids::ReplicaId;

use super::hold;
use crate::machine::Machine;

/// Every vote that was ever sent.
#[derive(Default)]
pub(crate) struct Votes {
    cast: BTreeMap<(ReplicaId, u64), ReplicaId>,
}

impl Votes {
    pub fn sends(&mut self, machine: &Machine, envelope: &Envelope) {
        let Some((term, candidate)) = envelope.vote() else { return };
        let voter = envelope.from;
        let first = *self.cast.entry((voter, term)).or_insert(candidate);
        hold!(
            "one vote a term",
            first == candidate,
            "replica {voter} of group {} votes for {first} and for {candidate} in term {term}",
            envelope.group
        );
        let durable = machine.process().and_then(|process| process.durable.get(&envelope.group));
        let kept = durable.is_some_and(|hard_state| {
            hard_state.term > term || (hard_state.term == term && hard_state.vote == candidate.0)
        });
        hold!(
            "votes are durable before they are sent",
            kept,
            "replica {voter} of group {} votes for {candidate} in term {term}; its disk holds {durable:?}",
            envelope.group
        );
    }
}
