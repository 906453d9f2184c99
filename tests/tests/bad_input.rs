//! What bad input gets: the right problem, and nothing is lost or stored by it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; clippy only excuses functions marked as such"
)]

use std::io::Write as _;
use std::net::TcpStream;

use hcube_tests::raw::{connect, exchange, noise, read_to_end, status};
use hcube_tests::{Cluster, Publisher};
use reqwest::Method;
use reqwest::blocking::RequestBuilder;
use serde_json::json;

/// Bytes of the largest message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A request with the status and code of its refusal.
struct Row {
    what: &'static str,
    request: RequestBuilder,
    status: u16,
    code: &'static str,
    /// The line of a batch that is to be named.
    line: Option<u64>,
}

/// Collects rows.
struct Table<'c> {
    cluster: &'c Cluster,
    rows: Vec<Row>,
}

impl Table<'_> {
    /// A row without body.
    fn row(&mut self, what: &'static str, method: Method, path: &str, status: u16, code: &'static str) {
        let request = self.cluster.request(method, 1, path);
        self.rows.push(Row { what, request, status, code, line: None });
    }

    /// A row with a JSON body.
    fn json(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        body: &str,
        status: u16,
        code: &'static str,
    ) {
        let request = self.cluster.request(method, 1, path).header("content-type", "application/json");
        self.rows.push(Row { what, request: request.body(body.to_owned()), status, code, line: None });
    }

    /// A publish with headers.
    fn publish(
        &mut self,
        what: &'static str,
        headers: &[(&str, &str)],
        body: &[u8],
        status: u16,
        code: &'static str,
    ) {
        let mut request =
            self.cluster.request(Method::POST, 1, "/v1/topics/two/messages").body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.rows.push(Row { what, request, status, code, line: None });
    }

    /// A batch of lines whose `line` is wrong.
    fn lines(&mut self, what: &'static str, body: &str, line: u64, status: u16, code: &'static str) {
        let request = self.cluster.request(Method::POST, 1, "/v1/topics/two/messages");
        let request = request.header("content-type", "application/x-ndjson").body(body.to_owned());
        self.rows.push(Row { what, request, status, code, line: Some(line) });
    }

    /// A pull.
    fn pull(&mut self, what: &'static str, query: &str, status: u16, code: &'static str) {
        self.row(what, Method::GET, &format!("/v1/topics/two/messages?{query}"), status, code);
    }
}

fn topics(table: &mut Table<'_>) {
    let long = format!("/v1/topics/{}", "x".repeat(256));
    table.row("a path that is not served", Method::GET, "/v1/nothing", 404, "not-found");
    table.row("a long path", Method::GET, &format!("/{}", "x/".repeat(5000)), 404, "not-found");
    table.row("a topic that is not there", Method::GET, "/v1/topics/none", 404, "unknown-topic");
    table.row("deleting one that is not there", Method::DELETE, "/v1/topics/none", 404, "unknown-topic");
    table.row(
        "a route to one that is not there",
        Method::GET,
        "/v1/cluster/route/none",
        404,
        "unknown-topic",
    );
    table.row(
        "a route to no partition",
        Method::GET,
        "/v1/cluster/route/two?partition=2",
        404,
        "unknown-partition",
    );
    table.row("a bad name", Method::PUT, "/v1/topics/a%2Fb", 400, "invalid-name");
    table.row("a name in no alphabet", Method::PUT, "/v1/topics/%C3%A9", 400, "invalid-name");
    table.row("a name that is no text", Method::PUT, "/v1/topics/%FF", 400, "invalid-name");
    table.row("a long name", Method::PUT, &long, 400, "invalid-name");
    table.row("a wrong method", Method::POST, "/v1/topics/two", 405, "method-not-allowed");
    table.row("another wrong method", Method::DELETE, "/v1/cluster", 405, "method-not-allowed");
    let put = |table: &mut Table<'_>, what, body: &str, status, code| {
        table.json(what, Method::PUT, "/v1/topics/fresh", body, status, code);
    };
    put(table, "no partitions", r#"{"partitions":0}"#, 400, "invalid-argument");
    put(table, "too many partitions", r#"{"partitions":1025}"#, 400, "invalid-argument");
    put(table, "an unknown member", r#"{"replicas":3}"#, 400, "invalid-argument");
    put(table, "half a document", r#"{"partitions":"#, 400, "invalid-json");
    put(table, "two documents", "{}{}", 400, "invalid-json");
    put(table, "deep nesting", &"[".repeat(100_000), 400, "invalid-argument");
    put(table, "retention of nothing", r#"{"retention":{"age_ms":0}}"#, 400, "invalid-argument");
    table.json("another shape", Method::PUT, "/v1/topics/two", r#"{"partitions":3}"#, 409, "topic-exists");
    table.json("a patch of nothing", Method::PATCH, "/v1/topics/two", "{}", 400, "invalid-argument");
    let request = table.cluster.request(Method::PUT, 1, "/v1/topics/fresh");
    let request = request.header("content-type", "text/xml").body("<topic/>");
    let what = "a content type that is not read";
    table.rows.push(Row { what, request, status: 415, code: "unsupported-media-type", line: None });
}

fn messages(table: &mut Table<'_>) {
    let ndjson = [("content-type", "application/x-ndjson")];
    let batch = [("content-type", "application/vnd.hcube.batch"), ("hcube-partition", "0")];
    let large = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    table.publish("a large message", &[], &large, 413, "message-too-large");
    table.publish("a large key and value", &[("hcube-key", "k")], &large[1..], 413, "message-too-large");
    table.publish("a large batch", &ndjson, &vec![b' '; 9 << 20], 413, "batch-too-large");
    let many = "{\"value\":0}\n".repeat(65_537);
    table.publish("many messages", &ndjson, many.as_bytes(), 413, "batch-too-large");
    table.publish("an empty batch", &ndjson, b"\n \n", 400, "invalid-argument");
    table.publish("noise for a batch", &batch, &noise(3, 500), 400, "invalid-batch");
    table.publish("nothing for a batch", &batch, b"", 400, "invalid-batch");
    table.publish("no such partition", &[("hcube-partition", "2")], b"x", 404, "unknown-partition");
    table.publish("no number", &[("hcube-partition", "-1")], b"x", 400, "invalid-argument");
    table.publish("a key that is none", &[("hcube-key", "%zz")], b"x", 400, "invalid-argument");
    table.publish("a sequence of nobody", &[("hcube-sequence", "0")], b"x", 400, "invalid-argument");
    table.publish("no producer id", &[("hcube-producer-id", "me")], b"x", 400, "invalid-argument");
    let (id, zero) = ("0123456789abcdef0123456789abcdef", [("hcube-sequence", "0")]);
    let repeatable = [&[("hcube-producer-id", id)], &zero[..]].concat();
    table.publish("repeatable, to anywhere", &repeatable, b"x", 400, "invalid-argument");
    let gap = [("hcube-producer-id", id), ("hcube-sequence", "7"), ("hcube-partition", "0")];
    table.publish("a sequence that nothing leads to", &gap, b"x", 404, "unknown-producer");
    table.lines(
        "half a line",
        "{\"value\":1}\n{\"value\":2}\n{\"value\":\n{\"value\":4}\n",
        3,
        400,
        "invalid-json",
    );
    table.lines("no value", "{\"value\":1}\n{}\n", 2, 400, "invalid-argument");
    table.lines("a typing error", "\n{\"valeu\":1}\n", 2, 400, "invalid-argument");
    table.lines(
        "no such partition",
        "{\"value\":1}\n{\"value\":1,\"partition\":2}\n",
        2,
        404,
        "unknown-partition",
    );
    let large = format!("{{\"value\":1}}\n{{\"value\":\"{}\"}}\n", "x".repeat(MESSAGE_BYTES_MAX + 1));
    table.lines("a large message", &large, 2, 413, "message-too-large");
    let what = "no such topic";
    let request = table.cluster.request(Method::POST, 1, "/v1/topics/none/messages").body("x");
    table.rows.push(Row { what, request, status: 404, code: "unknown-topic", line: None });
}

fn readers(table: &mut Table<'_>) {
    table.pull("an offset far beyond", "partition=0&from=1000000", 416, "offset-out-of-range");
    table.pull("an offset of which partition?", "from=3", 400, "invalid-argument");
    table.pull("no such partition", "partition=2", 404, "unknown-partition");
    table.pull("nothing at all", "limit=0", 400, "invalid-argument");
    table.pull("too much", "limit=10001", 400, "invalid-argument");
    table.pull("for too long", "wait=30001", 400, "invalid-argument");
    table.pull("from nowhere", "from=never", 400, "invalid-argument");
    table.pull("an unknown parameter", "form=earliest", 400, "invalid-argument");
    table.pull("a parameter twice", "limit=1&limit=2", 400, "invalid-argument");
    table.pull("a cursor that is none", "from=c1-AAAA", 400, "invalid-cursor");
    table.pull("a replica that is none", "replica=2", 400, "invalid-argument");
    table.pull("a replica beyond the cube", "partition=0&replica=111", 404, "replica-not-here");
    let request =
        table.cluster.request(Method::GET, 1, "/v1/topics/two/messages").header("accept", "image/png");
    let what = "a media type that is not made";
    table.rows.push(Row { what, request, status: 406, code: "not-acceptable", line: None });
    let request = table.cluster.request(Method::GET, 1, "/v1/topics/two/messages");
    let request = request.header("accept", "text/event-stream").header("last-event-id", "17");
    let what = "an event id that is none";
    table.rows.push(Row { what, request, status: 400, code: "invalid-cursor", line: None });
}

fn clients(table: &mut Table<'_>) {
    let cursor = "/v1/subscribers/known/cursors/two";
    table.json("a bad name", Method::POST, "/v1/subscribers", r#"{"name":"a/b"}"#, 400, "invalid-argument");
    table.json("no name", Method::POST, "/v1/subscribers", "{}", 400, "invalid-argument");
    table.json("no document", Method::POST, "/v1/publishers", "name=me", 400, "invalid-json");
    table.row("nobody", Method::GET, "/v1/subscribers/nobody/cursors/two", 404, "unknown-subscriber");
    table.row("in no topic", Method::GET, "/v1/subscribers/known/cursors/none", 404, "unknown-topic");
    table.json("nowhere", Method::PUT, cursor, "{}", 400, "invalid-argument");
    let beyond = r#"{"partitions":[{"partition":0,"offset":1000000}]}"#;
    table.json("beyond the end", Method::PUT, cursor, beyond, 416, "offset-out-of-range");
    let missing = r#"{"partitions":[{"partition":2,"offset":0}]}"#;
    table.json("in no partition", Method::PUT, cursor, missing, 404, "unknown-partition");
}

fn hosts(table: &mut Table<'_>) {
    for host in ["evil.example", "localhost.evil.example:80", "127.0.0.2"] {
        let request = table.cluster.request(Method::GET, 1, "/v1/topics").header("host", host);
        table.rows.push(Row {
            what: "a foreign host",
            request,
            status: 421,
            code: "unknown-host",
            line: None,
        });
    }
}

/// Bodies that are cut off before they are read whole, sent as no library would.
fn oversized_bodies_are_cut_off(cluster: &Cluster) {
    let head = |length: &str, expect: &str| {
        format!("POST /v1/topics/two/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}\r\n{expect}\r\n")
    };
    // Nobody is asked to go on with what is announced as too large.
    let announced = head("content-length: 10000000000", "expect: 100-continue\r\n");
    assert_eq!(status(&exchange(cluster.base_port + 1, announced.as_bytes(), true)), Some(413));
    // What is not announced is cut off while it comes.
    let mut stream = connect(cluster.base_port + 1);
    stream.write_all(head("transfer-encoding: chunked", "").as_bytes()).unwrap();
    let chunk = [&b"10000\r\n"[..], &[b'x'; 1 << 16], b"\r\n"].concat();
    let sent = (0..4096).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    let heard = read_to_end(&mut stream);
    assert!(sent < 4096, "256 MiB were taken");
    // The refusal may have been lost with the connection that was reset over it.
    assert!(heard.is_empty() || status(&heard) == Some(413), "{}", String::from_utf8_lossy(&heard));
}

fn what_is_not_http_is_survived(cluster: &Cluster, wrong: &mut Vec<String>) {
    let port = cluster.base_port + 1;
    for seed in 1..30 {
        let _ = exchange(port, &noise(seed, 3000), true);
    }
    for text in [
        "GET / HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n\r\n",
        "POST /v1/publishers HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/publishers HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n and then nonsense",
        "\r\n\r\n\r\n",
    ] {
        let heard = exchange(port, text.as_bytes(), true);
        if status(&heard).is_some_and(|status| status < 400) {
            wrong.push(format!("{text:?}: {}", String::from_utf8_lossy(&heard)));
        }
    }
    let head = format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let heard = exchange(port, head.as_bytes(), true);
    assert!(status(&heard).is_none_or(|status| status == 431), "{}", String::from_utf8_lossy(&heard));
    let none = exchange(port, b"GET /v1/topics HTTP/1.1\r\nconnection: close\r\n\r\n", true);
    assert!([400, 421].contains(&status(&none).unwrap_or_default()), "{}", String::from_utf8_lossy(&none));
}

fn many_connections_are_survived(cluster: &Cluster) {
    // More than a peer takes where the limit of open files allows, and more than the limit where it does not.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(4096);
    let wanted = usize::try_from(limit.saturating_sub(200)).unwrap_or(usize::MAX).min(10_500);
    let open = |_| TcpStream::connect(("127.0.0.1", cluster.base_port + 1)).ok();
    let held: Vec<TcpStream> = (0..wanted).map_while(open).collect();
    assert!(held.len() > 500, "only {} connections", held.len());
    // The others do not notice; the one that is full refuses with a time to come back, or answers.
    let _ = cluster.get(0, "/v1/topics/two").expect(200);
    let mut extra = connect(cluster.base_port + 1);
    extra.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").unwrap();
    let heard = String::from_utf8_lossy(&read_to_end(&mut extra)).to_ascii_lowercase();
    if heard.starts_with("http/1.1 503") {
        assert!(heard.contains("\r\nretry-after: ") && heard.contains("\"overloaded\""), "{heard}");
    } else {
        assert!(heard.is_empty() || heard.starts_with("http/1.1 200"), "{heard}");
    }
    drop(held);
    hcube_tests::eventually("the peer to answer again", hcube_tests::seconds(20), || {
        let request = cluster.request(Method::GET, 1, "/healthz");
        hcube_tests::Answer::of(&cluster.client, request).ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn bad_input_gets_a_problem_and_loses_nothing() {
    let cluster = Cluster::up(3);
    cluster.create_topic("two", 2);
    let _ = cluster.send_json(Method::POST, 0, "/v1/subscribers", &json!({ "name": "known" })).expect(200);
    let mut publisher = Publisher::register(&cluster.endpoints(), None, "two", 0);
    for number in 0..10 {
        assert_eq!(publisher.publish(&format!("good#{number}")).offset, number);
    }
    let before = cluster.read(0, "two", 2);
    let processes = cluster.processes();

    let mut table = Table { cluster: &cluster, rows: Vec::new() };
    for part in [topics, messages, readers, clients, hosts] {
        part(&mut table);
    }
    let mut wrong = Vec::new();
    for Row { what, request, status, code, line } in table.rows {
        let answer = match hcube_tests::Answer::of(&cluster.client, request) {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{what}: no answer: {error}"));
                continue;
            }
        };
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let as_wanted = (answer.status, answer.code().as_str()) == (status, code)
            && answer.header("content-type") == Some("application/problem+json")
            && line.is_none_or(|line| document["line"] == line)
            && (status != 405 || answer.header("allow").is_some());
        if !as_wanted {
            let line = line.map(|line| format!(" at line {line}")).unwrap_or_default();
            wrong.push(format!("{what}: {status} {code}{line} was expected: {answer}"));
        }
    }
    oversized_bodies_are_cut_off(&cluster);
    what_is_not_http_is_survived(&cluster, &mut wrong);
    many_connections_are_survived(&cluster);

    assert_eq!(cluster.read(0, "two", 2), before, "bad input was stored");
    let _ = cluster.get(0, "/v1/topics/fresh").expect_problem(404, "unknown-topic");
    assert_eq!(publisher.publish("good#10").offset, 10);
    assert_eq!(cluster.processes(), processes);
    assert!(processes.iter().flatten().all(hcube_tests::Peer::runs), "a peer ended");
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
