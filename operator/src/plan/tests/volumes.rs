//! Volumes that grow, and a crash after each step.

use hcube_crd::Amount;
use serde_json::json;

use super::scene::Scene;
use crate::observed::StorageClass;
use crate::plan::Gravity;

fn wishing_2gi() -> Scene {
    Scene::standing(3, json!({"storage": {"size": "2Gi"}}))
}

fn with_claims(mut scene: Scene, requested: &[&str], capacity: &[&str]) -> Scene {
    for (ordinal, (requested, capacity)) in (0..).zip(requested.iter().zip(capacity)) {
        let claim = scene.observed.claims.get_mut(&ordinal).unwrap();
        claim.requested = Amount::from(*requested);
        claim.capacity = Some(Amount::from(*capacity));
    }
    scene
}

#[test]
fn claims_grow_then_the_set_is_made_anew() {
    let all = "3 pods, expand 0 to 2Gi, expand 1 to 2Gi, expand 2 to 2Gi";
    for (scene, steps) in [
        (wishing_2gi(), all),
        // A crash after the first claim.
        (
            with_claims(wishing_2gi(), &["2Gi", "1Gi", "1Gi"], &["2Gi", "1Gi", "1Gi"]),
            "3 pods, expand 1 to 2Gi, expand 2 to 2Gi",
        ),
        // All asked; the StatefulSet can be made anew while they grow.
        (with_claims(wishing_2gi(), &["2Gi"; 3], &["1Gi"; 3]), "3 pods, orphan"),
        (with_claims(wishing_2gi(), &["2048Mi"; 3], &["2Gi"; 3]), "3 pods, orphan"),
    ] {
        assert_eq!(scene.steps(), steps, "{scene:#?}");
        assert_eq!(scene.plan().storage, Amount::from("1Gi"), "the living set cannot change");
    }
    // A crash after the set was deleted: it is made anew with what is wished, and its pods are still there.
    let mut scene = with_claims(wishing_2gi(), &["2Gi"; 3], &["2Gi"; 3]);
    scene.observed.set = None;
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.plan().storage, Amount::from("2Gi"));
}

#[test]
fn volumes_that_still_grow_are_waited_for() {
    let mut scene = with_claims(wishing_2gi(), &["2Gi"; 3], &["2Gi", "1Gi", "2Gi"]);
    scene.observed.set.as_mut().unwrap().storage = Amount::from("2Gi");
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Waiting), ["VolumesGrowing"]);
}

#[test]
fn a_class_that_cannot_grow_is_told_and_nothing_is_tried() {
    let mut scene = wishing_2gi();
    scene.observed.storage_class = StorageClass::Exists { expandable: false };
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), ["VolumesCannotGrow"]);
}

#[test]
fn a_class_that_does_not_exist_is_told() {
    let mut scene = Scene::new(json!({})).set(3).pods(0..3).failing(0, "Unschedulable");
    scene.observed.storage_class = StorageClass::Missing("fast".into());
    assert_eq!(scene.reasons(Gravity::Stalled), ["StorageClassMissing", "PodFailing"]);
    scene.observed.set_trouble = Some("exceeded quota".into());
    assert!(scene.reasons(Gravity::Stalled).contains(&"PodsCannotBeCreated"));
}
