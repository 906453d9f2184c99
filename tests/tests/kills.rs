//! Peers are killed by SIGKILL, one after the other and all at once, while messages are published.

use hcube_tests::history::check;
use hcube_tests::{Cluster, Feed, load, seconds};

/// Acknowledgements of every publisher between two blows.
const STRIDE: u64 = 15;

#[test]
fn killing_each_peer_in_turn_loses_nothing() {
    let cluster = Cluster::up(8);
    cluster.create_topic("lines", 4);
    cluster.create_topic("http", 4);
    let (lines, http) = load::during(&cluster.endpoints(), "http", 4, 4, |progress| {
        let feed = Feed::start(&cluster, "lines", "file");
        for vertex in cluster.vertices() {
            progress.advances(STRIDE, seconds(60));
            cluster.kill(vertex);
            // Publishing goes on without it, in every partition.
            progress.advances(STRIDE, seconds(60));
            cluster.start(vertex);
        }
        progress.advances(STRIDE, seconds(60));
        feed.finish()
    });
    assert!(lines.len() > 1000, "only {} lines while peers were killed", lines.len());
    let _ = cluster.check("http", 4, &http, &[0, 3, 6]);
    let _ = cluster.check("lines", 4, &lines, &[1, 4, 7]);
}

#[test]
fn killing_all_peers_at_once_loses_nothing_and_keeps_offsets() {
    let cluster = Cluster::up(5);
    cluster.create_topic("http", 3);
    let (before, acked) = load::during(&cluster.endpoints(), "http", 3, 6, |progress| {
        let mut before = Vec::new();
        for _ in 0..2 {
            progress.advances(STRIDE, seconds(60));
            before.push(cluster.read(1, "http", 3));
            cluster.down(true);
            cluster.up_again();
        }
        progress.advances(STRIDE, seconds(60));
        before
    });
    let after = cluster.check("http", 3, &acked, &[0, 4]);
    for (number, reading) in before.iter().enumerate() {
        check(&format!("before kill {number}"), &[], reading);
        for (partition, messages) in reading {
            assert_eq!(
                messages[..],
                after[partition][..messages.len()],
                "partition {partition}, kill {number}"
            );
        }
    }
}
