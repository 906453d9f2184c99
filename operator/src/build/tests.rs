//! What is built, against golden files that read as what `kubectl get -o yaml` would show.

use std::path::Path;

use hcube_crd::HypercubeSpec;
use hcube_crd::manifest::to_yaml;
use serde_json::{Value, json};

use super::{Defaults, Inputs, objects};
use crate::names::Names;

fn build(spec: Value) -> Vec<Value> {
    let names = Names { name: "demo".into(), namespace: "shop".into(), domain: "cluster.local".into() };
    let spec: HypercubeSpec = serde_json::from_value(spec).unwrap();
    let owner = json!({"kind": "Hypercube", "name": "demo", "uid": "uid-1"});
    let defaults = Defaults { image: "hcube-node:test".into(), operator_namespace: "hcube-system".into() };
    objects(Inputs {
        names: &names,
        spec: &spec,
        owner: &owner,
        defaults: &defaults,
        secrets_mark: "0.Settled",
        replicas: 3,
        storage: "10Gi",
        feature_level: spec.feature_level,
    })
}

fn find<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap()
}

/// Compares with a golden file, and writes it anew where `UPDATE_GOLDEN` is set.
fn assert_golden(name: &str, objects: &[Value]) {
    let text = objects.iter().map(to_yaml).collect::<Vec<_>>().join("---\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{} differs; UPDATE_GOLDEN=1 writes it anew:\n{text}", path.display());
}

#[test]
fn the_smallest_resource_builds_what_is_committed() {
    assert_golden("smallest.yaml", &build(json!({})));
}

#[test]
fn everything_that_can_be_said_is_built() {
    let objects = build(json!({
        "replicas": 5,
        "replicationFactor": 5,
        "image": "registry.example/hcube-node:2",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "storage": {"size": "20Gi", "className": "fast"},
        "scheduling": {
            "spread": "DoNotSchedule",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
        },
        "podTemplate": {
            "labels": {"team": "a", "app.kubernetes.io/name": "other"},
            "annotations": {"note": "b"},
            "env": [{"name": "RUST_LOG", "value": "debug"}, {"name": "HCUBE_DATA_DIR", "value": "/tmp"}],
        },
        "limits": {"segmentBytes": 16_777_216},
        "featureLevel": 1,
        "service": {"type": "LoadBalancer", "annotations": {"balancer.example/class": "b"}, "nodePort": 30_080},
        "hosts": ["Hcube.example", "192.0.2.7", "2001:DB8::7"],
        "networkPolicy": {"enabled": true, "clients": [{"podSelector": {"matchLabels": {"app": "shop"}}}]},
        "deletionPolicy": "Delete",
    }));
    assert_golden("everything.yaml", &objects);
}

#[test]
fn the_network_policy_is_a_switch() {
    let objects = build(json!({"networkPolicy": {"enabled": false}}));
    assert!(objects.iter().all(|object| object["kind"] != "NetworkPolicy"));
}

#[test]
fn people_add_to_pods_and_never_take_over() {
    let objects = build(json!({"podTemplate": {
        "labels": {"app.kubernetes.io/instance": "other", "team": "a"},
        "env": [{"name": "HCUBE_ADMIN_LISTEN", "value": "0.0.0.0:1"}, {"name": "RUST_LOG", "value": "debug"}],
    }}));
    let template = &find(&objects, "StatefulSet")["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["app.kubernetes.io/instance"], "demo");
    assert_eq!(template["metadata"]["labels"]["team"], "a");
    let env = template["spec"]["containers"][0]["env"].as_array().unwrap();
    let named = |name: &str| env.iter().filter(|one| one["name"] == name).collect::<Vec<_>>();
    assert_eq!(named("HCUBE_ADMIN_LISTEN").len(), 1);
    assert_eq!(named("HCUBE_ADMIN_LISTEN")[0]["value"], "0.0.0.0:8200");
    assert_eq!(named("RUST_LOG")[0]["value"], "debug");
}

#[test]
fn pods_have_the_version_of_their_image() {
    let version = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/version"].clone();
    let objects = build(json!({"image": "registry.example/hcube-node:2"}));
    for object in &objects {
        let expected = if object["kind"] == "StatefulSet" { json!("2") } else { Value::Null };
        assert_eq!(version(object), expected, "{object}");
    }
    let set = &find(&objects, "StatefulSet")["spec"];
    assert_eq!(version(&set["template"]), "2");
    // What a StatefulSet never changes.
    let others = build(json!({}));
    let other = &find(&others, "StatefulSet")["spec"];
    assert_eq!(set["selector"], other["selector"]);
    assert_eq!(set["volumeClaimTemplates"], other["volumeClaimTemplates"]);
    let unknown = build(json!({"image": "hcube-node@sha256:0123"}));
    assert_eq!(version(&find(&unknown, "StatefulSet")["spec"]["template"]), Value::Null);
}

#[test]
fn further_hosts_restart_peers_and_their_order_does_not() {
    let template = |spec: Value| find(&build(spec), "StatefulSet")["spec"]["template"].clone();
    let with = |hosts: &[&str]| template(json!({"hosts": hosts}));
    assert_eq!(template(json!({})), with(&[]));
    assert_ne!(with(&["a.example"]), with(&[]));
    assert_eq!(with(&["a.example", "b.example"]), with(&["b.example", "A.example", "a.example"]));
    assert_eq!(
        template(json!({"service": {"type": "NodePort"}})),
        with(&[]),
        "the Service is not the peers'"
    );
}

#[test]
fn the_digest_changes_with_what_is_applied_and_only_then() {
    let digest = |spec: Value| find(&build(spec), "StatefulSet")["metadata"]["annotations"].clone();
    assert_eq!(digest(json!({})), digest(json!({})));
    assert_ne!(digest(json!({})), digest(json!({"image": "other"})));
}
