//! The CEL rules, judged as the API server judges them: which resources are refused, and with which words.

use hcube_crd::{Hypercube, HypercubeTopic};
use kube::CustomResourceExt;
use kube::core::cel::Validator;
use serde_json::{Value, json};

fn judge<K: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(K::crd()).expect("a definition is JSON");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate(schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.message).collect(),
    }
}

/// A Hypercube as the API server sees it, defaults filled in.
fn hypercube(changes: Value) -> Value {
    let mut spec = json!({
        "replicas": 3,
        "slots": 64,
        "replicationFactor": 3,
        "storage": {"size": "10Gi", "whenScaled": "Delete"},
        "allowedNamespaces": {"from": "Same"},
    });
    for (field, value) in changes.as_object().expect("changes are an object") {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "Hypercube",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": spec,
    })
}

fn topic(spec: Value) -> Value {
    json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "HypercubeTopic",
        "metadata": {"name": "quakes", "namespace": "default"},
        "spec": spec,
    })
}

#[test]
fn sensible_hypercubes_pass() {
    let before = hypercube(json!({}));
    for good in [
        json!({}),
        json!({"replicas": 5}),
        json!({"replicas": 1, "replicationFactor": 1}),
        json!({"storage": {"size": "20Gi", "whenScaled": "Delete"}}),
        json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}),
        json!({"service": {"type": "ClusterIP"}, "hosts": ["hcube.example", "192.0.2.7", "2001:db8::7"]}),
        json!({"service": {"type": "NodePort", "nodePort": 30080}}),
        json!({"featureLevel": 1}),
        json!({"featureLevel": 7}),
    ] {
        let after = hypercube(good);
        assert_eq!(judge::<Hypercube>(&after, None), [""; 0]);
        assert_eq!(judge::<Hypercube>(&after, Some(&before)), [""; 0]);
    }
}

#[test]
fn hypercubes_that_cannot_work_are_refused_in_words() {
    for (wrong, words) in [
        (json!({"replicas": 2}), "replicas must be at least replicationFactor"),
        (json!({"storage": {"size": "1Mi"}}), "at least 256Mi"),
        (json!({"allowedNamespaces": {"from": "Selector"}}), "selector is given when"),
        (json!({"allowedNamespaces": {"from": "All", "selector": {}}}), "selector is given when"),
        (json!({"service": {"type": "ClusterIP", "nodePort": 30080}}), "service.nodePort is given where"),
        (json!({"hosts": ["a.example:80"]}), "hosts holds names and addresses, without ports"),
        (json!({"hosts": ["a.example", "http://b.example"]}), "hosts holds names and addresses"),
        (json!({"hosts": [""]}), "hosts holds names and addresses"),
    ] {
        let errors = judge::<Hypercube>(&hypercube(wrong.clone()), None);
        assert!(errors.iter().any(|error| error.contains(words)), "{wrong}: {errors:?}");
    }
}

#[test]
fn what_is_fixed_stays() {
    let before = hypercube(json!({}));
    for (change, words) in [
        (json!({"slots": 128}), "slots is fixed"),
        (json!({"storage": {"size": "9Gi"}}), "never shrinks"),
        (json!({"storage": {"size": "10000Mi"}}), "never shrinks"),
        (json!({"storage": {"size": "10Gi", "className": "fast"}}), "className is fixed"),
    ] {
        let errors = judge::<Hypercube>(&hypercube(change.clone()), Some(&before));
        assert!(errors.iter().any(|error| error.contains(words)), "{change}: {errors:?}");
    }
}

#[test]
fn a_size_that_no_volume_followed_can_be_taken_back() {
    let before = hypercube(json!({"storage": {"size": "20Gi"}}));
    let with = |size: &str, held: &str| {
        let mut object = hypercube(json!({"storage": {"size": size}}));
        object["status"] = json!({"storageSize": held});
        judge::<Hypercube>(&object, Some(&before))
    };
    assert_eq!(with("10Gi", "10Gi"), [""; 0]);
    assert_eq!(with("12Gi", "10240Mi"), [""; 0]);
    for (size, held) in [("9Gi", "10Gi"), ("10Gi", "20Gi")] {
        let errors = with(size, held);
        assert!(errors.iter().any(|error| error.contains("never shrinks")), "{size}: {errors:?}");
    }
}

#[test]
fn names_leave_room_for_what_is_derived_from_them() {
    for (name, passes) in [("a", true), ("demo-2", true), ("2demo", false), ("demo-", false)] {
        let mut object = hypercube(json!({}));
        object["metadata"]["name"] = name.into();
        assert_eq!(judge::<Hypercube>(&object, None).is_empty(), passes, "{name}");
    }
    let mut object = hypercube(json!({}));
    object["metadata"]["name"] = "a".repeat(41).into();
    assert!(!judge::<Hypercube>(&object, None).is_empty());
}

#[test]
fn a_topic_stays_where_and_what_it_is() {
    let before = topic(json!({"hypercube": {"name": "demo"}, "partitions": 3}));
    assert_eq!(judge::<HypercubeTopic>(&before, Some(&before)), [""; 0]);
    for (after, words) in [
        (json!({"hypercube": {"name": "demo"}, "partitions": 4}), "partitions is fixed"),
        (json!({"hypercube": {"name": "other"}, "partitions": 3}), "stays in its hypercube"),
        (json!({"hypercube": {"name": "demo"}, "partitions": 3, "topic": "x"}), "topic is fixed"),
    ] {
        let errors = judge::<HypercubeTopic>(&topic(after.clone()), Some(&before));
        assert!(errors.iter().any(|error| error.contains(words)), "{after}: {errors:?}");
    }
}
