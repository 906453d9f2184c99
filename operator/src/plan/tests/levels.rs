//! Feature levels that peers are held at, and those that they cannot be held at.

use serde_json::json;

use super::scene::{OTHER, Scene};
use crate::plan::Gravity;

/// A hypercube at a level whose pods are held at another one.
fn at(in_force: u32, held: Option<u32>, wished: Option<u32>) -> Scene {
    let mut scene = Scene::standing(3, json!({"featureLevel": wished}));
    scene = scene.cluster(|cluster| cluster.feature_level = in_force);
    scene.observed.set.as_mut().unwrap().feature_level = held;
    scene
}

#[test]
fn peers_are_held_where_that_is_wished() {
    for (in_force, held, wished) in [
        (1, None, None),
        (1, None, Some(1)),
        (1, Some(1), Some(1)),
        (1, Some(1), None),
        (1, Some(1), Some(2)),
    ] {
        let plan = at(in_force, held, wished).plan();
        assert_eq!(plan.feature_level, wished, "{in_force} {held:?}");
        assert!(plan.remarks.is_empty() && plan.actions.is_empty(), "{plan:?}");
    }
    assert_eq!(Scene::new(json!({"featureLevel": 1})).plan().feature_level, Some(1));
}

#[test]
fn a_level_that_has_risen_does_not_fall_and_pods_stay_as_they_are() {
    for held in [None, Some(2), Some(3)] {
        let scene = at(2, held, Some(1));
        assert_eq!(scene.plan().feature_level, held, "nothing changes, so nothing is restarted");
        assert_eq!(scene.steps(), "3 pods");
        assert_eq!(scene.reasons(Gravity::Stalled), ["FeatureLevelCannotFall"]);
        let message = &scene.plan().remarks[0].message;
        assert!(message.contains("cannot be 1") && message.contains("set featureLevel to 2"), "{message}");
    }
    // The StatefulSet is being made anew, with larger volumes.
    let mut scene = at(2, None, Some(1));
    scene.observed.set = None;
    assert_eq!(scene.plan().feature_level, Some(2));
}

#[test]
fn a_level_that_rose_while_pods_were_on_their_way_lets_them_start() {
    // The hold came too late: the first pod that has it would never start again.
    let mut scene = at(2, Some(1), Some(1)).failing(2, "CrashLoopBackOff");
    assert_eq!(scene.plan().feature_level, Some(2));
    scene.observed.set.as_mut().unwrap().revision = Some("r2".into());
    assert_eq!(scene.steps(), "3 pods, restart 2");
}

#[test]
fn what_was_known_counts_while_no_peer_tells_or_one_lags_behind() {
    let mut scene = at(1, None, Some(1));
    scene.status.feature_level = Some(2);
    assert_eq!(scene.reasons(Gravity::Stalled), ["FeatureLevelCannotFall"]);
    scene.observed.cube = None;
    assert_eq!(scene.reasons(Gravity::Stalled), ["FeatureLevelCannotFall"]);
    // Another hypercube's level is none of this one's.
    let mut scene = at(2, None, Some(1));
    scene.observed.cube.as_mut().unwrap().members.cluster_id = OTHER;
    assert!(!scene.reasons(Gravity::Stalled).contains(&"FeatureLevelCannotFall"));
    // Peers from before there were levels tell none.
    assert_eq!(at(0, None, Some(1)).reasons(Gravity::Stalled), [""; 0]);
}
