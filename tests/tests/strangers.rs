//! Whoever has neither the administration token nor the cluster secret.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; clippy only excuses functions marked as such"
)]

use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hcube_tests::raw::{connect, exchange, noise, read_to_end};
use hcube_tests::{Answer, Cluster, Publisher};
use serde_json::json;

/// What either side of a peer link sends first: magic, version, nonce.
const OPENING_BYTES: usize = 8 + 4 + 32;

fn opening(version: u32, nonce: u8) -> Vec<u8> {
    [&b"HCUBELNK"[..], &version.to_le_bytes(), &[nonce; 32]].concat()
}

fn administration_needs_the_token(cluster: &Cluster) {
    let admin = format!("http://127.0.0.1:{}", cluster.admin_port(1));
    let founding = json!({
        "cluster_id": "0123456789abcdef0123456789abcdef",
        "founders": [{
            "incarnation": "0123456789abcdef0123456789abcdef", "vertex": 0,
            "peer_address": "127.0.0.1:9", "client_address": "127.0.0.1:9"
        }]
    });
    let token = cluster.admin_token();
    let (part, longer) = (&token[..token.len() - 1], format!("{token}0"));
    let shown = [
        None,
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {part}")),
        Some(format!("Bearer {longer}")),
        Some(format!("Bearer {}", "0".repeat(token.len()))),
        Some(format!("Basic {token}")),
        Some(token.clone()),
    ];
    for authorization in shown {
        for (method, path) in [
            ("GET", "/v1/identity"),
            ("POST", "/v1/bootstrap"),
            ("GET", "/v1/topics"),
            ("GET", "/no/such/path"),
        ] {
            let method = method.parse().expect("the methods above are valid");
            let mut request = cluster.client.request(method, format!("{admin}{path}"));
            request = request.header("content-type", "application/json").body(founding.to_string());
            if let Some(value) = &authorization {
                request = request.header("authorization", value);
            }
            let answer = cluster.send(request).expect_problem(401, "unauthorized");
            assert!(!answer.text().contains("incarnation"), "{answer}");
        }
    }
    let identity = |port: u16| {
        let request = cluster.client.get(format!("http://127.0.0.1:{port}/v1/identity")).bearer_auth(&token);
        cluster.send(request).expect(200).json()
    };
    assert_eq!(identity(cluster.admin_port(1))["vertex"], 1);
    // Another founding is refused even with it.
    let request = cluster.client.post(format!("{admin}/v1/bootstrap")).bearer_auth(&token);
    let request = request.header("content-type", "application/json").body(founding.to_string());
    let _ = cluster.send(request).expect_problem(409, "wrong-cluster");
    // The client port knows nothing of administration.
    let request = cluster.client.get(format!("{}/v1/identity", cluster.endpoint(1))).bearer_auth(&token);
    let _ = cluster.send(request).expect_problem(404, "not-found");
}

fn peer_links_need_the_secret(cluster: &Cluster) {
    let port = cluster.peer_port(1);
    for seed in 1..40 {
        let heard = exchange(port, &noise(seed, 10 + 50 * usize::try_from(seed).unwrap()), true);
        assert_eq!(heard, b"", "an answer to noise");
    }
    for stranger in [&b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"[..], b"", b"HCUBE", &opening(2, 7)] {
        assert_eq!(exchange(port, stranger, true), b"", "an answer to {stranger:?}");
    }
    // A proof that is none: the peer has said its nonce and says nothing more.
    let garbage = noise(99, 200);
    for hello in [&garbage[..0], &garbage[..40], &garbage[..200]] {
        let length = u16::try_from(hello.len()).unwrap().to_le_bytes();
        let said = [&opening(1, 7), &length[..], hello, &[9; 32], &noise(5, 5000)].concat();
        let heard = exchange(port, &said, true);
        // A reset may take the nonce with it.
        assert!(
            heard.is_empty() || heard.len() == OPENING_BYTES,
            "{} bytes after a wrong proof",
            heard.len()
        );
    }
    let long = [&opening(1, 7), &[255, 255][..], &noise(3, 70_000)].concat();
    assert!(exchange(port, &long, true).len() <= OPENING_BYTES);
    // Its own words, sent back to it.
    let mut mirror = connect(port);
    std::io::Write::write_all(&mut mirror, &opening(1, 3)).unwrap();
    let mut theirs = [0; OPENING_BYTES];
    std::io::Read::read_exact(&mut mirror, &mut theirs).unwrap();
    assert_eq!(theirs[..12], opening(1, 3)[..12]);
    let _ = std::io::Write::write_all(&mut mirror, &[&[4, 0][..], b"what", &theirs[12..]].concat());
    assert_eq!(read_to_end(&mut mirror), b"");
}

fn listeners_are_on_this_machine_alone(cluster: &Cluster) {
    // Which address this machine has for others; nothing is sent (192.0.2.0/24 is for documentation, RFC 5737).
    let outside = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Ok(outside) = outside else {
        println!("skipped: this machine has no address but its own");
        return;
    };
    for port in [cluster.base_port, cluster.peer_port(0), cluster.admin_port(0)] {
        let reached = TcpStream::connect_timeout(&(outside.ip(), port).into(), Duration::from_secs(1));
        assert!(reached.is_err(), "{}:{port} can be reached", outside.ip());
    }
}

#[test]
fn without_token_and_secret_nothing_can_be_done() {
    let cluster = Cluster::up(3);
    cluster.create_topic("t", 1);
    let processes = cluster.processes();
    for file in ["admin.token", "cluster.secret"] {
        let mode = std::fs::metadata(cluster.dir().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let known: Answer = cluster.get(1, "/v1/cluster").expect(200);
    administration_needs_the_token(&cluster);
    peer_links_need_the_secret(&cluster);
    listeners_are_on_this_machine_alone(&cluster);
    // Connections that say nothing do no harm either.
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(cluster.peer_port(1))).collect();
    let mut publisher = Publisher::register(&cluster.endpoints(), None, "t", 0);
    for number in 0..30 {
        assert_eq!(publisher.publish(&format!("t#{number}")).offset, number);
    }
    drop(silent);
    assert_eq!(cluster.processes(), processes, "a peer was restarted");
    assert!(processes.iter().flatten().all(hcube_tests::Peer::runs), "a peer ended");
    let now = cluster.get(1, "/v1/cluster").expect(200);
    assert_eq!(now.json()["members"], known.json()["members"]);
}
