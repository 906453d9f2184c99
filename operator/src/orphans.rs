//! Topics that lost their HypercubeTopic while nobody looked: listed, and dropped only when somebody says so.

use std::collections::BTreeSet;

use hcube_api::topics::TopicSummary;
use hcube_crd::hypercube::{ManagedTopic, OrphanedTopic};
use hcube_crd::topic::TopicDeletionPolicy;
use hcube_crd::{Hypercube, HypercubeStatus, HypercubeTopic};
use kube::runtime::reflector::ObjectRef;

use crate::announce;
use crate::context::Context;
use crate::names::DROP_ORPHANS;
use crate::peers::{Peer, TopicChange};
use crate::plan::Facts;

/// Topics that are listed at most, so that the status stays small.
const LISTED_MAX: usize = 500;

/// Both lists of a status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Lists {
    managed: Vec<ManagedTopic>,
    orphaned: Vec<OrphanedTopic>,
}

/// Brings both lists of the status up to date, and drops orphans that somebody has named.
pub async fn update(
    context: &Context,
    hypercube: &Hypercube,
    facts: Facts<'_>,
    peers: &[Peer],
    next: &mut HypercubeStatus,
) {
    let declared: Vec<ManagedTopic> =
        context.topics_of(facts.names).iter().filter_map(|topic| managed(topic)).collect();
    let known = &facts.status.managed_topics;
    if declared.is_empty() && known.is_empty() && facts.status.orphaned_topics.is_empty() {
        return;
    }
    // Without a peer to ask, what was known stays.
    let Some(peer) = peers.first().filter(|_| facts.observed.cube.is_some()) else { return };
    let Ok(mut live) = context.peers.topics(peer).await else { return };
    let named = hypercube.metadata.annotations.as_ref().and_then(|all| all.get(DROP_ORPHANS));
    let named: BTreeSet<&str> =
        named.map(|text| text.split(',').map(str::trim).collect()).unwrap_or_default();
    let lists_now = lists(&declared, facts.status, &live);
    for orphan in lists_now.orphaned.iter().filter(|orphan| named.contains(orphan.id.as_str())) {
        let Ok(name) = orphan.name.parse() else { continue };
        match context.peers.change_topic(peer, &TopicChange::Delete(name)).await {
            Ok(()) => {
                live.retain(|topic| topic.id.to_string() != orphan.id);
                let note =
                    format!("the topic {} ({}) is deleted, as the annotation says", orphan.name, orphan.id);
                announce::done(context, hypercube, "OrphanDropped", note).await;
            }
            Err(error) => tracing::warn!(topic = orphan.name, %error, "an orphan was not dropped"),
        }
    }
    let lists = lists(&declared, facts.status, &live);
    next.managed_topics = lists.managed;
    next.orphaned_topics = lists.orphaned;
}

/// Whether a topic is to go with its resource and its hypercube does not remember that yet.
#[must_use]
pub fn is_news(context: &Context, topic: &HypercubeTopic) -> bool {
    let Some(known) = managed(topic).filter(|known| known.deletion_policy != TopicDeletionPolicy::Retain)
    else {
        return false;
    };
    let reference = &topic.spec.hypercube;
    let namespace = reference.namespace.clone().or_else(|| topic.metadata.namespace.clone());
    let key = ObjectRef::new(&reference.name).within(&namespace.unwrap_or_default());
    let status = context.hypercubes.get(&key).and_then(|hypercube| hypercube.status.clone());
    status.is_some_and(|status| !status.managed_topics.contains(&known))
}

/// What is remembered of a declared topic: nothing where its resource's end is not to be its own.
fn managed(topic: &HypercubeTopic) -> Option<ManagedTopic> {
    let status = topic.status.as_ref()?;
    let meta = &topic.metadata;
    Some(ManagedTopic {
        name: status.topic.clone()?,
        id: status.topic_id.clone()?,
        resource: format!("{}/{}", meta.namespace.as_deref()?, meta.name.as_deref()?),
        deletion_policy: topic.spec.deletion_policy,
    })
}

/// Both lists, from what is declared now, what was known, and what is there.
fn lists(declared: &[ManagedTopic], before: &HypercubeStatus, live: &[TopicSummary]) -> Lists {
    let is_declared = |id: &str| declared.iter().any(|topic| topic.id == id);
    let is_live = |id: &str| live.iter().any(|topic| topic.id.to_string() == id);
    let lost = before.managed_topics.iter().map(|topic| OrphanedTopic {
        name: topic.name.clone(),
        id: topic.id.clone(),
        resource: topic.resource.clone(),
    });
    let mut orphaned: Vec<OrphanedTopic> = before
        .orphaned_topics
        .iter()
        .cloned()
        .chain(lost)
        .filter(|topic| !is_declared(&topic.id) && is_live(&topic.id))
        .collect();
    orphaned.sort_by(|one, two| (&one.name, &one.id).cmp(&(&two.name, &two.id)));
    orphaned.dedup_by(|one, two| one.id == two.id);
    let goes = |topic: &&ManagedTopic| topic.deletion_policy != TopicDeletionPolicy::Retain;
    let mut managed: Vec<ManagedTopic> = declared.iter().filter(goes).cloned().collect();
    managed.sort_by(|one, two| (&one.name, &one.resource).cmp(&(&two.name, &two.resource)));
    managed.truncate(LISTED_MAX);
    orphaned.truncate(LISTED_MAX);
    Lists { managed, orphaned }
}

#[cfg(test)]
mod tests {
    use hcube_api::topics::Retention;
    use hcube_core::ids::TopicId;

    use super::*;

    fn topic(name: &str, id: u128, policy: TopicDeletionPolicy) -> ManagedTopic {
        ManagedTopic {
            name: name.into(),
            id: TopicId(id).to_string(),
            resource: format!("ns/{name}"),
            deletion_policy: policy,
        }
    }

    fn live(name: &str, id: u128) -> TopicSummary {
        TopicSummary {
            name: name.parse().unwrap(),
            id: TopicId(id),
            partitions: 1,
            retention: Retention::default(),
        }
    }

    fn after(declared: &[ManagedTopic], known: &[ManagedTopic], live: &[TopicSummary]) -> Vec<String> {
        let before = HypercubeStatus { managed_topics: known.to_vec(), ..HypercubeStatus::default() };
        lists(declared, &before, live).orphaned.into_iter().map(|orphan| orphan.name).collect()
    }

    #[test]
    fn a_topic_whose_resource_went_unseen_is_an_orphan() {
        use TopicDeletionPolicy::Delete;
        let (a, b) = (topic("a", 1, Delete), topic("b", 2, Delete));
        let all = [live("a", 1), live("b", 2), live("c", 3)];
        assert_eq!(after(std::slice::from_ref(&a), &[a.clone(), b.clone()], &all), ["b"]);
        assert_eq!(after(&[a.clone(), b.clone()], &[a.clone(), b.clone()], &all), [""; 0]);
        assert_eq!(
            after(&[], std::slice::from_ref(&b), &[live("b", 9)]),
            [""; 0],
            "another life of that name"
        );
        assert_eq!(after(&[], &[b], &[]), [""; 0], "it is gone");
    }

    #[test]
    fn a_topic_that_nobody_declared_is_never_one() {
        assert_eq!(after(&[], &[], &[live("c", 3)]), [""; 0]);
    }

    #[test]
    fn what_is_to_stay_is_not_remembered() {
        let topic = topic("a", 1, TopicDeletionPolicy::Retain);
        let lists = lists(&[topic], &HypercubeStatus::default(), &[live("a", 1)]);
        assert_eq!(lists, Lists::default());
    }

    #[test]
    fn an_orphan_stays_listed_until_it_is_adopted() {
        let orphan = OrphanedTopic { name: "a".into(), id: TopicId(1).to_string(), resource: "ns/a".into() };
        let before = HypercubeStatus { orphaned_topics: vec![orphan.clone()], ..HypercubeStatus::default() };
        assert_eq!(lists(&[], &before, &[live("a", 1)]).orphaned, [orphan]);
        let adopted = topic("a", 1, TopicDeletionPolicy::Delete);
        assert_eq!(lists(&[adopted], &before, &[live("a", 1)]).orphaned, []);
    }
}
