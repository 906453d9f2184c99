//! A Hypercube is deleted, and applied again.

use hcube_tests::kubernetes::{Hypercube, Namespace, condition, resource, spec};
use hcube_tests::seconds;
use serde_json::json;

#[test]
fn a_deleted_hypercube_comes_back_with_every_message() {
    let namespace = Namespace::beside("hct-retain");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    demo.create_topic("t", 1);
    let acked = demo.publish("t", "kept", 50);
    let before = demo.get()["status"].clone();

    let _ = namespace.kubectl(&["delete", "hypercube", "demo", "--timeout=60s"]).ok();
    namespace.until_gone("statefulset", "demo", seconds(60));
    for vertex in 0..3 {
        namespace.until_gone("pod", &demo.pod(vertex), seconds(60));
    }
    assert_eq!(namespace.list("pvc").len(), 3);

    namespace.apply(&[resource("demo", &spec(3))]);
    let after = demo.until_settled()["status"].clone();
    assert_eq!(after["clusterId"], before["clusterId"]);
    let nodes = |status: &serde_json::Value| -> Vec<serde_json::Value> {
        let members = status["members"].as_array().cloned().unwrap_or_default();
        members.iter().map(|member| member["nodeId"].clone()).collect()
    };
    assert_eq!(nodes(&after), nodes(&before));
    let _ = demo.check("t", 1, &acked, &[0, 1, 2]);
    let _ = namespace.until_event("demo", "Adopted", seconds(10));

    // With Delete, nothing stays.
    let _ = demo.patch(&json!({ "deletionPolicy": "Delete" })).ok();
    let _ = demo.until("has seen the change", |object| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    });
    let _ = namespace.kubectl(&["delete", "hypercube", "demo", "--timeout=60s"]).ok();
    for vertex in 0..3 {
        namespace.until_gone("pvc", &format!("data-demo-{vertex}"), seconds(90));
    }
}

#[test]
fn volumes_of_a_newer_feature_level_say_so_and_come_back_when_it_is_had() {
    let namespace = Namespace::beside("hct-newer");
    let demo = Hypercube::apply(&namespace, "demo", &spec(1), 1);
    let before = demo.get()["status"]["featureLevel"].clone();
    assert!(before.as_u64() > Some(1), "{before}");
    demo.create_topic("t", 1);
    let acked = demo.publish("t", "before", 10);
    let _ = namespace.kubectl(&["delete", "hypercube", "demo", "--timeout=60s"]).ok();
    namespace.until_gone("statefulset", "demo", seconds(60));
    namespace.until_gone("pod", &demo.pod(0), seconds(60));

    // No status tells any more what its volume holds; the peer does, and ends.
    let mut held = spec(1);
    held["featureLevel"] = 1.into();
    namespace.apply(&[resource("demo", &held)]);
    let _ = demo.until("says what its peer said", |object| {
        let stalled = condition(object, "Stalled");
        let message = stalled["message"].as_str().unwrap_or_default();
        stalled["status"] == "True" && message.contains("the hypercube is at feature level")
    });
    let _ = demo.patch(&json!({ "featureLevel": null })).ok();
    assert_eq!(demo.until_settled()["status"]["featureLevel"], before);
    let _ = demo.check("t", 1, &acked, &[0]);
}
