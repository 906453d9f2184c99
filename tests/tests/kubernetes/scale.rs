//! `kubectl scale` both ways while messages are published.

use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, spec};
use hcube_tests::{Answer, answer, seconds};

#[test]
fn scaling_up_and_down_loses_nothing() {
    let namespace = Namespace::beside("hct-scale");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 5);
    demo.under_load(4, |progress| {
        let mut before = 3;
        for peers in [5, 4, 3] {
            let began = Instant::now();
            demo.scale(peers);
            let object = demo.until_settled();
            let what = format!("{before} to {peers}");
            figures::tell("scale", &format!("{what}, settled"), &figures::seconds(began.elapsed()));
            let members = object["status"]["members"].as_array().map_or(0, Vec::len);
            assert_eq!(members, usize::from(peers), "{object}");
            progress.goes_on();
            figures::gaps("scale", &format!("{what}, messages"), &progress.times());
            before = peers;
        }
    });
    // Volumes of peers that have left are used up and go.
    for vertex in [3, 4] {
        namespace.until_gone("pvc", &format!("data-demo-{vertex}"), seconds(60));
    }
    let _ = namespace.until_event("demo", "Draining", seconds(10));
    let _ = namespace.until_event("demo", "Removed", seconds(10));
}

#[test]
fn scaling_up_again_calls_a_drain_off() {
    let namespace = Namespace::beside("hct-recall");
    let demo = Hypercube::apply(&namespace, "demo", &spec(4), 4);
    demo.create_topic("t", 1);
    let acked = demo.publish("t", "before", 20);
    let node = demo.member(3)["nodeId"].clone();
    demo.scale(3);
    demo.scale(4);
    let _ = demo.until_settled();
    let after = demo.member(3)["nodeId"].clone();
    // Either it stayed, or it had left already and another node joined in its place: an id is never used again.
    assert!(after == node || after.as_u64() > node.as_u64(), "{node} became {after}");
    let _ = demo.check("t", 1, &acked, &[0, 3]);
}

#[test]
#[ignore = "200 MB take the machine for themselves"]
fn two_hundred_megabytes_move_while_it_grows() {
    let namespace = Namespace::alone("hct-bulk");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 5);
    demo.create_topic("t", 16);
    let client = answer::client();
    let value = "x".repeat(500_000);
    for number in 0..400_usize {
        let endpoint = &demo.endpoints[number % 3];
        let send = || {
            let request = client.post(format!("{endpoint}/v1/topics/t/messages"));
            let request = request.header("content-type", "text/plain").header("hcube-partition", number % 16);
            Answer::of(&client, request.body(value.clone())).ok().filter(|answer| answer.status == 200)
        };
        let _ = hcube_tests::eventually("a large message", seconds(60), send);
    }
    let began = Instant::now();
    demo.scale(5);
    let _ = demo.until_settled();
    figures::tell("scale", "3 to 5 with 200 MB, settled", &figures::seconds(began.elapsed()));
}
