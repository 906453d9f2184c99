//! What frames with Raft's messages cost on both sides. Counted by `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;
#[path = "../../consensus/benches/replication/trio.rs"]
mod trio;

use std::hint::black_box;

use bytes::Bytes;
use counted::{Counted, Step, repeat, run};
use hcube_broker::Frame;
use hcube_core::ids::{GroupId, NodeId};
use trio::Trio;

/// What a leader of so many groups sends to one follower, once something has happened.
fn raft(groups: u32, happens: impl FnOnce(&mut Trio)) -> Frame {
    let mut trio = Trio::new(groups);
    happens(&mut trio);
    let messages = trio.leaders_messages().into_iter().filter(|message| message.to == NodeId(2));
    let envelopes: Vec<_> = messages.map(|message| message.envelope).collect();
    assert!(!envelopes.is_empty(), "the follower hears of it");
    Frame::Raft(envelopes)
}

fn append() -> Frame {
    raft(1, |trio| {
        for _ in 0..16 {
            trio.leader().propose(GroupId(0), Bytes::from(vec![7; 4096])).unwrap();
        }
    })
}

fn heartbeats() -> Frame {
    raft(64, |trio| {
        let ticks = hcube_consensus::Config::default().heartbeat_ticks;
        (0..ticks).for_each(|_| trio.leader().tick());
    })
}

fn encode(frame: fn() -> Frame) -> Step {
    let frame = frame();
    repeat(move || black_box(&frame).encode())
}

fn decode(frame: fn() -> Frame) -> Step {
    let bytes = Bytes::from(frame().encode());
    repeat(move || Frame::decode(black_box(&bytes).clone()).unwrap())
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "frame: encode Raft's 16 entries of 4 KiB", repeats: 100, ready: || encode(append) },
        Counted { name: "frame: decode Raft's 16 entries of 4 KiB", repeats: 100, ready: || decode(append) },
        Counted { name: "frame: encode heartbeats of 64 groups", repeats: 100, ready: || encode(heartbeats) },
        Counted { name: "frame: decode heartbeats of 64 groups", repeats: 100, ready: || decode(heartbeats) },
    ])
}
