//! Growing, shrinking, replacing.

use hcube_api::admin::Identity;
use hcube_api::cluster::MemberState;
use hcube_core::ids::{Incarnation, NodeId, Vertex};
use serde_json::json;

use super::scene::{CLUSTER, OTHER, Scene, disk, node};
use crate::plan::Gravity;

#[test]
fn one_that_is_as_wished_needs_nothing() {
    let scene = Scene::standing(3, json!({}));
    assert_eq!(scene.steps(), "3 pods");
    assert!(scene.plan().remarks.is_empty(), "{:?}", scene.plan().remarks);
}

#[test]
fn pods_join_in_the_order_of_their_vertices() {
    let wished = || Scene::standing(3, json!({"replicas": 5}));
    for (scene, steps) in [
        (wished(), "5 pods"),
        (wished().set(5).pods(3..5), "5 pods"),
        (wished().set(5).pods(3..5).empty(3..5), "5 pods, add 3, add 4"),
        (wished().set(5).pods(3..5).empty(3..4).silent(4), "5 pods, add 3"),
        // The higher one is quicker, and waits.
        (wished().set(5).pods(3..5).empty(4..5).silent(3), "5 pods"),
        // The first has joined, and not every peer knows it yet.
        (wished().set(5).pods(3..5).empty(4..5).bound(3, CLUSTER), "5 pods"),
    ] {
        assert_eq!(scene.steps(), steps, "{scene:#?}");
    }
    let foreign = wished().set(5).pods(3..5).bound(3, OTHER).empty(4..5);
    assert_eq!(foreign.steps(), "5 pods");
    assert_eq!(foreign.reasons(Gravity::Stalled), ["MixedIdentities"]);
}

#[test]
fn a_peer_is_drained_verified_removed_and_only_then_without_a_pod() {
    let wished = || Scene::standing(5, json!({"replicas": 3}));
    for (scene, steps) in [
        // Two at a time, the highest first.
        (wished(), "5 pods, drain 4, drain 3"),
        (wished().leaving(4, 2).leaving(3, 7), "5 pods"),
        (wished().leaving(4, 0).leaving(3, 2), "5 pods, remove 4"),
        // The lower one is empty first, and waits for the higher one.
        (wished().leaving(4, 1).leaving(3, 0), "5 pods"),
    ] {
        assert_eq!(scene.steps(), steps, "{scene:#?}");
    }
    let one_left = || Scene::standing(5, json!({"replicas": 3})).members(4);
    for (scene, steps) in [
        // A crash between the removal and the mark on the volume: it is repeated, which proves it.
        (one_left().leaving(3, 2).bound(4, CLUSTER), "5 pods, remove 4"),
        (one_left().leaving(3, 2).bound(4, CLUSTER).retired(4), "4 pods"),
        (one_left().leaving(3, 2).bound(4, CLUSTER).retired(4).without_pod(4), "4 pods, delete claim 4"),
        // Its pod does not answer any more; the status still knows whose it was.
        (one_left().leaving(3, 2).remembers(5).silent(4), "5 pods, remove 4"),
        (one_left().leaving(3, 2).remembers(4).silent(4), "4 pods"),
    ] {
        assert_eq!(scene.steps(), steps, "{scene:#?}");
    }
}

#[test]
fn removing_asks_the_pod_who_it_is() {
    let wished = || Scene::standing(4, json!({"replicas": 3})).leaving(3, 0);
    assert_eq!(wished().steps(), "4 pods, remove 3");
    let another = Identity {
        incarnation: disk(3),
        cluster_id: Some(CLUSTER),
        node_id: Some(NodeId(77)),
        vertex: Some(Vertex(3)),
    };
    let scene = wished().is(3, another);
    assert_eq!(scene.steps(), "4 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), ["IdentityMismatch"]);
    // One that does not run cannot be asked, and holds nothing.
    assert_eq!(wished().silent(3).steps(), "4 pods, remove 3");
}

#[test]
fn a_drain_that_cannot_go_on_says_why_and_goes_on_later() {
    let scene = Scene::standing(4, json!({"replicas": 3}))
        .leaving(3, 4)
        .member(3, |member| member.obstacle = Some("vertex 10 is down".into()));
    assert_eq!(scene.steps(), "4 pods");
    assert_eq!(scene.reasons(Gravity::Draining), ["DrainBlocked"]);
    assert_eq!(scene.reasons(Gravity::Stalled), [""; 0]);
}

#[test]
fn scaling_up_again_cancels_a_drain() {
    let leaving = |replicas| Scene::standing(5, json!({"replicas": replicas})).leaving(4, 3).leaving(3, 3);
    assert_eq!(leaving(5).steps(), "5 pods, cancel 4", "with all below it");
    assert_eq!(leaving(4).steps(), "5 pods, cancel 3");
    assert_eq!(leaving(7).steps(), "7 pods, cancel 4");
}

#[test]
fn one_peer_is_enough_where_one_is_wished() {
    let scene = Scene::standing(3, json!({"replicas": 1, "replicationFactor": 1}));
    assert_eq!(scene.steps(), "3 pods, drain 2, drain 1");
    let lowered = scene.cluster(|cluster| cluster.replication = 3);
    assert_eq!(lowered.steps(), "3 pods, replication 1, drain 2, drain 1");
}

#[test]
fn growing_waits_for_the_end_of_used_up_volumes() {
    let wished = || Scene::standing(3, json!({"replicas": 5}));
    let scene = wished().retired(4);
    assert_eq!(scene.steps(), "4 pods, delete claim 4");
    assert_eq!(scene.reasons(Gravity::Waiting), ["VolumeLeaving", "Growing"]);
    // Its pod has not ended yet.
    let scene = wished().set(4).pods(3..4).retired(3).bound(3, CLUSTER);
    assert_eq!(scene.steps(), "3 pods");
}

#[test]
fn a_volume_that_is_to_stay_has_to_be_deleted_by_hand() {
    let storage = json!({"size": "1Gi", "whenScaled": "Retain"});
    let scene = Scene::standing(3, json!({"replicas": 3, "storage": storage})).retired(3);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), [""; 0], "it is in nobody's way");
    let scene = Scene::standing(3, json!({"replicas": 4, "storage": storage})).retired(3);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), ["VolumeRetained"]);
}

#[test]
fn an_empty_volume_is_replaced_in_place() {
    let scene = Scene::standing(3, json!({})).empty(1..2);
    assert_eq!(scene.steps(), "3 pods, replace 1 (node 2)");
    assert_eq!(scene.reasons(Gravity::Degraded), ["VolumeLost"]);
    // Founded a moment ago, and not told yet: the hypercube knows its disk.
    let unaware = Identity { incarnation: disk(1), cluster_id: None, node_id: None, vertex: None };
    assert_eq!(Scene::standing(3, json!({})).is(1, unaware).steps(), "3 pods");
    // Replaced by a view that is newer than this one.
    let newer = Identity {
        incarnation: Incarnation(0xe001),
        cluster_id: Some(CLUSTER),
        node_id: Some(NodeId(4)),
        vertex: Some(Vertex(1)),
    };
    assert_eq!(Scene::standing(3, json!({})).is(1, newer).steps(), "3 pods");
    // Two volumes changed places.
    let scene = Scene::standing(3, json!({}));
    let (one, two) =
        (scene.observed.identity(1).unwrap().clone(), scene.observed.identity(2).unwrap().clone());
    let scene = scene.is(1, two).is(2, one);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), ["MixedIdentities"; 2]);
    // An older disk came back, whose node has left for ever.
    let older = Identity {
        incarnation: Incarnation(7),
        cluster_id: Some(CLUSTER),
        node_id: Some(node(0)),
        vertex: Some(Vertex(1)),
    };
    let scene = Scene::standing(3, json!({})).is(1, older);
    assert_eq!(scene.reasons(Gravity::Stalled), ["MixedIdentities"]);
}

#[test]
fn a_pod_that_is_only_away_is_waited_for() {
    for scene in [Scene::standing(3, json!({})).silent(2), Scene::standing(3, json!({})).without_pod(2)] {
        assert_eq!(scene.steps(), "3 pods", "{scene:#?}");
    }
}

#[test]
fn while_no_peer_answers_nobody_is_sent_away() {
    let away = |replicas| {
        let mut scene = Scene::standing(5, json!({"replicas": replicas})).silent(0);
        scene.observed.cube = None;
        scene
    };
    assert_eq!(away(3).steps(), "5 pods");
    assert_eq!(away(7).steps(), "7 pods");
    let mut without_set = away(3);
    without_set.observed.set = None;
    assert_eq!(without_set.steps(), "5 pods");
}

#[test]
fn one_stuck_pod_does_not_stop_the_rest() {
    // One grows, one is replaced, one cannot run: each goes its way.
    let scene = Scene::standing(4, json!({"replicas": 5}))
        .set(5)
        .pods(4..5)
        .empty(4..5)
        .empty(1..2)
        .failing(2, "CrashLoopBackOff");
    assert_eq!(scene.steps(), "5 pods, replace 1 (node 2), add 4");
    assert_eq!(scene.reasons(Gravity::Degraded), ["VolumeLost", "PodFailing"]);
}

#[test]
fn what_the_hypercube_can_never_become_is_told() {
    let scene = Scene::standing(3, json!({})).cluster(|cluster| cluster.slots.truncate(2));
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), ["SlotsDiffer"]);
}

#[test]
fn a_new_peer_that_takes_over_is_no_reason_to_wait() {
    let scene = Scene::standing(5, json!({"replicas": 6}))
        .set(6)
        .pods(5..6)
        .empty(5..6)
        .member(4, |member| member.state = MemberState::Joining);
    assert_eq!(scene.steps(), "6 pods, add 5");
}
