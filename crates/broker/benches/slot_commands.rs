//! What a slot's commands cost: written by a leader, read by everybody who applies them. Counted by
//! `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use std::hint::black_box;

use counted::{Counted, Step, repeat, run};
use hcube_broker::command::{Command, batch_of};
use hcube_core::ids::TopicId;

fn publish() -> Command {
    let batch = vec![7; 4096].into();
    Command::Publish { partition: (TopicId(9), 3), base_offset: 1 << 40, stamp_ms: 1_800_000_000_000, batch }
}

fn cursor() -> Command {
    Command::Cursor { partition: (TopicId(9), 3), subscriber: "billing".parse().unwrap(), offset: Some(5) }
}

fn encode(command: fn() -> Command) -> Step {
    let command = command();
    repeat(move || black_box(&command).encode())
}

fn decode(command: fn() -> Command) -> Step {
    let bytes = command().encode();
    repeat(move || Command::decode(black_box(&bytes).clone()).unwrap())
}

fn find_batch() -> Step {
    let bytes = publish().encode();
    repeat(move || batch_of(black_box(&bytes)).unwrap())
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "slot command: encode a publish of 4 KiB", repeats: 500, ready: || encode(publish) },
        Counted { name: "slot command: decode a publish of 4 KiB", repeats: 500, ready: || decode(publish) },
        Counted { name: "slot command: the batch within an entry", repeats: 500, ready: find_batch },
        Counted { name: "slot command: encode a cursor", repeats: 500, ready: || encode(cursor) },
        Counted { name: "slot command: decode a cursor", repeats: 500, ready: || decode(cursor) },
    ])
}
