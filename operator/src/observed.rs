//! What was found, in the form that plans are made from: no API types of Kubernetes, nothing that is not looked at.

use std::collections::{BTreeMap, BTreeSet};

use hcube_api::admin::{Identity, MemberStatus, Members};
use hcube_api::cluster::{Cluster, SlotPlacement};
use hcube_core::ids::NodeId;
use hcube_crd::Amount;

/// Everything about one hypercube at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// Its StatefulSet.
    pub set: Option<Set>,
    /// Its pods by ordinal.
    pub pods: BTreeMap<u16, Pod>,
    /// Its volume claims by ordinal.
    pub claims: BTreeMap<u16, Claim>,
    /// Who the pods say that they are. A pod without an address, or one that ends, was not asked.
    pub identities: BTreeMap<u16, Answered>,
    /// Pods that know none of the tokens that the operator shows.
    pub strangers: BTreeSet<u16>,
    /// The hypercube as its peers see it; none where no peer could tell.
    pub cube: Option<Cube>,
    /// What is known of the storage class that the claims ask for.
    pub storage_class: StorageClass,
    /// Why the StatefulSet cannot make pods, in Kubernetes' own words; looked up only while pods are missing.
    pub set_trouble: Option<String>,
    /// The rotation and step of the secrets, as pods carry it.
    pub secrets_mark: String,
}

/// The StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Tells it from a later one of the same name.
    pub uid: String,
    /// Pods that it should have.
    pub replicas: u16,
    /// What its pods should be made from; none while Kubernetes has not looked at the present generation.
    pub revision: Option<String>,
    /// Size of the volumes that it asks for.
    pub storage: Amount,
    /// The rotation of secrets in its template.
    pub secrets_mark: String,
    /// The feature level that its template holds pods at.
    pub feature_level: Option<u32>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Tells it from a later one of the same name.
    pub uid: String,
    /// Where it can be reached.
    pub ip: Option<String>,
    /// The zone of the machine that it runs on; empty when unknown.
    pub zone: String,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// What it was made from.
    pub revision: Option<String>,
    /// Why it does not run.
    pub trouble: Option<Trouble>,
}

/// Why a pod does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One word: `ImagePullBackOff`, `Unschedulable`, `CrashLoopBackOff`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A volume claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Tells it from a later one of the same name.
    pub uid: String,
    /// What it asks for.
    pub requested: Amount,
    /// What it has; none before it is bound.
    pub capacity: Option<Amount>,
    /// The node that it held when that node left for ever.
    pub retired: Option<NodeId>,
    /// Whether it is on its way out.
    pub terminating: bool,
}

/// What a pod said when it was asked who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// This.
    Is(Identity),
    /// Nothing, and why.
    Silent(String),
}

/// A hypercube, as one of its peers sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cube {
    /// Its members.
    pub members: Members,
    /// Its placement.
    pub cluster: Cluster,
}

/// What is known of a storage class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StorageClass {
    /// It was not asked for.
    #[default]
    Unknown,
    /// There is none of that name.
    Missing(String),
    /// It is there.
    Exists {
        /// Whether its volumes can grow.
        expandable: bool,
    },
}

impl Observed {
    /// The identity of a pod that answered.
    #[must_use]
    pub fn identity(&self, ordinal: u16) -> Option<&Identity> {
        match self.identities.get(&ordinal)? {
            Answered::Is(identity) => Some(identity),
            Answered::Silent(_) => None,
        }
    }

    /// Whether a pod serves.
    #[must_use]
    pub fn is_ready(&self, ordinal: u16) -> bool {
        self.pods.get(&ordinal).is_some_and(|pod| pod.ready && !pod.terminating)
    }

    /// One more than the highest ordinal with a volume that may hold something.
    #[must_use]
    pub fn claims_end(&self) -> u16 {
        let live = self.claims.iter().filter(|(_, claim)| claim.retired.is_none() && !claim.terminating);
        live.map(|(ordinal, _)| ordinal + 1).max().unwrap_or_default()
    }
}

impl Cube {
    /// N.
    #[must_use]
    pub fn peers(&self) -> u16 {
        u16::try_from(self.members.members.len()).unwrap_or(u16::MAX)
    }

    /// The member at a vertex.
    #[must_use]
    pub fn at(&self, vertex: u16) -> Option<&MemberStatus> {
        self.members.members.iter().find(|member| member.vertex.0 == vertex)
    }
}

/// The vertices whose votes a slot counts on: those that have arrived, and those that have not left yet.
#[must_use]
pub fn voters(slot: &SlotPlacement) -> Vec<u16> {
    let arrived =
        slot.replicas.iter().filter(|label| !slot.readers.contains(label) && !slot.arriving.contains(label));
    arrived.chain(&slot.leaving).map(|label| label.vertex().0).collect()
}
