//! After everything has healed, the hypercube is as it should be: nothing is under way, every slot has its replicas
//! where the plan wants them, and nobody holds anything else.

use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::Meta;
use hcube_core::meta::mover::{Limits, Mover, replication};
use hcube_core::placement::Standing;

use crate::machine::NEW_LEVEL;
use crate::world::World;

/// What still differs from how it should be; empty when nothing does.
pub(crate) fn converged(world: &World) -> Vec<String> {
    let meta = world.newest();
    let mut open = Vec::new();
    let leaving = meta.members.values().filter(|member| member.standing != Standing::Active);
    open.extend(leaving.map(|member| format!("node {} is {:?}", member.node, member.standing)));
    open.extend(meta.lost.keys().map(|node| format!("node {node} is still named")));
    // In a hypercube of edges alone, unlike in a real one, the metadata's leader has no link to everybody.
    if meta.feature_level != NEW_LEVEL && !world.edges_only {
        open.push(format!("the feature level is {}", meta.feature_level));
    }
    if meta.paused {
        open.push("moves are paused".to_owned());
    }
    for (group, placement) in meta.groups() {
        if !placement.settled || !placement.leaving.is_empty() {
            open.push(format!("group {group} is not settled: {placement:?}"));
        }
        let wanted = usize::from(replication(meta));
        if group != GroupId::META && placement.voters.len() != wanted {
            open.push(format!("group {group} has {} voters of {wanted}", placement.voters.len()));
        }
        open.extend(leader(world, group));
    }
    match Mover::default().next(meta, Limits::default()) {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => open.push(format!("the plan still wants {changes:?}")),
        Err(error) => open.push(error.to_string()),
    }
    for node in meta.members.keys() {
        open.extend(holdings(world, *node, meta));
    }
    open
}

/// Somebody leads every group.
fn leader(world: &World, group: GroupId) -> Option<String> {
    let leads = |at: usize| {
        world.machines[at].peer().and_then(|peer| peer.role(group)).is_some_and(|role| role.leads)
    };
    let led = world.current().into_iter().any(leads);
    (!led).then(|| format!("group {group} has no leader"))
}

/// A member holds what is placed on it, and nothing else.
fn holdings(world: &World, node: NodeId, meta: &Meta) -> Vec<String> {
    let Some(at) = world.machine_at(node) else { return vec![format!("node {node} has no machine")] };
    let Some(peer) = world.machines[at].peer() else { return vec![format!("node {node} is not up")] };
    if peer.meta().epoch != meta.epoch {
        return vec![format!("node {node} is at epoch {} of {}", peer.meta().epoch, meta.epoch)];
    }
    let wished = |(group, placement): (GroupId, &hcube_core::meta::Placement)| {
        let conf = peer.conf(group).filter(|conf| **conf != placement.conf())?;
        Some(format!("node {node} has {conf:?} for group {group}, wished {:?}", placement.conf()))
    };
    let differs = |(group, placement): (GroupId, &hcube_core::meta::Placement)| {
        let (holds, wanted) = (peer.replica(group), placement.replica_on(node));
        (holds != wanted).then(|| format!("node {node} holds {holds:?} of group {group}, not {wanted:?}"))
    };
    meta.groups().filter_map(differs).chain(meta.groups().filter_map(wished)).collect()
}
