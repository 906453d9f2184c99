//! The ports from outside: no token, wrong bytes, many connections, HTTP/2.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Hypercube, TOKEN, send};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_done_and_nothing_learned() {
    let cube = Hypercube::unbound(1, hcube_node::http::Config::default()).await;
    let founding = cube.founding("00000000000000000000000000000042").await.to_string();
    let address = cube.peers[0].server.admin_address();
    let mut bodies = std::collections::BTreeSet::new();
    for path in ["/v1/bootstrap", "/v1/identity", "/nothing", "/healthz"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            for token in
                [None, Some(""), Some("Bearer"), Some("Bearer wrong"), Some(TOKEN), Some("Basic dG9rZW4=")]
            {
                let mut request = cube.client.request(method.clone(), format!("http://{address}{path}"));
                if let Some(token) = token {
                    request = request.header("authorization", token);
                }
                let refused = send(request.body(founding.clone())).await;
                assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"), "{path}");
                assert_eq!(refused.header("www-authenticate"), "Bearer");
                bodies.insert(refused.body);
            }
        }
    }
    assert_eq!(bodies.len(), 1, "every refusal is the same");
    assert!(cube.peers[0].node.handle().is_none(), "nothing was founded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hypercube_is_founded_once() {
    let cube = Hypercube::founded(3).await;
    let call = cube.founding("00000000000000000000000000000042").await;
    let bootstrap =
        |vertex, body: &Value| cube.admin(vertex, Method::POST, "/v1/bootstrap").body(body.to_string());
    for vertex in 0..3 {
        let again = send(bootstrap(vertex, &call)).await;
        assert_eq!((again.status, &again.json()["created"]), (200, &Value::Bool(false)), "{}", again.text());
    }
    let other = cube.founding("00000000000000000000000000000043").await;
    let refused = send(bootstrap(1, &other)).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "wrong-cluster"));
    let mut changed = call.clone();
    changed["slots"] = 8.into();
    assert_eq!(send(bootstrap(1, &changed)).await.code(), "already-bootstrapped");
    changed["slots"] = 7.into();
    assert_eq!(send(bootstrap(1, &changed)).await.code(), "invalid-argument");
    let identity = send(cube.admin(2, Method::GET, "/v1/identity")).await.json();
    assert_eq!((&identity["vertex"], &identity["node_id"]), (&2.into(), &3.into()));
    let host = cube.admin(0, Method::GET, "/v1/identity").header("host", "evil.example");
    assert_eq!(send(host).await.code(), "unknown-host");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_harm_nobody() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 1).await;
    let server = &cube.peers[0].server;
    let starts: [&[u8]; 6] = [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /v1/topics/t/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/topics/t/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: 64\r\n\r\n",
    ];
    for round in 0..120 {
        let address = if round % 4 == 0 { server.admin_address() } else { server.client_address() };
        let mut stream = TcpStream::connect(address).await.unwrap();
        let noise: [u8; 64] = std::array::from_fn(|_| rand::random());
        let bytes = [starts[round % starts.len()], &noise].concat();
        // The peer may close before everything is written.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "round {round} hangs");
    }
    cube.publish(0, "t", "alive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_are_served_at_once() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 4).await;
    let publishers = (0..300).map(|number: usize| {
        // A client of its own has a connection of its own.
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let address = cube.peers[number % 3].server.client_address();
        let request = client.post(format!("http://{address}/v1/topics/t/messages"));
        tokio::spawn(send(request.header("hcube-key", number.to_string()).body(number.to_string())))
    });
    let publishers: Vec<_> = publishers.collect();
    for publisher in publishers {
        let published = publisher.await.unwrap();
        assert_eq!(published.status, 200, "{}", published.text());
    }
    let pulled = send(cube.get(1, "/v1/topics/t/messages?limit=1000&wait=1000")).await.json();
    assert_eq!(pulled["messages"].as_array().unwrap().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_asking_is_understood() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 1).await;
    let address = cube.peers[0].server.client_address();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for number in 0..50 {
        let request = http::Request::post(format!("http://{address}/v1/topics/t/messages"))
            .body(Full::new(Bytes::from(number.to_string())))
            .unwrap();
        answers.push(sender.send_request(request));
    }
    let mut offsets = Vec::new();
    for answer in answers {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        offsets.push(serde_json::from_slice::<Value>(&body).unwrap()["offset"].as_u64().unwrap());
    }
    offsets.sort_unstable();
    assert!(offsets.into_iter().eq(0..50));
}
