//! The chart, from the README's lines to the end of the release; with Helm 3 and with Helm 4.

use std::process::{Command, Stdio};

use hcube_tests::kubernetes::{
    Hypercube, Namespace, Reader, file, is_ready, kubectl, operator, resource, spec,
};
use hcube_tests::program::{self, Running};
use hcube_tests::seconds;
use serde_json::{Value, json};

use crate::endings::{delete, until_ended};
use crate::readme;

/// The release of the README, and its namespace.
const RELEASE: &str = "hcube";
/// A chart's definitions.
const DEFINITIONS: [&str; 2] = ["crd/hypercubes.hcube.dev", "crd/hypercubetopics.hcube.dev"];

/// Puts the operator of `deploy/hcube.yaml` back in place of the chart's, however the story ends.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        let _ =
            helm("helm", RELEASE, &["uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout=60s"]);
        let _ = kubectl(&["delete", "namespace", RELEASE, "--ignore-not-found", "--timeout=120s"]);
        let _ = kubectl(&["apply", "-f", &operator::repository("deploy/hcube.yaml")]);
    }
}

fn helm(program: &str, namespace: &str, arguments: &[&str]) -> program::Ran {
    let mut command = Command::new(program);
    command.args(arguments).args(["--namespace", namespace]).stdin(Stdio::null());
    Running::start(command).finish(seconds(300))
}

/// The operators of a namespace.
fn operators(namespace: &str) -> Vec<Value> {
    let selector = format!("app.kubernetes.io/name=hcube-operator,app.kubernetes.io/instance={RELEASE}");
    let list = kubectl(&["-n", namespace, "get", "pods", "-l", &selector, "-o", "json"]).json();
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
}

#[test]
fn the_readme_lines_with_helm_work_and_definitions_outlive_the_release() {
    let namespace = Namespace::alone("hct-helm");
    let restore = Restore;
    let kept = Hypercube::apply(&namespace, "kept", &spec(1), 1);
    kept.create_topic("t", 1);
    let acked = kept.publish("t", "kept", 5);

    // The README says what becomes of everything; Helm then begins where nothing is left.
    delete("-f deploy/hcube.yaml", &["-f", &operator::repository("deploy/hcube.yaml")], || {
        until_ended(&kept);
    });
    assert_eq!(namespace.list("pvc").len(), 1, "the data stay");
    let lost = kept.from_afar(&["k8s", "status"]).expect_code(3);
    assert!(lost.stderr.contains("the operator of hcube is not installed there"), "{lost}");

    let reader = Reader::within(&namespace);
    for line in readme::block(1) {
        let printed = reader.types(&line).ok();
        assert!(!printed.is_empty(), "{line} printed nothing");
        if line.starts_with("helm test") {
            assert!(printed.contains("Succeeded"), "{printed}");
        }
    }
    namespace.apply(&[resource("kept", &spec(1))]);
    let _ = kept.until_settled();
    let _ = kept.check("t", 1, &acked, &[0]);

    // Helm 4 goes on with what Helm 3 began.
    let chart = operator::repository("charts/hcube");
    let before = operators(RELEASE);
    assert_eq!(before.len(), 2);
    let upgrade =
        ["upgrade", RELEASE, &chart, "--reuse-values", "--set", "operator.log.level=debug", "--wait"];
    let _ = helm("helm4", RELEASE, &upgrade).ok();
    let after = operators(RELEASE);
    assert!(
        after.iter().any(|pod| !before.contains(pod)),
        "an upgrade that changes the operator replaces it"
    );
    let _ = kept.until_settled();

    // The peers go on without their operator, and definitions and Hypercubes stay.
    let _ = helm("helm4", RELEASE, &["uninstall", RELEASE, "--wait", "--timeout=120s"]).ok();
    let _ = kubectl(&["get", DEFINITIONS[0], DEFINITIONS[1]]).ok();
    let _ = kubectl(&["-n", RELEASE, "get", "hypercube", "demo"]).ok();
    let _ = kept.check("t", 1, &acked, &[0]);

    // Another release takes up what it may look after, and leaves the definitions as they are.
    let values = file(&[]);
    let told = json!({
        "crds": { "install": false },
        "watchNamespace": namespace.name,
        "hypercube": { "enabled": true, "name": "own", "spec": spec(1) },
    });
    std::fs::write(values.path(), told.to_string()).expect("a temporary file takes values");
    let values = values.path().to_string_lossy().into_owned();
    let install = ["install", RELEASE, &chart, "--values", &values, "--wait", "--timeout=120s"];
    let _ = helm("helm4", &namespace.name, &install).ok();
    let _ = namespace.until("hypercube", "own", "is Ready", seconds(120), is_ready);
    let tested = helm("helm4", &namespace.name, &["test", RELEASE, "--timeout=120s"]).ok();
    assert!(tested.contains("Succeeded"), "{tested}");
    is_looked_after_by(&kept, &format!("{}/hcube-operator", namespace.name));
    let _ = helm("helm4", &namespace.name, &["uninstall", RELEASE, "--wait", "--timeout=120s"]).ok();

    // `kubectl apply` takes over what Helm kept, and a Hypercube may follow at once.
    drop(restore);
    namespace.apply(&[resource("other", &spec(1))]);
    let _ = namespace.until("hypercube", "other", "is Ready", seconds(120), is_ready);
    operator::until_rolled_out();
    is_looked_after_by(&kept, "hcube-system/hcube-operator");
    let _ = kept.check("t", 1, &acked, &[0]);
}

/// Waits until an operator has taken a Hypercube up.
fn is_looked_after_by(cube: &Hypercube<'_>, operator: &str) {
    let _ = cube.until(&format!("is {operator}'s"), |object| object["status"]["operator"] == operator);
}
