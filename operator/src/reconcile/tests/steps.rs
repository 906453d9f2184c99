//! Stories of several looks: growing, shrinking, replacing, rolling, rotating.

use serde_json::json;

use super::{STATUS, condition, empty, holds, said, settled, stage::ip, stands};
use crate::peers::Change;
use crate::plan::tests::scene::node;

#[tokio::test]
async fn scaling_up_makes_pods_then_members() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 5.into());
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
    assert_eq!(stage.look().await, [""; 0]);
    stage.run_pods();
    assert_eq!(stage.look().await, [STATUS], "they do not answer yet");
    stage.cast(|cast| cast.identities.extend((3..5).map(|ordinal| (ip(ordinal), empty(ordinal)))));
    stage.look().await;
    let changes = stage.changes();
    let [Change::Add(first), Change::Add(second)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((first.vertex.0, second.vertex.0), (3, 4));
    assert_eq!(
        stage.notes(),
        [
            said("Scaled", "StatefulSet demo has 5 pods in place of 3"),
            said("Joined", "demo-3 joins at vertex 3"),
            said("Joined", "demo-4 joins at vertex 4"),
        ]
    );
    stage.look().await;
    assert_eq!(
        stage.changes().len(),
        2,
        "nobody has told yet that they are members, and repeating harms nothing"
    );
    assert_eq!(stage.notes(), [], "it is no other decision");
    stands(&stage, 5, |scene| scene.cluster(|cluster| cluster.rebalance.moving = 2));
    stage.look().await;
    assert_eq!(holds(&stage, "Rebalancing"), Some(true));
    assert_eq!(stage.hypercube().status.unwrap().replicas, 5);
    stands(&stage, 5, |scene| scene);
    stage.look().await;
    assert_eq!(holds(&stage, "Rebalancing"), Some(false));
    assert_eq!(stage.look().await, [""; 0]);
}

#[tokio::test]
async fn scaling_down_drains_removes_marks_lowers_and_cleans() {
    let mut stage = settled(json!({"replicas": 4})).await;
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 3.into());
    assert_eq!(stage.look().await, [STATUS], "the StatefulSet stays as it is");
    assert!(matches!(stage.changes()[..], [Change::Drain(drained, _)] if drained == node(3)));
    stands(&stage, 4, |scene| scene.leaving(3, 2));
    stage.look().await;
    assert_eq!(holds(&stage, "Draining"), Some(true));
    assert_eq!(stage.changes(), []);
    stands(&stage, 4, |scene| scene.leaving(3, 0));
    assert_eq!(stage.look().await, ["PATCH persistentvolumeclaims/data-demo-3", STATUS]);
    assert!(matches!(stage.changes()[..], [Change::Remove(removed, _)] if removed == node(3)));
    // The operator was killed before it wrote on the volume: the hypercube has three, and the pod is still there.
    stands(&stage, 3, |scene| scene);
    assert_eq!(stage.look().await, ["PATCH persistentvolumeclaims/data-demo-3", STATUS]);
    assert!(matches!(stage.changes()[..], [Change::Remove(..)]), "it is repeated, which proves it");
    stage.mark_claim(3, json!({"hcube.dev/retired-node": node(3).to_string()}));
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
    stage.end_pod(3);
    assert!(stage.look().await.contains(&"DELETE persistentvolumeclaims/data-demo-3".into()));
    assert_eq!(stage.hypercube().status.unwrap().replicas, 3);
    assert_eq!(stage.changes(), []);
    assert_eq!(
        stage.notes(),
        [
            said("Draining", "demo-3 (node 4) gives its replicas away before it leaves"),
            said("Removed", "node 4 of demo-3 has left for ever"),
            said("Scaled", "StatefulSet demo has 3 pods in place of 4"),
            said("VolumeDeleted", "the used up volume of demo-3 is deleted"),
        ]
    );
}

#[tokio::test]
async fn a_peer_whose_volume_is_gone_is_replaced() {
    let mut stage = settled(json!({})).await;
    stage.cast(|cast| cast.identities.extend([(ip(1), empty(1))]));
    stage.look().await;
    let changes = stage.changes();
    assert!(matches!(&changes[..], [Change::Add(add)] if add.replaces == Some(node(1)) && add.vertex.0 == 1));
    assert_eq!(condition(&stage, "Degraded"), ("True".into(), "VolumeLost".into()));
    assert_eq!(
        stage.notes(),
        [
            said("Replaced", "demo-1 takes the place of node 2, whose volume is gone"),
            said("VolumeLost", "the volume of demo-1 is empty; it replaces node 2"),
        ]
    );
}

#[tokio::test]
async fn a_rolling_update_restarts_one_pod_at_a_time() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["image"] = "hcube-node:next".into());
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
    for (ordinal, delete) in [(2, "DELETE pods/demo-2"), (1, "DELETE pods/demo-1"), (0, "DELETE pods/demo-0")]
    {
        let writes = stage.look().await;
        assert!(writes.contains(&delete.to_owned()), "{writes:?}");
        stage.end_pod(ordinal);
        let writes = stage.look().await;
        assert!(!writes.iter().any(|write| write.starts_with("DELETE")), "{writes:?}");
        stage.run_pods();
    }
    stage.look().await;
    assert_eq!(condition(&stage, "Reconciling"), ("False".into(), "Settled".into()));
    assert_eq!(stage.look().await, [""; 0]);
    let turn =
        |pod: &str| said("Restarting", &format!("{pod}: it is its turn, and its template has changed"));
    let all = [said("Changed", "StatefulSet demo"), turn("demo-2"), turn("demo-1"), turn("demo-0")];
    assert_eq!(stage.notes(), all);
}

#[tokio::test]
async fn secrets_are_rotated_in_three_rolling_updates() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["secretRotation"] = 1.into());
    let mut steps = Vec::new();
    for _ in 0..40 {
        let writes = stage.look().await;
        if writes.contains(&"PATCH secrets/demo-secrets".into()) {
            steps.push(stage.hypercube().status.unwrap().secret_rotation.unwrap().step);
        }
        for ordinal in 0..3 {
            if writes.contains(&format!("DELETE pods/demo-{ordinal}")) {
                stage.end_pod(ordinal);
                stage.run_pods();
            }
        }
    }
    assert_eq!(steps, ["Introduced", "Switched", "Settled"]);
    assert_eq!(stage.look().await, [""; 0]);
    let told = stage.events();
    for (reason, times) in
        [("SecretsIntroduced", 1), ("SecretsSwitched", 1), ("SecretsRotated", 1), ("Restarting", 9)]
    {
        assert_eq!(told.iter().filter(|told| *told == reason).count(), times, "{reason} in {told:?}");
    }
}

#[tokio::test]
async fn what_the_hypercube_refuses_is_said_and_harms_nothing() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 4.into());
    stage.look().await;
    stage.run_pods();
    stage.cast(|cast| {
        cast.identities.insert(ip(3), empty(3));
        cast.refusal = Some(hcube_api::Code::IncarnationUsed);
    });
    stage.look().await;
    assert_eq!(condition(&stage, "Reconciling"), ("True".into(), "StepFailed".into()));
    assert_eq!(stage.events(), ["Scaled", "StepFailed"]);
    stage.look().await;
    assert_eq!(stage.events(), [""; 0]);
    assert_eq!(holds(&stage, "Ready"), Some(true));
}

#[tokio::test]
async fn volumes_grow_then_the_set_is_made_anew() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| hypercube["spec"]["storage"]["size"] = "2Gi".into());
    let writes = stage.look().await;
    let claims = [0, 1, 2].map(|ordinal| format!("PATCH persistentvolumeclaims/data-demo-{ordinal}"));
    assert_eq!(writes.iter().filter(|write| claims.contains(write)).count(), 3, "{writes:?}");
    let growing = |pod: &str| said("VolumeExpanding", &format!("the volume of {pod} is to grow to 2Gi"));
    assert_eq!(stage.notes(), ["demo-0", "demo-1", "demo-2"].map(growing));
    // Kubernetes has not begun, and the operator may be killed at any moment: what is done is seen in the claims.
    for ordinal in 0..3 {
        stage.enlarge_claim(ordinal, "2Gi");
    }
    assert!(stage.look().await.contains(&"DELETE statefulsets/demo".into()));
    assert_eq!(stage.events(), ["SetRecreated"]);
    stage.end_set();
    let writes = stage.look().await;
    assert!(writes.contains(&"PATCH statefulsets/demo".into()), "{writes:?}");
    assert!(!writes.iter().any(|write| write.starts_with("DELETE")), "its pods are still there: {writes:?}");
    let set = stage.context.world.set_of(&stage.names).unwrap();
    let claims = set.spec.as_ref().unwrap().volume_claim_templates.as_ref().unwrap();
    let requests = claims[0].spec.as_ref().unwrap().resources.as_ref().unwrap().requests.as_ref().unwrap();
    assert_eq!(requests["storage"].0, "2Gi");
    stage.look().await;
    assert_eq!(stage.look().await, [""; 0]);
}
