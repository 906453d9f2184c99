//! Peers whose volumes are gone are replaced at their vertices.

use hcube_api::admin::{Identity, MemberStatus};
use hcube_core::ids::ClusterId;

use super::{Action, Facts, Gravity, Plan};
use crate::observed::Cube;

pub(super) fn plan(facts: Facts<'_>, cluster: ClusterId, cube: &Cube, plan: &mut Plan) {
    for member in &cube.members.members {
        let ordinal = member.vertex.0;
        let Some(identity) = facts.observed.identity(ordinal) else { continue };
        match judge(identity, member, cluster) {
            Judgement::Same => {}
            Judgement::Lost => {
                plan.say(
                    Gravity::Degraded,
                    "VolumeLost",
                    format!(
                        "the volume of {} is empty; it replaces node {}",
                        facts.pod(ordinal),
                        member.node_id
                    ),
                );
                plan.act(Action::Add {
                    ordinal,
                    incarnation: identity.incarnation,
                    zone: facts.observed.pods.get(&ordinal).map(|pod| pod.zone.clone()).unwrap_or_default(),
                    replaces: Some(member.node_id),
                });
            }
            Judgement::Foreign(whose) => plan.stall(
                "MixedIdentities",
                format!(
                    "the volume of {} belongs to {whose}, not to node {}",
                    facts.pod(ordinal),
                    member.node_id
                ),
            ),
        }
    }
    replication(facts, cube, plan);
}

enum Judgement {
    /// It is the member, or will be told so in a moment.
    Same,
    /// It is new.
    Lost,
    /// It is somebody else.
    Foreign(String),
}

fn judge(identity: &Identity, member: &MemberStatus, cluster: ClusterId) -> Judgement {
    if identity.incarnation == member.incarnation {
        return Judgement::Same;
    }
    match (identity.cluster_id, identity.node_id) {
        (None, _) => Judgement::Lost,
        // Volumes that changed places: a vertex stays with its disk, whichever pod that is given.
        (Some(theirs), Some(node))
            if theirs == cluster && identity.vertex.is_some_and(|own| own != member.vertex) =>
        {
            Judgement::Foreign(format!("node {node} at another vertex"))
        }
        (Some(theirs), _) if theirs != cluster => Judgement::Foreign(format!("the hypercube {theirs}")),
        // The view may be older than the peer that was added by it.
        (Some(_), Some(node)) if node > member.node_id => Judgement::Same,
        (Some(_), node) => {
            Judgement::Foreign(node.map_or_else(|| "no node".into(), |node| format!("node {node}")))
        }
    }
}

/// R follows the resource.
fn replication(facts: Facts<'_>, cube: &Cube, plan: &mut Plan) {
    let wished = facts.spec.replication_factor;
    if cube.cluster.replication != wished {
        plan.act(Action::SetReplication { replication: wished });
    }
    let slots = cube.cluster.slots.len();
    if slots != usize::from(facts.spec.slots) {
        plan.stall(
            "SlotsDiffer",
            format!("the hypercube has {slots} slots for ever, and the resource says {}", facts.spec.slots),
        );
    }
}
