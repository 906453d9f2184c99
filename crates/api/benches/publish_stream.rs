//! What the frames of the publish stream cost on both sides. Counted by `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use std::hint::black_box;

use bytes::Bytes;
use counted::{Counted, Step, repeat, run};
use hcube_api::stream::{Frames, Outcome, Publish, Stored};
use hcube_core::ids::Vertex;
use hcube_core::record::{Batch, Producer, Record};

const FRAMES: u32 = 16;

fn publish(number: u32) -> Publish {
    let record = Record { value: vec![7; 4096].into(), ..Record::default() };
    let batch = Batch::build(Producer::default(), &[record]).unwrap();
    Publish { number, topic: "orders".parse().unwrap(), partition: 3, batch: batch.bytes().clone() }
}

fn outcome(number: u32) -> Outcome {
    let stored = Stored {
        offset: u64::from(number),
        count: 1,
        timestamp_ms: 1_800_000_000_000,
        duplicate: false,
        replicas: 3,
        leader: Vertex(2),
    };
    Outcome { number, result: Ok(stored) }
}

/// Gives what arrived, together, to the reader of frames.
fn arrive(frames: &mut Frames, wire: &[u8], mut each: impl FnMut(Bytes)) {
    frames.room().extend_from_slice(black_box(wire));
    while let Some(frame) = frames.next_frame().unwrap() {
        each(frame);
    }
}

fn heads() -> Step {
    let publishes: Vec<Publish> = (0..FRAMES).map(publish).collect();
    repeat(move || publishes.iter().map(|one| black_box(one).head().len()).sum::<usize>())
}

fn read_publishes() -> Step {
    let publishes = (0..FRAMES).map(publish);
    let wire: Vec<u8> = publishes.flat_map(|one| [&one.head()[..], &one.batch].concat()).collect();
    let mut frames = Frames::default();
    repeat(move || {
        arrive(&mut frames, &wire, |frame| {
            black_box(Publish::decode(frame).unwrap());
        });
    })
}

fn write_outcomes() -> Step {
    let outcomes: Vec<Outcome> = (0..FRAMES).map(outcome).collect();
    let mut out = Vec::new();
    repeat(move || {
        out.clear();
        outcomes.iter().for_each(|one| black_box(one).write(&mut out));
        out.len()
    })
}

fn read_outcomes() -> Step {
    let mut wire = Vec::new();
    (0..FRAMES).for_each(|number| outcome(number).write(&mut wire));
    let mut frames = Frames::default();
    repeat(move || {
        arrive(&mut frames, &wire, |frame| {
            black_box(Outcome::decode(frame).unwrap());
        });
    })
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "publish stream: heads of 16 batches", repeats: 200, ready: heads },
        Counted { name: "publish stream: read 16 batches of 4 KiB", repeats: 200, ready: read_publishes },
        Counted { name: "publish stream: write 16 outcomes", repeats: 200, ready: write_outcomes },
        Counted { name: "publish stream: read 16 outcomes", repeats: 200, ready: read_outcomes },
    ])
}
