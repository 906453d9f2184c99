//! Peers are restarted one after the other while messages are published: for another pod, for other secrets, and for
//! another feature level.

use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, operator, spec};
use hcube_tests::load::Progress;
use hcube_tests::seconds;
use serde_json::{Value, json};

/// Changes the spec, and tells how long it took until every pod was another one and all was settled.
fn roll(
    what: &str,
    demo: &Hypercube<'_>,
    change: &Value,
    progress: &Progress,
    meanwhile: impl FnOnce(&[Option<String>]),
) {
    let before: Vec<_> = (0..3).map(|vertex| demo.uid(vertex)).collect();
    let _ = progress.times();
    let began = Instant::now();
    let _ = demo.patch(change).ok();
    meanwhile(&before);
    for vertex in (0..3).rev() {
        demo.until_replaced(vertex, before[usize::from(vertex)].as_deref());
    }
    let _ = demo.until_settled();
    figures::tell("rolling update", &format!("{what}, settled"), &figures::seconds(began.elapsed()));
    progress.goes_on();
    figures::gaps("rolling update", &format!("{what}, messages"), &progress.times());
}

#[test]
fn rolling_updates_and_new_secrets_go_on_where_a_killed_operator_left_them() {
    let namespace = Namespace::alone("hct-rolling");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    let old = demo.secrets();
    assert_eq!(demo.administered(1, &old.token), 200);
    demo.under_load(3, |progress| {
        let change = json!({ "podTemplate": { "annotations": { "turn": "1" } } });
        roll("undisturbed", &demo, &change, progress, |_| {});
        // Three rounds over all peers, at the end of which the old secrets count for nothing.
        roll(
            "new secrets, operator killed in it",
            &demo,
            &json!({ "secretRotation": 1 }),
            progress,
            |before| {
                // The first pod is on its way.
                demo.until_replaced(2, before[2].as_deref());
                operator::kill();
                let _ = demo.until("has new secrets", |object| {
                    object["status"]["secretRotation"] == json!({ "number": 1, "step": "Settled" })
                });
            },
        );
    });
    let new = demo.secrets();
    assert_ne!(new.peer, old.peer);
    for vertex in 0..3 {
        assert_eq!(demo.administered(vertex, &old.token), 401, "the old token counts at vertex {vertex}");
        assert_eq!(demo.administered(vertex, &new.token), 200, "vertex {vertex}");
    }
    operator::until_rolled_out();
}

/// The level in force, as a resource says it.
fn level(object: &Value) -> Option<u64> {
    object["status"]["featureLevel"].as_u64()
}

#[test]
fn a_feature_level_is_held_then_rises_with_the_last_peer_and_never_falls() {
    let namespace = Namespace::beside("hct-levels");
    let mut held = spec(3);
    held["featureLevel"] = 1.into();
    let demo = Hypercube::apply(&namespace, "demo", &held, 3);
    assert_eq!(level(&demo.get()), Some(1));
    let free = json!({ "featureLevel": null });
    demo.under_load(3, |progress| {
        roll("feature level let go", &demo, &free, progress, |before| {
            for vertex in [2, 1] {
                demo.until_replaced(vertex, before[usize::from(vertex)].as_deref());
                let told = level(&demo.get());
                // Looked at afterwards, so that one peer was held for certain when that was told.
                if demo.uid(0) == before[0] {
                    assert_eq!(told, Some(1), "vertex 0 was held, and vertex {vertex} not");
                }
            }
        });
        let risen = demo.until("has a newer feature level", |object| level(object) > Some(1));

        let before: Vec<_> = (0..3).map(|vertex| demo.uid(vertex)).collect();
        for (wished, reason, words) in [
            (1, "FeatureLevelCannotFall", "which never falls"),
            (1000, "InvalidSpec", "install an operator that knows it"),
        ] {
            let _ = demo.patch(&json!({ "featureLevel": wished })).ok();
            let message = demo.until_says("Stalled", reason);
            assert!(message.contains(words), "{message}");
            let _ = namespace.until_event("demo", reason, seconds(20));
            progress.goes_on();
        }
        let _ = demo.patch(&free).ok();
        let settled = demo.until_settled();
        let after: Vec<_> = (0..3).map(|vertex| demo.uid(vertex)).collect();
        assert_eq!(after, before, "pods were restarted for a level that cannot be had");
        assert_eq!(level(&settled), level(&risen));
        let words = format!("feature level {}", level(&risen).unwrap_or_default());
        for shown in [demo.hcube(&["cluster", "status"]).ok(), demo.from_afar(&["k8s", "status"]).ok()] {
            assert!(shown.contains(&words), "{shown}");
        }
    });
}
