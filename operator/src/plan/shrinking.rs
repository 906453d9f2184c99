//! Peers leave from the highest vertex down: drained, verified, removed, and only then without a pod.

use hcube_api::admin::MemberStatus;
use hcube_api::cluster::MemberState;
use hcube_core::ids::ClusterId;
use hcube_core::limits::DRAINS_MAX;

use super::{Action, Facts, Gravity, Plan, size};
use crate::observed::{Answered, Cube};

pub(super) fn plan(facts: Facts<'_>, cluster: ClusterId, cube: &Cube, plan: &mut Plan) {
    stay(facts, cube, plan);
    leave(facts, cluster, cube, plan);
    prove(facts, cube, plan);
    clean(facts, cube, plan);
}

fn is_leaving(member: &MemberStatus) -> bool {
    member.state == MemberState::Leaving
}

/// Members that were to leave and are wished for again.
fn stay(facts: Facts<'_>, cube: &Cube, plan: &mut Plan) {
    let wished = cube.members.members.iter().filter(|member| member.vertex.0 < facts.spec.replicas);
    if let Some(member) = wished.filter(|member| is_leaving(member)).max_by_key(|member| member.vertex) {
        plan.act(Action::CancelDrain { ordinal: member.vertex.0, node: member.node_id });
    }
}

/// Members that are not wished for any more.
fn leave(facts: Facts<'_>, cluster: ClusterId, cube: &Cube, plan: &mut Plan) {
    let highest = cube.peers().saturating_sub(1);
    for ordinal in (facts.spec.replicas..cube.peers()).rev().take(DRAINS_MAX) {
        let Some(member) = cube.at(ordinal) else { continue };
        let node = member.node_id;
        if !is_leaving(member) {
            plan.act(Action::Drain { ordinal, node });
            continue;
        }
        if ordinal == highest && member.held == 0 {
            match verify(facts, cluster, member) {
                Ok(()) => {
                    let claim = facts.observed.claims.get(&ordinal).map(|claim| claim.uid.clone());
                    plan.act(Action::Remove { ordinal, node, claim });
                }
                Err(message) => plan.stall("IdentityMismatch", message),
            }
            continue;
        }
        let pod = facts.pod(ordinal);
        match &member.obstacle {
            Some(why) => {
                plan.say(Gravity::Draining, "DrainBlocked", format!("{pod} cannot be drained now: {why}"))
            }
            None => plan.say(
                Gravity::Draining,
                "Draining",
                format!("{pod} (node {node}) still holds {} replicas", member.held),
            ),
        }
    }
}

/// Removing asks the pod first who it is. One that does not run cannot be asked, and holds nothing by then.
fn verify(facts: Facts<'_>, cluster: ClusterId, member: &MemberStatus) -> Result<(), String> {
    let ordinal = member.vertex.0;
    let Some(Answered::Is(identity)) = facts.observed.identities.get(&ordinal) else { return Ok(()) };
    let is_member = identity.incarnation == member.incarnation
        && identity.cluster_id == Some(cluster)
        && identity.node_id == Some(member.node_id);
    if is_member {
        return Ok(());
    }
    Err(format!("{} is not node {}, which is to be removed", facts.pod(ordinal), member.node_id))
}

/// Pods beyond the members: the view may be an old one, so removing is repeated, which proves that they have left.
fn prove(facts: Facts<'_>, cube: &Cube, plan: &mut Plan) {
    let floor = cube.peers().max(facts.spec.replicas);
    for &ordinal in facts.observed.pods.keys().filter(|ordinal| **ordinal >= floor) {
        if let Some(node) = size::former(facts, cube, ordinal) {
            let claim = facts.observed.claims.get(&ordinal).map(|claim| claim.uid.clone());
            plan.act(Action::Remove { ordinal, node, claim });
        }
    }
}

/// Volumes that are used up, once their pods are gone.
fn clean(facts: Facts<'_>, cube: &Cube, plan: &mut Plan) {
    for (&ordinal, claim) in &facts.observed.claims {
        let Some(node) = claim.retired else { continue };
        if ordinal < cube.peers() || facts.observed.pods.contains_key(&ordinal) || claim.terminating {
            continue;
        }
        if size::deletes_claims(facts) {
            plan.act(Action::DeleteClaim { ordinal, uid: claim.uid.clone() });
        } else if ordinal < facts.spec.replicas {
            plan.stall(
                "VolumeRetained",
                format!(
                    "the volume claim {} was node {node}'s, which has left for ever; delete it to let {} join",
                    facts.names.claim(ordinal),
                    facts.pod(ordinal)
                ),
            );
        }
    }
}
