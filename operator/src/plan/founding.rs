//! How a hypercube comes into being: exactly once, or by taking up what its volumes hold.

use std::collections::BTreeSet;

use hcube_api::admin::{Founder, Identity};
use hcube_core::ids::{ClusterId, Vertex};

use super::{Action, Facts, Plan};
use crate::observed::Answered;

/// A hypercube without a name takes the one that its volumes know, or gets a new one when all of them are empty.
pub(super) fn name(facts: Facts<'_>, plan: &mut Plan) {
    let bound = bound(facts);
    let clusters: BTreeSet<ClusterId> =
        bound.iter().filter_map(|(_, identity)| identity.cluster_id).collect();
    if clusters.len() > 1 {
        return plan.stall("MixedIdentities", mixed(facts, &bound));
    }
    if let Some(&cluster) = clusters.first() {
        // A volume that does not belong here must not name the hypercube because it happens to be heard first.
        let is_minority = bound.len() * 2 <= usize::from(plan.replicas);
        let silent = first_silent(facts, plan.replicas).filter(|_| is_minority);
        match (misplaced(facts, &bound), silent) {
            (Some(message), _) => plan.stall("MixedIdentities", message),
            (None, Some(message)) => plan.wait("WaitingForPeers", message),
            (None, None) => plan.act(Action::Adopt { cluster }),
        }
        return;
    }
    // A pod that does not answer may hold an older hypercube, so all of them are heard first.
    match first_silent(facts, plan.replicas) {
        Some(message) => plan.wait("WaitingForPeers", message),
        None => plan.act(Action::Name { founders: facts.spec.replicas }),
    }
}

/// A hypercube with a name is founded under it, unless it was already.
pub(super) fn found(facts: Facts<'_>, cluster: ClusterId, plan: &mut Plan) {
    let bound = bound(facts);
    if bound.iter().any(|(_, identity)| identity.cluster_id != Some(cluster)) {
        return plan.stall("MixedIdentities", mixed(facts, &bound));
    }
    if !bound.is_empty() {
        return plan.act(Action::Founded);
    }
    let founders = facts.status.founders.unwrap_or(facts.spec.replicas);
    if let Some(message) = first_silent(facts, founders) {
        return plan.wait("WaitingForPeers", message);
    }
    let founder = |ordinal: u16| {
        let identity = facts.observed.identity(ordinal)?;
        Some(Founder {
            incarnation: identity.incarnation,
            vertex: Vertex(ordinal),
            peer_address: facts.names.peer_address(ordinal),
            client_address: facts.names.client_address(ordinal),
            zone: facts.observed.pods.get(&ordinal).map(|pod| pod.zone.clone()).unwrap_or_default(),
        })
    };
    let founders = (0..founders).filter_map(founder).collect();
    plan.act(Action::Found { cluster, founders });
}

/// A hypercube that was founded and of which no peer can tell anything.
pub(super) fn absent(facts: Facts<'_>, cluster: ClusterId, plan: &mut Plan) {
    let bound = bound(facts);
    if bound.iter().any(|(_, identity)| identity.cluster_id != Some(cluster)) {
        return plan.stall("MixedIdentities", mixed(facts, &bound));
    }
    let answers = &facts.observed.identities;
    let all_empty = answers.len() >= usize::from(plan.replicas)
        && answers
            .values()
            .all(|answer| matches!(answer, Answered::Is(identity) if identity.cluster_id.is_none()));
    if all_empty {
        return plan.stall(
            "VolumesLost",
            format!(
                "every volume is empty, and the hypercube {cluster} was founded before; \
                 restore the volumes, or delete the Hypercube to begin anew"
            ),
        );
    }
    plan.wait(
        "NoPeerAnswers",
        first_silent(facts, plan.replicas).unwrap_or_else(|| "no peer knows its hypercube yet".into()),
    );
}

/// The pods that belong to a hypercube.
fn bound(facts: Facts<'_>) -> Vec<(u16, &Identity)> {
    let known = facts.observed.identities.keys().filter_map(|&ordinal| {
        let identity = facts.observed.identity(ordinal)?;
        identity.cluster_id.map(|_| (ordinal, identity))
    });
    known.collect()
}

/// The first pod that has not told who it is.
fn first_silent(facts: Facts<'_>, count: u16) -> Option<String> {
    (0..count).find_map(|ordinal| {
        let pod = facts.pod(ordinal);
        match facts.observed.identities.get(&ordinal) {
            Some(Answered::Is(_)) => None,
            Some(Answered::Silent(why)) => Some(format!("{pod} does not answer: {why}")),
            None => Some(match facts.observed.pods.get(&ordinal).and_then(|pod| pod.trouble.as_ref()) {
                Some(trouble) => format!("{pod} does not run: {}", trouble.message),
                None => format!("{pod} does not run yet"),
            }),
        }
    })
}

/// The first pod whose volume is another vertex's.
fn misplaced(facts: Facts<'_>, bound: &[(u16, &Identity)]) -> Option<String> {
    let (ordinal, vertex) = bound.iter().find_map(|(ordinal, identity)| {
        identity.vertex.filter(|vertex| vertex.0 != *ordinal).map(|vertex| (*ordinal, vertex))
    })?;
    Some(format!("the volume of {} belongs to vertex {vertex}", facts.pod(ordinal)))
}

fn mixed(facts: Facts<'_>, bound: &[(u16, &Identity)]) -> String {
    let said = bound.iter().map(|(ordinal, identity)| {
        let cluster = identity.cluster_id.map(|cluster| cluster.to_string()).unwrap_or_default();
        format!("{} to {cluster}", facts.pod(*ordinal))
    });
    let known = facts.status.cluster_id.as_ref().map(|id| format!("; this one is {id}")).unwrap_or_default();
    format!("volumes belong to different hypercubes: {}{known}", said.collect::<Vec<_>>().join(", "))
}
