//! Several nodes in one process, over loopback sockets and real disks, below HTTP.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

#[path = "support/cluster.rs"]
mod cluster;

use std::time::Duration;

use cluster::{Cluster, PATIENCE, PATIENCE_MS, config, contents, create, eventually, publish};
use hcube_broker::request::{From, Pull};
use hcube_broker::{Error, Request};
use hcube_core::ids::{ClusterId, Incarnation};
use hcube_node::config::Secret;
use hcube_node::{Bootstrap, BootstrapError, Config, Node, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_peer_took_every_peer_gives_also_after_a_restart_of_all() {
    let mut cluster = Cluster::founded(3).await;
    let topic = create(&cluster.handle(0).await, "events", 3).await;
    for round in 0..4 {
        for vertex in 0..3 {
            let handle = cluster.handle(vertex).await;
            let partition = u16::try_from(vertex).unwrap();
            publish(&handle, &topic, partition, round.into(), vec![round; 10]).await;
        }
    }
    let expected: Vec<_> = (0..4).map(|round| (round, 10)).collect();
    for lap in 0..2 {
        for vertex in 0..3 {
            let handle = cluster.handle(vertex).await;
            for partition in 0..3 {
                let found = contents(&handle, &topic, partition, None).await.unwrap();
                assert_eq!(found, expected, "lap {lap}, vertex {vertex}, partition {partition}");
            }
        }
        for vertex in 0..3 {
            cluster.stop(vertex).await;
        }
        for vertex in 0..3 {
            cluster.start(vertex).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_goes_on_without_any_one_peer_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::founded(3).await;
    let topic = create(&cluster.handle(1).await, "events", 4).await;
    let mut count = 0;
    for victim in 0..3 {
        cluster.kill(victim);
        let asked = cluster.handle((victim + 1) % 3).await;
        for _ in 0..5 {
            for partition in 0..4 {
                publish(&asked, &topic, partition, count.into(), vec![count; 3]).await;
            }
            count += 1;
        }
        cluster.start(victim).await;
        let back = cluster.handle(victim).await;
        // Its own replica catches up with what it missed.
        for partition in 0..4 {
            eventually("the replica catches up", async || {
                let found = contents(&back, &topic, partition, Some(back.node())).await.ok()?;
                (found.len() == usize::from(count)).then_some(())
            })
            .await;
        }
    }
    for vertex in 0..3 {
        cluster.kill(vertex);
    }
    for vertex in 0..3 {
        cluster.start(vertex).await;
    }
    let expected: Vec<_> = (0..count).map(|value| (value, 3)).collect();
    for partition in 0..4 {
        let handle = cluster.handle(usize::from(partition) % 3).await;
        assert_eq!(contents(&handle, &topic, partition, None).await.unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_move_to_sorted_files_and_reach_a_peer_that_was_away() {
    const RECORDS: u8 = 80;
    const BYTES: usize = 500_000;
    let mut cluster = Cluster::founded(3).await;
    let topic = create(&cluster.handle(0).await, "large", 1).await;
    cluster.kill(2);
    let handle = cluster.handle(0).await;
    for value in 0..RECORDS {
        publish(&handle, &topic, 0, value.into(), vec![value; BYTES]).await;
    }
    let files_of = |name: &str, vertex: usize| {
        let entries = std::fs::read_dir(cluster.config(vertex).data_dir.join(name));
        entries.map_or(0, Iterator::count)
    };
    eventually("segments are sorted and deleted", async || {
        (files_of("sorted", 0) > 0 && files_of("log", 0) <= 5).then_some(())
    })
    .await;
    let expected: Vec<_> = (0..RECORDS).map(|value| (value, BYTES)).collect();
    assert_eq!(contents(&handle, &topic, 0, Some(handle.node())).await.unwrap(), expected);

    cluster.start(2).await;
    let back = cluster.handle(2).await;
    eventually("the snapshot with its files arrives", async || {
        let found = contents(&back, &topic, 0, Some(back.node())).await.ok()?;
        (found == expected).then_some(())
    })
    .await;
    for vertex in 0..3 {
        cluster.stop(vertex).await;
    }
    for vertex in 0..3 {
        cluster.start(vertex).await;
    }
    for vertex in 0..3 {
        let handle = cluster.handle(vertex).await;
        assert_eq!(contents(&handle, &topic, 0, Some(handle.node())).await.unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founder_that_was_away_is_founded_when_it_comes() {
    let mut cluster = Cluster::unbound(3).await;
    let call = cluster.call();
    cluster.stop(2).await;
    cluster.node(0).bootstrap(call).await.unwrap();
    let topic = create(&cluster.handle(0).await, "early", 1).await;
    publish(&cluster.handle(1).await, &topic, 0, 0, vec![7]).await;
    cluster.start(2).await;
    let late = cluster.handle(2).await;
    assert_eq!(late.cluster(), cluster.id);
    let meta = late.meta_where(|meta| meta.topic(&topic.name).is_some());
    tokio::time::timeout(PATIENCE, meta).await.unwrap().unwrap();
    assert_eq!(contents(&late, &topic, 0, None).await.unwrap(), [(7, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bootstrap_again_changes_nothing_and_another_cluster_is_refused() {
    let cluster = Cluster::founded(3).await;
    let call = cluster.call();
    for vertex in 0..3 {
        let again = cluster.node(vertex).bootstrap(call.clone()).await.unwrap();
        assert_eq!(again.cluster(), cluster.id);
    }
    let other = Bootstrap { cluster: ClusterId(43), ..call.clone() };
    assert!(matches!(cluster.node(1).bootstrap(other).await, Err(BootstrapError::Founding(_))));
    let uneven = Bootstrap { slots: 3, ..call };
    assert!(matches!(cluster.node(1).bootstrap(uneven).await, Err(BootstrapError::Genesis(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_not_founded_without_being_listed() {
    let cluster = Cluster::unbound(2).await;
    let mut call = cluster.call();
    call.founders[0].incarnation = Incarnation(99);
    assert!(matches!(cluster.node(0).bootstrap(call).await, Err(BootstrapError::Founding(_))));
    assert!(cluster.node(0).handle().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secret_gets_nothing() {
    let cluster = Cluster::unbound(2).await;
    // A founder by its incarnation, and still no peer: it does not know the secret.
    let wrong = Secret::new(b"another secret altogether").unwrap();
    let config = Config { cluster_secret: wrong, ..config(cluster.dir().join("stranger")) };
    let stranger = Node::start(config).await.unwrap();
    let mut call = cluster.call();
    call.founders[1].incarnation = stranger.incarnation();
    call.founders[1].peer_address = stranger.peer_address().to_string();
    let handle = cluster.node(0).bootstrap(call).await.unwrap();
    // Dialled several times by now, and refused each time.
    eventually("links are refused", async || {
        let text = cluster.node(0).metrics().text();
        let refusals = text.lines().find_map(|line| line.strip_prefix("hcube_link_refusals_total "))?;
        (refusals.parse::<u32>().unwrap() >= 3).then_some(())
    })
    .await;
    assert!(stranger.handle().is_none());
    assert!(handle.status().links.is_empty());

    // Whatever a stranger says, it hears the acceptor's opening at most.
    let peer = cluster.node(0).peer_address();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"[..],
        &[0xff; 4096],
        b"HCUBELNK\x01\0\0\0",
    ] {
        let mut stream = TcpStream::connect(peer).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        // A reset says as little as an end.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("closed");
        assert!(heard.len() <= 44, "heard {heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_node_on_the_same_directory_is_refused() {
    let cluster = Cluster::unbound(1).await;
    let second = Config { peer_listen: "127.0.0.1:0".parse().unwrap(), ..cluster.config(0).clone() };
    let error = Node::start(second).await.unwrap_err();
    assert!(matches!(error, StartError::Lock(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_of_another_directory_is_refused() {
    let mut cluster = Cluster::founded(2).await;
    for vertex in 0..2 {
        cluster.stop(vertex).await;
    }
    let (one, two) = (cluster.config(0).data_dir.clone(), cluster.config(1).data_dir.clone());
    std::fs::copy(one.join("identity"), two.join("identity")).unwrap();
    assert!(Node::start(cluster.config(1).clone()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_given_up_leaves_nothing_behind() {
    let cluster = Cluster::founded(1).await;
    let handle = cluster.handle(0).await;
    let topic = create(&handle, "quiet", 1).await;
    publish(&handle, &topic, 0, 0, vec![1]).await;
    let poll = Request::Pull(Pull {
        topic: topic.clone(),
        partition: 0,
        from: From::Offset(1),
        max_records: 10,
        max_bytes: 1 << 20,
        wait_ms: 60_000,
        replica: None,
        leader: false,
    });
    let waiting = handle.request(poll.clone(), 70_000);
    assert!(tokio::time::timeout(Duration::from_millis(100), waiting).await.is_err());
    assert_eq!(handle.requests_under_way(), 0);
    tokio::time::timeout(PATIENCE, handle.status_where(|status| status.calls == 0)).await.unwrap().unwrap();
    // One that waits is woken by the record it waits for.
    let publishing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&handle, &topic, 0, 1, vec![2]).await
    };
    let (woken, _) = tokio::join!(handle.request(poll, 70_000), publishing);
    assert!(woken.result.is_ok(), "{woken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_says_that_outcomes_are_unknown() {
    let mut cluster = Cluster::founded(3).await;
    let handle = cluster.handle(0).await;
    let topic = create(&handle, "events", 1).await;
    cluster.kill(1);
    cluster.kill(2);
    let alone = handle.status_where(|status| status.links.is_empty());
    tokio::time::timeout(PATIENCE, alone).await.unwrap().unwrap();
    let (asked, name) = (handle.clone(), topic.name.clone());
    // Without a majority nothing is deleted.
    let waiting =
        tokio::spawn(async move { asked.request(Request::DeleteTopic { name }, PATIENCE_MS).await });
    eventually("the request is under way", async || (handle.requests_under_way() > 0).then_some(())).await;
    cluster.kill(0);
    let reply = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(reply.result, Err(Error::Unknown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shuts_down_takes_no_more_requests() {
    let mut cluster = Cluster::founded(1).await;
    let handle = cluster.handle(0).await;
    let topic = create(&handle, "events", 1).await;
    cluster.stop(0).await;
    assert!(handle.is_closing());
    let reply = handle.request(Request::DeleteTopic { name: topic.name }, PATIENCE_MS).await;
    assert_eq!(reply.result, Err(Error::Overloaded));
}
