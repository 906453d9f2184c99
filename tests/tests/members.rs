//! Peers join, leave and lose their disks while messages are published.

use hcube_tests::{Cluster, load, seconds};

/// Acknowledgements of every publisher between two changes.
const STRIDE: u64 = 15;

#[test]
fn growing_and_shrinking_one_at_a_time_loses_nothing() {
    let mut cluster = Cluster::up(3);
    cluster.create_topic("http", 4);
    let ((), acked) = load::during(&cluster.endpoints(), "http", 4, 4, |progress| {
        for _ in 0..3 {
            progress.advances(STRIDE, seconds(60));
            cluster.grow(1);
        }
        progress.advances(STRIDE, seconds(60));
        for _ in 0..3 {
            cluster.shrink(1);
            progress.advances(STRIDE, seconds(60));
        }
    });
    let _ = cluster.check("http", 4, &acked, &[0, 1, 2]);
}

#[test]
fn a_peer_that_joined_survives_being_killed_and_its_hypercube_going_down() {
    let mut cluster = Cluster::up(3);
    cluster.create_topic("http", 3);
    let ((), acked) = load::during(&cluster.endpoints(), "http", 3, 3, |progress| {
        cluster.grow(2);
        progress.advances(STRIDE, seconds(60));
        cluster.kill(4);
        progress.advances(STRIDE, seconds(60));
        cluster.start(4);
        cluster.down(true);
        cluster.up_again();
        progress.advances(STRIDE, seconds(60));
    });
    let _ = cluster.check("http", 3, &acked, &[0, 3, 4]);
}

#[test]
fn a_peer_that_lost_its_disk_is_filled_from_the_others() {
    let cluster = Cluster::up(4);
    cluster.create_topic("http", 4);
    let ((), acked) = load::during(&cluster.endpoints(), "http", 4, 4, |progress| {
        progress.advances(STRIDE, seconds(60));
        let before = cluster.node_id(2);
        cluster.kill(2);
        cluster.wipe(2);
        progress.advances(STRIDE, seconds(60));
        cluster.start(2);
        assert!(cluster.node_id(2) > before, "an empty disk came back as the node that it was");
        progress.advances(STRIDE, seconds(60));
    });
    let _ = cluster.check("http", 4, &acked, &[0, 2]);
}

#[test]
fn a_leader_whose_process_is_told_to_end_hands_over_first() {
    let cluster = Cluster::up(3);
    cluster.create_topic("t", 1);
    let leader = cluster.leader("t", 0);
    let other = cluster.vertices().find(|vertex| *vertex != leader);
    let other = other.unwrap_or_else(|| panic!("three peers have another"));
    let ((), acked) = load::during(&[cluster.endpoint(other)], "t", 1, 1, |progress| {
        progress.advances(STRIDE, seconds(60));
        cluster.stop(leader);
        progress.advances(STRIDE, seconds(60));
    });
    let log = cluster.log(leader);
    assert!(log.contains("handed over"), "no word of a hand-over: {log}");
    cluster.start(leader);
    let _ = cluster.check("t", 1, &acked, &[other]);
}
