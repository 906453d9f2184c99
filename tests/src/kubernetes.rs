//! Stories in a real Kubernetes cluster, the one that `tests/kind/up` made and `tests/kind/env` names.
//!
//! Each story has a [`Namespace`] of its own, in which Pod Security *restricted* is enforced. What it does it does with
//! kubectl, as a person would. Peers are reached at ports of a machine of the cluster, so that nothing in between dies
//! with a pod.

mod administration;
pub mod figures;
mod forward;
mod hypercube;
mod kubectl;
mod namespace;
pub mod operator;
mod reader;
mod under_load;

pub use administration::Secrets;
pub use hypercube::Hypercube;
pub use kubectl::{file, json, kubectl};
pub use namespace::Namespace;
pub use reader::Reader;

use serde_json::{Value, json};

/// A Hypercube that asks for little: as many peers, and three replicas where there are three peers.
#[must_use]
pub fn spec(replicas: u16) -> Value {
    json!({
        "replicas": replicas,
        "replicationFactor": if replicas >= 3 { 3 } else { 1 },
        "slots": 16,
        "storage": { "size": "1Gi" },
        "resources": {
            "requests": { "cpu": "20m", "memory": "48Mi" },
            "limits": { "memory": "512Mi" },
        },
        // Its peers say more than usual where a story fails.
        "podTemplate": { "env": [{ "name": "RUST_LOG", "value": "info" }] },
    })
}

/// The resource of a name with a spec.
#[must_use]
pub fn resource(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "Hypercube",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// The HypercubeTopic of a name for a Hypercube that is named like `{"name": "demo"}`, with changes to its spec.
///
/// # Panics
/// When the changes are no object.
#[must_use]
pub fn topic(name: &str, hypercube: &Value, changes: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "HypercubeTopic",
        "metadata": { "name": name },
        "spec": { "hypercube": hypercube },
    });
    for (field, value) in changes.as_object().expect("changes are an object") {
        object["spec"][field] = value.clone();
    }
    object
}

/// Whether an object is Ready, as it is now.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    holds(object, "Ready", true)
}

/// A condition of an object; `Null` where it has none of this type.
#[must_use]
pub fn condition<'o>(object: &'o Value, kind: &str) -> &'o Value {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// Whether a condition of an object holds, said of the object as it is now and not as it was before a change.
#[must_use]
pub fn holds(object: &Value, kind: &str, wished: bool) -> bool {
    let status = if wished { "True" } else { "False" };
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && condition(object, kind)["status"] == status
}
