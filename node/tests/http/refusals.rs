//! What bad input gets: a problem with a stable code and the right status, and nothing lost.

use hcube_api::cursor::Cursor;
use hcube_core::ids::TopicId;
use reqwest::{Method, RequestBuilder};

use crate::harness::{Got, Hypercube, send};

const MESSAGES: &str = "/v1/topics/t/messages";

pub fn assert_refused(got: &Got, status: u16, code: &str, what: &str) {
    assert_eq!((got.status, got.code().as_str()), (status, code), "{what}: {}", got.text());
    assert_eq!(got.header("content-type"), "application/problem+json", "{what}");
    let problem = got.json();
    assert_eq!(problem["type"], format!("urn:hcube:problem:{code}"), "{what}");
    assert_eq!(problem["status"], status, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_refused_by_name() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 2).await;
    let get = |path: &str| cube.get(1, path);
    let pull = |query: &str| cube.get(1, &format!("{MESSAGES}?{query}"));
    let put = |path: &str, body: &str| cube.put(1, path).body(body.to_owned());
    let publish = || cube.post(1, MESSAGES);
    let ndjson = |body: &str| publish().header("content-type", "application/x-ndjson").body(body.to_owned());
    let method = |method: Method, path: &str| cube.request(1, method, path);
    let foreign = Cursor::new(TopicId(99));
    let long = "x".repeat(256);
    #[rustfmt::skip] // A row a line.
    let rows: Vec<(&str, RequestBuilder, u16, &str)> = vec![
        ("no such path", get("/v2/topics"), 404, "not-found"),
        ("no such path, with a body", cube.post(1, "/nothing").body("x"), 404, "not-found"),
        ("unknown topic", get("/v1/topics/none"), 404, "unknown-topic"),
        ("publish to an unknown topic", cube.post(1, "/v1/topics/none/messages").body("x"), 404, "unknown-topic"),
        ("pull of an unknown topic", get("/v1/topics/none/messages"), 404, "unknown-topic"),
        ("bad name", put("/v1/topics/a%20b", ""), 400, "invalid-name"),
        ("long name", put(&format!("/v1/topics/{long}"), ""), 400, "invalid-name"),
        ("wrong method", method(Method::POST, "/v1/topics/t"), 405, "method-not-allowed"),
        ("wrong method", method(Method::DELETE, "/healthz"), 405, "method-not-allowed"),
        ("partitions", put("/v1/topics/u", r#"{"partitions":0}"#), 400, "invalid-argument"),
        ("partitions", put("/v1/topics/u", r#"{"partitions":1025}"#), 400, "invalid-argument"),
        ("unknown member", put("/v1/topics/u", r#"{"partition":1}"#), 400, "invalid-argument"),
        ("no JSON", put("/v1/topics/u", "{"), 400, "invalid-json"),
        ("no JSON type", put("/v1/topics/u", "{}").header("content-type", "text/xml"), 415, "unsupported-media-type"),
        ("other properties", put("/v1/topics/t", r#"{"partitions":7}"#), 409, "topic-exists"),
        ("empty patch", method(Method::PATCH, "/v1/topics/t").body("{}"), 400, "invalid-argument"),
        ("control body too large", put("/v1/topics/u", &" ".repeat(300_000)), 413, "batch-too-large"),
        ("line", ndjson("{\"value\":1}\n{\"value\":"), 400, "invalid-json"),
        ("no message", ndjson("\n"), 400, "invalid-argument"),
        ("partition of a line", ndjson(r#"{"value":1,"partition":2}"#), 404, "unknown-partition"),
        ("partition of a publish", publish().header("hcube-partition", "2").body("x"), 404, "unknown-partition"),
        ("two partitions", cube.post(1, &format!("{MESSAGES}?partition=0")).header("hcube-partition", "1").body("x"), 400, "invalid-argument"),
        ("escape", publish().header("hcube-key", "%4").body("x"), 400, "invalid-argument"),
        ("sequence without producer", publish().header("hcube-sequence", "1").body("x"), 400, "invalid-argument"),
        ("message too large", publish().body(vec![b'x'; (1 << 20) + 1]), 413, "message-too-large"),
        ("message too large with its key", publish().header("hcube-key", "k").body(vec![b'x'; 1 << 20]), 413, "message-too-large"),
        ("lines too large", ndjson(&" ".repeat((8 << 20) + 1)), 413, "batch-too-large"),
        ("partition too large", ndjson(&format!("{{\"value\":\"{}\",\"key\":\"k\"}}\n", "x".repeat(900_000)).repeat(5)), 413, "batch-too-large"),
        ("binary batch", publish().header("content-type", "application/vnd.hcube.batch").header("hcube-partition", "0").body("HCB?"), 400, "invalid-batch"),
        ("binary batch without partition", publish().header("content-type", "application/vnd.hcube.batch").body("HCB?"), 400, "invalid-argument"),
        ("unknown producer", publish().header("hcube-partition", "0").header("hcube-producer-id", "7f".repeat(16)).header("hcube-sequence", "9").body("x"), 404, "unknown-producer"),
        ("unknown parameter", pull("form=1"), 400, "invalid-argument"),
        ("parameter twice", pull("limit=1&limit=2"), 400, "invalid-argument"),
        ("limit", pull("limit=0"), 400, "invalid-argument"),
        ("wait", pull("wait=30001"), 400, "invalid-argument"),
        ("offset of no partition", pull("from=0"), 400, "invalid-argument"),
        ("partition of a pull", pull("partition=2"), 404, "unknown-partition"),
        ("offset beyond the end", pull("partition=0&from=5"), 416, "offset-out-of-range"),
        ("broken cursor", pull("from=c1-AAAA"), 400, "invalid-cursor"),
        ("another topic's cursor", pull(&format!("from={foreign}")), 400, "invalid-cursor"),
        ("no such vertex", pull("replica=11"), 404, "replica-not-here"),
        ("label of another cube", pull("replica=0"), 404, "replica-not-here"),
        ("no label", pull("replica=2"), 400, "invalid-argument"),
        ("not acceptable", pull("").header("accept", "image/png"), 406, "not-acceptable"),
        ("last event", get(MESSAGES).header("accept", "text/event-stream").header("last-event-id", "17"), 400, "invalid-cursor"),
        ("event offset beyond the end", pull("partition=0&from=5").header("accept", "text/event-stream"), 416, "offset-out-of-range"),
        ("route's partition", get("/v1/cluster/route/t?partition=2"), 404, "unknown-partition"),
        ("route's parameter", get("/v1/cluster/route/t?part=2"), 400, "invalid-argument"),
        ("plan's peers", get("/v1/cluster/plan?peers=0"), 400, "invalid-argument"),
        ("plan's replication", get("/v1/cluster/plan?replication=4"), 400, "invalid-argument"),
        ("plan's parameter", get("/v1/cluster/plan?peer=4"), 400, "invalid-argument"),
        ("plan of too few peers", get("/v1/cluster/plan?peers=2"), 409, "too-few-peers"),
        ("publisher's name", cube.post(1, "/v1/publishers").body(r#"{"name":"a/b"}"#), 400, "invalid-argument"),
        ("subscriber without name", cube.post(1, "/v1/subscribers").body("{}"), 400, "invalid-argument"),
        ("unknown subscriber", get("/v1/subscribers/none/cursors/t"), 404, "unknown-subscriber"),
        ("unknown subscriber", put("/v1/subscribers/none/cursors/t", r#"{"to":"latest"}"#), 404, "unknown-subscriber"),
        ("unknown host", get("/v1/topics").header("host", "evil.example"), 421, "unknown-host"),
        ("unknown host", get("/healthz").header("host", "rebound.example:8000"), 421, "unknown-host"),
    ];
    for (what, request, status, code) in rows {
        assert_refused(&send(request).await, status, code, what);
    }
    let line = send(ndjson("{\"value\":1}\n\n{\"value\":")).await;
    assert_eq!(line.json()["line"], 3);
    let allow = send(method(Method::POST, "/v1/topics/t")).await;
    assert_eq!(allow.header("allow"), "PUT, GET, HEAD, PATCH, DELETE");
    // Nothing of all this was stored.
    let pulled = send(get(MESSAGES)).await;
    assert_eq!(pulled.json()["messages"].as_array().unwrap().len(), 0, "{}", pulled.text());
    assert_eq!(send(get("/v1/topics")).await.json()["topics"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_refused_by_what_is_wrong_with_them() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 2).await;
    assert_eq!(send(cube.post(0, "/v1/subscribers").body(r#"{"name":"s"}"#)).await.status, 200);
    let set = |body: &str| cube.put(0, "/v1/subscribers/s/cursors/t").body(body.to_owned());
    let foreign = Cursor::new(TopicId(99));
    for (body, status, code) in [
        ("{".to_owned(), 400, "invalid-json"),
        (r#"{"to":"never"}"#.to_owned(), 400, "invalid-argument"),
        (r#"{"partitions":[{"partition":2,"offset":0}]}"#.to_owned(), 404, "unknown-partition"),
        (format!(r#"{{"cursor":"{foreign}"}}"#), 400, "invalid-cursor"),
    ] {
        assert_refused(&send(set(&body)).await, status, code, &body);
    }
    let unknown = send(cube.get(0, "/v1/subscribers/s/cursors/none")).await;
    assert_refused(&unknown, 404, "unknown-topic", "cursor of an unknown topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_a_hypercube_says_so() {
    let cube = Hypercube::unbound(1, hcube_node::http::Config::default()).await;
    assert_eq!(send(cube.get(0, "/healthz")).await.status, 200);
    assert_eq!(send(cube.get(0, "/metrics")).await.status, 200);
    for path in ["/readyz", "/v1/topics", "/v1/cluster", MESSAGES] {
        let refused = send(cube.get(0, path)).await;
        assert_refused(&refused, 503, "not-ready", path);
        assert_eq!(refused.header("retry-after"), "1");
    }
}
