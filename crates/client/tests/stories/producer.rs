//! Streams of messages into a topic: once each and in order, whatever happens on the way.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hcube_client::api::{Code, Problem};
use hcube_client::{Delivery, Producer, Record, SendError};
use hcube_core::topic::partition_of;

use crate::mock::{Fault, Hypercube, topic};

const PUBLISH: &str = "POST /v1/topics/quakes/messages";

fn record(value: impl ToString) -> Record {
    Record { value: value.to_string().into(), ..Record::default() }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn enqueue(producer: &Producer, range: std::ops::Range<u32>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for number in range {
        deliveries.push(producer.enqueue_to(0, record(number)).await.unwrap());
    }
    deliveries
}

#[tokio::test]
async fn messages_are_stored_once_in_order_and_in_batches() {
    let hypercube = Hypercube::start(3, 1);
    let producer = hypercube.client(&[1]).producer(&topic()).batch_records(50).build().await.unwrap();
    let deliveries = enqueue(&producer, 0..1000).await;
    for (offset, outcome) in (0..).zip(join_all(deliveries).await) {
        let ack = outcome.unwrap();
        assert_eq!((ack.partition, ack.offset, ack.is_duplicate), (0, offset, false));
    }
    producer.close().await.unwrap();
    assert_eq!(hypercube.stored(0), numbers(0..1000));
    let requests = hypercube.asked(PUBLISH).len();
    assert!((20..200).contains(&requests), "{requests} requests");
}

#[tokio::test]
async fn keys_choose_partitions_and_keyless_messages_reach_all() {
    let hypercube = Hypercube::start(2, 4);
    let producer = hypercube.client(&[0]).producer(&topic()).build().await.unwrap();
    assert_eq!(producer.partitions(), 4);
    for key in ["alaska", "nevada", "japan"] {
        let keyed = Record { key: Some(key.into()), ..record(key) };
        assert_eq!(producer.send(keyed).await.unwrap().partition, partition_of(key.as_bytes(), 4));
    }
    for number in 0..4 {
        producer.send(record(number)).await.unwrap();
    }
    assert!((0..4).all(|partition| hypercube.stored(partition).iter().any(|value| value.len() == 1)));
}

#[tokio::test]
async fn partitions_go_in_parallel_with_one_batch_each_where_there_are_no_streams() {
    let hypercube = Hypercube::start_without_streams(2, 8);
    let producer = hypercube.client(&[0]).producer(&topic()).batch_records(10).build().await.unwrap();
    let tasks = (0..8u16).map(|partition| {
        let producer = producer.clone();
        tokio::spawn(async move {
            let mut deliveries = Vec::new();
            for number in 0..300 {
                deliveries.push(producer.enqueue_to(partition, record(number)).await.unwrap());
            }
            join_all(deliveries).await.into_iter().all(|outcome| outcome.is_ok())
        })
    });
    assert!(join_all(tasks).await.into_iter().all(|all_acknowledged| all_acknowledged.unwrap()));
    for partition in 0..8 {
        assert_eq!(hypercube.stored(partition), numbers(0..300));
    }
    assert_eq!(hypercube.shared.log.lock().unwrap().in_flight_max, 1);
}

#[tokio::test]
async fn batches_go_straight_to_the_leader_once_it_is_known() {
    let hypercube = Hypercube::start(4, 4);
    let producer = hypercube.client(&[0]).producer(&topic()).build().await.unwrap();
    for number in 0..20 {
        producer.enqueue_to(3, record(number)).await.unwrap().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = hypercube.asked(PUBLISH);
    assert_eq!((asked[0], asked[19]), (0, 3));
}

#[tokio::test]
async fn lost_answers_do_not_store_twice() {
    let hypercube = Hypercube::start(2, 1);
    let producer = hypercube.client(&[0, 1]).producer(&topic()).batch_records(7).build().await.unwrap();
    let unknown = || Fault::DoThenRefuse(Problem::new(Code::PublishUnknown, "late"));
    let no_leader = || Fault::Refuse(Problem::new(Code::NoLeader, "election"));
    for fault in [unknown(), Fault::DoThenCut(0), no_leader(), Fault::DoThenCut(5), unknown(), no_leader()] {
        hypercube.fail_publish(fault);
    }
    let deliveries = enqueue(&producer, 0..50).await;
    let acks: Vec<_> = join_all(deliveries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(acks.iter().map(|ack| ack.offset).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    assert!(acks.iter().any(|ack| ack.is_duplicate) && acks.iter().any(|ack| !ack.is_duplicate));
    assert_eq!(hypercube.stored(0), numbers(0..50));
}

#[tokio::test]
async fn publishing_goes_on_when_the_leader_dies() {
    let mut hypercube = Hypercube::start(3, 1);
    let client = hypercube.builder(&[1]).request_timeout(Duration::from_secs(1)).build().unwrap();
    let producer = client.producer(&topic()).batch_records(5).build().await.unwrap();
    let mut deliveries = enqueue(&producer, 0..100).await;
    hypercube.until("a first batch", |h| !h.stored(0).is_empty()).await;
    hypercube.kill(0);
    deliveries.extend(enqueue(&producer, 100..200).await);
    assert!(join_all(deliveries).await.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(hypercube.stored(0), numbers(0..200));
}

#[tokio::test]
async fn a_batch_that_fails_ends_its_partition_and_names_what_is_lost() {
    let hypercube = Hypercube::start(1, 2);
    let client = hypercube.client(&[0]);
    let producer = client.producer(&topic()).batch_records(2).build().await.unwrap();
    producer.enqueue_to(0, record("first")).await.unwrap().await.unwrap();
    hypercube.fail_publish(Fault::Refuse(Problem::new(Code::Fenced, "epoch 9 took over")));
    let outcomes: Vec<_> = join_all(enqueue(&producer, 0..5).await).await;
    assert!(matches!(&outcomes[0], Err(SendError::Unacknowledged(failure))
        if failure.acknowledged == 1 && !failure.maybe_stored && failure.cause.code() == Some(Code::Fenced)));
    assert!(matches!(&outcomes[4], Err(SendError::NotSent(_))));
    assert!(matches!(producer.enqueue_to(0, record(9)).await, Err(SendError::NotSent(_))));
    // The other partition does not suffer, and keyless messages find it.
    for number in 0..3 {
        assert_eq!(producer.send(record(number)).await.unwrap().partition, 1);
    }
    let lost = producer.close().await.unwrap_err();
    let (failure, not_sent) = &lost.partitions[0];
    assert_eq!((lost.partitions.len(), failure.messages as u64 + not_sent), (1, 6));
    assert!(lost.to_string().contains("were not stored: fenced: epoch 9"), "{lost}");
    assert_eq!(hypercube.stored(0), ["first"]);
}

#[tokio::test]
async fn the_delivery_timeout_ends_what_cannot_be_stored() {
    let hypercube = Hypercube::start(1, 1);
    let builder = hypercube.client(&[0]).producer(&topic()).delivery_timeout(Duration::from_millis(300));
    let producer = builder.build().await.unwrap();
    for _ in 0..100 {
        hypercube.fail_publish(Fault::Refuse(Problem::new(Code::NoLeader, "no majority")));
    }
    let started = Instant::now();
    let error = producer.send(record("a")).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(!error.maybe_stored() && error.cause().unwrap().code() == Some(Code::NoLeader), "{error}");
}

#[tokio::test]
async fn a_producer_forgotten_while_idle_takes_another_identity() {
    let hypercube = Hypercube::start(1, 1);
    let client = hypercube.client(&[0]);
    let producer = client.producer(&topic()).build().await.unwrap();
    producer.send(record("a")).await.unwrap();
    hypercube.shared.log.lock().unwrap().forget_producers();
    assert_eq!(producer.send(record("b")).await.unwrap().offset, 1);
    assert_eq!(producer.send(record("c")).await.unwrap().offset, 2);
    // Not so where the batch may be stored under the identity that was forgotten.
    hypercube.fail_publish(Fault::DoThenRefuse(Problem::new(Code::PublishUnknown, "late")));
    hypercube.fail_publish(Fault::Refuse(Problem::new(Code::UnknownProducer, "forgotten")));
    let error = producer.send(record("d")).await.unwrap_err();
    assert!(error.maybe_stored() && error.cause().unwrap().code() == Some(Code::UnknownProducer));
    assert_eq!(hypercube.stored(0), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_registered_name_fences_its_earlier_producer() {
    let hypercube = Hypercube::start(1, 1);
    let client = hypercube.client(&[0]);
    let name = "ada".parse().unwrap();
    let first = client.producer(&topic()).name(&name).build().await.unwrap();
    first.send(record("a")).await.unwrap();
    let second = client.producer(&topic()).name(&name).build().await.unwrap();
    second.send(record("b")).await.unwrap();
    let error = first.send(record("c")).await.unwrap_err();
    assert_eq!(error.cause().unwrap().code(), Some(Code::Fenced));
    assert_eq!(hypercube.stored(0), ["a", "b"]);
}

#[tokio::test]
async fn oversized_messages_are_refused_before_they_spoil_a_batch() {
    let hypercube = Hypercube::start(1, 1);
    let producer = hypercube.client(&[0]).producer(&topic()).buffer_bytes(1000).build().await.unwrap();
    let error = producer.send(record("x".repeat((1 << 20) + 1))).await.unwrap_err();
    assert!(matches!(&error, SendError::Refused(cause) if cause.code() == Some(Code::MessageTooLarge)));
    let error = producer.enqueue_to(1, record("x")).await.unwrap_err();
    assert_eq!(error.cause().unwrap().code(), Some(Code::UnknownPartition));
    // Larger than the buffer is slow, not impossible.
    producer.send(record("x".repeat(5000))).await.unwrap();
}

#[tokio::test]
async fn linger_gathers_and_flush_cuts_it_short() {
    let hypercube = Hypercube::start(1, 1);
    let builder = hypercube.client(&[0]).producer(&topic()).linger(Duration::from_secs(60));
    let producer = builder.build().await.unwrap();
    let mut deliveries = enqueue(&producer, 0..10).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    deliveries.extend(enqueue(&producer, 10..20).await);
    assert_eq!(hypercube.asked(PUBLISH).len(), 0);
    producer.flush().await.unwrap();
    assert_eq!(hypercube.asked(PUBLISH).len(), 1);
    assert!(join_all(deliveries).await.into_iter().all(|outcome| outcome.is_ok()));
}

#[tokio::test]
async fn nobody_waits_for_ever_at_close() {
    let hypercube = Hypercube::start(1, 2);
    for round in 0..20 {
        let client = hypercube.client(&[0]);
        let producer = client.producer(&topic()).buffer_bytes(200).batch_records(3).build().await.unwrap();
        let senders = (0..30).map(|number| {
            let producer = producer.clone();
            tokio::spawn(async move { producer.send(record(number)).await })
        });
        let senders: Vec<_> = senders.collect();
        tokio::time::sleep(Duration::from_millis(round)).await;
        producer.close().await.unwrap();
        let before = hypercube.stored(0).len() + hypercube.stored(1).len();
        for outcome in join_all(senders).await {
            let outcome = outcome.unwrap();
            assert!(matches!(outcome, Ok(_) | Err(SendError::Closed)), "{outcome:?}");
        }
        let after = hypercube.stored(0).len() + hypercube.stored(1).len();
        assert_eq!(before, after, "nothing is published after close");
        assert!(matches!(producer.send(record("late")).await, Err(SendError::Closed)));
    }
}

#[tokio::test]
async fn what_was_taken_is_sent_even_when_the_producer_is_dropped() {
    let hypercube = Hypercube::start(1, 1);
    let producer = hypercube.client(&[0]).producer(&topic()).build().await.unwrap();
    drop(enqueue(&producer, 0..100).await);
    drop(producer);
    hypercube.until("everything taken", |h| h.stored(0) == numbers(0..100)).await;
}

#[tokio::test]
async fn whole_batches_go_ahead_of_each_other_and_are_stored_in_order() {
    let hypercube = Hypercube::start(2, 1);
    let producer = hypercube.client(&[0, 1]).producer(&topic()).batch_records(10).build().await.unwrap();
    let deliveries = enqueue(&producer, 0..2000).await;
    for (offset, outcome) in (0..).zip(join_all(deliveries).await) {
        assert_eq!(outcome.unwrap().offset, offset);
    }
    assert_eq!(hypercube.stored(0), numbers(0..2000));
    assert_eq!(hypercube.asked("GET /v1/publish"), [0], "one stream to one peer");
}

#[tokio::test]
async fn what_fails_while_later_batches_are_under_way_is_sent_again_in_order() {
    for without in [false, true] {
        let hypercube = if without { Hypercube::start_without_streams(2, 1) } else { Hypercube::start(2, 1) };
        let client = hypercube.builder(&[0, 1]).request_timeout(Duration::from_millis(300)).build().unwrap();
        let producer = client.producer(&topic()).batch_records(7).build().await.unwrap();
        let problem = |code| Problem::new(code, "for now");
        for turn in 0..12 {
            // Faults come while others are under way, in every mixture.
            for _ in 0..turn % 5 {
                hypercube.fail_publish(Fault::Slow(Duration::from_millis(1)));
            }
            hypercube.fail_publish(match turn % 4 {
                0 => Fault::DoThenCut(0),
                1 => Fault::Refuse(problem(Code::NoLeader)),
                2 => Fault::DoThenRefuse(problem(Code::PublishUnknown)),
                _ => Fault::Slow(Duration::from_millis(500)),
            });
        }
        let outcomes = join_all(enqueue(&producer, 0..1000).await).await;
        let offsets: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().offset).collect();
        assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
        assert_eq!(hypercube.stored(0), numbers(0..1000));
        assert!(hypercube.shared.publish_faults.lock().unwrap().is_empty(), "every fault was met");
    }
}

#[tokio::test]
async fn peers_without_streams_are_published_to_all_the_same() {
    let hypercube = Hypercube::start_without_streams(1, 1);
    let producer = hypercube.client(&[0]).producer(&topic()).batch_records(5).build().await.unwrap();
    for outcome in join_all(enqueue(&producer, 0..100).await).await {
        outcome.unwrap();
    }
    assert_eq!(hypercube.stored(0), numbers(0..100));
    assert_eq!(
        hypercube.asked("GET /v1/publish").len(),
        1,
        "a peer is not asked for a stream again and again"
    );
}

#[tokio::test]
async fn batches_that_went_ahead_of_a_failure_are_not_called_unsent() {
    let hypercube = Hypercube::start(1, 1);
    let producer = hypercube.client(&[0]).producer(&topic()).batch_records(7).build().await.unwrap();
    let problem = |code| Problem::new(code, "for now");
    // The first batch goes alone, four go ahead and are stored, and the first of those is refused when it comes again.
    hypercube.fail_publish(Fault::Slow(Duration::from_millis(1)));
    (0..4).for_each(|_| hypercube.fail_publish(Fault::DoThenRefuse(problem(Code::PublishUnknown))));
    hypercube.fail_publish(Fault::Refuse(problem(Code::Fenced)));
    let outcomes = join_all(enqueue(&producer, 0..70).await).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match number {
            0..7 => assert!(outcome.is_ok()),
            7..35 => assert!(outcome.as_ref().unwrap_err().maybe_stored(), "{number}: {outcome:?}"),
            _ => assert!(matches!(outcome, Err(SendError::NotSent(_))), "{number}: {outcome:?}"),
        }
    }
    let lost = producer.close().await.unwrap_err();
    let (failure, not_sent) = &lost.partitions[0];
    assert_eq!((failure.messages, failure.maybe_stored, *not_sent), (28, true, 35));
    assert_eq!(hypercube.stored(0), numbers(0..35));
}
