//! What is committed in `deploy/crds` is what the types say, and the API server can take it.

use std::path::Path;

use hcube_crd::{Hypercube, HypercubeTopic, manifest};
use kube::CustomResourceExt;
use serde_json::Value;

/// Beyond it, `kubectl apply` has no room for its annotation.
const BYTES_MAX: usize = 256 * 1024;

#[test]
fn committed_manifests_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for (name, text) in manifest::files() {
        let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            committed == text,
            "deploy/crds/{name} is stale: run `cargo run -p hcube-crd --example crds` and commit what it writes"
        );
    }
}

#[test]
fn manifests_are_small_enough_for_plain_apply() {
    for crd in [Hypercube::crd(), HypercubeTopic::crd()] {
        let bytes = serde_json::to_vec(&crd).unwrap().len();
        assert!(bytes < BYTES_MAX, "{bytes} bytes");
    }
}

/// Every property below `spec` and `status`, with its path.
fn properties<'s>(schema: &'s Value, path: &str, found: &mut Vec<(String, &'s Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        properties(property, &path, found);
        properties(&property["items"], &format!("{path}[]"), found);
        found.push((path, property));
    }
}

#[test]
fn every_field_is_described() {
    for crd in [Hypercube::crd(), HypercubeTopic::crd()] {
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            properties(&schema["properties"][part], part, &mut found);
        }
        assert!(found.len() > 15);
        let silent: Vec<_> = found
            .iter()
            .filter(|(_, property)| property["description"].as_str().is_none_or(str::is_empty))
            .map(|(path, _)| path)
            .collect();
        assert!(silent.is_empty(), "{silent:?}");
    }
}

#[test]
fn scaling_has_its_paths() {
    let crd = serde_json::to_value(Hypercube::crd()).unwrap();
    assert_eq!(
        crd["spec"]["versions"][0]["subresources"]["scale"],
        serde_json::json!({
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        })
    );
    assert_eq!(crd["spec"]["names"]["shortNames"], serde_json::json!(["hc"]));
    assert_eq!(crd["spec"]["names"]["categories"], serde_json::json!(["hcube"]));
}

#[test]
fn nothing_said_means_the_documented_defaults() {
    let spec: hcube_crd::HypercubeSpec = serde_json::from_str("{}").unwrap();
    assert_eq!((spec.replicas, spec.slots, spec.replication_factor), (3, 64, 3));
    assert_eq!(spec.storage.size.units(), Some(10 << 30));
    assert!(spec.network_policy.enabled);
    assert!(
        serde_json::from_str::<hcube_crd::HypercubeTopicSpec>("{}").is_err(),
        "a topic needs a hypercube"
    );
}
