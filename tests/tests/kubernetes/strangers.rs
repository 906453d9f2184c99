//! Pods of the same namespace that have no secrets.

use hcube_tests::kubernetes::{Hypercube, Namespace, spec};
use hcube_tests::raw::{exchange, noise};
use hcube_tests::seconds;
use serde_json::{Value, json};

/// What either side of a peer link sends first: magic, version, nonce.
const OPENING_BYTES: usize = 8 + 4 + 32;

/// A container with the program `hcube`, as Pod Security restricted wants it.
fn container(name: &str, arguments: &[&str]) -> Value {
    json!({
        "name": name,
        "image": "hcube:dev",
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": [{ "name": "HCUBE_ENDPOINT", "value": "http://demo:8000" }],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [{ "name": "guess", "mountPath": "/guess" }],
    })
}

#[test]
fn a_pod_without_secrets_publishes_and_administers_nothing() {
    let namespace = Namespace::beside("hct-strangers");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    demo.create_topic("t", 1);
    let before = demo.get()["status"]["members"].clone();
    let admin = ["--admin", "http://demo-0.demo-peers:8200", "--token-file", "/guess/token"];
    let administered: [(&str, &[&str]); 4] = [
        ("drain", &["cluster", "drain", "--no-wait"]),
        ("set", &["cluster", "set", "--replication", "1", "--no-wait"]),
        ("pause", &["cluster", "rebalance", "--pause"]),
        ("members", &["cluster", "members"]),
    ];
    let mut containers = vec![container("client", &["publish", "t", "from a stranger"])];
    containers.extend(administered.map(|(name, words)| container(name, &[words, &admin[..]].concat())));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "stranger" },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": containers,
            "volumes": [{ "name": "guess", "configMap": { "name": "guess" } }],
        },
    });
    let guess = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "guess" },
        "data": { "token": "0".repeat(64) },
    });
    namespace.apply(&[guess, pod]);
    let ended = namespace.until("pod", "stranger", "has ended", seconds(90), |pod| {
        ["Failed", "Succeeded"].iter().any(|phase| pod["status"]["phase"] == *phase)
    });
    for status in ended["status"]["containerStatuses"].as_array().into_iter().flatten() {
        let name = status["name"].as_str().unwrap_or_default();
        let code = status["state"]["terminated"]["exitCode"].as_u64();
        let said = namespace.kubectl(&["logs", "stranger", "-c", name]);
        if name == "client" {
            assert_eq!(code, Some(0), "clients need no secret: {said}");
        } else {
            assert_eq!(code, Some(1), "{name}: {said}");
            assert!(said.stdout.contains("unauthorized"), "{name}: {said}");
        }
    }

    // What is no peer's hello gets no word beyond the nonce.
    let port = demo.peer_port(1);
    let opening = [&b"HCUBELNK"[..], &1_u32.to_le_bytes(), &[7; 32]].concat();
    for said in [noise(3, 500), opening.clone(), [&opening[..], &[200, 0], &noise(5, 5000)].concat()] {
        let heard = exchange(port, &said, true);
        assert!(heard.is_empty() || heard.len() == OPENING_BYTES, "{} bytes", heard.len());
    }

    let acked = demo.publish("t", "after", 5);
    assert_eq!(acked.first().map(|first| first.offset), Some(1), "the stranger's message is the first");
    let after = demo.until_settled()["status"]["members"].clone();
    assert_eq!(after, before);
    for pod in demo.pods() {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
}
