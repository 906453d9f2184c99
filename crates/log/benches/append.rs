//! What the log does of its own accord to append: on a real disk, because what the kernel does for it is not counted, while
//! what a disk in memory does would be. Counted by `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use counted::{Counted, Step, repeat, run};
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::disk::RealDisk;
use hcube_log::{Base, Config, Entry, Log, Op};

/// Roomy enough that no other segment is made while it is counted.
const SEGMENT_BYTES: u64 = 32 << 20;

/// A log that is removed in the end.
struct Held {
    log: Log<RealDisk>,
    dir: std::path::PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn log(groups: u32) -> Held {
    let dir = std::env::temp_dir().join(format!("hcube-append-{}", std::process::id()));
    let disk = RealDisk::open(&dir).unwrap();
    let (mut log, _) = Log::open(disk, Config { segment_bytes: SEGMENT_BYTES, ..Config::default() }).unwrap();
    let base = |group| Op::Base { group: GroupId(group), replica: ReplicaId(1), base: Base::default() };
    log.write(&(0..groups).map(base).collect::<Vec<_>>()).unwrap();
    log.sync().unwrap();
    Held { log, dir }
}

/// One write of an entry for each of so many groups, and the sync of them all.
fn append<const GROUPS: u32, const BYTES: usize>() -> Step {
    let (mut held, mut index) = (log(GROUPS), 0);
    let data = bytes::Bytes::from(vec![7; BYTES]);
    repeat(move || {
        index += 1;
        let entry = || Entry { index, term: 1, kind: 0, data: data.clone() };
        let op = |group| Op::Append { group: GroupId(group), entries: vec![entry()] };
        let positions = held.log.write(&(0..GROUPS).map(op).collect::<Vec<_>>()).unwrap();
        held.log.sync().unwrap();
        positions
    })
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "log: append 256 B and sync", repeats: 50, ready: append::<1, 256> },
        Counted { name: "log: append 64 KiB and sync", repeats: 50, ready: append::<1, { 64 << 10 }> },
        Counted {
            name: "log: append 256 B to each of 64 groups, sync",
            repeats: 50,
            ready: append::<64, 256>,
        },
    ])
}
