//! Volumes that do not belong together, as a restore of the wrong one leaves them.

use hcube_tests::kubernetes::{Hypercube, Namespace, kubectl, resource, spec};
use hcube_tests::seconds;
use serde_json::json;

#[test]
fn volumes_of_two_hypercubes_are_not_mixed_and_the_right_ones_heal_it() {
    let namespace = Namespace::beside("hct-mixed");
    let one = spec(1);
    namespace.apply(&[resource("demo", &one), resource("other", &one)]);
    let demo = Hypercube::reach(&namespace, "demo", 1);
    let other = Hypercube::reach(&namespace, "other", 1);
    let mut ids = Vec::new();
    for cube in [&demo, &other] {
        let object = cube.until_settled();
        ids.push(object["status"]["clusterId"].as_str().unwrap_or_default().to_owned());
    }
    demo.create_topic("t", 1);
    let acked = demo.publish("t", "mine", 20);
    other.create_topic("t", 1);
    let others = other.publish("t", "theirs", 5);
    let _ = namespace.kubectl(&["delete", "hypercube", "demo", "other", "--timeout=60s"]).ok();
    for cube in [&demo, &other] {
        namespace.until_gone("pod", &cube.pod(0), seconds(60));
    }

    // The other's volume stands where a second peer would have its own.
    let volume = give_volume(&namespace, "data-other-0", "data-demo-1");
    let mut two = spec(1);
    two["replicas"] = json!(2);
    namespace.apply(&[resource("demo", &two)]);
    // Which of its pods it hears first decides in which words; that nobody joins does not depend on it.
    let message = demo.until_says("Stalled", "MixedIdentities");
    assert!(message.contains("demo-1"), "{message}");
    let object = demo.get();
    let members = object["status"]["members"].as_array().cloned().unwrap_or_default();
    assert!(members.iter().all(|member| member["vertex"] != 1), "{object}");
    assert_ne!(object["status"]["clusterId"].as_str(), Some(ids[1].as_str()), "{object}");
    let _ = namespace.until_event("demo", "MixedIdentities", seconds(20));

    // Without the stranger it is the hypercube that it was, and grows by an empty volume.
    let _ = namespace.kubectl(&["delete", "pvc", "data-demo-1", "--wait=false"]).ok();
    let _ = namespace.kubectl(&["delete", "pod", "demo-1", "--wait=false"]).ok();
    let object = demo.until_settled();
    assert_eq!(object["status"]["clusterId"].as_str(), Some(ids[0].as_str()));
    let _ = demo.check("t", 1, &acked, &[0]);

    // And nobody has written to the other's.
    reserve(&namespace, &volume, "data-other-0");
    claim(&namespace, &volume, "data-other-0");
    namespace.apply(&[resource("other", &one)]);
    let object = other.until_settled();
    assert_eq!(object["status"]["clusterId"].as_str(), Some(ids[1].as_str()));
    let _ = other.check("t", 1, &others, &[0]);
    when_released(&volume, "Delete");
}

/// Takes the volume of one claim, which goes, and gives it to a new one. Returns its name.
fn give_volume(namespace: &Namespace, from: &str, to: &str) -> String {
    let found = namespace.get("pvc", from);
    let volume = found.as_ref().and_then(|claim| claim["spec"]["volumeName"].as_str());
    let volume = volume.unwrap_or_else(|| panic!("{from} has no volume: {found:?}")).to_owned();
    when_released(&volume, "Retain");
    let _ = namespace.kubectl(&["delete", "pvc", from, "--timeout=60s"]).ok();
    reserve(namespace, &volume, to);
    claim(namespace, &volume, to);
    volume
}

/// What becomes of a volume when its claim goes.
fn when_released(volume: &str, policy: &str) {
    let policy = json!({ "spec": { "persistentVolumeReclaimPolicy": policy } }).to_string();
    let _ = kubectl(&["patch", "pv", volume, "-p", &policy]).ok();
}

/// Lets a volume that was kept be bound again, by this claim and by nobody else's.
fn reserve(namespace: &Namespace, volume: &str, name: &str) {
    hcube_tests::eventually(&format!("{volume} without a claim"), seconds(60), || {
        let object = kubectl(&["get", "pv", volume, "-o", "json"]).json();
        (object["status"]["phase"] == "Released").then_some(())
    });
    let claim = json!({ "name": name, "namespace": namespace.name, "uid": null, "resourceVersion": null });
    let patch = json!({ "spec": { "claimRef": claim } }).to_string();
    let _ = kubectl(&["patch", "pv", volume, "--type=merge", "-p", &patch]).ok();
}

/// A claim of exactly this volume.
fn claim(namespace: &Namespace, volume: &str, name: &str) {
    namespace.apply(&[json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "volumeName": volume,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    })]);
}
