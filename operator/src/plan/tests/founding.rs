//! How hypercubes come into being, and what a crash between any two steps leads to.

use hcube_api::admin::Identity;
use hcube_core::ids::{NodeId, Vertex};
use serde_json::json;

use super::scene::{CLUSTER, OTHER, Scene, disk};
use crate::plan::{Action, Gravity};

fn three() -> Scene {
    Scene::new(json!({})).set(3).pods(0..3)
}

#[test]
fn a_hypercube_is_named_then_founded_then_remembered() {
    for (scene, steps) in [
        (Scene::new(json!({})), "3 pods"),
        (Scene::new(json!({})).set(3), "3 pods"),
        (three(), "3 pods"),
        (three().empty(0..2).silent(2), "3 pods"),
        (three().empty(0..3), "3 pods, name for 3"),
        // The name is in the status, and nothing was called: a crash before the call.
        (three().empty(0..3).named(3), "3 pods, found with 3"),
        // A crash after the call, before the status: the peers know.
        (three().bound(0, CLUSTER).empty(1..3).named(3), "3 pods, founded"),
        (three().bound(0, CLUSTER).silent(1).silent(2).named(3), "3 pods, founded"),
        (three().founded().members(3), "3 pods"),
    ] {
        assert_eq!(scene.steps(), steps, "{scene:#?}");
    }
}

#[test]
fn the_founders_are_those_of_the_name() {
    // The resource was scaled between the name and the call.
    let scene = Scene::new(json!({"replicas": 5})).set(5).pods(0..5).empty(0..5).named(3);
    assert_eq!(scene.steps(), "5 pods, found with 3");
    let scene = Scene::new(json!({"replicas": 3})).set(5).pods(0..5).empty(0..5).named(5);
    assert_eq!(scene.steps(), "5 pods, found with 5");
    let plan = three().empty(0..3).named(3).plan();
    let Action::Found { founders, cluster } = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(*cluster, CLUSTER);
    for (ordinal, founder) in (0..).zip(founders) {
        assert_eq!(founder.vertex, Vertex(ordinal));
        assert_eq!(founder.peer_address, format!("demo-{ordinal}.demo-peers.n.svc.cluster.local:8100"));
    }
}

#[test]
fn nothing_is_founded_while_a_founder_is_silent() {
    let scene = three().empty(0..2).silent(2).named(3);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Waiting), ["WaitingForPeers"]);
}

#[test]
fn volumes_that_were_retained_are_taken_up() {
    // Deleted with Retain and applied again: the volumes are there before the pods.
    let retained = |replicas| (0..5).fold(Scene::new(json!({"replicas": replicas})), Scene::claim);
    assert_eq!(retained(3).steps(), "5 pods", "all that the volumes hold, however few are wished for now");
    assert_eq!(retained(7).steps(), "7 pods");
    let scene = three().bound(0, CLUSTER).silent(1).bound(2, CLUSTER);
    assert_eq!(scene.steps(), "3 pods, adopt");
    // One of three might be the one that does not belong here.
    let scene = three().bound(0, CLUSTER).silent(1).silent(2);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Waiting), ["WaitingForPeers"]);
    assert_eq!(three().bound(0, CLUSTER).empty(1..3).steps(), "3 pods, adopt");
    // One volume is empty: that is for later, when the hypercube says who is missing.
    assert_eq!(three().bound(0, CLUSTER).empty(1..2).bound(2, CLUSTER).steps(), "3 pods, adopt");
}

#[test]
fn mixed_identities_stop_everything() {
    let at_another = Identity {
        incarnation: disk(1),
        cluster_id: Some(CLUSTER),
        node_id: Some(NodeId(2)),
        vertex: Some(Vertex(2)),
    };
    for scene in [
        three().bound(0, CLUSTER).bound(1, OTHER).bound(2, CLUSTER),
        three().bound(0, CLUSTER).is(1, at_another).silent(2),
        three().bound(0, OTHER).empty(1..3).named(3),
        three().bound(0, OTHER).bound(1, OTHER).bound(2, OTHER).founded().remembers(3),
        Scene::standing(3, json!({})).bound(1, OTHER).is(
            1,
            Identity {
                incarnation: disk(9),
                cluster_id: Some(OTHER),
                node_id: Some(NodeId(9)),
                vertex: Some(Vertex(1)),
            },
        ),
    ] {
        assert_eq!(scene.steps(), "3 pods", "{scene:#?}");
        assert_eq!(scene.reasons(Gravity::Stalled), ["MixedIdentities"]);
    }
}

#[test]
fn a_founded_hypercube_is_never_founded_again() {
    let scene = three().empty(0..3).founded().remembers(3);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Stalled), ["VolumesLost"]);
    let scene = three().empty(0..2).silent(2).founded().remembers(3);
    assert_eq!(scene.steps(), "3 pods");
    assert_eq!(scene.reasons(Gravity::Waiting), ["NoPeerAnswers"]);
}
