//! What a record batch costs: built by a client, checked by a peer, taken apart by a reader. Counted by
//! `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use std::hint::black_box;

use bytes::Bytes;
use counted::{Counted, Step, repeat, run};
use hcube_core::record::{Batch, Producer, Record};

fn records(count: usize) -> Vec<Record> {
    let value = |number: usize| (0..256).map(|at| (at * 7 + number) as u8).collect::<Vec<u8>>();
    (0..count).map(|number| Record { value: value(number).into(), ..Record::default() }).collect()
}

fn batch(count: usize) -> Bytes {
    Batch::build(Producer::default(), &records(count)).unwrap().bytes().clone()
}

fn build<const COUNT: usize>() -> Step {
    let records = records(COUNT);
    repeat(move || Batch::build(Producer::default(), black_box(&records)).unwrap())
}

fn check<const COUNT: usize>() -> Step {
    let bytes = batch(COUNT);
    repeat(move || {
        let batch = Batch::parse(black_box(&bytes).clone()).unwrap();
        // What it says of a sound batch is not the same in all versions, and not what is counted.
        let _ = black_box(batch.check_records().unwrap());
    })
}

fn take_apart<const COUNT: usize>() -> Step {
    let batch = Batch::parse(batch(COUNT)).unwrap();
    repeat(move || black_box(&batch).records().unwrap())
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "record batch: build, 1 x 256 B", repeats: 1000, ready: build::<1> },
        Counted { name: "record batch: build, 100 x 256 B", repeats: 50, ready: build::<100> },
        Counted { name: "record batch: parse and check, 1 x 256 B", repeats: 1000, ready: check::<1> },
        Counted { name: "record batch: parse and check, 100 x 256 B", repeats: 50, ready: check::<100> },
        Counted { name: "record batch: records, 100 x 256 B", repeats: 50, ready: take_apart::<100> },
    ])
}
