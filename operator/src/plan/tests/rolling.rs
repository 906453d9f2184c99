//! Rolling updates: one at a time, never below a majority.

use serde_json::json;

use super::scene::Scene;
use crate::plan::Gravity;

/// A hypercube whose pods are of an older revision than wished for, those of `new` excepted.
fn updating(peers: u16, new: &[u16]) -> Scene {
    let mut scene = Scene::standing(peers, json!({"replicas": peers}));
    for ordinal in new {
        scene = scene.pod(*ordinal, |pod| pod.revision = Some("r2".into()));
    }
    scene.observed.set.as_mut().unwrap().revision = Some("r2".into());
    scene
}

#[test]
fn pods_are_restarted_from_the_highest_down() {
    for (new, steps) in [
        (&[][..], "3 pods, restart 2"),
        (&[2], "3 pods, restart 1"),
        (&[2, 1], "3 pods, restart 0"),
        (&[2, 1, 0], "3 pods"),
    ] {
        assert_eq!(updating(3, new).steps(), steps);
    }
}

#[test]
fn the_next_waits_until_the_last_is_ready() {
    for scene in [
        updating(3, &[2]).pod(2, |pod| pod.ready = false),
        updating(3, &[2]).without_pod(2),
        updating(3, &[]).pod(2, |pod| pod.terminating = true),
    ] {
        assert_eq!(scene.steps(), "3 pods", "{scene:#?}");
        assert_eq!(scene.reasons(Gravity::Waiting), ["RollingUpdate"]);
    }
}

#[test]
fn no_slot_loses_its_majority() {
    // Five peers, one of them away for another reason: nothing more may be taken away.
    let scene = updating(5, &[4]).pod(4, |pod| pod.ready = false);
    assert_eq!(scene.steps(), "5 pods");
    // All are ready, but a slot's new replica does not count yet.
    let scene = updating(3, &[]).cluster(|cluster| {
        let slot = &mut cluster.slots[0];
        slot.arriving = vec![slot.replicas[0].clone()];
    });
    assert_eq!(scene.steps(), "3 pods", "two replicas have no majority without either of them");
    let scene = updating(3, &[]).cluster(|cluster| cluster.rebalance.moving = 1);
    assert_eq!(scene.steps(), "3 pods");
}

#[test]
fn a_slot_with_one_replica_is_interrupted_knowingly() {
    let mut scene = Scene::standing(1, json!({"replicas": 1, "replicationFactor": 1}));
    scene.observed.set.as_mut().unwrap().revision = Some("r2".into());
    assert_eq!(scene.steps(), "1 pods, restart 0");
}

#[test]
fn a_mended_template_reaches_pods_that_cannot_run() {
    // An image that does not exist stopped the update at its first pod; the image is mended.
    let scene = updating(3, &[]).failing(2, "ImagePullBackOff");
    assert_eq!(scene.steps(), "3 pods, restart 2");
    // Not mended: it fails as it should, and the others are left alone.
    let scene = updating(3, &[2]).failing(2, "ImagePullBackOff");
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Degraded), ["PodFailing"]);
}

#[test]
fn nothing_is_restarted_before_kubernetes_has_seen_the_template() {
    let mut scene = updating(3, &[]);
    scene.observed.set.as_mut().unwrap().revision = None;
    assert_eq!(scene.steps(), "3 pods");
}

#[test]
fn nothing_is_restarted_while_no_peer_tells_where_the_slots_are() {
    let mut scene = updating(3, &[]);
    scene.observed.cube = None;
    assert_eq!(scene.steps(), "3 pods");
}

#[test]
fn before_the_founding_a_template_is_mended_at_once() {
    let mut scene = Scene::new(json!({})).set(3).pods(0..3);
    for ordinal in 0..3 {
        scene = scene.failing(ordinal, "ErrImagePull");
    }
    assert_eq!(scene.reasons(Gravity::Stalled), ["PodFailing"; 3]);
    scene.observed.set.as_mut().unwrap().revision = Some("r2".into());
    assert_eq!(scene.steps(), "3 pods, restart 0, restart 1, restart 2");
}
