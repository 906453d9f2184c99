//! What happens to machines, to the operator and to the API server while messages are published.

use std::process::Command;
use std::time::Instant;

use hcube_tests::kubernetes::{Hypercube, Namespace, condition, figures, holds, kubectl, operator, spec};
use hcube_tests::seconds;

/// Undoes at the end of a story, however it ends, what would harm the next one.
struct Undo<F: Fn()>(F);

impl<F: Fn()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_drain_goes_on_where_a_killed_operator_left_it() {
    let namespace = Namespace::alone("hct-drain");
    let demo = Hypercube::apply(&namespace, "demo", &spec(5), 5);
    demo.under_load(4, |_| {
        demo.scale(3);
        let _ = demo.until("has begun to drain", |object| {
            holds(object, "Draining", true) || object["status"]["replicas"].as_u64() < Some(5)
        });
        operator::kill();
        let _ = demo.until_settled();
    });
    operator::until_rolled_out();
}

#[test]
fn a_drained_machine_takes_one_peer_and_is_refused_the_next() {
    let namespace = Namespace::alone("hct-machine");
    let cube = Hypercube::apply(&namespace, "drained", &spec(3), 3);
    let mut machines: Vec<String> = Vec::new();
    for pod in cube.pods() {
        machines.push(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned());
    }
    machines.sort();
    let two = machines.windows(2).find(|pair| pair[0] == pair[1]);
    let machine =
        two.map(|pair| pair[0].clone()).unwrap_or_else(|| panic!("no machine has two: {machines:?}"));
    cube.under_load(3, |progress| {
        let undo = Undo(|| drop(kubectl(&["uncordon", &machine])));
        let drained = kubectl(&[
            "drain",
            &machine,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--pod-selector=app.kubernetes.io/instance=drained",
            "--timeout=25s",
        ])
        .expect_code(1);
        assert!(drained.stderr.contains("would violate the pod's disruption budget"), "{drained}");
        let waits = |pod: &serde_json::Value| pod["status"]["phase"] == "Pending";
        assert_eq!(cube.pods().iter().filter(|pod| waits(pod)).count(), 1, "one eviction succeeds");
        let object = cube.until("says which peer is missing", |object| holds(object, "Degraded", true));
        let message = condition(&object, "Degraded")["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("drained-"), "{message}");
        assert!(holds(&object, "Ready", true), "{object}");
        progress.goes_on();
        figures::gaps("machine drained", "messages", &progress.times());
        drop(undo);
        let _ = cube.until_settled();
    });
}

#[test]
#[ignore = "the API server is away for a minute"]
fn peers_serve_while_the_api_server_is_away() {
    let namespace = Namespace::alone("hct-api");
    let demo = Hypercube::apply(&namespace, "demo", &spec(3), 3);
    let machines =
        kubectl(&["get", "nodes", "-l", "node-role.kubernetes.io/control-plane", "-o", "name"]).ok();
    let machine = machines.trim().trim_start_matches("node/").to_owned();
    let docker = |verb: &str| {
        let done = Command::new("docker").args([verb, &machine]).output();
        done.is_ok_and(|output| output.status.success())
    };
    demo.under_load(3, |progress| {
        assert!(docker("pause"), "docker pause {machine}");
        let undo = Undo(|| assert!(docker("unpause"), "docker unpause {machine}"));
        std::thread::sleep(seconds(60));
        drop(undo);
        figures::gaps("API server away for a minute", "messages", &progress.times());
        let began = Instant::now();
        hcube_tests::eventually("an API server", seconds(120), || namespace.get("hypercube", "demo"));
        let _ = demo.until_settled();
        demo.scale(4);
        let _ = demo.until_settled();
        let what = "back, and scaled 3 to 4";
        figures::tell("API server away for a minute", what, &figures::seconds(began.elapsed()));
    });
}
