//! From `kubectl apply` to the first message.

use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, operator, resource, spec};
use hcube_tests::program;

/// Applies by `apply`, and tells how long it took until a message was acknowledged.
fn first_publish(hypercube: &Hypercube<'_>, apply: impl FnOnce()) {
    let began = Instant::now();
    apply();
    hypercube.create_topic("first", 1);
    let acked = hypercube.publish("first", "first", 1);
    let took = began.elapsed();
    let peers = hypercube.endpoints.len();
    figures::tell("apply", &format!("to first publish, {peers} peers"), &figures::seconds(took));
    let object = hypercube.until_settled();
    assert_eq!(object["status"]["replicas"], peers, "{object}");
    let _ = hypercube.check("first", 1, &acked, &[0]);
}

#[test]
fn the_sample_becomes_ready_and_carries_messages() {
    let namespace = Namespace::beside("hct-sample");
    let demo = Hypercube::reach(&namespace, "demo", 3);
    let sample = operator::repository("deploy/samples/hypercube.yaml");
    first_publish(&demo, || {
        let _ = namespace.kubectl(&["apply", "-f", &sample]).ok();
    });

    let _ = demo.hcube(&["topic", "create", "greetings"]).ok();
    let _ = demo.hcube(&["publish", "greetings", "hello", "world"]).ok();
    assert_eq!(demo.hcube(&["pull", "greetings"]).ok(), "hello\nworld\n");
    let followed = demo.hcube(&["subscribe", "greetings", "--from", "earliest", "--limit", "2"]).ok();
    assert_eq!(followed, "hello\nworld\n");

    // From a laptop: the program finds its own way to the pods.
    let place = ["--namespace", &namespace.name, "--hypercube", "demo"];
    let hcube = |words: &[&str]| program::run(program::command(&[&place[..], words].concat())).ok();
    let _ = hcube(&["publish", "greetings", "from afar"]);
    assert_eq!(hcube(&["pull", "greetings"]), "hello\nworld\nfrom afar\n");
    let status = hcube(&["k8s", "status"]);
    assert!(status.contains("demo-2"), "{status}");

    let shown = namespace.kubectl(&["get", "hc"]).ok();
    for column in ["READY", "NODES", "DIMENSION", "UNDER-REPLICATED", "AGE"] {
        assert!(shown.contains(column), "{shown}");
    }
    for pod in demo.pods() {
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "{pod}");
        assert_eq!(spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true, "{pod}");
    }

    // Nothing has changed, so nothing is written: also the status keeps its version.
    let version = |object: serde_json::Value| object["metadata"]["resourceVersion"].clone();
    let before = version(demo.get());
    std::thread::sleep(hcube_tests::seconds(35));
    assert_eq!(version(demo.get()), before, "a Hypercube that did not change was written");
}

#[test]
#[ignore = "eight peers take the machine for themselves"]
fn eight_peers_become_ready() {
    let namespace = Namespace::alone("hct-eight");
    let eight = Hypercube::reach(&namespace, "eight", 8);
    first_publish(&eight, || namespace.apply(&[resource("eight", &spec(8))]));
}
