//! The StatefulSet.

use hcube_crd::hypercube::DeletionPolicy;
use serde_json::{Value, json};

use super::{Inputs, metadata, pod, versioned_labels};

/// All pods start at once, and each is replaced only when the operator deletes it: the order of an update, and what
/// has to hold before each step, are the operator's to judge.
pub(super) fn stateful_set(inputs: Inputs<'_>) -> Value {
    let names = inputs.names;
    let when_deleted = match inputs.spec.deletion_policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": { "requests": { "storage": inputs.storage } },
    });
    if let Some(class) = &inputs.spec.storage.class_name {
        claim["storageClassName"] = class.clone().into();
    }
    let mut metadata = metadata(inputs, names.set());
    metadata["labels"] = json!(versioned_labels(inputs));
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": inputs.replicas,
            "serviceName": names.peer_service(),
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "OnDelete" },
            "revisionHistoryLimit": 3,
            "selector": { "matchLabels": names.selector() },
            // What is left of a peer that has left is deleted by the operator, after it has proof of that.
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": when_deleted, "whenScaled": "Retain" },
            "template": pod::template(inputs),
            "volumeClaimTemplates": [{
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": { "name": "data", "labels": names.selector() },
                "spec": claim,
            }],
        },
    })
}
