//! Too much at a time: refused at once with a time to come back, and soon forgotten.

use std::time::Duration;

use hcube_node::http::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Hypercube, eventually, send};

async fn read_some(stream: &mut TcpStream) -> String {
    let mut text = vec![0; 2000];
    let length =
        tokio::time::timeout(Duration::from_secs(10), stream.read(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_told_so() {
    let cube = Hypercube::founded_with(1, Config { connections_max: 12, ..Config::default() }).await;
    let address = cube.peers[0].server.client_address();
    let mut held = Vec::new();
    let refused = eventually("a connection is refused", async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let answer = read_some(&mut stream).await;
        if answer.starts_with("HTTP/1.1 503") {
            return Some(answer);
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        held.push(stream);
        None
    })
    .await;
    assert!(refused.contains("\"overloaded\"") && refused.contains("retry-after: 1"), "{refused}");
    assert!(held.len() <= 12);
    drop(held);
    eventually("there is room again", async || {
        (send(cube.get(0, "/healthz")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_told_so_while_probes_are_answered() {
    let cube = Hypercube::founded_with(1, Config { requests_max: 2, ..Config::default() }).await;
    cube.create("t", 1).await;
    let poll = || {
        let request = cube.get(0, "/v1/topics/t/messages?wait=20000");
        // One that comes while the other and a look below are served is refused, and tried again.
        let polled = async move {
            while send(request.try_clone().unwrap()).await.status == 503 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::spawn(polled)
    };
    let polls = [poll(), poll()];
    let refused = eventually("a request is refused", async || {
        let got = send(cube.get(0, "/v1/topics")).await;
        (got.status != 200).then_some(got)
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(send(cube.get(0, "/readyz")).await.status, 200);
    // A client that goes makes room.
    for poll in polls {
        poll.abort();
    }
    eventually("there is room again", async || {
        (send(cube.get(0, "/v1/topics")).await.status == 200).then_some(())
    })
    .await;
    cube.publish(0, "t", "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_length_is_refused_before_it_is_read_whole() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 1).await;
    let address = cube.peers[0].server.client_address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/topics/t/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
    // The body has no end; the answer comes even so.
    for _ in 0..17 {
        stream.write_all(&chunk).await.unwrap();
    }
    let answer = read_some(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("message-too-large"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_leave_gets_none_for_too_much() {
    let cube = Hypercube::founded(1).await;
    cube.create("t", 1).await;
    let address = cube.peers[0].server.client_address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/topics/t/messages HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_some(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_share_their_room() {
    let cube = Hypercube::founded_with(1, Config { body_bytes_max: 300 << 10, ..Config::default() }).await;
    cube.create("t", 1).await;
    let publish = |bytes: usize| send(cube.post(0, "/v1/topics/t/messages").body(vec![b'x'; bytes]));
    let refused = publish(400 << 10).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(publish(200 << 10).await.status, 200);
    assert_eq!(publish(200 << 10).await.status, 200);
}
