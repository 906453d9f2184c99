//! The command `hcube` as from a laptop: through a port-forward that it makes itself.

use std::process::Command;

use hcube_tests::kubernetes::{Hypercube, Namespace, Reader, resource, spec};
use hcube_tests::program;
use hcube_tests::seconds;
use serde_json::{Value, json};

/// Runs the program in a namespace, without a word about the Hypercube.
fn within(namespace: &Namespace, arguments: &[&str]) -> program::Ran {
    program::run(program::command(&[&["--namespace", &namespace.name], arguments].concat()))
}

#[test]
fn a_hypercube_is_used_looked_at_and_administered() {
    let namespace = Namespace::beside("hct-afar");
    let demo = Hypercube::apply(&namespace, "demo", &spec(4), 4);
    // The only one need not be named.
    let _ = within(&namespace, &["topic", "create", "t", "--partitions", "2"]).ok();
    let many: String = (0..20).map(|number| format!("line {number}\n")).collect();
    let lines = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(lines.path(), &many).expect("a temporary file takes lines");
    let _ = demo.from_afar(&["publish", "t", "--file", &lines.path().to_string_lossy()]).ok();

    let listed = demo.from_afar(&["replica", "list", "t", "--output", "json"]).json();
    let rows = listed.as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 6, "two partitions have three replicas each: {listed}");
    let holder = rows[0]["label"].as_str().unwrap_or_default();
    let fetched =
        demo.from_afar(&["replica", "fetch", "t", "--replica", holder, "--output", "json"]).json_lines();
    assert!(!fetched.is_empty());
    let bench = ["bench", "--requests", "20", "--clients", "4", "--messages", "200", "--output", "json"];
    let report = demo.from_afar(&bench).json();
    assert!(report["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{report}");
    let status = demo.from_afar(&["k8s", "status", "--output", "json"]).json();
    assert_eq!(status["peers"].as_array().map(Vec::len), Some(4), "{status}");
    let plan = demo.from_afar(&["k8s", "plan", "--replicas", "3"]).ok();
    assert!(plan.contains("demo-3"), "{plan}");

    // Where the operator decides who leaves, a drain that it does not wish for is taken back, and whoever waits for its end
    // hears so. It has no end as long as nothing may move.
    let _ = demo.from_afar(&["cluster", "rebalance", "--pause"]).ok();
    let paused = demo.from_afar(&["cluster", "status"]).ok();
    assert!(paused.contains("paused"), "{paused}");
    let drained = demo.from_afar(&["cluster", "drain"]).expect_code(1);
    assert!(drained.stderr.contains("was taken back"), "{drained}");
    let _ = demo.from_afar(&["cluster", "rebalance", "--resume", "--wait"]).ok();

    // Where it only looks, people decide.
    let _ = demo.patch(&json!({ "paused": true })).ok();
    let _ = demo.until("has seen the pause", |object| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    });
    let drained = demo.from_afar(&["cluster", "drain", "--output", "json"]).json();
    assert_eq!((&drained["vertex"], &drained["held"]), (&json!(3), &json!(0)), "{drained}");
    let _ = demo.from_afar(&["cluster", "cancel"]).ok();
    let _ = demo.patch(&json!({ "paused": false })).ok();
    let _ = demo.until_settled();
    assert_eq!(demo.from_afar(&["pull", "t"]).ok().lines().count(), 20);
}

#[test]
fn what_is_in_the_way_is_said() {
    let namespace = Namespace::beside("hct-in-the-way");
    let nobody = within(&namespace, &["topic", "list"]).expect_code(3);
    assert!(nobody.stderr.contains("there is no Hypercube in namespace"), "{nobody}");
    let mut no_image = spec(1);
    no_image["image"] = json!("hcube-node:missing");
    namespace.apply(&[resource("red", &spec(1)), resource("blue", &no_image)]);
    let red = Hypercube::reach(&namespace, "red", 1);
    let blue = Hypercube::reach(&namespace, "blue", 1);
    let _ = red.until_settled();
    let _ = blue.until_says("Stalled", "PodFailing");

    let which = within(&namespace, &["topic", "list"]).expect_code(3);
    assert!(which.stderr.contains("--hypercube says which: blue red"), "{which}");
    let none = within(&namespace, &["--hypercube", "green", "topic", "list"]).expect_code(3);
    assert!(none.stderr.contains("no Hypercube green") && none.stderr.contains("blue red"), "{none}");
    let unready = blue.from_afar(&["topic", "list"]).expect_code(5);
    assert!(unready.stderr.contains("no pod of Hypercube blue is ready: blue-0 is "), "{unready}");
    // Its state is told all the same.
    let status = blue.from_afar(&["k8s", "status"]).ok();
    assert!(status.contains("hcube-node:missing"), "{status}");
    let context = within(&namespace, &["--context", "nowhere", "topic", "list"]).expect_code(3);
    assert!(context.stderr.contains("no context nowhere; it has "), "{context}");

    somebody_who_may_less(&namespace, &red);
}

/// Somebody who may see Hypercubes and no more, then reach pods too, then read the Secret too.
fn somebody_who_may_less(namespace: &Namespace, red: &Hypercube<'_>) {
    let rules = [
        json!({ "apiGroups": ["hcube.dev"], "resources": ["hypercubes"], "verbs": ["get", "list"] }),
        json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }),
        json!({ "apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"] }),
        json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }),
    ];
    let meta = json!({ "name": "somebody" });
    let role = |count: usize| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": meta,
            "rules": rules[..count],
        })
    };
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "somebody" },
        "subjects": [{ "kind": "ServiceAccount", "name": "somebody", "namespace": namespace.name }],
    });
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta });
    namespace.apply(&[account, role(0), binding]);
    let token = namespace.kubectl(&["create", "token", "somebody"]).ok();
    let reader = Reader::within(namespace);
    let path = reader.kubeconfig();
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("the reader has one")).expect("it is JSON");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    std::fs::write(&path, config.to_string()).expect("the reader's is hers");
    let run = |mut command: Command| {
        let _ = command.env("KUBECONFIG", &path);
        program::run(command)
    };

    let forbidden = [
        (0, &["topic", "list"][..], "you may not get hypercubes"),
        (1, &["topic", "list"], "you may not list pods"),
        (2, &["topic", "list"], "portforward"),
        (3, &["cluster", "members"], "you may not get secret red-secrets"),
    ];
    for (count, words, expected) in forbidden {
        namespace.apply(&[role(count)]);
        // What one may do is known everywhere a moment later.
        let ran = hcube_tests::eventually(expected, seconds(30), || {
            let ran = run(red.afar(words));
            ran.stderr.contains(expected).then_some(ran)
        });
        assert!(ran.code != Some(0) && ran.stderr.contains("forbidden"), "{ran}");
    }
    namespace.apply(&[role(4)]);
    let _ = run(red.afar(&["cluster", "members"])).ok();
}
