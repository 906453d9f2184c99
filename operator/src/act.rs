//! Carries out one action of a plan.

use hcube_api::admin::{AddMember, Bootstrap};
use hcube_core::ids::{ClusterId, NodeId, Vertex};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::apply::{exactly, gone};
use crate::context::Context;
use crate::error::Error;
use crate::names::{MANAGER, Names, RETIRED};
use crate::peers::{Change, Peer};
use crate::plan::{Action, Facts, Stage};
use crate::status::Memory;

/// Carries out an action. What is to be remembered goes into the memory, which is written at the end of the look.
///
/// # Errors
/// What Kubernetes or a peer refuses.
pub async fn act(
    context: &Context,
    facts: Facts<'_>,
    peers: &[Peer],
    memory: &mut Memory,
    action: &Action,
) -> Result<(), Error> {
    match action {
        Action::Name { founders } => {
            memory.cluster_id = Some(ClusterId(rand::random()).to_string());
            memory.founders = Some(*founders);
            Ok(())
        }
        Action::Adopt { cluster } => {
            memory.cluster_id = Some(cluster.to_string());
            memory.founded = true;
            Ok(())
        }
        Action::Founded => {
            memory.founded = true;
            Ok(())
        }
        Action::Found { .. } => {
            member_change(context, facts, peers, action).await?;
            memory.founded = true;
            Ok(())
        }
        Action::SetReplication { .. }
        | Action::Add { .. }
        | Action::Drain { .. }
        | Action::CancelDrain { .. } => member_change(context, facts, peers, action).await,
        Action::Remove { ordinal, node, claim } => {
            member_change(context, facts, peers, action).await?;
            match claim {
                Some(uid) => retire(context, facts.names, *ordinal, uid, *node).await,
                None => Ok(()),
            }
        }
        Action::Restart { ordinal, uid, .. } => {
            let pods: Api<Pod> = Api::namespaced(context.client.clone(), &facts.names.namespace);
            context.metrics.wrote();
            gone(pods.delete(&facts.names.pod(*ordinal), &exactly(uid)).await.map(drop))
        }
        Action::DeleteClaim { ordinal, uid } => {
            context.metrics.wrote();
            gone(
                claims(context, facts.names)
                    .delete(&facts.names.claim(*ordinal), &exactly(uid))
                    .await
                    .map(drop),
            )
        }
        Action::Expand { ordinal, size } => {
            let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
            patch_claim(context, facts.names, *ordinal, &patch).await
        }
        Action::Orphan { uid } => {
            let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &facts.names.namespace);
            let orphan = kube::api::PropagationPolicy::Orphan;
            let parameters = kube::api::DeleteParams { propagation_policy: Some(orphan), ..exactly(uid) };
            context.metrics.wrote();
            gone(sets.delete(facts.names.set(), &parameters).await.map(drop))
        }
    }
}

/// Makes a change of members at the first peer that takes it.
async fn member_change(
    context: &Context,
    facts: Facts<'_>,
    peers: &[Peer],
    action: &Action,
) -> Result<(), Error> {
    let Some(change) = change(facts, action) else { return Ok(()) };
    // A founding goes to one peer and always the same: two that do not know of each other would found two.
    let asked = if matches!(change, Change::Found(_)) { peers.get(..1) } else { Some(peers) };
    let mut last = Error::Object("no peer answers".into());
    for peer in asked.unwrap_or_default() {
        match context.peers.change(peer, &change).await {
            Ok(()) => return Ok(()),
            // A refusal is the hypercube's answer; only those who cannot answer are passed over.
            Err(error) if error.problem().is_some() && !error.is_retriable() => return Err(error.into()),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn change(facts: Facts<'_>, action: &Action) -> Option<Change> {
    let cluster = match facts.stage() {
        Stage::New => return None,
        Stage::Founding(cluster) | Stage::Founded(cluster) => cluster,
    };
    Some(match action {
        Action::Found { cluster, founders } => Change::Found(Bootstrap {
            cluster_id: *cluster,
            slots: facts.spec.slots,
            replication: facts.spec.replication_factor,
            founders: founders.clone(),
        }),
        Action::SetReplication { replication } => Change::SetReplication(cluster, *replication),
        Action::Add { ordinal, incarnation, zone, replaces } => Change::Add(AddMember {
            cluster_id: cluster,
            vertex: Vertex(*ordinal),
            incarnation: *incarnation,
            peer_address: facts.names.peer_address(*ordinal),
            client_address: facts.names.client_address(*ordinal),
            zone: zone.clone(),
            replaces: *replaces,
        }),
        Action::Drain { node, .. } => Change::Drain(*node, cluster),
        Action::CancelDrain { node, .. } => Change::CancelDrain(*node, cluster),
        Action::Remove { node, .. } => Change::Remove(*node, cluster),
        _ => return None,
    })
}

/// Writes on a volume claim that its node has left for ever.
async fn retire(
    context: &Context,
    names: &Names,
    ordinal: u16,
    uid: &str,
    node: NodeId,
) -> Result<(), Error> {
    // The uid makes this fail where the claim is another one by now.
    let patch = json!({ "metadata": { "uid": uid, "annotations": { RETIRED: node.to_string() } } });
    match patch_claim(context, names, ordinal, &patch).await {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other,
    }
}

async fn patch_claim(context: &Context, names: &Names, ordinal: u16, patch: &Value) -> Result<(), Error> {
    let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    claims(context, names).patch(&names.claim(ordinal), &parameters, &Patch::Merge(patch)).await?;
    context.metrics.wrote();
    Ok(())
}

fn claims(context: &Context, names: &Names) -> Api<PersistentVolumeClaim> {
    Api::namespaced(context.client.clone(), &names.namespace)
}
