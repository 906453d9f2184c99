//! A disk without room: a small tmpfs under a peer's data directory.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; clippy only excuses functions marked as such"
)]

use hcube_tests::history::{check, value};
use hcube_tests::tmpfs::Tmpfs;
use hcube_tests::{Acked, Answer, Cluster, Shape, eventually, seconds};
use reqwest::Method;

/// Bytes of a message; a few hundred of them fill the disk.
const MESSAGE_BYTES: usize = 256 << 10;
/// Room for six segments of 16 MiB, which `hcube local` uses: enough to need the sorted files too.
const SMALL_MIB: u32 = 100;
const LARGE_MIB: u32 = 200;

/// Publishes until the peer refuses; what was acknowledged before, and the refusal.
fn fill(cluster: &Cluster, topic: &str, acked: &mut Vec<Acked>) -> Answer {
    let padding = "x".repeat(MESSAGE_BYTES);
    for _ in 0..4 * LARGE_MIB {
        let value = value(&padding, acked.len() as u64);
        let answer = cluster.post(0, topic, "text/plain", value.clone());
        if answer.status != 200 {
            return answer;
        }
        let offset = answer.json()["offset"].as_u64().expect("an acknowledgement has an offset");
        acked.push(Acked { partition: 0, offset, value });
    }
    panic!("{} messages fit into {LARGE_MIB} MiB", acked.len())
}

/// Waits until publishes are taken again.
fn heals(cluster: &Cluster, topic: &str) {
    eventually("the disk to have room again", seconds(60), || {
        let answer = cluster.post(0, topic, "text/plain", "room#0");
        if answer.status != 507 {
            let _ = answer.expect(200);
            return Some(());
        }
        None
    });
}

#[test]
fn a_full_disk_refuses_publishes_and_serves_reads() {
    let mut disk = None;
    let shape = Shape { peers: 1, slots: 4, replication: 1 };
    let cluster = Cluster::raise(shape, |dir| disk = Tmpfs::mount(&dir.join("peer-0"), SMALL_MIB));
    let Some(disk) = disk else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    cluster.create_topic("first", 1);
    cluster.create_topic("second", 1);
    let process = cluster.process(0);

    let mut acked = Vec::new();
    let refused = fill(&cluster, "first", &mut acked).expect_problem(507, "disk-full");
    assert!(refused.header("retry-after").is_some(), "{refused}");
    assert!(acked.len() > 100, "only {} messages fitted", acked.len());
    check("while the disk is full", &acked, &cluster.read(0, "first", 1));
    assert!(process.runs(), "the peer ended");
    let metrics = cluster.get(0, "/metrics").expect(200).text();
    assert!(metrics.contains("\nhcube_disk_full 1\n"), "{metrics}");

    // No crash loop: it starts on the full disk, and still has everything.
    cluster.kill(0);
    cluster.start(0);
    check("after a restart on the full disk", &acked, &cluster.read(0, "first", 1));
    let _ = fill(&cluster, "first", &mut acked).expect_problem(507, "disk-full");

    // Deleting makes room.
    let _ = cluster.send(cluster.request(Method::DELETE, 0, "/v1/topics/first")).expect(204);
    heals(&cluster, "second");

    // So does a larger disk.
    cluster.create_topic("third", 1);
    let mut acked = Vec::new();
    let _ = fill(&cluster, "third", &mut acked).expect_problem(507, "disk-full");
    disk.resize(LARGE_MIB);
    heals(&cluster, "second");
    check("in the end", &acked, &cluster.read(0, "third", 1));

    // Before the tmpfs goes, so that the process that lives on it has gone.
    drop(cluster);
    drop(disk);
}
