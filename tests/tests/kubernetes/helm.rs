//! The chart: install, test, upgrade, uninstall.

use std::process::{Command, Stdio};

use hcube_tests::kubernetes::{Hypercube, Namespace, file, holds, kubectl, operator, resource, spec};
use hcube_tests::program::{Ran, Running};
use hcube_tests::seconds;

/// Starts the operator of all namespaces again, however the story ends: two must not look after the same namespace.
struct Resume;

impl Drop for Resume {
    fn drop(&mut self) {
        let _ = scale_operator(2);
    }
}

fn scale_operator(replicas: u16) -> Ran {
    let replicas = format!("--replicas={replicas}");
    kubectl(&["--namespace", operator::NAMESPACE, "scale", operator::DEPLOYMENT, &replicas])
}

#[track_caller]
fn helm(namespace: &Namespace, arguments: &[&str]) -> String {
    let mut command = Command::new("helm");
    command.args(arguments).args(["--namespace", &namespace.name]).stdin(Stdio::null());
    Running::start(command).finish(seconds(300)).ok()
}

#[test]
fn a_release_is_installed_tested_upgraded_and_uninstalled() {
    let namespace = Namespace::alone("hct-helm");
    let resume = Resume;
    let _ = scale_operator(0).ok();
    operator::until_rolled_out();

    let chart = operator::repository("charts/hcube");
    let values = file(&[]);
    let told = serde_json::json!({
        "crds": { "install": false },
        "watchNamespace": namespace.name,
        "hypercube": { "enabled": true, "spec": spec(1) },
    });
    std::fs::write(values.path(), told.to_string()).expect("a temporary file takes values");
    let values = values.path().to_string_lossy().into_owned();
    let _ = helm(&namespace, &["install", "hct", &chart, "--values", &values, "--wait", "--timeout=120s"]);
    let demo = Hypercube::reach(&namespace, "demo", 1);
    let _ = demo.until_settled();
    let tested = helm(&namespace, &["test", "hct", "--timeout=120s"]);
    assert!(tested.contains("Succeeded"), "{tested}");

    let pods = || -> Vec<String> {
        let list = namespace.list("pods").into_iter();
        let mine = list.filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == "hcube-operator");
        mine.map(|pod| pod["metadata"]["uid"].to_string()).collect()
    };
    let before = pods();
    assert_eq!(before.len(), 2);
    let upgrade =
        ["upgrade", "hct", &chart, "--values", &values, "--set", "operator.log.level=debug", "--wait"];
    let _ = helm(&namespace, &upgrade);
    assert!(
        pods().iter().any(|pod| !before.contains(pod)),
        "an upgrade that changes the operator replaces it"
    );
    let _ = demo.until_settled();
    demo.create_topic("t", 1);
    let acked = demo.publish("t", "kept", 5);

    // The peers go on without their operator, and the other one takes them up.
    let _ = helm(&namespace, &["uninstall", "hct", "--wait", "--timeout=120s"]);
    let _ = demo.check("t", 1, &acked, &[0]);
    drop(resume);
    operator::until_rolled_out();
    namespace.apply(&[resource("other", &spec(1))]);
    let _ = namespace
        .until("hypercube", "other", "is Ready", seconds(120), |object| holds(object, "Ready", true));
    let _ = demo.until_settled();
    let _ = demo.check("t", 1, &acked, &[0]);
}
