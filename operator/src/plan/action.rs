//! What a plan consists of.

use hcube_api::admin::Founder;
use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_crd::Amount;

/// One thing to do. Each may be repeated without harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Give the hypercube a name, and remember with how many peers it will be founded.
    Name {
        /// How many.
        founders: u16,
    },
    /// Take up the hypercube that the volumes hold.
    Adopt {
        /// Its name.
        cluster: ClusterId,
    },
    /// Found the hypercube.
    Found {
        /// Its name.
        cluster: ClusterId,
        /// With whom.
        founders: Vec<Founder>,
    },
    /// Remember that it was founded.
    Founded,
    /// Set R.
    SetReplication {
        /// To this.
        replication: u8,
    },
    /// Make a pod a member.
    Add {
        /// Which; its vertex is the same number.
        ordinal: u16,
        /// Its disk.
        incarnation: Incarnation,
        /// Its failure domain.
        zone: String,
        /// The node whose disk is lost.
        replaces: Option<NodeId>,
    },
    /// Let a member give its replicas away.
    Drain {
        /// Whom.
        ordinal: u16,
        /// Whom.
        node: NodeId,
    },
    /// Let a member, and all below it, stay after all.
    CancelDrain {
        /// Whom.
        ordinal: u16,
        /// Whom.
        node: NodeId,
    },
    /// Remove a member for ever, and write on its volume claim that it is used up.
    Remove {
        /// Whom.
        ordinal: u16,
        /// Whom.
        node: NodeId,
        /// Its volume claim.
        claim: Option<String>,
    },
    /// Delete a volume claim that is used up.
    DeleteClaim {
        /// Whose.
        ordinal: u16,
        /// Which.
        uid: String,
    },
    /// Delete a pod, so that it is made anew from the present template.
    Restart {
        /// Which.
        ordinal: u16,
        /// Which.
        uid: String,
        /// Why, for people.
        why: String,
    },
    /// Let a volume grow.
    Expand {
        /// Whose.
        ordinal: u16,
        /// To what.
        size: Amount,
    },
    /// Delete the StatefulSet and keep its pods, so that it can be made anew with larger volumes.
    Orphan {
        /// Which.
        uid: String,
    },
}

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Work goes on, and this is what it waits for.
    Waiting,
    /// A peer is on its way out.
    Draining,
    /// It serves with less than it should have.
    Degraded,
    /// Nothing goes on until somebody mends something.
    Stalled,
}

/// Something to say in the conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub gravity: Gravity,
    /// One word in CamelCase.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}
