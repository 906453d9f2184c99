//! How many pods the StatefulSet should have: it never loses a pod whose peer still belongs to the hypercube.

use hcube_crd::hypercube::WhenScaled;

use super::{Facts, Stage};
use crate::observed::{Answered, Cube};

/// The number of pods.
pub(super) fn replicas(facts: Facts<'_>) -> u16 {
    let wished = facts.spec.replicas;
    let present = facts.observed.set.as_ref().map(|set| set.replicas);
    let stage = facts.stage();
    let cube = match stage {
        Stage::Founded(cluster) => facts.cube(cluster),
        Stage::New | Stage::Founding(_) => None,
    };
    match (stage, cube) {
        // Volumes from earlier may hold a hypercube of more peers than are wished for now.
        (Stage::New, _) => wished.max(facts.observed.claims_end()),
        (Stage::Founding(_), _) => wished.max(facts.status.founders.unwrap_or(0)).max(present.unwrap_or(0)),
        (Stage::Founded(_), Some(cube)) => {
            let wanted = wished.max(cube.peers()).max(unsettled_end(facts, cube));
            used_up(facts, cube).map_or(wanted, |ordinal| wanted.min(ordinal))
        }
        // While nobody can tell who belongs to it, nobody is sent away.
        (Stage::Founded(_), None) => {
            let known = facts.status.members.iter().map(|member| member.vertex + 1).max().unwrap_or(0);
            present.unwrap_or_else(|| facts.observed.claims_end()).max(known).max(wished)
        }
    }
}

/// One more than the highest ordinal beyond the members of which it is not proven that it does not belong to the
/// hypercube: the view may be an old one.
fn unsettled_end(facts: Facts<'_>, cube: &Cube) -> u16 {
    let beyond = facts.observed.pods.keys().copied().filter(|&ordinal| ordinal >= cube.peers());
    let unsettled = beyond.filter(|&ordinal| former(facts, cube, ordinal).is_some());
    unsettled.map(|ordinal| ordinal + 1).max().unwrap_or(0)
}

/// The node that a pod beyond the members holds or held, as long as its volume does not say that it is used up.
pub(super) fn former(facts: Facts<'_>, cube: &Cube, ordinal: u16) -> Option<hcube_core::ids::NodeId> {
    let retired = facts.observed.claims.get(&ordinal).and_then(|claim| claim.retired);
    match facts.observed.identities.get(&ordinal) {
        Some(Answered::Is(identity)) => {
            let ours = identity.cluster_id == Some(cube.members.cluster_id);
            identity.node_id.filter(|node| ours && retired != Some(*node))
        }
        Some(Answered::Silent(_)) | None if retired.is_some() => None,
        Some(Answered::Silent(_)) | None => {
            let known = facts.status.members.iter().find(|member| member.vertex == ordinal)?;
            Some(hcube_core::ids::NodeId(known.node_id))
        }
    }
}

/// The lowest ordinal beyond the members whose volume is used up: no pod may start there until it is gone.
pub(super) fn used_up(facts: Facts<'_>, cube: &Cube) -> Option<u16> {
    let claims = facts.observed.claims.iter().filter(|(ordinal, _)| **ordinal >= cube.peers());
    claims.filter(|(_, claim)| claim.retired.is_some()).map(|(ordinal, _)| *ordinal).min()
}

/// Whether volumes of peers that have left are deleted.
pub(super) fn deletes_claims(facts: Facts<'_>) -> bool {
    facts.spec.storage.when_scaled == WhenScaled::Delete
}
