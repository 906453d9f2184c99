//! Topics as resources.

use hcube_tests::kubernetes::{Hypercube, Namespace, condition, holds, is_ready, operator, spec, topic};
use hcube_tests::seconds;
use serde_json::{Value, json};

#[test]
fn earthquakes_come_through_a_declared_topic() {
    let namespace = Namespace::beside("hct-topics");
    let other = namespace.another("other");
    let mut allowed = spec(3);
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": other.name } });
    allowed["allowedNamespaces"] = json!({ "from": "Selector", "selector": selector });
    let demo = Hypercube::apply(&namespace, "demo", &allowed, 3);
    let here = json!({ "name": "demo" });
    let there = json!({ "name": "demo", "namespace": namespace.name });

    other.apply(&[topic(
        "earthquakes",
        &there,
        &json!({ "partitions": 4, "deletionPolicy": "DeleteIfEmpty" }),
    )]);
    let ready = other.until("hctopic", "earthquakes", "is Ready", seconds(60), is_ready);
    assert_eq!(ready["status"]["placement"].as_array().map(Vec::len), Some(4), "{ready}");

    let feed = operator::repository("demo/earthquakes.ndjson");
    let lines = std::fs::read_to_string(&feed).expect("the feed is part of the repository").lines().count();
    let acked = demo.hcube(&["publish", "earthquakes", "--file", &feed, "--output", "json"]).json_lines();
    assert_eq!(acked.len(), lines);
    let pulled = demo.hcube(&["pull", "earthquakes", "--output", "json"]).json_lines();
    assert_eq!(pulled.len(), lines);
    let counted = move |object: &Value| object["status"]["messages"] == lines;
    let _ = other.until("hctopic", "earthquakes", "counts its messages", seconds(90), counted);

    drift_is_repaired(&demo, &namespace);

    // One that holds messages stays where only an empty one may go; one without goes; one that says so goes with them.
    namespace.apply(&[
        topic("empty", &here, &json!({ "deletionPolicy": "DeleteIfEmpty" })),
        topic("full", &here, &json!({ "deletionPolicy": "Delete" })),
        topic("kept", &here, &json!({})),
    ]);
    for name in ["empty", "full", "kept"] {
        let _ = namespace.until("hctopic", name, "is Ready", seconds(60), is_ready);
    }
    let _ = demo.publish("full", "full", 3);
    let _ = other.kubectl(&["delete", "hctopic", "earthquakes", "--timeout=30s"]).ok();
    let _ = namespace.kubectl(&["delete", "hctopic", "empty", "full", "kept", "--timeout=30s"]).ok();
    for name in ["empty", "full"] {
        hcube_tests::eventually(&format!("{name} is deleted"), seconds(60), || {
            demo.topic(name).is_none().then_some(())
        });
    }
    for name in ["earthquakes", "kept"] {
        assert!(demo.topic(name).is_some(), "{name} was deleted");
    }
}

#[test]
fn a_topic_in_a_namespace_that_is_not_allowed_says_so() {
    let namespace = Namespace::beside("hct-forbidden");
    let other = namespace.another("other");
    let demo = Hypercube::apply(&namespace, "demo", &spec(1), 1);
    let there = json!({ "name": "demo", "namespace": namespace.name });
    other.apply(&[topic("t", &there, &json!({}))]);
    let stalled =
        other.until("hctopic", "t", "is Stalled", seconds(60), |object| holds(object, "Stalled", true));
    assert!(demo.topic("t").is_none(), "{stalled}");
    // It heals when the Hypercube lets it in.
    let _ = demo.patch(&json!({ "allowedNamespaces": { "from": "All" } })).ok();
    let _ = other.until("hctopic", "t", "is Ready", seconds(60), is_ready);
    assert!(demo.topic("t").is_some());
}

/// What others change is as declared again: retention, the number of readers, the topic itself.
fn drift_is_repaired(demo: &Hypercube<'_>, namespace: &Namespace) {
    let week = json!({ "retention": { "ageSeconds": 604_800 } });
    namespace.apply(&[topic("drifting", &json!({ "name": "demo" }), &week)]);
    let _ = namespace.until("hctopic", "drifting", "is Ready", seconds(60), is_ready);
    // The operator looks once a minute; whoever cannot wait touches the resource.
    let touch = |mark: &str| {
        let mark = format!("touched={mark}");
        let _ = namespace.kubectl(&["annotate", "hctopic", "drifting", "--overwrite", &mark]).ok();
    };
    let age = || demo.topic("drifting").map(|topic| topic["retention"]["age_ms"].clone());
    let _ = demo.hcube(&["topic", "alter", "drifting", "--retention-age", "1h"]).ok();
    touch("altered");
    let _ = namespace.until_event("drifting", "Altered", seconds(60));
    hcube_tests::eventually("the declared retention", seconds(20), || {
        (age() == Some(json!(604_800_000))).then_some(())
    });
    let before = demo.topic("drifting").map(|topic| topic["id"].clone());
    let _ = demo.hcube(&["topic", "delete", "drifting"]).ok();
    touch("deleted");
    let after = hcube_tests::eventually("another life of the topic", seconds(60), || demo.topic("drifting"));
    assert_ne!(Some(after["id"].clone()), before);
    let of_now = |object: &Value| is_ready(object) && object["status"]["topicId"] == after["id"];
    let _ = namespace.until("hctopic", "drifting", "tells the topic that is there now", seconds(60), of_now);

    // What can never become true is said, and harms nothing.
    let _ = namespace
        .kubectl(&["patch", "hctopic", "drifting", "--type=merge", "-p", r#"{"spec":{"partitions":7}}"#])
        .expect_code(1);
    let _ = demo.hcube(&["topic", "create", "taken", "--partitions", "2"]).ok();
    namespace.apply(&[topic("taken", &json!({ "name": "demo" }), &json!({ "partitions": 3 }))]);
    let stalled = namespace
        .until("hctopic", "taken", "is Stalled", seconds(60), |object| holds(object, "Stalled", true));
    let message = condition(&stalled, "Stalled")["message"].as_str().unwrap_or_default();
    assert!(message.contains("2 partitions"), "{message}");
}
