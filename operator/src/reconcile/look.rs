//! Everything that a plan is made from, gathered: from watches, from peers, and now and then by a question to Kubernetes.

use futures_util::future::join_all;
use hcube_api::Code;
use hcube_core::ids::ClusterId;
use hcube_crd::Hypercube;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1 as storage;
use kube::Api;
use kube::api::ListParams;

use crate::context::Context;
use crate::fetch;
use crate::names::Names;
use crate::observed::{Answered, Cube, Observed, StorageClass};
use crate::peers::Peer;
use crate::secrets::Secrets;

/// Seconds after which a StatefulSet should have made its pods.
const PATIENCE_SECONDS: i64 = 10;

/// Looks at a hypercube. Beside what was found, the peers to talk to: members that serve first, by ordinal; before
/// the founding, all of them by ordinal.
pub(super) async fn look(
    context: &Context,
    hypercube: &Hypercube,
    names: &Names,
    secrets: &Secrets,
) -> (Observed, Vec<Peer>) {
    let mut observed = Observed {
        set: context.world.set_of(names).and_then(|set| fetch::set(&set)),
        secrets_mark: secrets.mark(),
        ..Observed::default()
    };
    for pod in context.world.pods_of(names) {
        let Some(ordinal) = pod.metadata.name.as_deref().and_then(|name| names.ordinal(name)) else {
            continue;
        };
        let zone = match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
            Some(machine) => context.zone(machine).await,
            None => String::new(),
        };
        observed.pods.insert(ordinal, fetch::pod(&pod, zone));
    }
    let claims = context.world.claims_of(names);
    for claim in &claims {
        let ordinal = claim.metadata.name.as_deref().and_then(|name| names.ordinal(name));
        if let Some((ordinal, claim)) = ordinal.zip(fetch::claim(claim)) {
            observed.claims.insert(ordinal, claim);
        }
    }
    let (peers, bound) = ask(context, &mut observed, secrets).await;
    let known = hypercube.status.as_ref().and_then(|status| status.cluster_id.as_deref());
    let known: Option<ClusterId> = known.and_then(|id| id.parse().ok());
    observed.cube = match known {
        // Those that belong to no hypercube yet would only keep the question until they do.
        Some(cluster) => view(context, cluster, peers.get(..bound).unwrap_or_default()).await,
        None => None,
    };
    observed.storage_class = storage_class(context, hypercube, names, &observed, &claims).await;
    observed.set_trouble = set_trouble(context, names, &observed).await;
    (observed, peers)
}

/// Asks every pod who it is, all at once. Beside those that answered, how many of them, the first ones, belong to a
/// hypercube.
async fn ask(context: &Context, observed: &mut Observed, secrets: &Secrets) -> (Vec<Peer>, usize) {
    let asked = observed.pods.iter().filter(|(_, pod)| !pod.terminating).filter_map(|(&ordinal, pod)| {
        Some((ordinal, Peer { ip: pod.ip.clone()?, tokens: secrets.tokens.clone() }))
    });
    let asked: Vec<(u16, Peer)> = asked.collect();
    let answers = join_all(asked.iter().map(|(_, peer)| context.peers.identity(peer))).await;
    let mut peers = Vec::new();
    for ((ordinal, peer), answer) in asked.into_iter().zip(answers) {
        let answer = match answer {
            Ok(identity) => {
                let rank = (identity.cluster_id.is_none(), !observed.is_ready(ordinal), ordinal);
                peers.push((rank, peer));
                Answered::Is(identity)
            }
            Err(error) => {
                if error.code() == Some(Code::Unauthorized) {
                    observed.strangers.insert(ordinal);
                }
                Answered::Silent(error.to_string())
            }
        };
        observed.identities.insert(ordinal, answer);
    }
    peers.sort_by_key(|(rank, _)| *rank);
    let bound = peers.partition_point(|((is_unbound, ..), _)| !is_unbound);
    (peers.into_iter().map(|(_, peer)| peer).collect(), bound)
}

/// The hypercube as the first peer sees it that can tell and belongs to the right one.
async fn view(context: &Context, cluster: ClusterId, peers: &[Peer]) -> Option<Cube> {
    for peer in peers {
        let Ok(members) = context.peers.members(peer).await else { continue };
        if members.cluster_id != cluster {
            continue;
        }
        if let Ok(placement) = context.peers.cluster(peer).await {
            return Some(Cube { members, cluster: placement });
        }
    }
    None
}

/// What the storage class allows; asked only while a volume does not come about or is to grow.
async fn storage_class(
    context: &Context,
    hypercube: &Hypercube,
    names: &Names,
    observed: &Observed,
    claims: &[std::sync::Arc<PersistentVolumeClaim>],
) -> StorageClass {
    let size = &hypercube.spec.storage.size;
    let grows =
        |claim: &crate::observed::Claim| claim.requested.compare(size) == Some(std::cmp::Ordering::Less);
    let waits = |ordinal: &u16| observed.pods.get(ordinal).is_some_and(|pod| pod.trouble.is_some());
    let concerned = observed.claims.iter().find(|(ordinal, claim)| {
        claim.retired.is_none() && (grows(claim) || (claim.capacity.is_none() && waits(ordinal)))
    });
    let Some((ordinal, _)) = concerned else { return StorageClass::Unknown };
    let claim = claims.iter().find(|claim| claim.metadata.name.as_ref() == Some(&names.claim(*ordinal)));
    let named = claim.and_then(|claim| claim.spec.as_ref()).and_then(|spec| spec.storage_class_name.clone());
    let Some(class) = named.filter(|class| !class.is_empty()) else { return StorageClass::Unknown };
    match Api::<storage::StorageClass>::all(context.client.clone()).get_opt(&class).await {
        Ok(Some(found)) => {
            StorageClass::Exists { expandable: found.allow_volume_expansion.unwrap_or_default() }
        }
        Ok(None) => StorageClass::Missing(class),
        Err(error) => {
            tracing::debug!(class, %error, "storage class unknown");
            StorageClass::Unknown
        }
    }
}

/// Why the StatefulSet cannot make its pods; asked only while some are missing that should long be there.
async fn set_trouble(context: &Context, names: &Names, observed: &Observed) -> Option<String> {
    let set = observed.set.as_ref()?;
    if observed.pods.len() >= usize::from(set.replicas) {
        return None;
    }
    let created = context.world.set_of(names)?.metadata.creation_timestamp.clone()?;
    if crate::context::now().0.as_second() - created.0.as_second() < PATIENCE_SECONDS {
        return None;
    }
    let events: Api<Event> = Api::namespaced(context.client.clone(), &names.namespace);
    let fields =
        format!("involvedObject.kind=StatefulSet,involvedObject.uid={},reason=FailedCreate", set.uid);
    let found = events.list(&ListParams::default().fields(&fields)).await.ok()?;
    found.items.into_iter().filter_map(|event| event.message).next_back()
}
