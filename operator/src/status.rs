//! The status of a Hypercube, from what was found: pure.

use hcube_api::cluster::MemberState as Seen;
use hcube_crd::hypercube::{MemberState, MemberStatus, Rotation, SlotsStatus};
use hcube_crd::{Amount, HypercubeStatus};

use crate::observed::Cube;
use crate::plan::{Facts, level};
use crate::secrets::Secrets;

/// What is remembered beyond what can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The hypercube's name.
    pub cluster_id: Option<String>,
    /// With how many peers it is founded.
    pub founders: Option<u16>,
    /// Whether it was founded.
    pub founded: bool,
}

impl Memory {
    /// What the status remembers.
    #[must_use]
    pub fn of(status: &HypercubeStatus) -> Self {
        Self { cluster_id: status.cluster_id.clone(), founders: status.founders, founded: status.founded }
    }
}

/// The status, without conditions and topics. Where no peer can tell, what was known stays.
#[must_use]
pub fn status(
    facts: Facts<'_>,
    memory: Memory,
    secrets: Option<&Secrets>,
    generation: Option<i64>,
) -> HypercubeStatus {
    let before = facts.status;
    let cube = facts.observed.cube.as_ref();
    let cube = cube.filter(|cube| memory.cluster_id == Some(cube.members.cluster_id.to_string()));
    let rotation =
        secrets.map(|secrets| Rotation { number: secrets.rotation, step: secrets.step.as_str().to_owned() });
    let mut status = HypercubeStatus {
        observed_generation: generation,
        selector: Some(facts.names.selector_text()),
        cluster_id: memory.cluster_id,
        founders: memory.founders,
        founded: memory.founded,
        feature_level: level::in_force(facts),
        storage_size: storage_size(facts).or_else(|| before.storage_size.clone()),
        secret_rotation: rotation.or_else(|| before.secret_rotation.clone()),
        ..before.clone()
    };
    if let Some(cube) = cube {
        status.dimension = Some(cube.cluster.dimension);
        status.replication_factor = Some(cube.cluster.replication);
        status.members = members(facts, cube);
        status.slots = Some(slots(cube));
    } else {
        for member in &mut status.members {
            let is_up = facts.observed.is_ready(member.vertex);
            member.state = if is_up { member.state } else { MemberState::Down };
        }
    }
    status.replicas = i32::try_from(status.members.len()).unwrap_or(i32::MAX);
    status
}

/// What the largest volume asks for. Those of peers that have left count too, until they are gone.
fn storage_size(facts: Facts<'_>) -> Option<Amount> {
    let sizes = facts.observed.claims.values().map(|claim| &claim.requested);
    sizes.filter(|size| size.units().is_some()).max_by_key(|size| size.units()).cloned()
}

fn members(facts: Facts<'_>, cube: &Cube) -> Vec<MemberStatus> {
    let of = |member: &hcube_api::admin::MemberStatus| {
        let vertex = member.vertex.0;
        MemberStatus {
            label: member.label.to_string(),
            vertex,
            node_id: member.node_id.0,
            pod: facts.names.pod(vertex),
            zone: member.zone.clone(),
            state: match member.state {
                Seen::Joining => MemberState::Joining,
                Seen::Leaving => MemberState::Leaving,
                _ if !facts.observed.is_ready(vertex) => MemberState::Down,
                // The one who was asked may have no link to a pod that Kubernetes finds ready.
                Seen::Up | Seen::Down | Seen::Unknown => MemberState::Up,
            },
            replicas: member.replicas,
        }
    };
    cube.members.members.iter().map(of).collect()
}

fn slots(cube: &Cube) -> SlotsStatus {
    let rebalance = cube.cluster.rebalance;
    SlotsStatus {
        total: u32::try_from(cube.cluster.slots.len()).unwrap_or(u32::MAX),
        under_replicated: rebalance.under_replicated,
        moving: rebalance.moving + rebalance.waiting,
    }
}
