//! The pod of a peer, as the Pod Security Standard *restricted* wants it.

use std::collections::{BTreeMap, BTreeSet};

use hcube_crd::hypercube::{Resources, host};
use serde_json::{Value, json};

use super::Inputs;
use crate::names::{ADMIN_PORT, CLIENT_PORT, FEATURE_LEVEL, PEER_PORT, SECRETS};
use crate::secrets;

/// Nobody on the machine has this user id.
const USER: u32 = 65_532;
/// Seconds that a peer has to hand over its leaders and end.
const GRACE_SECONDS: u32 = 60;

pub(super) fn template(inputs: Inputs<'_>) -> Value {
    let wished = &inputs.spec.pod_template;
    let mut labels = wished.labels.clone();
    labels.extend(super::versioned_labels(inputs));
    let mut annotations = wished.annotations.clone();
    annotations.insert(SECRETS.to_owned(), inputs.secrets_mark.to_owned());
    annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), "hcube".to_owned());
    json!({ "metadata": { "labels": labels, "annotations": annotations }, "spec": spec(inputs) })
}

fn spec(inputs: Inputs<'_>) -> Value {
    let scheduling = &inputs.spec.scheduling;
    let mut spec = json!({
        "serviceAccountName": inputs.names.name,
        "automountServiceAccountToken": false,
        // Variables that Kubernetes makes from Services begin with HCUBE_ too, where one is called hcube.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": spread(inputs),
        "containers": [container(inputs)],
        "volumes": [{
            "name": "secrets",
            "secret": {
                "secretName": inputs.names.secret(),
                "defaultMode": 0o400,
                "items": [
                    { "key": secrets::TOKEN, "path": secrets::TOKEN },
                    { "key": secrets::PEER, "path": secrets::PEER },
                ],
            },
        }],
    });
    if !inputs.spec.image_pull_secrets.is_empty() {
        spec["imagePullSecrets"] = json!(inputs.spec.image_pull_secrets);
    }
    if !scheduling.node_selector.is_empty() {
        spec["nodeSelector"] = json!(scheduling.node_selector);
    }
    if !scheduling.tolerations.is_empty() {
        spec["tolerations"] = json!(scheduling.tolerations);
    }
    if let Some(affinity) = &scheduling.affinity {
        spec["affinity"] = json!(affinity);
    }
    if let Some(class) = &scheduling.priority_class_name {
        spec["priorityClassName"] = class.clone().into();
    }
    spec
}

/// Peers stand apart: over zones first, then over machines.
fn spread(inputs: Inputs<'_>) -> Vec<Value> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .into_iter()
        .map(|key| {
            json!({
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": inputs.spec.scheduling.spread.as_str(),
                "labelSelector": { "matchLabels": inputs.names.selector() },
            })
        })
        .collect()
}

fn container(inputs: Inputs<'_>) -> Value {
    let mut container = json!({
        "name": "hcube",
        "image": super::image(inputs),
        "env": environment(inputs),
        "ports": [
            { "name": "client", "containerPort": CLIENT_PORT, "protocol": "TCP" },
            { "name": "peer", "containerPort": PEER_PORT, "protocol": "TCP" },
            { "name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP" },
        ],
        // A peer that waits for others is alive; only itself can fail this.
        "livenessProbe": probe("/healthz", 10, 6),
        // Latched once it has joined and caught up, so that a lost majority does not empty the Service.
        "readinessProbe": probe("/readyz", 1, 3),
        "startupProbe": probe("/healthz", 1, 300),
        // Why it ended belongs into the conditions, where it ends again and again.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "resources": resources(&inputs.spec.resources),
        "volumeMounts": [
            { "name": "data", "mountPath": "/data" },
            { "name": "secrets", "mountPath": "/secrets", "readOnly": true },
        ],
    });
    if let Some(policy) = &inputs.spec.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    container
}

fn probe(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": "client", "scheme": "HTTP" },
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

fn resources(wished: &Resources) -> Value {
    let mut resources = json!({});
    for (kind, amounts) in [("requests", &wished.requests), ("limits", &wished.limits)] {
        if !amounts.is_empty() {
            resources[kind] = json!(amounts);
        }
    }
    resources
}

/// The hosts that peers answer to. In whatever order and letters people write theirs, peers are not restarted for it.
fn hosts(inputs: Inputs<'_>) -> String {
    let mut hosts = inputs.names.client_hosts();
    let further: BTreeSet<String> = inputs.spec.hosts.iter().filter_map(|text| host(text)).collect();
    hosts.extend(further);
    hosts.join(",")
}

/// What a peer is told; see `hcube_node::run`. What people add comes last, and never in place of it.
fn environment(inputs: Inputs<'_>) -> Vec<Value> {
    let names = inputs.names;
    let listen = |port: u16| format!("0.0.0.0:{port}");
    let mut told: Vec<(&str, String)> = vec![
        ("HCUBE_DATA_DIR", "/data/hcube".into()),
        ("HCUBE_CLIENT_LISTEN", listen(CLIENT_PORT)),
        ("HCUBE_PEER_LISTEN", listen(PEER_PORT)),
        ("HCUBE_ADMIN_LISTEN", listen(ADMIN_PORT)),
        (
            "HCUBE_PEER_ADDRESS",
            format!(
                "$(POD_NAME).{}.{}.svc.{}:{PEER_PORT}",
                names.peer_service(),
                names.namespace,
                names.domain
            ),
        ),
        ("HCUBE_SECRET_FILE", format!("/secrets/{}", secrets::PEER)),
        ("HCUBE_TOKEN_FILE", format!("/secrets/{}", secrets::TOKEN)),
        ("HCUBE_HOSTS", hosts(inputs)),
        ("HCUBE_LOG_JSON", "true".into()),
    ];
    if let Some(bytes) = inputs.spec.limits.segment_bytes {
        told.push(("HCUBE_SEGMENT_BYTES", bytes.to_string()));
    }
    if let Some(level) = inputs.feature_level {
        told.push((FEATURE_LEVEL, level.to_string()));
    }
    let mut variables = vec![
        json!({ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name", "apiVersion": "v1" } } }),
    ];
    variables.extend(told.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    let taken: BTreeMap<&str, ()> =
        told.iter().map(|(name, _)| (*name, ())).chain([("POD_NAME", ())]).collect();
    let further =
        inputs.spec.pod_template.env.iter().filter(|variable| !taken.contains_key(variable.name.as_str()));
    variables.extend(further.map(|variable| json!(variable)));
    variables
}
