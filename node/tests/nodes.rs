//! Several nodes in one process, over loopback sockets and real disks, below HTTP.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::{
    Cluster, PATIENCE, PATIENCE_MS, change, config, contents, create, eventually, publish, settled,
};
use hcube_broker::request::{From, Pull, TopicRef};
use hcube_broker::{Error, Request};
use hcube_core::feature;
use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_core::meta::{Change, Changed, Meta};
use hcube_core::topic::slot_of;
use hcube_node::config::Secret;
use hcube_node::{Bootstrap, BootstrapError, Config, Handle, Node, StartError};
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
        // Files that are kept to become segments again have another suffix.
        let is_in_use =
            |entry: &std::fs::DirEntry| entry.path().extension().is_none_or(|suffix| suffix != "tmp");
        entries.map_or(0, |entries| entries.flatten().filter(is_in_use).count())
    };
    eventually("segments are sorted and not needed any more", async || {
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
    eventually("links are refused", async || (refusals(cluster.node(0)) >= 3).then_some(())).await;
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

/// Publishes to every partition in turn until it is told to stop. Returns how many records each one has then.
async fn publish_on(handle: Handle, topic: TopicRef, partitions: u16, stop: Arc<AtomicBool>) -> u8 {
    for count in 0..=u8::MAX {
        if stop.load(Ordering::Relaxed) {
            return count;
        }
        for partition in 0..partitions {
            publish(&handle, &topic, partition, count.into(), vec![count; 9]).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it takes too long");
}

/// How many links a node has refused.
fn refusals(node: &Node) -> u32 {
    let text = node.metrics().text();
    let count = text.lines().find_map(|line| line.strip_prefix("hcube_link_refusals_total "));
    count.unwrap().parse().unwrap()
}

fn held(meta: &Meta, node: NodeId) -> usize {
    meta.placement.iter().filter(|placement| placement.votes(node)).count()
}

/// Waits until a node's own replicas hold every record of their partitions.
async fn holds(handle: &Handle, topic: &TopicRef, partitions: u16, expected: &[(u8, usize)]) {
    let (meta, node) = (handle.meta(), handle.node());
    let slot = |partition| usize::from(slot_of(&topic.name, partition, meta.slots).0);
    let here: Vec<u16> = (0..partitions).filter(|p| meta.placement[slot(*p)].votes(node)).collect();
    assert!(!here.is_empty());
    for partition in here {
        eventually("the replica has everything", async || {
            let found = contents(handle, topic, partition, Some(node)).await.ok()?;
            (found == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_joins_and_leaves_again_while_publishing_goes_on() {
    let mut cluster = Cluster::founded(3).await;
    let asked = cluster.handle(0).await;
    let topic = create(&asked, "events", 8).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publish_on(asked.clone(), topic.clone(), 8, Arc::clone(&stop)));

    let vertex = cluster.add_unbound().await;
    let new = Change::AddMember(cluster.new_member(vertex, None));
    let Changed::Member(member) = change(&asked, new.clone()).await else { panic!("a member") };
    assert_eq!(change(&asked, new).await, Changed::Member(member.clone()));
    let joined = cluster.handle(vertex).await;
    assert_eq!((joined.node(), joined.cluster()), (member.node, cluster.id));
    // A fair share of 4 slots in 3 replicas on 4 peers.
    settled(&joined, "its share of the slots comes", |meta| held(meta, member.node) == 3).await;
    // It goes on where it was, without a genesis.
    cluster.stop(vertex).await;
    cluster.start(vertex).await;
    let joined = cluster.handle(vertex).await;
    settled(&joined, "it has its share again", |meta| held(meta, member.node) == 3).await;
    let far = contents(&joined, &topic, 0, None).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let count = publishing.await.unwrap();
    assert!(far.len() <= usize::from(count));
    let mut expected: Vec<_> = (0..count).map(|value| (value, 9)).collect();
    holds(&joined, &topic, 8, &expected).await;

    change(&asked, Change::Drain { node: member.node }).await;
    publish(&joined, &topic, 0, count.into(), vec![count; 9]).await;
    // Waits for the next record, at a leader elsewhere.
    let waiting = tokio::spawn({
        let (joined, topic) = (joined.clone(), topic.clone());
        async move { wait_in_vain(&joined, &topic, u64::from(count) + 1).await }
    });
    let removed = change(&asked, Change::RemoveMember { node: member.node }).await;
    assert_eq!(removed, Changed::Removed(member.node));
    let left = joined.status_where(|status| status.removed && status.links.is_empty());
    tokio::time::timeout(PATIENCE, left).await.expect("it learns of it and loses its links").unwrap();
    // Nobody is left waiting there: neither who asked before, nor who asks now.
    let at_once = Duration::from_millis(u64::from(PATIENCE_MS) / 4);
    let told = tokio::time::timeout(at_once, waiting).await.expect("a call under way ends").unwrap();
    assert_eq!(told, Error::Left);
    let told = tokio::time::timeout(at_once, contents(&joined, &topic, 0, None)).await;
    assert_eq!(told.expect("a new call ends at once"), Err(Error::Left));
    let forgotten = asked.status_where(|status| !status.links.contains(&member.node));
    tokio::time::timeout(PATIENCE, forgotten).await.expect("its links are closed").unwrap();
    settled(&asked, "the others do without it", |meta| meta.members.len() == 3).await;
    for partition in 1..8 {
        assert_eq!(contents(&asked, &topic, partition, None).await.unwrap(), expected);
    }
    expected.push((count, 9));
    assert_eq!(contents(&asked, &topic, 0, None).await.unwrap(), expected);

    cluster.stop(vertex).await;
    let error = Node::start(cluster.config(vertex).clone()).await.unwrap_err();
    assert!(error.to_string().contains("has left its hypercube"), "{error}");
}

/// Waits for the record at an offset of partition 0, poll after poll, until one is refused.
async fn wait_in_vain(handle: &Handle, topic: &TopicRef, offset: u64) -> Error {
    let pull = Pull {
        topic: topic.clone(),
        partition: 0,
        from: From::Offset(offset),
        max_records: 1,
        max_bytes: 1 << 20,
        wait_ms: PATIENCE_MS,
        replica: None,
        leader: true,
    };
    loop {
        // However long a drain takes, a poll is under way when it ends.
        if let Err(error) = handle.request(Request::Pull(pull.clone()), PATIENCE_MS).await.result {
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_disk_is_lost_replaces_itself_and_the_old_disk_gets_no_link() {
    let mut cluster = Cluster::founded(3).await;
    let asked = cluster.handle(0).await;
    let topic = create(&asked, "events", 4).await;
    for value in 0..5 {
        for partition in 0..4 {
            publish(&asked, &topic, partition, value.into(), vec![value; 9]).await;
        }
    }
    let lost = cluster.handle(2).await.node();
    let old = cluster.config(2).clone();
    cluster.wipe(2).await;
    let new = Change::AddMember(cluster.new_member(2, Some(lost)));
    let Changed::Member(member) = change(&asked, new).await else { panic!("a member") };
    assert_ne!(member.node, lost);
    let back = cluster.handle(2).await;
    assert_eq!(back.node(), member.node);
    let meta = settled(&back, "everything is there again", |meta| held(meta, member.node) == 4).await;
    assert!(meta.lost.is_empty() && meta.metadata.votes(member.node), "{meta:?}");
    let expected: Vec<_> = (0..5).map(|value| (value, 9)).collect();
    holds(&back, &topic, 4, &expected).await;

    // Whoever finds the old disk again changes nothing with it.
    let before = refusals(cluster.node(0));
    let zombie = Node::start(Config { peer_listen: "127.0.0.1:0".parse().unwrap(), ..old }).await.unwrap();
    assert_eq!(zombie.founded().await.node(), lost);
    eventually("links are refused", async || (refusals(cluster.node(0)) >= before + 3).then_some(())).await;
    assert!(!asked.status().links.contains(&lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_hands_its_lead_over() {
    let mut cluster = Cluster::founded(3).await;
    let stopped = cluster.handle(1).await;
    let leads = stopped.status_where(|status| status.leads > 0);
    tokio::time::timeout(PATIENCE, leads).await.unwrap().unwrap();
    let others = [cluster.handle(0).await, cluster.handle(2).await];
    cluster.stop(1).await;
    // An election would begin 200 ms after the last heartbeat at the earliest.
    tokio::time::sleep(Duration::from_millis(60)).await;
    for other in others {
        let status = other.status();
        let led = status.groups.values().filter(|group| group.leader == Some(stopped.node())).count();
        assert_eq!(led, 0, "{status:?}");
    }
}

/// Changes one bit of the first place in a node's log that holds these bytes.
fn damage(config: &Config, bytes: &[u8]) {
    for entry in std::fs::read_dir(config.data_dir.join("log")).unwrap() {
        let path = entry.unwrap().path();
        let mut content = std::fs::read(&path).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at] ^= 1;
            return std::fs::write(path, content).unwrap();
        }
    }
    panic!("no segment holds {bytes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_slot_is_had_anew_from_the_others() {
    let mut cluster = Cluster::founded(3).await;
    let asked = cluster.handle(0).await;
    let topic = create(&asked, "events", 4).await;
    for value in 200..205 {
        for partition in 0..4 {
            publish(&asked, &topic, partition, u64::from(value - 200), vec![value; 50]).await;
        }
    }
    let expected: Vec<_> = (200..205).map(|value| (value, 50)).collect();
    let handle = cluster.handle(2).await;
    let before = handle.meta();
    holds(&handle, &topic, 4, &expected).await;
    cluster.stop(2).await;
    damage(cluster.config(2), &[202; 50]);
    cluster.start(2).await;
    let back = cluster.handle(2).await;
    let node = back.node();
    let replaced = |meta: &Meta| {
        let anew = meta.groups().filter(|(group, placement)| {
            let old = before.placement_of(*group).and_then(|before| before.replica_on(node));
            old.is_some_and(|old| meta.is_retired(*group, old)) && placement.votes(node)
        });
        anew.count()
    };
    settled(&back, "another replica takes its place", |meta| replaced(meta) > 0).await;
    assert_eq!(replaced(&back.meta()), 1, "one slot's replica was damaged");
    holds(&back, &topic, 4, &expected).await;
    // And it stays: what was damaged is not found again.
    cluster.stop(2).await;
    cluster.start(2).await;
    holds(&cluster.handle(2).await, &topic, 4, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_metadata_is_damaged_says_what_to_do_and_deletes_nothing() {
    let mut cluster = Cluster::founded(3).await;
    create(&cluster.handle(0).await, "a-name-to-be-found", 1).await;
    let known = cluster.handle(2).await;
    let known = known.meta_where(|meta| meta.topic_count() == 1);
    tokio::time::timeout(PATIENCE, known).await.unwrap().unwrap();
    cluster.stop(2).await;
    damage(cluster.config(2), b"a-name-to-be-found");
    let segments = || {
        let log = std::fs::read_dir(cluster.config(2).data_dir.join("log")).unwrap();
        log.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = segments();
    for _ in 0..2 {
        let error = Node::start(cluster.config(2).clone()).await.unwrap_err();
        assert!(error.to_string().contains("empty its data directory"), "{error}");
    }
    assert!(segments().is_superset(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_raises_the_feature_level_at_its_end_and_for_good() {
    let mut cluster = Cluster::founded_at(3, feature::OLDEST).await;
    let topic = create(&cluster.handle(0).await, "events", 1).await;
    for vertex in 0..3 {
        let handle = cluster.handle((vertex + 1) % 3).await;
        publish(&handle, &topic, 0, vertex as u64, vec![u8::try_from(vertex).unwrap()]).await;
        assert_eq!(handle.meta().feature_level, feature::OLDEST, "before vertex {vertex} is updated");
        cluster.stop(vertex).await;
        cluster.set_level(vertex, feature::NEWEST);
        cluster.start(vertex).await;
    }
    for vertex in 0..3 {
        let handle = cluster.handle(vertex).await;
        let _ = settled(&handle, "the newest level", |meta| meta.feature_level == feature::NEWEST).await;
        let expected: Vec<_> = (0..3).map(|value| (value, 1)).collect();
        assert_eq!(contents(&handle, &topic, 0, None).await.unwrap(), expected);
    }
    cluster.stop(1).await;
    let older = Config { feature_level: feature::OLDEST, ..cluster.config(1).clone() };
    let refused = Node::start(older).await.unwrap_err().to_string();
    let for_good = format!("at feature level {} for good", feature::NEWEST);
    assert!(refused.contains(&for_good), "{refused}");
    cluster.start(1).await;
    publish(&cluster.handle(1).await, &topic, 0, 3, vec![3]).await;
}
