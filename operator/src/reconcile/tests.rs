//! Whole looks against a Kubernetes that writes down what it is asked.

mod levels;
mod obstacles;
pub(crate) mod stage;
mod steps;

use std::sync::Arc;

use hcube_api::Code;
use hcube_api::admin::Identity;
use hcube_core::ids::Incarnation;
use hcube_crd::conditions;
use serde_json::{Value, json};

use crate::peers::Change;
use crate::plan::tests::scene::{CLUSTER, Scene};
use stage::{Stage, ip};

const STATUS: &str = "PATCH hypercubes/demo/status";

/// A peer with an empty disk.
fn empty(ordinal: u16) -> Identity {
    let incarnation = Incarnation(0xe000 + u128::from(ordinal));
    Identity { incarnation, cluster_id: None, node_id: None, vertex: None }
}

/// Lets peers tell of a hypercube of so many members under the name that the resource has.
pub fn stands(stage: &Stage, peers: u16, change: impl FnOnce(Scene) -> Scene) {
    let status = stage.hypercube().status.unwrap();
    let cluster = status.cluster_id.unwrap().parse().unwrap();
    let spec = serde_json::to_value(stage.hypercube().spec).unwrap();
    let observed = change(Scene::new(spec).pods(0..peers).members(peers)).observed;
    let mut cube = observed.cube.clone().unwrap();
    cube.members.cluster_id = cluster;
    cube.cluster.cluster_id = cluster;
    stage.cast(|cast| {
        cast.view = Some((cube.members, cube.cluster));
        for ordinal in observed.identities.keys() {
            let mut identity = observed.identity(*ordinal).unwrap().clone();
            identity.cluster_id =
                identity.cluster_id.map(|known| if known == CLUSTER { cluster } else { known });
            cast.identities.insert(ip(*ordinal), identity);
        }
    });
}

/// A hypercube that has come into being and is at rest.
pub async fn settled(spec: Value) -> Stage {
    let mut stage = Stage::new(spec);
    stage.look().await;
    stage.run_pods();
    let peers = stage.hypercube().spec.replicas;
    stage.cast(|cast| cast.identities.extend((0..peers).map(|ordinal| (ip(ordinal), empty(ordinal)))));
    stage.look().await;
    stage.look().await;
    stands(&stage, peers, |scene| scene);
    stage.look().await;
    assert_eq!(stage.look().await, [""; 0]);
    stage.events();
    stage.changes();
    stage
}

fn condition(stage: &Stage, kind: &str) -> (String, String) {
    let status = stage.hypercube().status.unwrap();
    let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().clone();
    (found.status, found.reason)
}

/// An Event's reason and note.
pub fn said(reason: &str, note: &str) -> (String, String) {
    (reason.to_owned(), note.to_owned())
}

fn holds(stage: &Stage, kind: &str) -> Option<bool> {
    conditions::holds(&stage.hypercube().status.unwrap().conditions, kind)
}

#[tokio::test]
async fn a_hypercube_comes_from_nothing_and_then_nothing_is_written() {
    let mut stage = Stage::new(json!({}));
    assert_eq!(
        stage.look().await,
        [
            "POST secrets",
            "PATCH serviceaccounts/demo",
            "PATCH services/demo-peers",
            "PATCH services/demo",
            "PATCH poddisruptionbudgets/demo",
            "PATCH networkpolicies/demo",
            "PATCH statefulsets/demo",
            STATUS,
        ]
    );
    assert_eq!(stage.look().await, [""; 0], "its pods are awaited in silence");
    stage.run_pods();
    stage.cast(|cast| cast.identities.extend((0..3).map(|ordinal| (ip(ordinal), empty(ordinal)))));
    assert_eq!(stage.look().await, [STATUS]);
    assert!(stage.hypercube().status.unwrap().cluster_id.is_some(), "the name is written before the call");
    assert_eq!(stage.changes(), []);
    assert_eq!(stage.look().await, [STATUS]);
    assert!(matches!(stage.changes()[..], [Change::Found(_)]));
    stage.cast(|cast| {
        assert_eq!(cast.viewed, [""; 0], "an unbound peer keeps a question until it is founded")
    });
    assert!(stage.hypercube().status.unwrap().founded);
    stands(&stage, 3, |scene| scene);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Ready"), ("True".into(), "Serving".into()));
    assert_eq!(condition(&stage, "Reconciling"), ("False".into(), "Settled".into()));
    assert_eq!(stage.events(), ["Created", "Naming", "Founded"]);
    stage.server.lock().unwrap().reads.clear();
    for _ in 0..3 {
        assert_eq!(stage.look().await, [""; 0]);
    }
    assert_eq!(stage.events(), [""; 0]);
    let reads = stage.server.lock().unwrap().reads.clone();
    assert_eq!(reads, ["/api/v1/namespaces/shop/secrets/demo-secrets"; 3], "and hardly anything is read");
}

#[tokio::test]
async fn what_somebody_else_changed_is_mended_alone() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["image"] = "hcube-node:next".into());
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
    assert_eq!(stage.notes(), [said("Changed", "StatefulSet demo")]);
}

#[tokio::test]
async fn a_name_that_was_not_stored_founds_nothing() {
    let mut stage = Stage::new(json!({}));
    stage.look().await;
    stage.run_pods();
    stage.cast(|cast| cast.identities.extend((0..3).map(|ordinal| (ip(ordinal), empty(ordinal)))));
    stage.server.lock().unwrap().refused.insert("hypercubes/demo/status".into(), 409);
    stage.look().await;
    assert_eq!(stage.changes(), []);
    stage.server.lock().unwrap().refused.clear();
    stage.look().await;
    let name = stage.hypercube().status.unwrap().cluster_id;
    assert!(name.is_some());
    assert_eq!(stage.changes(), [], "a name is stored, and only the next look uses it");
}

#[tokio::test]
async fn an_old_view_of_the_resource_does_not_rename_it() {
    let mut stage = Stage::new(json!({}));
    stage.look().await;
    stage.run_pods();
    stage.cast(|cast| cast.identities.extend((0..3).map(|ordinal| (ip(ordinal), empty(ordinal)))));
    let old = Arc::new(stage.hypercube());
    stage.look().await;
    let name = stage.hypercube().status.unwrap().cluster_id;
    let (writes, next) = stage.look_of(old).await;
    assert_eq!(writes, [STATUS], "which was refused");
    assert!(next.is_ok(), "and is looked at again soon");
    assert_eq!(stage.hypercube().status.unwrap().cluster_id, name);
    assert_eq!(stage.changes(), []);
}

#[tokio::test]
async fn a_founding_of_unknown_outcome_is_repeated_word_for_word() {
    let mut stage = Stage::new(json!({}));
    stage.look().await;
    stage.run_pods();
    stage.cast(|cast| cast.identities.extend((0..3).map(|ordinal| (ip(ordinal), empty(ordinal)))));
    stage.look().await;
    stage.cast(|cast| cast.refusal = Some(Code::Timeout));
    stage.look().await;
    assert!(!stage.hypercube().status.unwrap().founded);
    let first = stage.changes();
    assert_eq!(first.len(), 1, "one peer is asked, however many there are");
    // The resource is scaled meanwhile; the founders stay.
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 5.into());
    stage.look().await;
    assert_eq!(stage.changes(), first);
    stage.cast(|cast| cast.refusal = None);
    stage.look().await;
    assert_eq!(stage.changes(), first);
    assert!(stage.hypercube().status.unwrap().founded);
}

#[tokio::test]
async fn secrets_are_made_once_and_damaged_ones_are_left_alone() {
    let mut stage = settled(json!({})).await;
    let path = "/api/v1/namespaces/shop/secrets/demo-secrets";
    stage.server.lock().unwrap().objects.get_mut(path).unwrap()["data"] = json!({});
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "NoSecrets".into()));
    assert_eq!(holds(&stage, "Ready"), Some(true), "what runs goes on");
    let note = "the Secret demo-secrets holds no token and peer secret";
    assert_eq!(stage.notes(), [said("NoSecrets", note)]);
    assert_eq!(stage.look().await, [""; 0]);
    stage.server.lock().unwrap().objects.remove(path);
    let writes = stage.look().await;
    assert_eq!(writes, ["POST secrets", STATUS]);
    assert_eq!(holds(&stage, "Stalled"), Some(false));
}

#[tokio::test]
async fn a_secret_that_a_quota_forbids_is_told() {
    let mut stage = Stage::new(json!({}));
    stage.server.lock().unwrap().refused.insert("secrets".into(), 403);
    assert_eq!(stage.look().await, ["POST secrets", STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "NoSecrets".into()));
    assert_eq!(stage.events(), ["NoSecrets"]);
    stage.server.lock().unwrap().refused.clear();
    assert!(stage.look().await.contains(&"PATCH statefulsets/demo".into()));
    assert_eq!(holds(&stage, "Stalled"), Some(false));
}

#[tokio::test]
async fn a_bad_resource_changes_nothing_and_heals() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 2.into());
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "InvalidSpec".into()));
    assert_eq!(holds(&stage, "Ready"), Some(true), "what runs goes on");
    assert_eq!(stage.events(), ["InvalidSpec"]);
    assert_eq!(stage.look().await, [""; 0]);
    assert_eq!(stage.events(), [""; 0], "it is said once");
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 3.into());
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("False".into(), "Progressing".into()));
}

#[tokio::test]
async fn a_bad_resource_from_the_start_creates_nothing() {
    let mut stage = Stage::new(json!({"replicas": 2}));
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Ready"), ("False".into(), "InvalidSpec".into()));
}

#[tokio::test]
async fn a_paused_hypercube_is_looked_at_and_left_alone() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| {
        hypercube["spec"]["paused"] = true.into();
        hypercube["spec"]["replicas"] = 5.into();
        hypercube["spec"]["image"] = "other".into();
    });
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "Paused".into()));
    assert_eq!(stage.changes(), []);
}

#[tokio::test]
async fn an_object_that_is_refused_does_not_keep_the_others_back() {
    let mut stage = Stage::new(json!({}));
    stage.server.lock().unwrap().refused.insert("networkpolicies/demo".into(), 403);
    let writes = stage.look().await;
    assert!(writes.contains(&"PATCH statefulsets/demo".into()), "{writes:?}");
    assert_eq!(stage.events(), ["Created", "StepFailed"]);
    assert_eq!(condition(&stage, "Reconciling").0, "True");
}

#[tokio::test]
async fn a_hypercube_on_its_way_out_is_left_to_its_owners() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into());
    assert_eq!(stage.look().await, [""; 0]);
}
