//! What to do next, from what is wished and what was found: pure, so that every step can be read as a table.
//!
//! A plan is one set of actions that may all be taken now. It is made anew from scratch each time, so that a crash
//! between any two of them is an ordinary situation and not a case of its own.

mod action;
mod founding;
mod growth;
pub(crate) mod level;
mod replacement;
mod rolling;
mod shrinking;
mod size;
#[cfg(test)]
pub(crate) mod tests;
mod troubles;
mod volumes;

use hcube_core::ids::ClusterId;
use hcube_crd::{Amount, HypercubeSpec, HypercubeStatus};

pub use action::{Action, Gravity, Remark};

use crate::names::Names;
use crate::observed::{Cube, Observed};

/// What plans are made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// What the objects are called.
    pub names: &'f Names,
    /// What is wished; valid.
    pub spec: &'f HypercubeSpec,
    /// What the operator remembers.
    pub status: &'f HypercubeStatus,
    /// What was found.
    pub observed: &'f Observed,
}

/// How far the founding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no name yet.
    New,
    /// It has a name, and may or may not have been founded under it.
    Founding(ClusterId),
    /// It was founded, and whatever is lost from now on is replaced and never founded anew.
    Founded(ClusterId),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Pods that the StatefulSet should have.
    pub replicas: u16,
    /// Size of the volumes that the StatefulSet should ask for.
    pub storage: Amount,
    /// The feature level that pods should be held at.
    pub feature_level: Option<u32>,
    /// What to do, in this order. A failure of one does not keep the next from being tried.
    pub actions: Vec<Action>,
    /// What is to be said.
    pub remarks: Vec<Remark>,
}

/// Makes the plan.
#[must_use]
pub fn plan(facts: Facts<'_>) -> Plan {
    let mut plan = Plan {
        replicas: size::replicas(facts),
        storage: volumes::template(facts),
        feature_level: level::template(facts),
        actions: Vec::new(),
        remarks: Vec::new(),
    };
    match facts.stage() {
        Stage::New => founding::name(facts, &mut plan),
        Stage::Founding(cluster) => founding::found(facts, cluster, &mut plan),
        Stage::Founded(cluster) => match facts.cube(cluster) {
            Some(cube) => {
                replacement::plan(facts, cluster, cube, &mut plan);
                shrinking::plan(facts, cluster, cube, &mut plan);
                growth::plan(facts, cube, &mut plan);
            }
            None => founding::absent(facts, cluster, &mut plan),
        },
    }
    volumes::plan(facts, &mut plan);
    level::plan(facts, &mut plan);
    rolling::plan(facts, &mut plan);
    troubles::plan(facts, &mut plan);
    plan
}

impl<'f> Facts<'f> {
    /// How far the founding is. A name that does not parse was never written by the operator.
    #[must_use]
    pub fn stage(self) -> Stage {
        match self.status.cluster_id.as_deref().and_then(|id| id.parse().ok()) {
            None => Stage::New,
            Some(cluster) if self.status.founded => Stage::Founded(cluster),
            Some(cluster) => Stage::Founding(cluster),
        }
    }

    /// The hypercube, if it is the right one.
    fn cube(self, cluster: ClusterId) -> Option<&'f Cube> {
        self.observed.cube.as_ref().filter(|cube| cube.members.cluster_id == cluster)
    }

    fn pod(self, ordinal: u16) -> String {
        self.names.pod(ordinal)
    }
}

impl Plan {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn say(&mut self, gravity: Gravity, reason: &'static str, message: impl Into<String>) {
        self.remarks.push(Remark { gravity, reason, message: message.into() });
    }

    /// Nothing goes on until somebody mends this.
    fn stall(&mut self, reason: &'static str, message: impl Into<String>) {
        self.say(Gravity::Stalled, reason, message);
    }

    /// Something goes on, and this is what it waits for.
    fn wait(&mut self, reason: &'static str, message: impl Into<String>) {
        self.say(Gravity::Waiting, reason, message);
    }
}
