//! What stands in the way is told, and nothing that runs is harmed.

use hcube_api::admin::Identity;
use hcube_core::ids::{ClusterId, Incarnation, NodeId, Vertex};
use serde_json::json;

use super::{STATUS, condition, holds, said, settled, stage::Stage, stage::ip, stands};
use crate::plan::tests::scene::{CLUSTER, OTHER};

/// A peer of a hypercube that is nobody's here.
fn bound(ordinal: u16, cluster: ClusterId) -> Identity {
    Identity {
        incarnation: Incarnation(0xf000 + u128::from(ordinal)),
        cluster_id: Some(cluster),
        node_id: Some(NodeId(u64::from(ordinal) + 1)),
        vertex: Some(Vertex(ordinal)),
    }
}

#[tokio::test]
async fn a_lost_majority_is_told_and_found_again() {
    let mut stage = settled(json!({})).await;
    stage.trouble_pod(0);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Ready"), ("True".into(), "Serving".into()), "two of three are a majority");
    assert_eq!(condition(&stage, "Degraded"), ("True".into(), "PeersNotReady".into()));
    stage.trouble_pod(1);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Ready"), ("False".into(), "MajorityLost".into()));
    let status = stage.hypercube().status.unwrap();
    assert_eq!(status.conditions[0].message, "4 of 4 slots have no majority at ready peers");
    assert_eq!(stage.changes(), [], "nobody is replaced for it");
    assert_eq!(stage.look().await, [""; 0]);
    stage.end_pod(0);
    stage.end_pod(1);
    stage.run_pods();
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Ready"), ("True".into(), "Serving".into()));
    assert_eq!(condition(&stage, "Degraded"), ("False".into(), "Complete".into()));
}

#[tokio::test]
async fn volumes_of_different_hypercubes_stall_it_before_anything_is_founded() {
    let mut stage = Stage::new(json!({}));
    stage.look().await;
    stage.run_pods();
    stage.cast(|cast| {
        cast.identities.extend(
            [(0, CLUSTER), (1, OTHER), (2, CLUSTER)]
                .map(|(ordinal, cluster)| (ip(ordinal), bound(ordinal, cluster))),
        );
    });
    stage.events();
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "MixedIdentities".into()));
    assert_eq!(condition(&stage, "Ready"), ("False".into(), "MixedIdentities".into()));
    assert_eq!(stage.events(), ["MixedIdentities"]);
    for _ in 0..3 {
        assert_eq!(stage.look().await, [""; 0]);
    }
    assert_eq!((stage.changes(), stage.events()), (vec![], vec![]));
    assert_eq!(stage.hypercube().status.unwrap().cluster_id, None);
    // Somebody mends it: the right volume is back.
    stage.cast(|cast| cast.identities.extend([(ip(1), bound(1, CLUSTER))]));
    stage.look().await;
    assert_eq!(stage.hypercube().status.unwrap().cluster_id, Some(CLUSTER.to_string()));
    assert_eq!(holds(&stage, "Stalled"), Some(false));
    assert_eq!(stage.events(), ["Adopted"]);
}

#[tokio::test]
async fn a_strange_volume_at_one_vertex_stalls_it_while_the_rest_serves() {
    let mut stage = settled(json!({})).await;
    stage.cast(|cast| cast.identities.extend([(ip(1), bound(1, OTHER))]));
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "MixedIdentities".into()));
    assert_eq!(holds(&stage, "Ready"), Some(true));
    assert_eq!(stage.changes(), [], "it is neither added nor replaced");
    assert_eq!(stage.events(), ["MixedIdentities"]);
}

#[tokio::test]
async fn peers_with_other_secrets_are_told_of() {
    let mut stage = settled(json!({})).await;
    // Somebody deleted the Secret.
    let path = "/api/v1/namespaces/shop/secrets/demo-secrets";
    stage.server.lock().unwrap().objects.remove(path);
    stage.cast(|cast| cast.strangers.extend((0..3).map(ip)));
    assert_eq!(stage.look().await, ["POST secrets", STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "SecretsDiffer".into()));
    assert_eq!(stage.events(), ["SecretsDiffer"]);
    assert_eq!(stage.look().await, [""; 0], "what runs goes on");
    stage.cast(|cast| cast.strangers.clear());
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(holds(&stage, "Stalled"), Some(false));
}

#[tokio::test]
async fn a_class_that_is_missing_is_told_until_it_is_there() {
    let mut stage = Stage::new(json!({"storage": {"size": "1Gi", "className": "fast"}}));
    stage.look().await;
    stage.run_pods();
    for ordinal in 0..3 {
        stage.hold_back(ordinal, "fast");
    }
    stage.events();
    assert_eq!(stage.look().await, [STATUS]);
    let (status, reason) = condition(&stage, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "StorageClassMissing"));
    assert_eq!(stage.events(), ["PodFailing", "StorageClassMissing"]);
    assert_eq!(stage.look().await, [""; 0]);
    let class = json!({"metadata": {"name": "fast"}, "provisioner": "x"});
    stage.server.lock().unwrap().objects.insert("/apis/storage.k8s.io/v1/storageclasses/fast".into(), class);
    stage.look().await;
    assert_eq!(condition(&stage, "Stalled").1, "PodFailing");
}

#[tokio::test]
async fn a_size_that_the_class_cannot_give_can_be_taken_back() {
    let mut stage = settled(json!({})).await;
    assert_eq!(stage.hypercube().status.unwrap().storage_size.unwrap().0, "1Gi");
    for ordinal in 0..3 {
        stage.give_class(ordinal, "local");
    }
    let class = json!({"metadata": {"name": "local"}, "provisioner": "x", "allowVolumeExpansion": false});
    stage.server.lock().unwrap().objects.insert("/apis/storage.k8s.io/v1/storageclasses/local".into(), class);
    stage.edit(|hypercube| hypercube["spec"]["storage"]["size"] = "2Gi".into());
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "VolumesCannotGrow".into()));
    assert_eq!(stage.events(), ["VolumesCannotGrow"]);
    // Kubernetes allows this by the size in the status; see the rules of the definition.
    assert_eq!(stage.hypercube().status.unwrap().storage_size.unwrap().0, "1Gi");
    stage.edit(|hypercube| hypercube["spec"]["storage"]["size"] = "1Gi".into());
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(holds(&stage, "Stalled"), Some(false));
}

#[tokio::test]
async fn a_quota_is_told_in_kubernetes_own_words() {
    let mut stage = Stage::new(json!({}));
    stage.look().await;
    stage.events();
    let message = "create Pod demo-0 failed: exceeded quota: tight";
    let list = json!({
        "apiVersion": "v1", "kind": "EventList", "metadata": {},
        "items": [{"metadata": {"name": "e"}, "involvedObject": {}, "message": message}],
    });
    stage.server.lock().unwrap().objects.insert("/api/v1/namespaces/shop/events".into(), list);
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(condition(&stage, "Stalled"), ("True".into(), "PodsCannotBeCreated".into()));
    assert_eq!(stage.notes(), [said("PodsCannotBeCreated", message)]);
    stage.run_pods();
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(holds(&stage, "Stalled"), Some(false), "it heals by itself once there is room");
}

#[tokio::test]
async fn a_drain_that_is_blocked_is_told_once_and_no_failure() {
    let mut stage = settled(json!({"replicas": 4})).await;
    stage.edit(|hypercube| hypercube["spec"]["replicas"] = 3.into());
    stage.look().await;
    stage.notes();
    let blocked = |why: &str| {
        let why = why.to_owned();
        move |scene: crate::plan::tests::scene::Scene| {
            scene.leaving(3, 2).member(3, |member| member.obstacle = Some(why))
        }
    };
    stands(&stage, 4, blocked("vertex 10 is down"));
    stage.look().await;
    assert_eq!(condition(&stage, "Draining"), ("True".into(), "DrainBlocked".into()));
    assert_eq!(holds(&stage, "Stalled"), Some(false));
    let note = "demo-3 cannot be drained now: vertex 10 is down";
    assert_eq!(stage.notes(), [said("DrainBlocked", note)]);
    stage.look().await;
    assert_eq!(stage.notes(), []);
}

#[tokio::test]
async fn a_hypercube_of_another_operator_is_claimed_and_left_alone_for_a_while() {
    let mut stage = settled(json!({})).await;
    stage.know();
    stage.declare("shop", "quakes", json!({}));
    assert_eq!(stage.hypercube().status.unwrap().operator.as_deref(), Some("hcube-system/hcube-operator"));
    stage.edit(|hypercube| {
        hypercube["status"]["operator"] = "elsewhere/hcube".into();
        hypercube["spec"]["image"] = "hcube-node:next".into();
    });
    stage.know();
    assert_eq!(stage.look_at("shop", "quakes").await, [""; 0], "topics are the other's as well");
    // This one had it, and its name comes later.
    assert_eq!(stage.look().await, [""; 0]);
    let note = "elsewhere/hcube looks after this Hypercube, and hcube-system/hcube-operator leaves it alone: \
                no two operators may watch the same namespace";
    assert_eq!(stage.notes(), [said("OtherOperator", note)]);
    assert_eq!(stage.look().await, [""; 0]);
    assert_eq!((stage.notes(), stage.topic_changes()), (vec![], vec![]));
    // The other one gives it back.
    stage.edit(|hypercube| hypercube["status"]["operator"] = "hcube-system/hcube-operator".into());
    stage.know();
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
}

#[tokio::test]
async fn what_another_operator_takes_is_taken_back_by_the_one_whose_name_comes_first() {
    let mut stage = settled(json!({})).await;
    stage.edit(|hypercube| {
        hypercube["status"]["operator"] = "later/hcube".into();
        hypercube["spec"]["image"] = "hcube-node:next".into();
    });
    assert_eq!(stage.look().await, [STATUS], "its name, and nothing else");
    assert_eq!(stage.hypercube().status.unwrap().operator.as_deref(), Some("hcube-system/hcube-operator"));
    assert_eq!(stage.events(), ["OtherOperator"]);
    assert_eq!(stage.look().await, ["PATCH statefulsets/demo", STATUS]);
}

#[tokio::test]
async fn a_successor_writes_its_name_and_waits() {
    let mut stage = Stage::new(json!({}));
    stage.edit(|hypercube| hypercube["status"] = json!({"operator": "gone/hcube"}));
    assert_eq!(stage.look().await, [STATUS]);
    assert_eq!(stage.events(), ["TakenOver"]);
    assert_eq!(stage.look().await, [""; 0], "the other one may still be there");
}

#[tokio::test]
async fn a_rotation_of_secrets_waits_for_every_pod() {
    let mut stage = settled(json!({})).await;
    stage.trouble_pod(2);
    stage.look().await;
    stage.edit(|hypercube| hypercube["spec"]["secretRotation"] = 1.into());
    for _ in 0..3 {
        let writes = stage.look().await;
        assert!(!writes.iter().any(|write| write.contains("secrets")), "{writes:?}");
    }
    stage.end_pod(2);
    stage.run_pods();
    assert!(stage.look().await.contains(&"PATCH secrets/demo-secrets".into()));
}
