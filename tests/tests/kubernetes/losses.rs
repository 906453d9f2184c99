//! Pods are lost, with and without their volumes.

use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, spec};
use hcube_tests::seconds;

#[test]
fn lost_pods_and_volumes_come_back_and_nothing_is_missed() {
    let namespace = Namespace::beside("hct-losses");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    demo.under_load(3, |progress| {
        for (what, vertex, force) in
            [("pod deleted", 0, &["--wait=false"][..]), ("pod killed", 1, &["--grace-period=0", "--force"])]
        {
            let _ = progress.times();
            let uid = demo.uid(vertex);
            let pod = demo.pod(vertex);
            let _ = namespace.kubectl(&[&["delete", "pod", &pod], force].concat()).ok();
            demo.until_replaced(vertex, uid.as_deref());
            let _ = demo.until_settled();
            progress.goes_on();
            figures::gaps("losses", &format!("{what}, messages"), &progress.times());
        }

        let (uid, node) = (demo.uid(2), demo.member(2)["nodeId"].as_u64());
        let began = Instant::now();
        let _ = namespace.kubectl(&["delete", "pvc", "data-demo-2", "--wait=false"]).ok();
        let _ = namespace.kubectl(&["delete", "pod", "demo-2"]).ok();
        demo.until_replaced(2, uid.as_deref());
        let _ = demo.until_settled();
        figures::tell("losses", "pod and volume deleted, settled", &figures::seconds(began.elapsed()));
        assert!(
            demo.member(2)["nodeId"].as_u64() > node,
            "an empty volume came back as the node that it was"
        );
        progress.goes_on();
        figures::gaps("losses", "pod and volume deleted, messages", &progress.times());
    });
    let _ = namespace.until_event("demo", "Replaced", seconds(10));
}
