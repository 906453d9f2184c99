//! How the peers are reached, and by whom.

use serde_json::{Value, json};

use super::{Inputs, metadata};
use crate::names::{ADMIN_PORT, CLIENT_PORT, PEER_PORT};

fn port(name: &str, port: u16) -> Value {
    json!({ "name": name, "port": port, "targetPort": name, "protocol": "TCP" })
}

/// Gives each peer a name, from before it is ready: it becomes ready only when the others reach it.
pub(super) fn peer_service(inputs: Inputs<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(inputs, &inputs.names.peer_service()),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": inputs.names.selector(),
            "ports": [port("client", CLIENT_PORT), port("peer", PEER_PORT), port("admin", ADMIN_PORT)],
        },
    })
}

/// Any ready peer, for clients.
pub(super) fn client_service(inputs: Inputs<'_>) -> Value {
    let wished = &inputs.spec.service;
    let mut meta = metadata(inputs, inputs.names.client_service());
    if !wished.annotations.is_empty() {
        meta["annotations"] = json!(wished.annotations);
    }
    let mut client = port("client", CLIENT_PORT);
    if let Some(node_port) = wished.node_port {
        client["nodePort"] = node_port.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "type": wished.kind.as_str(),
            "selector": inputs.names.selector(),
            "ports": [client],
        },
    })
}

/// Peers reach peers, the operator reaches what it administers, clients reach the client port.
pub(super) fn policy(inputs: Inputs<'_>) -> Option<Value> {
    let wished = &inputs.spec.network_policy;
    if !wished.enabled {
        return None;
    }
    let peers = json!([{ "podSelector": { "matchLabels": inputs.names.selector() } }]);
    let operator = json!([{
        "namespaceSelector": {
            "matchLabels": { "kubernetes.io/metadata.name": inputs.defaults.operator_namespace },
        },
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "hcube-operator" } },
    }]);
    let mut clients = json!({ "ports": [{ "port": "client", "protocol": "TCP" }] });
    if !wished.clients.is_empty() {
        clients["from"] = json!(wished.clients);
    }
    let rules = json!([
        { "from": peers, "ports": [{ "port": "peer", "protocol": "TCP" }, { "port": "client", "protocol": "TCP" }] },
        {
            "from": operator,
            "ports": [{ "port": "admin", "protocol": "TCP" }, { "port": "client", "protocol": "TCP" }],
        },
        clients,
    ]);
    Some(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(inputs, &inputs.names.name),
        "spec": {
            "podSelector": { "matchLabels": inputs.names.selector() },
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }))
}
