//! Pods become members in the order of their vertices.

use super::{Action, Facts, Plan, size};
use crate::observed::{Answered, Cube};

pub(super) fn plan(facts: Facts<'_>, cube: &Cube, plan: &mut Plan) {
    let (present, wished) = (cube.peers(), facts.spec.replicas);
    if wished <= present {
        return;
    }
    if let Some(ordinal) = size::used_up(facts, cube).filter(|ordinal| *ordinal < wished)
        && size::deletes_claims(facts)
    {
        plan.wait("VolumeLeaving", format!("the used up volume of {} is being deleted", facts.pod(ordinal)));
    }
    for ordinal in present..wished.min(plan.replicas) {
        let pod = facts.pod(ordinal);
        match facts.observed.identities.get(&ordinal) {
            Some(Answered::Is(identity)) if identity.cluster_id.is_none() => {
                let zone = facts.observed.pods.get(&ordinal).map(|pod| pod.zone.clone()).unwrap_or_default();
                plan.act(Action::Add { ordinal, incarnation: identity.incarnation, zone, replaces: None });
                continue;
            }
            Some(Answered::Is(identity)) if identity.cluster_id != Some(cube.members.cluster_id) => {
                plan.stall("MixedIdentities", format!("the volume of {pod} belongs to another hypercube"));
            }
            // It was added by a view that is newer than this one.
            Some(Answered::Is(_)) => {
                plan.wait("Joining", format!("{pod} has joined, which not every peer knows"))
            }
            Some(Answered::Silent(why)) => plan.wait("Growing", format!("{pod} does not answer yet: {why}")),
            None => plan.wait("Growing", format!("{pod} does not run yet")),
        }
        // No vertex is filled before the one below it.
        return;
    }
}
