//! What a publish costs that one peer passes on to another, on both sides. Counted by `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use std::hint::black_box;

use bytes::Bytes;
use counted::{Counted, Step, repeat, run};
use hcube_broker::frame::Forwarded;
use hcube_broker::request::TopicRef;
use hcube_broker::{Frame, Request};
use hcube_core::ids::{NodeId, TopicId, Vertex};
use hcube_core::record::{Batch, Producer, Record};

fn publish() -> Frame {
    let record = Record { value: vec![7; 4096].into(), ..Record::default() };
    let batch = Batch::build(Producer::default(), &[record]).unwrap();
    let topic = TopicRef { name: "orders".parse().unwrap(), id: TopicId(9) };
    Frame::Request(Forwarded {
        id: 1,
        target: NodeId(3),
        path: vec![Vertex(1), Vertex(3)],
        ttl: 9,
        patience_ms: 10_000,
        request: Request::Publish { topic, partition: 3, batch },
    })
}

fn encode() -> Step {
    let frame = publish();
    repeat(move || black_box(&frame).encode())
}

fn decode() -> Step {
    let bytes = Bytes::from(publish().encode());
    repeat(move || Frame::decode(black_box(&bytes).clone()).unwrap())
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "frame: encode a forwarded publish of 4 KiB", repeats: 200, ready: encode },
        Counted { name: "frame: decode a forwarded publish of 4 KiB", repeats: 200, ready: decode },
    ])
}
