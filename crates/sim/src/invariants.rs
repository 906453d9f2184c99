//! What must hold whatever happens: one file for each invariant, and where each of them looks.

mod acknowledged;
mod committed;
mod committed_reads;
mod configurations;
mod converged;
mod leaders;
mod members;
mod metadata;
mod offsets;
mod placement;
mod replicas;
mod starts;
mod states;
mod votes;

use hcube_consensus::{Envelope, Write};
use hcube_core::ids::ReplicaId;
use hcube_core::meta::Meta;
use hcube_log::Recovery;

use crate::machine::Machine;

pub(crate) use acknowledged::{Acknowledged, Promise};
pub(crate) use converged::converged;

/// Ends the run: an invariant does not hold.
pub(crate) fn violated(invariant: &str, message: &str) -> ! {
    panic!("[{invariant}] {message}")
}

/// Ends the run unless the condition holds.
macro_rules! hold {
    ($invariant:expr, $condition:expr, $($message:tt)+) => {
        if !$condition {
            $crate::invariants::violated($invariant, &format!($($message)+));
        }
    };
}
pub(crate) use hold;

/// Everything that was seen so far.
pub(crate) struct Invariants {
    pub acknowledged: Acknowledged,
    pub leaders: leaders::Leaders,
    pub offsets: offsets::Offsets,
    pub configurations: configurations::Configurations,
    pub committed: committed::Committed,
    pub placement: placement::Placed,
    votes: votes::Votes,
    replicas: replicas::Replicas,
    pub members: members::Members,
    metadata: metadata::Metadata,
    states: states::States,
}

impl Invariants {
    pub fn new(genesis: &Meta) -> Self {
        let mut placement = placement::Placed::default();
        placement.saw(genesis);
        let mut members = members::Members::default();
        members.saw(genesis);
        Self {
            acknowledged: Acknowledged::default(),
            leaders: leaders::Leaders::default(),
            offsets: offsets::Offsets::default(),
            configurations: configurations::Configurations::default(),
            committed: committed::Committed::default(),
            placement,
            votes: votes::Votes::default(),
            replicas: replicas::Replicas::default(),
            members,
            metadata: metadata::Metadata::default(),
            states: states::States::default(),
        }
    }

    /// A process has started with what was on its disk.
    pub fn started(&mut self, at: usize, machine: &Machine, recovery: &Recovery) {
        starts::started(machine, recovery);
        self.committed.started(at, machine, recovery);
        self.replicas.started(at, recovery);
    }

    /// A process ended at once.
    pub fn refused(&self, machine: &Machine, reason: &str) {
        starts::refused(machine, self.placement.newest(), reason);
    }

    /// A process is gone.
    pub fn ended(&mut self, at: usize) {
        self.committed.ended(at);
    }

    /// A peer has taken an event; nothing of what it wants is carried out yet.
    pub fn handled(&mut self, at: usize, machine: &Machine) {
        let Some(peer) = machine.peer() else { return };
        if self.placement.news(at, machine.life, peer.meta()) {
            self.placement.saw(peer.meta());
            self.members.saw(peer.meta());
        }
    }

    /// A peer wants something written.
    pub fn writes(&mut self, at: usize, machine: &Machine, write: &Write) {
        let Some(peer) = machine.peer() else { return };
        for op in &write.ops {
            self.placement.writes(machine, peer, op);
            self.replicas.writes(at, op);
            self.committed.writes(at, op);
        }
    }

    /// What a peer wanted is begun.
    pub fn acted(&mut self, at: usize, machine: &Machine) {
        let Some(peer) = machine.peer() else { return };
        for (group, commit) in peer.commits() {
            self.committed.knows(at, group, commit);
        }
    }

    /// A peer sends a message.
    pub fn sends(&mut self, machine: &Machine, envelope: &Envelope) {
        self.replicas.sends(machine, envelope);
        self.votes.sends(machine, envelope);
    }

    /// A peer's writes are durable.
    pub fn synced(&mut self, buried: Vec<ReplicaId>) {
        self.replicas.synced(buried);
    }

    /// A look at a peer between events; a thorough one compares whole states.
    pub fn look(&mut self, at: usize, machine: &Machine, thorough: bool) {
        let Some(peer) = machine.peer() else { return };
        self.leaders.look(machine, peer);
        self.placement.look(machine, peer);
        if thorough {
            let status = peer.status();
            self.metadata.look(at, peer, &status);
            self.configurations.look(&self.committed, machine, peer, &status);
            self.states.look(peer, &status);
        }
    }
}
