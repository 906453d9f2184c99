//! A feature level that is held, let go, and asked for again.

use hcube_core::feature;
use serde_json::{Value, json};

use super::stage::Stage;
use super::{STATUS, condition, holds, said, settled, stands};

/// What the pods are told.
fn told(stage: &Stage) -> Option<String> {
    let set = stage.context.world.set_of(&stage.names).unwrap();
    let pod = set.spec.as_ref().unwrap().template.spec.clone().unwrap();
    let variables = pod.containers[0].env.clone().unwrap_or_default();
    variables.into_iter().find(|variable| variable.name == "HCUBE_FEATURE_LEVEL")?.value
}

fn wish(stage: &Stage, level: impl Into<Value>) {
    let level = level.into();
    stage.edit(|hypercube| hypercube["spec"]["featureLevel"] = level);
}

fn level(stage: &Stage) -> Option<u32> {
    stage.hypercube().status.unwrap().feature_level
}

/// Restarts every pod, as the operator wants them restarted, and returns in which order.
async fn rolled(stage: &mut Stage) -> Vec<u16> {
    let mut order = Vec::new();
    for _ in 0..10 {
        let writes = stage.look().await;
        for ordinal in 0..3 {
            if writes.contains(&format!("DELETE pods/demo-{ordinal}")) {
                order.push(ordinal);
                stage.end_pod(ordinal);
                stage.run_pods();
            }
        }
    }
    order
}

#[tokio::test]
async fn a_level_is_held_let_go_and_never_falls() {
    let mut stage = settled(json!({"featureLevel": 1})).await;
    assert_eq!((told(&stage).as_deref(), level(&stage)), (Some("1"), Some(1)));
    wish(&stage, Value::Null);
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
    assert_eq!(told(&stage), None);
    assert_eq!(rolled(&mut stage).await, [2, 1, 0]);
    assert_eq!(level(&stage), Some(1), "it is what the peers say, not what they could have");
    stands(&stage, 3, |scene| scene.cluster(|cluster| cluster.feature_level = 2));
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(level(&stage), Some(2));
    stage.notes();

    wish(&stage, 1);
    assert_eq!(stage.look().await, [STATUS], "the pods are left alone");
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "FeatureLevelCannotFall".into()));
    assert_eq!(condition(&stage, "Ready"), ("True".into(), "Serving".into()));
    let note = "featureLevel cannot be 1: the hypercube is at feature level 2, which never falls, and its peers go on \
                as they are; set featureLevel to 2, or leave it out";
    assert_eq!(stage.notes(), [said("FeatureLevelCannotFall", note)]);
    assert_eq!(rolled(&mut stage).await, [0; 0]);
    // Other wishes are granted meanwhile.
    stage.edit(|hypercube| hypercube["spec"]["image"] = "hcube-node:next".into());
    assert_eq!(rolled(&mut stage).await, [2, 1, 0]);
    assert_eq!(told(&stage), None);
    wish(&stage, Value::Null);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(holds(&stage, "Stalled"), Some(false));
    assert_eq!(stage.look().await, [""; 0]);
}

#[tokio::test]
async fn a_peer_that_lags_behind_does_not_take_a_level_back() {
    let mut stage = settled(json!({})).await;
    stands(&stage, 3, |scene| scene.cluster(|cluster| cluster.feature_level = 2));
    stage.look().await;
    assert_eq!(level(&stage), Some(2));
    stands(&stage, 3, |scene| scene);
    assert_eq!(stage.look().await, [""; 0]);
}

#[tokio::test]
async fn a_level_that_the_operator_does_not_know_changes_nothing() {
    let mut stage = settled(json!({})).await;
    wish(&stage, feature::NEWEST + 1);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "InvalidSpec".into()));
    assert_eq!(holds(&stage, "Ready"), Some(true), "what runs goes on");
    let notes = stage.notes();
    assert!(notes[0].1.contains("install an operator that knows it"), "{notes:?}");
    wish(&stage, Value::Null);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(holds(&stage, "Stalled"), Some(false));
    // From the start, nothing is founded at a level that nobody wished for.
    let mut stage = Stage::new(json!({"featureLevel": feature::NEWEST + 1}));
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Ready"), ("False".into(), "InvalidSpec".into()));
}
