//! The publish stream: many batches over one connection.

use std::collections::BTreeMap;

use hcube_api::Code;
use hcube_api::stream::{FRAME_BYTES_MAX, Frames, Outcome, PROTOCOL, Publish};
use hcube_core::ids::ProducerId;
use hcube_core::record::{Batch, Producer, Record};
use reqwest::Upgraded;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{Hypercube, PATIENCE, eventually, send};

struct Stream {
    connection: Upgraded,
    frames: Frames,
}

impl Stream {
    async fn open(cube: &Hypercube, vertex: usize) -> Self {
        let request = cube.get(vertex, "/v1/publish").header("connection", "upgrade");
        let response = request.header("upgrade", PROTOCOL).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 101);
        assert_eq!(response.headers()["upgrade"], PROTOCOL);
        Self { connection: response.upgrade().await.unwrap(), frames: Frames::default() }
    }

    async fn send(&mut self, number: u32, topic: &str, partition: u16, batch: &[u8]) {
        let topic = topic.parse().unwrap();
        let publish = Publish { number, topic, partition, batch: batch.to_vec().into() };
        self.connection.write_all(&publish.head()).await.unwrap();
        self.connection.write_all(batch).await.unwrap();
    }

    /// The next outcome; none where the peer has ended the stream.
    async fn outcome(&mut self) -> Option<Outcome> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(Outcome::decode(frame).unwrap());
            }
            let read = timeout(PATIENCE, self.connection.read_buf(self.frames.room())).await;
            if read.expect("an outcome in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn code(&mut self) -> Code {
        self.outcome().await.unwrap().result.unwrap_err().code
    }
}

fn batch(sequence: u64, value: &str) -> Vec<u8> {
    let producer = Producer { id: ProducerId(9), epoch: 0, sequence };
    let record = Record { value: value.to_owned().into(), ..Record::default() };
    Batch::build(producer, &[record]).unwrap().bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_follow_each_other_are_stored_in_order_through_any_peer() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 2).await;
    for vertex in 0..3 {
        let mut stream = Stream::open(&cube, vertex).await;
        let first = 200 * vertex as u64;
        for sequence in first..first + 200 {
            let partition = u16::try_from(sequence % 2).unwrap();
            let batch = batch(sequence / 2, &sequence.to_string());
            stream.send(u32::try_from(sequence).unwrap(), "t", partition, &batch).await;
        }
        let mut offsets = BTreeMap::new();
        for _ in 0..200 {
            let Outcome { number, result } = stream.outcome().await.unwrap();
            let stored = result.unwrap();
            assert_eq!((stored.count, stored.replicas, stored.duplicate), (1, 3, false));
            offsets.insert(u64::from(number), stored.offset);
        }
        assert!(offsets.into_iter().all(|(sequence, offset)| offset == sequence / 2));
    }
    // A batch that is sent again gets its first place.
    let mut stream = Stream::open(&cube, 1).await;
    stream.send(1, "t", 0, &batch(299, "598")).await;
    let again = stream.outcome().await.unwrap().result.unwrap();
    assert_eq!((again.offset, again.duplicate), (299, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_batch_is_told_and_others_go_on() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 1).await;
    let mut stream = Stream::open(&cube, 0).await;
    let refused = [
        ("nowhere", 0, batch(0, "x"), Code::UnknownTopic),
        ("t", 1, batch(0, "x"), Code::UnknownPartition),
        ("t", 0, batch(5, "x"), Code::UnknownProducer),
        ("t", 0, b"no batch at all".to_vec(), Code::InvalidBatch),
        ("t", 0, Vec::new(), Code::InvalidBatch),
        ("t", 0, batch(0, &"x".repeat(2 << 20)), Code::MessageTooLarge),
    ];
    for (topic, partition, batch, code) in refused {
        stream.send(7, topic, partition, &batch).await;
        assert_eq!(stream.code().await, code);
    }
    // A frame without a name, and one too short for its number.
    for frame in [&[1, 0, 0, 0, 0, 0, 0][..], &[1, 2]] {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        stream.connection.write_all(&[&length[..], frame].concat()).await.unwrap();
        assert_eq!(stream.code().await, Code::InvalidArgument);
    }
    stream.send(8, "t", 0, &batch(0, "good")).await;
    assert_eq!(stream.outcome().await.unwrap().result.unwrap().offset, 0);
    // Whatever comes next is not in step any more.
    let long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    stream.connection.write_all(&long).await.unwrap();
    assert!(stream.outcome().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_asked_for_by_name() {
    let cube = Hypercube::founded(1).await;
    assert_eq!(send(cube.get(0, "/v1/publish")).await.code(), "invalid-argument");
    let other = cube.get(0, "/v1/publish").header("connection", "upgrade").header("upgrade", "websocket");
    assert_eq!(send(other).await.code(), "invalid-argument");
    assert_eq!(send(cube.post(0, "/v1/publish")).await.code(), "method-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_counts_as_a_connection_until_it_ends() {
    let cube = Hypercube::founded(1).await;
    let count = async || {
        let metrics = send(cube.get(0, "/metrics")).await.text();
        let line = metrics.lines().find(|line| line.starts_with("hcube_http_connections{port=\"client\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).unwrap()
    };
    // More than the requests for the count may have open themselves.
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&cube, 0).await);
    }
    eventually("the streams are counted", async || (count().await >= 20).then_some(())).await;
    drop(streams);
    eventually("the streams end", async || (count().await < 10).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_frames_that_do_not_end_are_bounded() {
    let config = hcube_node::http::Config { body_bytes_max: 8 << 20, ..Default::default() };
    let cube = Hypercube::founded_with(1, config).await;
    cube.create("t", 1).await;
    let mut streams = Vec::new();
    let mut ended = 0;
    for _ in 0..4 {
        let mut stream = Stream::open(&cube, 0).await;
        let length = u32::try_from(4 << 20).unwrap().to_le_bytes();
        let begun = [&length[..], &vec![7; 3 << 20]].concat();
        // The peer may close while this is on its way.
        let _refused = stream.connection.write_all(&begun).await;
        let silence = timeout(std::time::Duration::from_millis(300), stream.outcome()).await;
        ended += usize::from(silence.is_ok_and(|outcome| outcome.is_none()));
        streams.push(stream);
    }
    assert!((1..=2).contains(&ended), "{ended} of four streams were ended for lack of room");
    drop(streams);
    eventually("room for others again", async || {
        let mut stream = Stream::open(&cube, 0).await;
        stream.send(1, "t", 0, &batch(0, "x")).await;
        stream.outcome().await?.result.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_answers_what_was_taken_up() {
    let mut cube = Hypercube::founded(3).await;
    cube.create("t", 1).await;
    let mut stream = Stream::open(&cube, 1).await;
    for number in 0..100 {
        stream.send(number, "t", 0, &batch(number.into(), "x")).await;
    }
    assert!(stream.outcome().await.unwrap().result.is_ok());
    let peer = cube.peers.remove(1);
    timeout(PATIENCE, peer.server.shutdown()).await.expect("the shutdown ends");
    let mut answered = 1;
    while let Some(outcome) = stream.outcome().await {
        assert!(outcome.result.is_ok(), "{outcome:?}");
        answered += 1;
    }
    assert!(answered <= 100);
    std::sync::Arc::into_inner(peer.node).expect("nobody holds the node").shutdown().await;
}
