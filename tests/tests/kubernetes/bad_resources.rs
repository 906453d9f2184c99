//! Resources that cannot work are refused or say why, harm nothing, and heal.

use hcube_tests::kubernetes::{Hypercube, Namespace, resource, spec};
use hcube_tests::seconds;
use serde_json::{Value, json};

/// A spec with something else in it.
fn with(mut spec: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("changes are an object") {
        spec[name] = value.clone();
    }
    spec
}

#[test]
fn what_can_never_work_is_refused_at_admission() {
    let namespace = Namespace::beside("hct-refused");
    let refusals = [
        (json!({ "replicationFactor": 2 }), "replicationFactor"),
        (json!({ "replicas": 2 }), "replicas must be at least replicationFactor"),
        (json!({ "slots": 48 }), "slots"),
        (json!({ "storage": { "size": "1Mi" } }), "storage.size is at least 256Mi"),
        (json!({ "replicas": 0 }), "replicas"),
        (json!({ "featureLevel": 0 }), "featureLevel"),
    ];
    for (changes, expected) in refusals {
        let ran = namespace.try_apply(&[resource("bad", &with(spec(3), &changes))]).expect_code(1);
        assert!(ran.stderr.contains(expected), "{expected}: {ran}");
    }
    let long = resource(&"x".repeat(41), &spec(3));
    let ran = namespace.try_apply(&[long]).expect_code(1);
    assert!(ran.stderr.contains("the name of a Hypercube is 1 to 40"), "{ran}");

    let demo = Hypercube::apply(&namespace, "demo", &spec(1), 1);
    demo.create_topic("t", 1);
    let acked = demo.publish("t", "before", 5);
    for (changes, expected) in [
        (json!({ "slots": 32 }), "slots is fixed when the Hypercube is created"),
        (json!({ "storage": { "size": "512Mi" } }), "storage.size can grow and never shrinks"),
        (json!({ "storage": { "className": "other" } }), "storage.className is fixed"),
        (json!({ "replicationFactor": 3 }), "replicas must be at least replicationFactor"),
    ] {
        let ran = demo.patch(&changes).expect_code(1);
        assert!(ran.stderr.contains(expected), "{expected}: {ran}");
    }
    // The default class of kind cannot expand: it says so, and goes on.
    let _ = demo.patch(&json!({ "storage": { "size": "2Gi" } })).ok();
    let message = demo.until_says("Stalled", "VolumesCannotGrow");
    assert!(message.contains("2Gi"), "{message}");
    let _ = demo.check("t", 1, &acked, &[0]);
}

#[test]
fn what_is_missing_is_named_and_heals_when_it_is_mended() {
    let namespace = Namespace::beside("hct-missing");
    let class = "hct-missing-class";
    let no_image = with(spec(1), &json!({ "image": "hcube-node:missing" }));
    let no_class = with(spec(1), &json!({ "storage": { "size": "1Gi", "className": class } }));
    namespace.apply(&[resource("image", &no_image), resource("class", &no_class)]);
    let image = Hypercube::reach(&namespace, "image", 1);
    let storage = Hypercube::reach(&namespace, "class", 1);

    let message = image.until_says("Stalled", "PodFailing");
    assert!(message.contains("hcube-node:missing"), "{message}");
    let _ = namespace.until_event("image", "PodFailing", seconds(20));
    let message = storage.until_says("Stalled", "StorageClassMissing");
    assert!(message.contains(class), "{message}");
    let _ = namespace.until_event("class", "StorageClassMissing", seconds(20));

    let _ = image.patch(&json!({ "image": "hcube-node:dev" })).ok();
    let found = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": class },
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    namespace.apply(&[found]);
    let _ = image.until_settled();
    let _ = storage.until_settled();
    let _ = namespace.kubectl(&["delete", "storageclass", class]).ok();

    image.create_topic("t", 1);
    let acked = image.publish("t", "before", 3);
    let _ = image.check("t", 1, &acked, &[0]);
}

#[test]
fn a_quota_is_named_and_heals_when_it_is_lifted() {
    let namespace = Namespace::beside("hct-quota");
    namespace.apply(&[json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": { "name": "tight" },
        "spec": { "hard": { "pods": "0" } },
    })]);
    namespace.apply(&[resource("demo", &spec(1))]);
    let demo = Hypercube::reach(&namespace, "demo", 1);
    let message = demo.until_says("Stalled", "PodsCannotBeCreated");
    assert!(message.contains("quota"), "{message}");
    let _ = namespace.until_event("demo", "PodsCannotBeCreated", seconds(20));
    let _ = namespace.kubectl(&["delete", "resourcequota", "tight"]).ok();
    let _ = demo.until_settled();
}
