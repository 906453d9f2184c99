//! Deletions end soon, in whatever order they come: nothing waits for an operator.

use std::time::Instant;

use hcube_tests::kubernetes::{
    Hypercube, Namespace, figures, is_ready, kubectl, operator, resource, spec, topic,
};
use hcube_tests::seconds;
use serde_json::{Value, json};

/// `kubectl delete`, which must have ended within a minute, pods and all.
pub fn delete(what: &str, arguments: &[&str], is_gone: impl Fn()) {
    let began = Instant::now();
    let _ = kubectl(&[&["delete", "--timeout=60s"], arguments].concat()).ok();
    is_gone();
    let took = began.elapsed();
    figures::tell("deletion", what, &figures::seconds(took));
    assert!(took < seconds(60), "{what} took {took:?}");
}

/// Waits until nothing of a Hypercube runs.
pub fn until_ended(cube: &Hypercube<'_>) {
    for vertex in 0..u16::try_from(cube.endpoints.len()).unwrap_or(u16::MAX) {
        cube.namespace.until_gone("pod", &cube.pod(vertex), seconds(60));
    }
    cube.namespace.until_gone("statefulset", &cube.name, seconds(60));
}

/// Declares topics that go with their resources.
fn declare(namespace: &Namespace, names: &[&str]) {
    let delete = json!({ "deletionPolicy": "Delete" });
    let topics: Vec<Value> =
        names.iter().map(|name| topic(name, &json!({ "name": "demo" }), &delete)).collect();
    namespace.apply(&topics);
    for name in names {
        let _ = namespace.until("hctopic", name, "is Ready", seconds(60), is_ready);
    }
}

#[test]
fn a_namespace_with_everything_in_it_goes_at_once() {
    let namespace = Namespace::beside("hct-gone");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    declare(&namespace, &["t"]);
    drop(demo);
    delete("namespace", &["namespace", &namespace.name], || {});
}

#[test]
fn deletions_need_no_operator_and_it_comes_back() {
    let namespace = Namespace::alone("hct-orders");
    let gone_with_it = namespace.another("with-operator");
    let left = namespace.another("left");
    for namespace in [&namespace, &gone_with_it, &left] {
        namespace.apply(&[resource("demo", &spec(1))]);
    }
    let cube = Hypercube::reach(&namespace, "demo", 1);
    let bereft = Hypercube::reach(&left, "demo", 1);
    for cube in [&cube, &bereft, &Hypercube::reach(&gone_with_it, "demo", 1)] {
        let _ = cube.until_settled();
    }
    declare(&namespace, &["t"]);
    declare(&left, &["adopted", "dropped"]);
    let known = |count: usize| {
        move |object: &Value| object["status"]["managedTopics"].as_array().map_or(0, Vec::len) == count
    };
    let _ = bereft.until("remembers its declared topics", known(2));
    let acked = bereft.publish("adopted", "kept", 3);
    bereft.create_topic("plain", 1);
    let plain = bereft.publish("plain", "plain", 3);

    // Operator, topics, Hypercube, namespace.
    delete("operator's namespace", &["namespace", operator::NAMESPACE], || {});
    delete("topic without an operator", &["-n", &namespace.name, "hctopic", "t"], || {});
    delete("topics without an operator", &["-n", &left.name, "hctopic", "adopted", "dropped"], || {});
    delete("Hypercube without an operator", &["-n", &namespace.name, "hypercube", "demo"], || {
        until_ended(&cube);
    });
    delete("namespace without an operator", &["namespace", &gone_with_it.name], || {});

    operator::install();
    operator::until_rolled_out();
    // What stayed is taken up.
    namespace.apply(&[resource("demo", &spec(1))]);
    let object = cube.until_settled();
    assert_eq!(object["status"]["members"][0]["nodeId"], 1, "{object}");
    orphans_are_adopted_or_dropped(&bereft);
    let _ = bereft.check("adopted", 1, &acked, &[0]);

    // Definitions, and every Hypercube with them, while the operator looks; what it may not see comes back for it too.
    delete("definitions", &["crd", "hypercubes.hcube.dev", "hypercubetopics.hcube.dev"], || {
        until_ended(&cube);
        until_ended(&bereft);
    });
    operator::install();
    left.apply(&[resource("demo", &spec(1))]);
    let began = Instant::now();
    let _ = bereft.until_settled();
    let what = "Hypercube settled after the definitions were back";
    figures::tell("deletion", what, &figures::seconds(began.elapsed()));
    let _ = bereft.check("plain", 1, &plain, &[0]);
}

/// Topics whose resources went while nobody looked are listed and stay, until somebody says what becomes of each.
fn orphans_are_adopted_or_dropped(cube: &Hypercube<'_>) {
    let orphans = |object: &Value| -> Vec<(String, String)> {
        let list = object["status"]["orphanedTopics"].as_array().cloned().unwrap_or_default();
        let text = |orphan: &Value, field: &str| orphan[field].as_str().unwrap_or_default().to_owned();
        list.iter().map(|orphan| (text(orphan, "name"), text(orphan, "id"))).collect()
    };
    let object = cube.until("lists its orphans", |object| orphans(object).len() == 2);
    let listed = orphans(&object);
    assert_eq!((listed[0].0.as_str(), listed[1].0.as_str()), ("adopted", "dropped"), "{object}");
    assert!(cube.topic("adopted").is_some() && cube.topic("dropped").is_some());
    declare(cube.namespace, &["adopted"]);
    let drops = format!("hcube.dev/drop-orphans={}", listed[1].1);
    let _ = cube.namespace.kubectl(&["annotate", "hypercube", "demo", &drops]).ok();
    let _ = cube.until("has no orphans", |object| orphans(object).is_empty());
    assert!(cube.topic("dropped").is_none());
    let adopted = cube.topic("adopted");
    assert_eq!(adopted.map(|topic| topic["id"].to_string()), Some(format!("{:?}", listed[0].1)));
}
