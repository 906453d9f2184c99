//! Several hypercubes in one cluster, and strangers.

use hcube_tests::kubernetes::{Hypercube, Namespace, figures, kubectl, operator, resource, spec};
use hcube_tests::seconds;
use serde_json::{Value, json};

#[test]
fn hypercubes_in_one_namespace_and_another_keep_to_themselves() {
    let namespace = Namespace::beside("hct-several");
    let other = namespace.another("other");
    let one = spec(1);
    namespace.apply(&[resource("red", &one), resource("blue", &one)]);
    other.apply(&[resource("red", &one)]);
    let all = [
        Hypercube::reach(&namespace, "red", 1),
        Hypercube::reach(&namespace, "blue", 1),
        Hypercube::reach(&other, "red", 1),
    ];
    let mut ids: Vec<String> = Vec::new();
    let mut acked = Vec::new();
    for (number, cube) in all.iter().enumerate() {
        ids.push(cube.until_settled()["status"]["clusterId"].to_string());
        cube.create_topic("t", 1);
        acked.push(cube.publish("t", &format!("cube-{number}"), 5));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    for (cube, acked) in all.iter().zip(&acked) {
        let reading = cube.check("t", 1, acked, &[0]);
        assert_eq!(reading[&0].len(), 5);
    }
    let _ = namespace.kubectl(&["delete", "hypercube", "red", "--timeout=60s"]).ok();
    namespace.until_gone("pod", "red-0", seconds(60));
    let _ = all[1].check("t", 1, &acked[1], &[0]);
    let _ = all[2].check("t", 1, &acked[2], &[0]);
}

#[test]
fn ten_small_hypercubes_cost_the_operator_little() {
    let namespace = Namespace::alone("hct-ten");
    let names: Vec<String> = (0..10).map(|number| format!("small-{number}")).collect();
    let mut small = spec(1);
    small["resources"] = json!({ "requests": { "cpu": "5m", "memory": "32Mi" } });
    namespace.apply(&names.iter().map(|name| resource(name, &small)).collect::<Vec<_>>());
    for name in &names {
        let _ = namespace.until("hypercube", name, "is Ready", seconds(240), |object| {
            hcube_tests::kubernetes::holds(object, "Ready", true)
                && hcube_tests::kubernetes::holds(object, "Reconciling", false)
        });
    }
    let before = usage();
    std::thread::sleep(seconds(40));
    let after = usage();
    let cores = (after.1 - before.1) / (after.2 - before.2);
    figures::tell("operator", "ten Hypercubes, memory", &format!("{:.1} MiB", after.0 / 1_048_576.0));
    figures::tell("operator", "ten Hypercubes, idle", &format!("{:.2} % of a core", cores * 100.0));
}

/// Resident bytes, seconds of a processor, and when that was, of the operator's replica that acts.
fn usage() -> (f64, f64, f64) {
    let pod = operator::acting().expect("some replica acts");
    hcube_tests::eventually("figures of the operator", seconds(60), || {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}", operator::NAMESPACE);
        let found: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path]).ok()).ok()?;
        let machine = found["spec"]["nodeName"].as_str()?.to_owned();
        let path = format!("/api/v1/nodes/{machine}/proxy/metrics/resource");
        let text = kubectl(&["get", "--raw", &path]).ok();
        let of = |name: &str| {
            let is_it = |line: &&str| line.starts_with(name) && line.contains(&format!("pod=\"{pod}\""));
            let line = text.lines().find(is_it)?.to_owned();
            let mut words = line.rsplit(' ').map(str::to_owned);
            let (at, value) = (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?);
            Some((value, at / 1000.0))
        };
        let (memory, _) = of("container_memory_working_set_bytes{")?;
        let (seconds, at) = of("container_cpu_usage_seconds_total{")?;
        Some((memory, seconds, at))
    })
}
