//! The Kubernetes objects of a hypercube: pure, from a valid resource and a plan.

mod network;
mod pod;
mod set;
mod version;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use hcube_crd::{Hypercube, HypercubeSpec};

use crate::names::{APPLIED, Names};

/// What the operator was told about the objects that it makes.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Image of peers whose resource names none.
    pub image: String,
    /// The namespace that the operator runs in, which may reach the administration port.
    pub operator_namespace: String,
}

/// What objects are made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'i> {
    /// What the objects are called.
    pub names: &'i Names,
    /// What is wished; valid.
    pub spec: &'i HypercubeSpec,
    /// Who owns them.
    pub owner: &'i Value,
    /// What the operator was told.
    pub defaults: &'i Defaults,
    /// The rotation of secrets that pods start with.
    pub secrets_mark: &'i str,
    /// Pods that there should be.
    pub replicas: u16,
    /// Size of the volumes that the StatefulSet asks for.
    pub storage: &'i str,
    /// The feature level that pods are held at.
    pub feature_level: Option<u32>,
}

/// All objects, those first that others need. A NetworkPolicy that is not wished for is not among them.
#[must_use]
pub fn objects(inputs: Inputs<'_>) -> Vec<Value> {
    let mut objects = vec![
        account(inputs),
        network::peer_service(inputs),
        network::client_service(inputs),
        disruption_budget(inputs),
    ];
    objects.extend(network::policy(inputs));
    objects.push(set::stateful_set(inputs));
    objects.into_iter().map(sealed).collect()
}

/// The owner reference to a resource.
#[must_use]
pub fn owner(hypercube: &Hypercube) -> Value {
    json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "Hypercube",
        "name": hypercube.metadata.name,
        "uid": hypercube.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": false,
    })
}

/// The object with a digest of itself, so that a field that is no longer set is noticed.
fn sealed(mut object: Value) -> Value {
    let digest = Sha256::digest(object.to_string().as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    object["metadata"]["annotations"][APPLIED] = digest.into();
    object
}

fn metadata(inputs: Inputs<'_>, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": inputs.names.namespace,
        "labels": inputs.names.labels(),
        "ownerReferences": [inputs.owner],
    })
}

/// The labels of pods, and of what makes them. The version is the image's and not the operator's: it changes where pods
/// are restarted anyway, and another operator restarts none for it. The other objects stand for peers of two versions
/// while these are updated, and have none.
fn versioned_labels(inputs: Inputs<'_>) -> BTreeMap<String, String> {
    let mut labels = inputs.names.labels();
    labels.extend(version::of(image(inputs)).map(|version| (version::LABEL.to_owned(), version)));
    labels
}

/// The image of the peers.
fn image(inputs: Inputs<'_>) -> &str {
    inputs.spec.image.as_ref().unwrap_or(&inputs.defaults.image)
}

/// Peers never talk to Kubernetes.
fn account(inputs: Inputs<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(inputs, &inputs.names.name),
        "automountServiceAccountToken": false,
    })
}

/// One peer at a time may be sent away, whoever drains machines; while one is not ready, none may.
fn disruption_budget(inputs: Inputs<'_>) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(inputs, &inputs.names.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": { "matchLabels": inputs.names.selector() },
        },
    })
}

#[cfg(test)]
mod tests;
