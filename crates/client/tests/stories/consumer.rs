//! Streams of messages out of a topic: once each and in order, whatever happens on the way.

use std::time::Duration;

use hcube_client::api::messages::Start;
use hcube_client::api::{Code, Problem};
use hcube_client::{Consumer, Error, Record, Transport};

use crate::mock::{Fault, Hypercube, topic};

const TRANSPORTS: [Transport; 3] = [Transport::Frames, Transport::Polls, Transport::Events];

/// Publishes numbers into a partition in batches of five.
async fn publish(hypercube: &Hypercube, partition: u16, range: std::ops::Range<u32>) {
    let builder = hypercube.client(&[1]).producer(&topic()).batch_records(5);
    let producer = builder.linger(Duration::from_millis(50)).build().await.unwrap();
    for number in range {
        let record = Record { value: number.to_string().into(), ..Record::default() };
        // The close below waits for all of them.
        drop(producer.enqueue_to(partition, record).await.unwrap());
    }
    producer.close().await.unwrap();
}

/// The next messages as (partition, offset), checked against their values.
async fn take(consumer: &mut Consumer, count: usize) -> Vec<(u16, u64)> {
    let mut places = Vec::new();
    while places.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
        let message = next.expect("a message comes in time").unwrap().expect("the topic is followed");
        assert_eq!(message.record.value, message.offset.to_string());
        places.push((message.partition, message.offset));
    }
    places
}

fn places(partition: u16, range: std::ops::Range<u64>) -> Vec<(u16, u64)> {
    range.map(|offset| (partition, offset)).collect()
}

#[tokio::test]
async fn messages_come_in_order_while_they_are_published() {
    for transport in TRANSPORTS {
        let hypercube = Hypercube::start(2, 1);
        publish(&hypercube, 0, 0..40).await;
        let builder = hypercube.client(&[0]).consumer(&topic()).transport(transport);
        let mut consumer = builder.build().await.unwrap();
        assert_eq!(take(&mut consumer, 40).await, places(0, 0..40));
        let (live, ()) = tokio::join!(take(&mut consumer, 30), publish(&hypercube, 0, 40..70));
        assert_eq!(live, places(0, 40..70));
    }
}

#[tokio::test]
async fn every_partition_is_in_order_across_broken_connections() {
    for transport in TRANSPORTS {
        let hypercube = Hypercube::start(3, 2);
        publish(&hypercube, 0, 0..50).await;
        publish(&hypercube, 1, 0..50).await;
        for after in [3, 0, 700, 4, 1] {
            hypercube.fail_pull(Fault::DoThenCut(after));
            hypercube.fail_pull(Fault::Refuse(Problem::new(Code::NoLeader, "election")));
        }
        let builder = hypercube.client(&[0, 1]).consumer(&topic()).transport(transport);
        let mut consumer = builder.build().await.unwrap();
        let all = take(&mut consumer, 100).await;
        for partition in 0..2 {
            let own: Vec<_> = all.iter().copied().filter(|(at, _)| *at == partition).collect();
            assert_eq!(own, places(partition, 0..50), "{transport:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_dies_mid_stream_is_replaced() {
    for transport in TRANSPORTS {
        let mut hypercube = Hypercube::start(3, 1);
        publish(&hypercube, 0, 0..20).await;
        let builder = hypercube.client(&[0]).consumer(&topic()).transport(transport);
        let mut consumer = builder.build().await.unwrap();
        assert_eq!(take(&mut consumer, 20).await, places(0, 0..20));
        hypercube.kill(0);
        publish(&hypercube, 0, 20..40).await;
        assert_eq!(take(&mut consumer, 20).await, places(0, 20..40), "{transport:?}");
    }
}

#[tokio::test]
async fn starts_are_where_they_say() {
    let hypercube = Hypercube::start(2, 1);
    publish(&hypercube, 0, 0..23).await;
    let client = hypercube.client(&[0]);
    for transport in TRANSPORTS {
        for (start, first) in [(Start::Earliest, 0), (Start::Offset(7), 7), (Start::Timestamp(1_012), 12)] {
            let builder = client.consumer(&topic()).partition(0).from(start).transport(transport);
            let mut consumer = builder.build().await.unwrap();
            assert_eq!(take(&mut consumer, 5).await, places(0, first..first + 5), "{transport:?}");
            assert_eq!(consumer.cursor().get(0), Some(first + 5));
        }
    }
}

#[tokio::test]
async fn latest_misses_nothing_that_is_published_after_the_build() {
    for transport in TRANSPORTS {
        let hypercube = Hypercube::start(2, 1);
        publish(&hypercube, 0, 0..10).await;
        let builder = hypercube.client(&[0]).consumer(&topic()).from(Start::Latest).transport(transport);
        // The first answer is lost, with whatever it said.
        hypercube.fail_pull(Fault::DoThenCut(0));
        let mut consumer = builder.build().await.unwrap();
        publish(&hypercube, 0, 10..20).await;
        assert_eq!(take(&mut consumer, 10).await, places(0, 10..20), "{transport:?}");
    }
}

#[tokio::test]
async fn a_subscriber_goes_on_where_it_committed() {
    let hypercube = Hypercube::start(2, 1);
    publish(&hypercube, 0, 0..30).await;
    let (client, name) = (hypercube.client(&[0]), "ada".parse().unwrap());
    let mut first = client.consumer(&topic()).subscriber(&name).build().await.unwrap();
    take(&mut first, 12).await;
    first.commit().await.unwrap();
    take(&mut first, 5).await;
    drop(first);
    let mut second = client.consumer(&topic()).subscriber(&name).build().await.unwrap();
    assert_eq!(take(&mut second, 18).await, places(0, 12..30));
    let mut alone = client.consumer(&topic()).subscriber(&name).partition(0).build().await.unwrap();
    take(&mut alone, 2).await;
    assert_eq!(alone.commit().await.unwrap().cursor.get(0), Some(14));
    let mut nobody = client.consumer(&topic()).build().await.unwrap();
    assert!(matches!(nobody.commit().await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_consumer_that_does_not_follow_ends_at_the_end() {
    let hypercube = Hypercube::start(2, 2);
    publish(&hypercube, 0, 0..30).await;
    publish(&hypercube, 1, 0..3).await;
    let builder = hypercube.client(&[0]).consumer(&topic()).follows(false).limit(4);
    let mut consumer = builder.build().await.unwrap();
    let mut count = 0;
    loop {
        let chunk = consumer.next_chunk().await.unwrap();
        if chunk.is_empty() {
            break;
        }
        count += chunk.len();
    }
    assert_eq!(count, 33);
    assert_eq!(consumer.cursor().iter().collect::<Vec<_>>(), [(0, 30), (1, 3)]);
    assert!(consumer.next().await.unwrap().is_none());
}

#[tokio::test]
async fn errors_that_stay_are_told_after_what_was_read() {
    for transport in TRANSPORTS {
        let hypercube = Hypercube::start(2, 1);
        publish(&hypercube, 0, 0..3).await;
        let builder = hypercube.client(&[0]).consumer(&topic()).transport(transport);
        let mut consumer = builder.wait(Duration::from_millis(50)).build().await.unwrap();
        take(&mut consumer, 3).await;
        if transport == Transport::Polls {
            hypercube.fail_pull(Fault::Refuse(Problem::new(Code::OffsetOutOfRange, "gone")));
            for _ in 0..2 {
                let error = consumer.next().await.unwrap_err();
                assert_eq!(error.code(), Some(Code::OffsetOutOfRange));
            }
        }
    }
    let hypercube = Hypercube::start(1, 1);
    let missing = hypercube.client(&[0]).consumer(&"nowhere".parse().unwrap()).build().await;
    assert_eq!(missing.unwrap_err().code(), Some(Code::UnknownTopic));
}

#[tokio::test]
async fn a_peer_that_knows_no_frames_without_end_is_read_by_polls() {
    let hypercube = Hypercube::start(2, 1);
    publish(&hypercube, 0, 0..3).await;
    hypercube.fail_pull(Fault::Refuse(Problem::new(Code::NotAcceptable, "messages come as something else")));
    let mut consumer = hypercube.client(&[0]).consumer(&topic()).build().await.unwrap();
    assert_eq!(take(&mut consumer, 3).await, places(0, 0..3));
    publish(&hypercube, 0, 3..9).await;
    assert_eq!(take(&mut consumer, 6).await, places(0, 3..9));
    // The first is for the place to start at, the second is refused; only polls ask again for what comes next.
    assert!(hypercube.asked("GET /v1/topics/quakes/messages").len() > 3);
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_loses_nothing() {
    let hypercube = Hypercube::start(2, 1);
    let mut consumer = hypercube.client(&[0]).consumer(&topic()).build().await.unwrap();
    let (_, ()) = tokio::join!(
        async {
            for _ in 0..20 {
                assert!(tokio::time::timeout(Duration::from_millis(1), consumer.next()).await.is_err());
            }
        },
        tokio::time::sleep(Duration::from_millis(1))
    );
    publish(&hypercube, 0, 0..10).await;
    assert_eq!(take(&mut consumer, 10).await, places(0, 0..10));
}

#[tokio::test]
async fn a_silent_subscription_is_taken_for_dead() {
    let hypercube = Hypercube::start(2, 1);
    let client = hypercube.builder(&[0, 1]).idle_timeout(Duration::from_millis(200)).build().unwrap();
    let mut consumer = client.consumer(&topic()).build().await.unwrap();
    let asked = "GET /v1/topics/quakes/messages";
    // The first is for the place to start at.
    hypercube.until("a second subscription", |h| h.asked(asked).len() >= 3).await;
    publish(&hypercube, 0, 0..5).await;
    assert_eq!(take(&mut consumer, 5).await, places(0, 0..5));
}
