//! What becomes of a topic when its resource is deleted: acted on only when the deletion was seen, and confirmed.

use hcube_api::topics::Topic;
use hcube_crd::HypercubeTopic;
use hcube_crd::topic::TopicDeletionPolicy;
use kube::Api;

use super::{name_of, reference, status};
use crate::announce;
use crate::contacts::contacts;
use crate::context::Context;
use crate::error::Error;
use crate::peers::TopicChange;

/// Follows the policy of a resource whose deletion was seen. What fails here leaves an orphan, which is listed.
///
/// # Errors
/// What Kubernetes or a peer refuses.
pub async fn removed(context: &Context, topic: &HypercubeTopic) -> Result<(), Error> {
    let policy = topic.spec.deletion_policy;
    let known = topic.status.as_ref().and_then(|status| status.topic_id.clone());
    let (Some(name), Some(known)) = (name_of(topic), known) else { return Ok(()) };
    if policy == TopicDeletionPolicy::Retain || !is_gone(context, topic).await? {
        return Ok(());
    }
    let Some(hypercube) = reference::hypercube(context, topic).filter(|found| !context.is_anothers(found))
    else {
        return Ok(());
    };
    let names = context.names(&hypercube);
    // Another resource may stand for the topic by now.
    if context
        .topics_of(&names)
        .iter()
        .any(|other| other.metadata.uid != topic.metadata.uid && name_of(other).as_ref() == Some(&name))
    {
        return Ok(());
    }
    let peers = contacts(context, &names).await?;
    let Some(peer) = peers.first() else { return Ok(()) };
    let Some(live) = context.peers.topic(peer, &name).await? else { return Ok(()) };
    if goes(policy, &known, &live) {
        context.peers.change_topic(peer, &TopicChange::Delete(name)).await?;
        tracing::info!(topic = %live.name, "deleted with its resource");
        let note = format!("the topic {} is deleted with its HypercubeTopic ({policy:?})", live.name);
        announce::done(context, &hypercube, "TopicDeleted", note).await;
    }
    Ok(())
}

/// Whether this very resource is gone. One of the same name may be there again.
async fn is_gone(context: &Context, topic: &HypercubeTopic) -> Result<bool, Error> {
    let namespace = topic.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<HypercubeTopic> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(topic.metadata.name.as_deref().unwrap_or_default()).await?;
    Ok(found.is_none_or(|found| found.metadata.uid != topic.metadata.uid))
}

/// Whether a topic goes with its resource: only the life that the resource stood for.
fn goes(policy: TopicDeletionPolicy, known: &str, live: &Topic) -> bool {
    let is_same = live.id.to_string() == known;
    match policy {
        TopicDeletionPolicy::Retain => false,
        TopicDeletionPolicy::Delete => is_same,
        // Where nobody could count, it is not known to be empty.
        TopicDeletionPolicy::DeleteIfEmpty => is_same && status::messages(live) == Some(0),
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::{Slot, TopicId};

    use super::*;

    fn live(counts: Option<(u64, u64)>) -> Topic {
        Topic {
            name: "a".parse().unwrap(),
            id: TopicId(1),
            retention: hcube_api::topics::Retention::default(),
            read_replicas: 0,
            partitions: vec![hcube_api::topics::Partition {
                partition: 0,
                slot: Slot(0),
                leader: None,
                replicas: Vec::new(),
                start_offset: counts.map(|(start, _)| start),
                high_watermark: counts.map(|(_, end)| end),
            }],
        }
    }

    #[test]
    fn a_topic_goes_only_by_its_policy_and_in_its_own_life() {
        use TopicDeletionPolicy::{Delete, DeleteIfEmpty, Retain};
        let (full, empty, unknown) = (live(Some((3, 9))), live(Some((9, 9))), live(None));
        let own = TopicId(1).to_string();
        for (policy, topic, expected) in [
            (Retain, &empty, false),
            (Delete, &full, true),
            (DeleteIfEmpty, &full, false),
            (DeleteIfEmpty, &empty, true),
            (DeleteIfEmpty, &unknown, false),
        ] {
            assert_eq!(goes(policy, &own, topic), expected, "{policy:?}");
            assert!(!goes(policy, &TopicId(2).to_string(), topic), "{policy:?} in another life");
        }
    }
}
