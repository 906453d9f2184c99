//! Waiting for messages: long polls and subscriptions.

use std::time::Duration;

use hcube_api::messages::Message;
use hcube_api::messages::frames::{self, Item};
use hcube_api::messages::sse::{self, Decoder, Event};
use reqwest::{Method, Response};
use tokio::time::timeout;

use crate::harness::{Hypercube, PATIENCE, eventually, send};

/// A subscription as its client reads it.
struct Subscriber {
    response: Response,
    decoder: Decoder,
    ready: std::collections::VecDeque<Event>,
}

impl Subscriber {
    async fn open(cube: &Hypercube, vertex: usize, query: &str, last: Option<&str>) -> Self {
        let path = format!("/v1/topics/t/messages{query}");
        let mut request = cube.get(vertex, &path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self { response, decoder: Decoder::default(), ready: [].into() }
    }

    /// The next event; none at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let piece = timeout(PATIENCE, self.response.chunk()).await.expect("an event in time").unwrap()?;
            self.ready.extend(self.decoder.push(&piece).unwrap());
        }
        self.ready.pop_front()
    }

    async fn value(&mut self) -> (String, String) {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.event, sse::MESSAGE, "{}", event.data);
        let message: Message = serde_json::from_str(&event.data).unwrap();
        (String::from_utf8(message.record.value.to_vec()).unwrap(), event.id.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_with_the_first_message() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 3).await;
    for query in ["?wait=30000", "?wait=30000&partition=1"] {
        let from = send(cube.get(1, "/v1/topics/t/messages?from=latest")).await.json();
        let from = from["next"].as_str().unwrap().to_owned();
        let poll = tokio::spawn(send(cube.get(1, &format!("/v1/topics/t/messages{query}&from={from}"))));
        // The poll may or may not have begun: it finds the message either way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let publish = cube.post(0, "/v1/topics/t/messages?partition=1").body("now");
        assert_eq!(send(publish).await.status, 200);
        let polled = timeout(Duration::from_secs(10), poll).await.expect("long before its time").unwrap();
        assert_eq!(polled.json()["messages"][0]["value"], "now", "{query}");
    }
    let began = std::time::Instant::now();
    let nothing = send(cube.get(2, "/v1/topics/t/messages?from=latest&wait=300")).await;
    assert_eq!((nothing.status, nothing.json()["messages"].as_array().unwrap().len()), (200, 0));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_live_and_resumes_at_another_peer() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 2).await;
    cube.publish(0, "t", "before").await;
    let mut live = Subscriber::open(&cube, 1, "", None).await;
    for number in 0..10 {
        cube.publish(number % 3, "t", &format!("{number}")).await;
    }
    let (mut seen, mut last) = (Vec::new(), String::new());
    for _ in 0..5 {
        let (value, id) = live.value().await;
        seen.push(value);
        last = id;
    }
    drop(live);
    let mut resumed = Subscriber::open(&cube, 2, "?from=earliest", Some(&last)).await;
    for _ in 0..5 {
        seen.push(resumed.value().await.0);
    }
    seen.sort();
    assert!(seen.iter().map(|value| value.parse::<u32>().unwrap()).eq(0..10), "{seen:?}");

    let all = Subscriber::open(&cube, 0, "?from=earliest&partition=0", None).await;
    drop(all);
    assert_eq!(send(cube.request(0, Method::DELETE, "/v1/topics/t")).await.status, 204);
    let end = resumed.next().await.expect("an event that tells the end");
    assert_eq!(end.event, sse::PROBLEM);
    assert!(end.data.contains("unknown-topic"), "{}", end.data);
    assert!(resumed.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_by_frames_brings_whole_batches_and_tells_its_end() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 2).await;
    let lines = "{\"value\":\"a\"}\n{\"value\":\"b\"}\n{\"value\":\"c\"}\n";
    let batch =
        cube.post(0, "/v1/topics/t/messages?partition=1").header("content-type", "application/x-ndjson");
    assert_eq!(send(batch.body(lines)).await.status, 200);
    let first = send(cube.get(1, "/v1/topics/t/messages?limit=1")).await;
    let inside = first.header("hcube-next").to_owned();
    let subscription =
        cube.get(2, "/v1/topics/t/messages").header("accept", "application/vnd.hcube.batch-stream");
    let mut response = subscription.header("last-event-id", inside).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.hcube.batch-stream");
    let (mut decoder, mut items) = (frames::Decoder::default(), Vec::new());
    let mut until = async |count: usize| {
        while items.len() < count {
            let piece = timeout(PATIENCE, response.chunk()).await.expect("a frame in time").unwrap().unwrap();
            items.extend(decoder.push(&piece).unwrap());
        }
        items.clone()
    };
    until(1).await;
    cube.publish(1, "t", "live").await;
    until(2).await;
    assert_eq!(send(cube.request(0, Method::DELETE, "/v1/topics/t")).await.status, 204);
    let items = until(3).await;
    let [Item::Frame(batch), Item::Frame(live), Item::Problem(end)] = &items[..] else { panic!("{items:?}") };
    // A batch comes whole, and its reader passes over what is before his place.
    assert_eq!((batch.partition, batch.base_offset, batch.batch.records_count()), (1, 0, 3));
    assert_eq!(batch.messages(1).unwrap().len(), 2);
    assert_eq!(live.messages(0).unwrap()[0].record.value, "live");
    assert_eq!(end.code, hcube_api::Code::UnknownTopic);
    assert!(response.chunk().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_gets_everything_in_order() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 1).await;
    let mut slow = Subscriber::open(&cube, 1, "", None).await;
    // More than sockets, channels and polls hold together.
    let text = "x".repeat(200_000);
    for number in 0..60 {
        cube.publish(0, "t", &format!("{number} {text}")).await;
    }
    for number in 0..60 {
        let (value, _) = slow.value().await;
        assert!(value.starts_with(&format!("{number} ")), "{}", &value[..10]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_counted_out_again() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 1).await;
    let open = Subscriber::open(&cube, 0, "", None).await;
    let count = async || {
        let metrics = send(cube.get(0, "/metrics")).await.text();
        let line = metrics.lines().find(|line| line.starts_with("hcube_http_subscriptions ")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(count().await, "1");
    drop(open);
    eventually("the subscription ends", async || (count().await == "0").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_tells_subscribers_and_finishes_polls() {
    let mut cube = Hypercube::founded(3).await;
    cube.create("t", 1).await;
    let mut live = Subscriber::open(&cube, 1, "", None).await;
    let peer = cube.peers.remove(1);
    let address = peer.server.client_address();
    timeout(PATIENCE, peer.server.shutdown()).await.expect("the shutdown ends");
    let end = live.next().await.expect("an event that tells the end");
    assert!(end.event == sse::PROBLEM && end.data.contains("not-ready"), "{}", end.data);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    std::sync::Arc::into_inner(peer.node).expect("nobody holds the node").shutdown().await;
    cube.publish(0, "t", "two of three go on").await;
}
