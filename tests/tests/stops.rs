//! Peers that neither answer nor end (SIGSTOP): worse than dead ones, because their connections stay open.

use std::time::Duration;

use hcube_tests::history::value;
use hcube_tests::{Acked, Cluster, Publisher, eventually, seconds};
use rustix::process::Signal;

/// Publishes a number of messages; what was acknowledged, and the time that most of them stayed below (p90).
fn publish(publisher: &mut Publisher, count: u64, acked: &mut Vec<Acked>) -> Duration {
    let mut times = Vec::new();
    for _ in 0..count {
        let value = value("only", publisher.sequence);
        let ack = publisher.publish(&value);
        times.push(ack.took);
        acked.push(Acked { partition: 0, offset: ack.offset, value });
    }
    times.sort();
    times[times.len() * 9 / 10]
}

#[test]
fn a_stopped_follower_costs_publishers_nothing() {
    let cluster = Cluster::up(5);
    cluster.create_topic("t", 1);
    let leader = cluster.leader("t", 0);
    let follower = cluster.replicas("t", 0).into_iter().find(|vertex| *vertex != leader);
    let follower = cluster.process(follower.expect("three replicas have two followers"));
    let mut publisher = Publisher::register(&[cluster.endpoint(leader)], None, "t", 0);
    let mut acked = Vec::new();
    let _warm = publish(&mut publisher, 20, &mut acked);
    let usual = publish(&mut publisher, 200, &mut acked);
    assert!(follower.signal(Signal::STOP));
    let stopped = publish(&mut publisher, 200, &mut acked);
    assert!(follower.signal(Signal::CONT));
    // A majority answers as fast as before; the margin is for a machine that does other things too.
    assert!(stopped < usual * 5 + Duration::from_millis(50), "{usual:?} before, {stopped:?} while stopped");
    assert_eq!(publisher.repeats, 0, "a publish had to be repeated");
    let _ = cluster.check("t", 1, &acked, &[0, 4]);
}

#[test]
fn a_stopped_leader_is_replaced() {
    let cluster = Cluster::up(5);
    cluster.create_topic("t", 1);
    let stopped = cluster.leader("t", 0);
    let others: Vec<u16> = cluster.vertices().filter(|vertex| *vertex != stopped).collect();
    let endpoints: Vec<String> = others.iter().map(|vertex| cluster.endpoint(*vertex)).collect();
    let mut publisher = Publisher::register(&endpoints, None, "t", 0);
    let mut acked = Vec::new();
    let _before = publish(&mut publisher, 50, &mut acked);
    let process = cluster.process(stopped);
    assert!(process.signal(Signal::STOP));
    let _during = publish(&mut publisher, 50, &mut acked);
    let successor = eventually("a new leader", seconds(30), || {
        cluster.leader_seen_by(others[0], "t", 0).filter(|leader| *leader != stopped)
    });
    assert!(cluster.replicas_seen_by(others[0], "t", 0).contains(&successor));
    assert!(process.signal(Signal::CONT));
    // The one that was stopped learns that it leads no more, and serves whoever asks it.
    let at_stopped = cluster.endpoint(stopped);
    let mut other = Publisher::register(&[at_stopped], None, "t", 0);
    let ack = other.publish(&value("woken", 0));
    acked.push(Acked { partition: 0, offset: ack.offset, value: value("woken", 0) });
    let _after = publish(&mut publisher, 50, &mut acked);
    let _ = cluster.check("t", 1, &acked, &[stopped, successor]);
}
