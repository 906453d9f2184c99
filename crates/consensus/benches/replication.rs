//! What Raft itself costs on all three nodes together, without log, codec and network. Counted by `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;
#[path = "replication/trio.rs"]
mod trio;

use bytes::Bytes;
use counted::{Counted, Step, repeat, run};
use hcube_core::ids::GroupId;
use trio::Trio;

/// One entry for each of so many groups, from proposing until all three have applied it.
fn replicate<const GROUPS: u32>() -> Step {
    let mut trio = Trio::new(GROUPS);
    let data = Bytes::from(vec![7; 4096]);
    repeat(move || {
        for group in 0..GROUPS {
            trio.leader().propose(GroupId(group), data.clone()).unwrap();
        }
        trio.settle();
    })
}

/// So many groups of which none has anything to do.
fn idle<const GROUPS: u32>() -> Step {
    let mut trio = Trio::new(GROUPS);
    repeat(move || {
        trio.leader().tick();
        trio.settle()
    })
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "raft: an entry on three nodes", repeats: 200, ready: replicate::<1> },
        Counted {
            name: "raft: an entry each of 64 groups on three nodes",
            repeats: 10,
            ready: replicate::<64>,
        },
        Counted { name: "raft: a tick of a leader of 64 idle groups", repeats: 20, ready: idle::<64> },
    ])
}
