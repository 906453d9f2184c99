//! What placing costs: `cargo bench -p hcube-core --bench planner`. Prints a table of processor time, to which other
//! work on the machine adds less than to the clock's, as the mean of many rounds. Linux only, and never a test, as it
//! asserts nothing.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use hcube_core::ids::{ClusterId, Incarnation, NodeId, TopicId, Vertex};
use hcube_core::meta::change::NewMember;
use hcube_core::meta::mover::{Limits, Mover, target};
use hcube_core::meta::{Change, Command, Founder, Meta, Topic, genesis};
use hcube_core::topic::Retention;

/// Rounds are made until they take this long together.
const ENOUGH: Duration = Duration::from_millis(200);

fn founder(vertex: u16, zones: u16) -> Founder {
    Founder {
        incarnation: Incarnation(u128::from(vertex) + 1),
        vertex: Vertex(vertex),
        zone: format!("zone-{}", vertex % zones),
        peer_address: format!("peer-{vertex}:1"),
        client_address: format!("client-{vertex}:1"),
    }
}

fn birth(peers: u16, slots: u16, zones: u16) -> Meta {
    let founders = (0..peers).map(|vertex| founder(vertex, zones)).collect();
    genesis(ClusterId(1), founders, slots, 3).unwrap()
}

fn join(vertex: u16, zones: u16) -> Change {
    let Founder { incarnation, vertex, zone, peer_address, client_address } = founder(vertex, zones);
    Change::AddMember(NewMember { incarnation, vertex, zone, peer_address, client_address, replaces: None })
}

fn change(meta: &Meta, change: Change) -> Meta {
    let mut meta = meta.clone();
    meta.apply(Command::Change(change)).unwrap();
    meta
}

/// How long this thread has been on a processor.
fn on_processor() -> Duration {
    // Only a thread that has just let others go first finds this up to date.
    std::thread::yield_now();
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
}

fn mean<T>(mut round: impl FnMut() -> T) -> Duration {
    let mut rounds = 1;
    loop {
        let began = on_processor();
        for _ in 0..rounds {
            black_box(round());
        }
        let took = on_processor() - began;
        if took >= ENOUGH {
            return took / rounds;
        }
        rounds *= 2;
    }
}

fn say(out: &mut impl Write, what: &str, time: Duration) {
    writeln!(out, "{what:<60}{:>10.4} ms", time.as_secs_f64() * 1e3).unwrap();
}

fn shape(out: &mut impl Write, peers: u16, slots: u16, zones: u16) {
    let title = |what: &str| format!("{peers} peers, {slots} slots, {zones} zones: {what}");
    let limits = Limits::default();
    let born = birth(peers, slots, zones);
    say(out, &title("birth"), mean(|| birth(peers, slots, zones)));

    let joined = change(&born, join(peers, zones));
    say(out, &title("plan of a join"), mean(|| target(black_box(&joined)).unwrap()));
    let first = || Mover::default().next(black_box(&joined), limits).unwrap();
    say(out, &title("join, first look"), mean(first));

    let drained = change(&born, Change::Drain { node: NodeId(peers.into()) });
    say(out, &title("plan of a drain"), mean(|| target(black_box(&drained)).unwrap()));
    let mut mover = Mover::default();
    mover.next(&drained, limits).unwrap();
    say(out, &title("drain, another look"), mean(|| mover.next(black_box(&drained), limits).unwrap()));

    let mut mover = Mover::default();
    mover.next(&born, limits).unwrap();
    say(out, &title("nothing to do"), mean(|| mover.next(black_box(&born), limits).unwrap()));

    let mut read = born;
    let topic = Topic {
        id: TopicId(1),
        name: "read-much".parse().unwrap(),
        partitions: 1024,
        retention: Retention::default(),
    };
    let name = topic.name.clone();
    read.apply(Command::CreateTopic(topic)).unwrap();
    let read = change(&read, Change::SetReadReplicas { topic: name, count: 2 });
    say(out, &title("plan with 2 read replicas"), mean(|| target(black_box(&read)).unwrap()));
}

fn main() {
    let mut out = std::io::stdout().lock();
    for (peers, slots, zones) in
        [(8, 64, 1), (64, 1024, 3), (1000, 4096, 1), (1000, 4096, 3), (1000, 4096, 7)]
    {
        shape(&mut out, peers, slots, zones);
    }
}
