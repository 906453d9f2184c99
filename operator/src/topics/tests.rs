//! Whole looks at HypercubeTopics, against a Kubernetes and a hypercube that write down what they are asked.

use hcube_api::Code;
use hcube_crd::conditions::holds;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::peers::TopicChange;
use crate::reconcile::tests::stage::Stage;
use crate::reconcile::tests::{said, settled};

const STATUS: &str = "PATCH hypercubetopics/quakes/status";

/// A hypercube at rest, and one topic declared in its namespace.
async fn declared(spec: Value) -> Stage {
    let mut stage = settled(json!({})).await;
    stage.know();
    stage.declare("shop", "quakes", spec);
    stage
}

/// One whose topic is as declared.
async fn kept(spec: Value) -> Stage {
    let mut stage = declared(spec).await;
    stage.look_at("shop", "quakes").await;
    assert_eq!(stage.look_at("shop", "quakes").await, [""; 0]);
    stage.look().await;
    stage.know();
    stage.topic_changes();
    stage.notes();
    stage
}

fn condition(stage: &Stage, namespace: &str, kind: &str) -> (Option<bool>, String) {
    let conditions = stage.topic(namespace, "quakes").status.unwrap().conditions;
    let reason = conditions.iter().find(|condition| condition.type_ == kind).unwrap().reason.clone();
    (holds(&conditions, kind), reason)
}

#[tokio::test]
async fn a_topic_is_created_as_declared_and_then_nothing_is_written() {
    let spec = json!({"partitions": 2, "retention": {"ageSeconds": 60}, "readReplicas": 1});
    let mut stage = declared(spec).await;
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    let changes = stage.topic_changes();
    assert!(
        matches!(&changes[..], [TopicChange::Create(name, _), TopicChange::SetReadReplicas(_, _, 1)]
            if name.to_string() == "quakes"),
        "{changes:?}"
    );
    assert_eq!(
        stage.notes(),
        [
            said("Created", "the topic quakes is created"),
            said("ReadReplicasSet", "quakes is to have 1 read replicas"),
        ]
    );
    let status = stage.topic("shop", "quakes").status.unwrap();
    assert_eq!((status.topic.as_deref(), status.messages), (Some("quakes"), Some(0)));
    assert_eq!(status.placement.len(), 2);
    assert_eq!(condition(&stage, "shop", "Ready"), (Some(true), "AsDeclared".into()));
    for _ in 0..3 {
        assert_eq!(stage.look_at("shop", "quakes").await, [""; 0]);
    }
    assert_eq!((stage.topic_changes(), stage.notes()), (vec![], vec![]));
}

#[tokio::test]
async fn what_others_changed_is_as_declared_again() {
    let mut stage = kept(json!({"retention": {"ageSeconds": 60}})).await;
    stage.cast(|cast| cast.topics.get_mut("quakes").unwrap().retention.age_ms = None);
    assert_eq!(stage.look_at("shop", "quakes").await, [""; 0], "the status has nothing new to say");
    assert!(matches!(stage.topic_changes()[..], [TopicChange::Alter(..)]));
    assert_eq!(stage.notes(), [said("Altered", "the retention of quakes is as declared again")]);
    // It is gone, and comes back as another life.
    stage.cast(|cast| cast.topics.clear());
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    assert!(matches!(stage.topic_changes()[..], [TopicChange::Create(..)]));
    assert_eq!(stage.notes()[0].0, "Recreated");
    // It is made anew with other partitions, which nobody can change.
    stage.cast(|cast| {
        let partitions = &mut cast.topics.get_mut("quakes").unwrap().partitions;
        partitions.extend(partitions.clone());
    });
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    assert_eq!(condition(&stage, "shop", "Stalled"), (Some(true), "TopicDiffers".into()));
    assert_eq!((stage.topic_changes(), stage.notes()[0].0.as_str()), (vec![], "TopicDiffers"));
}

#[tokio::test]
async fn a_topic_goes_with_its_resource_only_where_that_is_said() {
    for (policy, messages, goes) in
        [("Retain", 0, false), ("Delete", 7, true), ("DeleteIfEmpty", 7, false), ("DeleteIfEmpty", 0, true)]
    {
        let mut stage = kept(json!({"deletionPolicy": policy})).await;
        stage.cast(|cast| {
            cast.topics.get_mut("quakes").unwrap().partitions[0].high_watermark = Some(messages);
        });
        stage.withdraw("shop", "quakes", true).await;
        let deleted = matches!(stage.topic_changes()[..], [TopicChange::Delete(_)]);
        assert_eq!(deleted, goes, "{policy} with {messages} messages");
        let told: Vec<String> = stage.events();
        assert_eq!(told == ["TopicDeleted"], goes, "{told:?}");
    }
}

#[tokio::test]
async fn a_deletion_is_confirmed_before_it_is_followed() {
    let stage = kept(json!({"deletionPolicy": "Delete"})).await;
    // Kubernetes still has it, whatever a watch said.
    let topic = stage.topic("shop", "quakes");
    super::removed(&stage.context, &topic).await.unwrap();
    assert_eq!(stage.topic_changes(), []);
    // Another resource of the same name stands for the topic by now.
    let metadata = ObjectMeta { uid: Some("an earlier one".into()), ..topic.metadata.clone() };
    super::removed(&stage.context, &hcube_crd::HypercubeTopic { metadata, ..topic }).await.unwrap();
    assert_eq!(stage.topic_changes(), []);
}

#[tokio::test]
async fn a_topic_of_a_forbidden_namespace_is_refused_until_it_is_admitted() {
    let mut stage = settled(json!({})).await;
    stage.know();
    stage.declare("elsewhere", "quakes", json!({}));
    let path = "/apis/hcube.dev/v1alpha1/namespaces/elsewhere/hypercubetopics/quakes/status";
    assert_eq!(stage.look_at("elsewhere", "quakes").await, [format!("PATCH {path}")]);
    assert_eq!(condition(&stage, "elsewhere", "Stalled"), (Some(true), "NamespaceNotAllowed".into()));
    let note = "the Hypercube shop/demo admits no topics from namespace elsewhere";
    assert_eq!(stage.notes(), [said("NamespaceNotAllowed", note)]);
    assert_eq!(stage.look_at("elsewhere", "quakes").await, [""; 0]);
    assert_eq!((stage.topic_changes(), stage.notes()), (vec![], vec![]));
    stage.edit(|hypercube| hypercube["spec"]["allowedNamespaces"] = json!({"from": "All"}));
    stage.know();
    stage.look_at("elsewhere", "quakes").await;
    assert_eq!(condition(&stage, "elsewhere", "Ready"), (Some(true), "AsDeclared".into()));
}

/// A namespace as Kubernetes has it.
fn namespace(stage: &Stage, name: &str, labels: Value) {
    let found = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "labels": labels},
    });
    stage.server.lock().unwrap().objects.insert(format!("/api/v1/namespaces/{name}"), found);
}

#[tokio::test]
async fn a_selector_admits_namespaces_by_their_labels() {
    let from = json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}});
    let mut stage = settled(json!({"allowedNamespaces": from})).await;
    stage.know();
    namespace(&stage, "elsewhere", json!({"team": "b"}));
    stage.declare("elsewhere", "quakes", json!({}));
    stage.look_at("elsewhere", "quakes").await;
    assert_eq!(condition(&stage, "elsewhere", "Stalled"), (Some(true), "NamespaceNotAllowed".into()));
    assert_eq!(stage.topic_changes(), []);
    namespace(&stage, "elsewhere", json!({"team": "a", "stage": "test"}));
    stage.look_at("elsewhere", "quakes").await;
    assert_eq!(condition(&stage, "elsewhere", "Ready"), (Some(true), "AsDeclared".into()));
    assert!(matches!(stage.topic_changes()[..], [TopicChange::Create(..)]));
    // The label is taken away: the topic stays as it is, and its resource says that nobody looks after it.
    namespace(&stage, "elsewhere", json!({"stage": "test"}));
    stage.look_at("elsewhere", "quakes").await;
    assert_eq!(condition(&stage, "elsewhere", "Stalled"), (Some(true), "NamespaceNotAllowed".into()));
    assert_eq!(stage.topic_changes(), []);
}

#[tokio::test]
async fn a_selector_asks_for_no_labels_of_the_hypercubes_own_namespace() {
    let from = json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}});
    let mut stage = settled(json!({"allowedNamespaces": from})).await;
    stage.know();
    stage.server.lock().unwrap().reads.clear();
    stage.declare("shop", "quakes", json!({}));
    stage.look_at("shop", "quakes").await;
    assert_eq!(condition(&stage, "shop", "Ready"), (Some(true), "AsDeclared".into()));
    let reads = stage.server.lock().unwrap().reads.clone();
    assert!(!reads.contains(&"/api/v1/namespaces/shop".to_owned()), "{reads:?}");
}

#[tokio::test]
async fn an_operator_that_may_not_look_at_namespaces_admits_none_by_their_labels() {
    let from = json!({"from": "Selector", "selector": {"matchExpressions": []}});
    let mut stage = settled(json!({"allowedNamespaces": from})).await;
    stage.know();
    stage.server.lock().unwrap().unreadable.insert("/api/v1/namespaces/elsewhere".into(), 403);
    stage.declare("elsewhere", "quakes", json!({}));
    stage.look_at("elsewhere", "quakes").await;
    assert_eq!(condition(&stage, "elsewhere", "Stalled"), (Some(true), "NamespaceNotAllowed".into()));
    // While Kubernetes does not answer, nothing is decided: what was said stays.
    stage.server.lock().unwrap().unreadable.insert("/api/v1/namespaces/elsewhere".into(), 500);
    let topic = std::sync::Arc::new(stage.topic("elsewhere", "quakes"));
    let failed = super::reconcile(topic, std::sync::Arc::clone(&stage.context)).await;
    assert!(failed.is_err(), "it is looked at again");
    stage.server.lock().unwrap().unreadable.clear();
    namespace(&stage, "elsewhere", json!({}));
    stage.look_at("elsewhere", "quakes").await;
    assert_eq!(
        condition(&stage, "elsewhere", "Ready").0,
        Some(true),
        "a selector of nothing fits everything"
    );
}

#[tokio::test]
async fn a_topic_waits_for_its_hypercube() {
    let mut stage = Stage::new(json!({}));
    stage.declare("shop", "quakes", json!({}));
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    assert_eq!(condition(&stage, "shop", "Stalled"), (Some(true), "HypercubeMissing".into()));
    assert_eq!(stage.events(), ["HypercubeMissing"]);
    stage.know();
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    assert_eq!(condition(&stage, "shop", "Reconciling"), (Some(true), "HypercubeNotReady".into()));
    assert_eq!(condition(&stage, "shop", "Stalled").0, Some(false));
    assert_eq!(stage.look_at("shop", "quakes").await, [""; 0]);
    assert_eq!(stage.topic_changes(), []);
}

#[tokio::test]
async fn what_the_hypercube_refuses_is_in_the_condition() {
    let mut stage = declared(json!({})).await;
    stage.cast(|cast| cast.refusal = Some(Code::Timeout));
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    assert_eq!(condition(&stage, "shop", "Ready"), (Some(false), "PeerRefused".into()));
    stage.cast(|cast| cast.refusal = None);
    assert_eq!(stage.look_at("shop", "quakes").await, [STATUS]);
    assert_eq!(condition(&stage, "shop", "Ready").0, Some(true));
}

#[tokio::test]
async fn the_elder_of_two_resources_stands_for_the_topic() {
    let mut stage = kept(json!({})).await;
    stage.declare("shop", "younger", json!({"topic": "quakes", "partitions": 3}));
    stage.look_at("shop", "younger").await;
    let status = stage.topic("shop", "younger").status.unwrap();
    assert_eq!(status.conditions[0].reason, "TopicTaken");
    assert_eq!(stage.topic_changes(), []);
}

#[tokio::test]
async fn a_deletion_that_nobody_saw_leaves_an_orphan_to_adopt() {
    let mut stage = kept(json!({"deletionPolicy": "Delete"})).await;
    assert_eq!(stage.hypercube().status.unwrap().managed_topics.len(), 1);
    stage.withdraw("shop", "quakes", false).await;
    stage.look().await;
    let status = stage.hypercube().status.unwrap();
    assert_eq!((status.managed_topics.len(), status.orphaned_topics.len()), (0, 1));
    assert_eq!(status.orphaned_topics[0].resource, "shop/quakes");
    assert_eq!(stage.look().await, [""; 0], "it stays listed, and nothing is done");
    assert_eq!(stage.topic_changes(), []);
    stage.declare("shop", "quakes", json!({"deletionPolicy": "Delete"}));
    stage.look_at("shop", "quakes").await;
    stage.look().await;
    let status = stage.hypercube().status.unwrap();
    assert_eq!((status.managed_topics.len(), status.orphaned_topics.len()), (1, 0));
    assert_eq!(stage.topic_changes(), [], "it was adopted with all it holds");
}

#[tokio::test]
async fn an_orphan_is_dropped_only_by_its_id() {
    let mut stage = kept(json!({"deletionPolicy": "Delete"})).await;
    stage.withdraw("shop", "quakes", false).await;
    stage.look().await;
    let id = stage.hypercube().status.unwrap().orphaned_topics[0].id.clone();
    let name = |stage: &Stage, ids: &str| {
        stage.edit(|hypercube| {
            hypercube["metadata"]["annotations"] = json!({"hcube.dev/drop-orphans": ids});
        });
    };
    name(&stage, "quakes,0");
    stage.look().await;
    assert_eq!(stage.topic_changes(), []);
    stage.notes();
    name(&stage, &format!("0, {id}"));
    stage.look().await;
    assert!(matches!(stage.topic_changes()[..], [TopicChange::Delete(_)]));
    assert_eq!(stage.events(), ["OrphanDropped"]);
    assert_eq!(stage.hypercube().status.unwrap().orphaned_topics, []);
    stage.look().await;
    assert_eq!(stage.topic_changes(), []);
}
