//! Peers are restarted one after the other while messages are published: for another pod, and for other secrets.

use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, operator, spec};
use hcube_tests::load::Progress;
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
