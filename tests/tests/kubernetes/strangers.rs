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

/// A pod of these, as Pod Security restricted wants it.
fn pod(name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": containers,
        },
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
    let mut pod = pod("stranger", &containers);
    pod["spec"]["volumes"] = json!([{ "name": "guess", "configMap": { "name": "guess" } }]);
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
    let port = demo.port(1, 8100);
    let opening = [&b"HCUBELNK"[..], &1_u32.to_le_bytes(), &[7; 32]].concat();
    for said in [noise(3, 500), opening.clone(), [&opening[..], &[200, 0], &noise(5, 5000)].concat()] {
        let heard = exchange(port, &said, true);
        assert!(heard.is_empty() || heard.len() == OPENING_BYTES, "{} bytes", heard.len());
    }

    a_peer_of_another_secret_gets_no_word(&namespace, &demo);

    let acked = demo.publish("t", "after", 5);
    assert_eq!(acked.first().map(|first| first.offset), Some(1), "the stranger's message is the first");
    let after = demo.until_settled()["status"]["members"].clone();
    assert_eq!(after, before);
    for pod in demo.pods() {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
}

/// A real peer with another secret, told by its administrator that one of these is its own: it knows all that can be
/// known without the secret, and more.
fn a_peer_of_another_secret_gets_no_word(namespace: &Namespace, demo: &Hypercube<'_>) {
    const TOKEN: &str = "a token that only the foreign peer has";
    let host = |pod: &str| format!("{pod}.demo-peers.{}.svc.cluster.local", namespace.name);
    let variables = [
        ("HCUBE_DATA_DIR", "/data/hcube"),
        ("HCUBE_CLIENT_LISTEN", "0.0.0.0:8000"),
        ("HCUBE_PEER_LISTEN", "0.0.0.0:8100"),
        ("HCUBE_ADMIN_LISTEN", "0.0.0.0:8200"),
        ("HCUBE_PEER_ADDRESS", "$(POD_IP):8100"),
        ("HCUBE_SECRET_FILE", "/secrets/peer"),
        ("HCUBE_TOKEN_FILE", "/secrets/token"),
    ];
    let mut environment =
        vec![json!({ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } })];
    environment.extend(variables.map(|(name, value)| json!({ "name": name, "value": value })));
    let mut peer = container("foreign", &[]);
    peer["image"] = json!("hcube-node:dev");
    peer["env"] = environment.into();
    peer["volumeMounts"] = json!([
        { "name": "data", "mountPath": "/data" },
        { "name": "secrets", "mountPath": "/secrets", "readOnly": true },
    ]);
    let mut pod = pod("foreign-0", &[peer]);
    pod["metadata"]["labels"] = json!({ "statefulset.kubernetes.io/pod-name": "foreign-0" });
    pod["spec"]["securityContext"]["fsGroup"] = json!(65_532);
    pod["spec"]["volumes"] = json!([
        { "name": "data", "emptyDir": {} },
        { "name": "secrets", "secret": { "secretName": "foreign", "defaultMode": 0o400 } },
    ]);
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "foreign" },
        "stringData": { "peer": "a secret that only the foreign peer has", "token": TOKEN },
    });
    namespace.apply(&[secret, pod]);
    let foreign = Hypercube::reach(namespace, "foreign", 1);
    let identity = hcube_tests::eventually("the foreign peer", seconds(60), || {
        let answer = foreign.administration(0, "/v1/identity", TOKEN);
        (answer.status == 200).then(|| answer.json())
    });
    let pod = namespace.get("pod", "foreign-0").unwrap_or_default();
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    let founder = |vertex: u16, incarnation: &Value, host: &str| {
        json!({
            "incarnation": incarnation,
            "vertex": vertex,
            "peer_address": format!("{host}:8100"),
            "client_address": format!("{host}:8000"),
        })
    };
    let known = demo.identity(1);
    let founders =
        [founder(0, &identity["incarnation"], &ip), founder(1, &known["incarnation"], &host("demo-1"))];
    let body = json!({
        "cluster_id": "5f0d6a52-0c9a-4c0e-9d0b-3a1f1f6f0a11",
        "slots": 16,
        "replication": 1,
        "founders": founders,
    });
    let refused = link_refusals(demo);
    let _ = foreign.administer(0, "/v1/bootstrap", &body, TOKEN);
    hcube_tests::eventually("a link that is refused", seconds(60), || {
        (link_refusals(demo) > refused).then_some(())
    });
    assert_eq!(demo.identity(1), known, "it became another's");
}

/// How often the peer at vertex 1 refused a link.
fn link_refusals(demo: &Hypercube<'_>) -> u64 {
    let metrics = demo.metrics(1);
    let line = metrics.lines().find(|line| line.starts_with("hcube_link_refusals_total "));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no count of refused links: {metrics}"))
}
