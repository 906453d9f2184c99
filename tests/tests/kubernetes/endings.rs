//! Deletions end soon, in whatever order they come: nothing waits for an operator.

use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, kubectl, operator, spec};
use hcube_tests::seconds;
use serde_json::json;

/// `kubectl delete`, which must have ended within a minute, pods and all.
fn delete(what: &str, arguments: &[&str], is_gone: impl Fn()) {
    let began = Instant::now();
    let _ = kubectl(&[&["delete", "--timeout=60s"], arguments].concat()).ok();
    is_gone();
    let took = began.elapsed();
    figures::tell("deletion", what, &figures::seconds(took));
    assert!(took < seconds(60), "{what} took {took:?}");
}

fn topic() -> serde_json::Value {
    json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "HypercubeTopic",
        "metadata": { "name": "t" },
        "spec": { "hypercube": { "name": "demo" }, "deletionPolicy": "Delete" },
    })
}

#[test]
fn a_namespace_with_everything_in_it_goes_at_once() {
    let namespace = Namespace::beside("hct-gone");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    namespace.apply(&[topic()]);
    let _ = namespace.until("hctopic", "t", "is Ready", seconds(60), |topic| {
        hcube_tests::kubernetes::holds(topic, "Ready", true)
    });
    drop(demo);
    delete("namespace", &["namespace", &namespace.name], || {});
}

#[test]
fn deletions_need_no_operator_and_it_comes_back() {
    let namespace = Namespace::alone("hct-orders");
    let cube = Hypercube::apply(&namespace, "demo", &spec(1), 1);
    namespace.apply(&[topic()]);
    let _ = namespace.until("hctopic", "t", "is Ready", seconds(60), |topic| {
        hcube_tests::kubernetes::holds(topic, "Ready", true)
    });
    let gone_with_it = namespace.another("with-operator");
    let _ = Hypercube::apply(&gone_with_it, "demo", &spec(1), 1);

    // Operator, topic, cluster.
    delete("operator's namespace", &["namespace", operator::NAMESPACE], || {});
    delete("topic without an operator", &["-n", &namespace.name, "hctopic", "t"], || {});
    delete("Hypercube without an operator", &["-n", &namespace.name, "hypercube", "demo"], || {
        namespace.until_gone("pod", &cube.pod(0), seconds(60));
        namespace.until_gone("statefulset", "demo", seconds(60));
    });
    delete("namespace without an operator", &["namespace", &gone_with_it.name], || {});

    operator::install();
    operator::until_rolled_out();
    // What stayed is taken up.
    namespace.apply(&[hcube_tests::kubernetes::resource("demo", &spec(1))]);
    let object = cube.until_settled();
    assert_eq!(object["status"]["members"][0]["nodeId"], 1, "{object}");
}
