//! What placing costs, in instructions and for hypercubes of the usual size: a plan when a peer has joined, and the
//! planner's first look at it. Counted by `tests/bench/regress`; `planner` takes the time of larger ones.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use std::hint::black_box;

use counted::{Counted, Step, repeat, run};
use hcube_core::ids::{ClusterId, Incarnation, NodeId, Vertex};
use hcube_core::meta::change::NewMember;
use hcube_core::meta::mover::{Limits, Mover};
use hcube_core::meta::{Change, Command, Founder, Meta, genesis};
use hcube_core::placement::{Assignment, Candidate, Standing, plan};

const SLOTS: u16 = 256;
const REPLICATION: u8 = 3;
const ZONES: u16 = 3;

fn zone(vertex: u16) -> String {
    format!("zone-{}", vertex % ZONES)
}

fn candidates(peers: u16) -> Vec<Candidate> {
    let candidate = |vertex: u16| Candidate {
        node: NodeId(u64::from(vertex) + 1),
        vertex: Vertex(vertex),
        zone: zone(vertex),
        standing: Standing::Active,
    };
    (0..peers).map(candidate).collect()
}

/// The last of so many peers has just joined.
fn plan_join<const PEERS: u16>() -> Step {
    let current: Vec<Assignment> = plan(&candidates(PEERS - 1), SLOTS, REPLICATION, &[]).unwrap();
    let candidates = candidates(PEERS);
    repeat(move || plan(black_box(&candidates), SLOTS, REPLICATION, black_box(&current)).unwrap())
}

fn joined(peers: u16) -> Meta {
    let founder = |vertex: u16| Founder {
        incarnation: Incarnation(u128::from(vertex) + 1),
        vertex: Vertex(vertex),
        zone: zone(vertex),
        peer_address: format!("peer-{vertex}:1"),
        client_address: format!("client-{vertex}:1"),
    };
    let founders = (0..peers - 1).map(founder).collect();
    let mut meta = genesis(ClusterId(1), founders, SLOTS, REPLICATION).unwrap();
    let Founder { incarnation, vertex, zone, peer_address, client_address } = founder(peers - 1);
    let member = NewMember { incarnation, vertex, zone, peer_address, client_address, replaces: None };
    meta.apply(Command::Change(Change::AddMember(member))).unwrap();
    meta
}

fn step<const PEERS: u16>() -> Step {
    let meta = joined(PEERS);
    repeat(move || Mover::default().next(black_box(&meta), Limits::default()).unwrap())
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "placement: plan of a join, 8 peers", repeats: 4, ready: plan_join::<8> },
        Counted { name: "placement: plan of a join, 16 peers", repeats: 4, ready: plan_join::<16> },
        Counted { name: "placement: plan of a join, 32 peers", repeats: 4, ready: plan_join::<32> },
        Counted { name: "placement: plan of a join, 64 peers", repeats: 4, ready: plan_join::<64> },
        Counted { name: "planner: first step of a join, 16 peers", repeats: 4, ready: step::<16> },
        Counted { name: "planner: first step of a join, 64 peers", repeats: 4, ready: step::<64> },
    ])
}
