//! Requests one at a time: what is answered, where else is asked, when to give up.

use std::time::{Duration, Instant};

use hcube_client::api::clients::SetCursor;
use hcube_client::api::cluster::PlanQuery;
use hcube_client::api::cursor::Cursor;
use hcube_client::api::messages::{PullQuery, Start};
use hcube_client::api::topics::{CreateTopic, PatchRetention, PatchTopic};
use hcube_client::api::{Code, Problem};
use hcube_client::{Client, Error, Record};
use hcube_core::record::Producer;

use crate::mock::{Fault, Hypercube, TOPIC_ID, topic};

const PUBLISH: &str = "POST /v1/topics/quakes/messages";

fn record(value: &str) -> Record {
    Record { value: value.to_owned().into(), ..Record::default() }
}

#[tokio::test]
async fn every_request_of_the_contract_is_answered() {
    let hypercube = Hypercube::start(2, 3);
    let client = hypercube.client(&[0]);
    let created = client.create_topic(&topic(), &CreateTopic::default()).await.unwrap();
    assert!(created.is_new && created.topic.id == TOPIC_ID);
    assert_eq!(client.describe_topic(&topic()).await.unwrap().partitions.len(), 3);
    let patch = PatchTopic { retention: PatchRetention { age_ms: Some(Some(5)), bytes: None } };
    assert_eq!(client.alter_topic(&topic(), &patch).await.unwrap().retention.age_ms, Some(5));
    assert_eq!(client.list_topics().await.unwrap()[0].partitions, 3);
    client.delete_topic(&topic()).await.unwrap();

    let name = "ada".parse().unwrap();
    assert_eq!(client.register_publisher(Some(&name)).await.unwrap().epoch, 1);
    assert_eq!(client.register_publisher(Some(&name)).await.unwrap().epoch, 2);
    assert!(client.register_subscriber(&name).await.unwrap().created);
    let mut cursor = Cursor::new(TOPIC_ID);
    cursor.set(2, 7);
    client.set_cursor(&name, &topic(), &SetCursor::Cursor(cursor.clone())).await.unwrap();
    assert_eq!(client.fetch_cursor(&name, &topic()).await.unwrap().cursor, cursor);

    assert_eq!(client.cluster().await.unwrap().members.len(), 2);
    assert_eq!(client.plan(&PlanQuery::default()).await.unwrap().labels.len(), 2);
    let wider = PlanQuery { peers: Some(4), replication: Some(5) };
    let plan = client.plan(&wider).await.unwrap();
    assert_eq!((plan.labels.len(), plan.replication), (4, 5));
    assert_eq!(client.route(&topic(), 0).await.unwrap().path.len(), 2);
    assert_eq!(client.health().await.unwrap().status, "ok");
    assert_eq!(client.ready().await.unwrap().status, "ok");
    assert_eq!(client.metrics().await.unwrap(), "hcube_up 1\n");
    assert_eq!(client.openapi().await.unwrap()["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_message_is_published_and_pulled_with_key_and_headers() {
    let hypercube = Hypercube::start(1, 1);
    let client = hypercube.client(&[0]);
    let headers = vec![("time".into(), "5 o'clock".into())];
    let record = Record { key: Some("é".into()), headers, value: "hi".into() };
    let published = client.publish(&topic(), Some(0), record.clone(), None).await.unwrap();
    assert_eq!((published.ack.offset, published.promise.unwrap().replicas), (0, 3));
    assert_eq!(published.path.unwrap().to_string(), "00");
    let pulled = client.pull(&topic(), &PullQuery::default()).await.unwrap();
    assert_eq!(pulled.messages[0].record, record);
    assert_eq!((pulled.next.get(0), pulled.high_watermarks.0[&0]), (Some(1), 1));
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let mut hypercube = Hypercube::start(3, 1);
    hypercube.kill(0);
    let client = hypercube.client(&[0, 1]);
    let started = Instant::now();
    assert_eq!(client.list_topics().await.unwrap().len(), 1);
    client.publish(&topic(), None, record("a"), None).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(hypercube.asked(PUBLISH), [1], "nothing was sent to the dead one, so repeating was safe");
}

#[tokio::test]
async fn members_replace_endpoints_that_die() {
    let mut hypercube = Hypercube::start(3, 1);
    let client = hypercube.client(&[0]);
    client.list_topics().await.unwrap();
    hypercube.until("learning", |h| h.asked("GET /v1/cluster") == [0]).await;
    // The answer is taken over right after it was given.
    tokio::time::sleep(Duration::from_millis(100)).await;
    hypercube.kill(0);
    assert_eq!(client.list_topics().await.unwrap().len(), 1);
    assert_eq!(hypercube.asked("GET /v1/topics"), [0, 1]);
}

#[tokio::test]
async fn nobody_there_is_told_within_the_retry_timeout() {
    let mut hypercube = Hypercube::start(1, 1);
    hypercube.kill(0);
    let client = hypercube.builder(&[0]).retry_timeout(Duration::from_millis(300)).build().unwrap();
    let started = Instant::now();
    let error = client.list_topics().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(
        matches!(&error, Error::TimedOut { maybe_done: false, last, .. }
        if matches!(**last, Error::Unreachable { .. })),
        "{error}"
    );
    assert!(error.is_retriable());
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let hypercube = Hypercube::start(1, 1);
    let client = hypercube.client(&[0]);
    hypercube.fail_publish(Fault::Refuse(Problem::new(Code::Overloaded, "busy").retry_after_ms(400)));
    let started = Instant::now();
    client.publish(&topic(), None, record("a"), None).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(hypercube.stored(0), ["a"]);
}

#[tokio::test]
async fn a_peer_that_is_not_ready_is_left_for_another_at_once() {
    let hypercube = Hypercube::start(2, 1);
    let client = hypercube.client(&[0, 1]);
    hypercube.fail_publish(Fault::Refuse(Problem::new(Code::NotReady, "starting").retry_after_ms(60_000)));
    client.publish(&topic(), None, record("a"), None).await.unwrap();
    assert_eq!(hypercube.asked(PUBLISH), [0, 1]);
}

#[tokio::test]
async fn an_unknown_outcome_is_repeated_only_with_a_producer() {
    let hypercube = Hypercube::start(1, 1);
    let client = hypercube.client(&[0]);
    let unknown = || Fault::DoThenRefuse(Problem::new(Code::PublishUnknown, "late"));
    hypercube.fail_publish(unknown());
    let error = client.publish(&topic(), None, record("a"), None).await.unwrap_err();
    assert!(error.maybe_done() && error.code() == Some(Code::PublishUnknown));
    assert_eq!(hypercube.asked(PUBLISH).len(), 1);

    let registered = client.register_publisher(None).await.unwrap();
    let producer = Producer { id: registered.producer_id, epoch: registered.epoch, sequence: 0 };
    hypercube.fail_publish(unknown());
    hypercube.fail_publish(Fault::DoThenCut(3));
    let published = client.publish(&topic(), Some(0), record("b"), Some(producer)).await.unwrap();
    assert!(published.ack.duplicate && published.ack.offset == 1);
    assert_eq!(hypercube.stored(0), ["a", "b"]);
}

#[tokio::test]
async fn a_slow_peer_is_left_after_the_request_timeout() {
    let hypercube = Hypercube::start(2, 1);
    let client = hypercube.builder(&[0, 1]).request_timeout(Duration::from_millis(300)).build().unwrap();
    hypercube.fail_pull(Fault::Slow(Duration::from_secs(60)));
    assert!(client.pull(&topic(), &PullQuery::default()).await.unwrap().messages.is_empty());
    assert_eq!(hypercube.asked("GET /v1/topics/quakes/messages"), [0, 1]);
    hypercube.fail_publish(Fault::Slow(Duration::from_secs(60)));
    let error = client.publish(&topic(), None, record("a"), None).await.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }) && error.maybe_done());
}

#[tokio::test]
async fn a_long_poll_outlasts_the_request_timeout() {
    let hypercube = Hypercube::start(1, 1);
    let client = hypercube.builder(&[0]).request_timeout(Duration::from_millis(200)).build().unwrap();
    let query = PullQuery { from: Some(Start::Offset(0)), wait_ms: 5_000, ..PullQuery::default() };
    let topic = topic();
    let (pulled, published) = tokio::join!(client.pull(&topic, &query), async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        client.publish(&topic, None, record("late"), None).await
    });
    published.unwrap();
    assert_eq!(pulled.unwrap().messages[0].record.value, "late");
}

#[tokio::test]
async fn refusals_come_through_as_they_are() {
    let hypercube = Hypercube::start(2, 1);
    let client = hypercube.client(&[0, 1]);
    let error = client.describe_topic(&"nowhere".parse().unwrap()).await.unwrap_err();
    assert_eq!((error.code(), error.is_retriable()), (Some(Code::UnknownTopic), false));
    assert_eq!(error.problem().unwrap().status, 404);
    let wrong = Record { headers: vec![("UPPER".into(), "x".into())], ..Record::default() };
    let error = client.publish(&topic(), None, wrong, None).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::InvalidArgument));
    assert!(matches!(Client::new([]), Err(Error::Invalid(_))));
}

#[tokio::test]
async fn one_peer_can_be_asked_and_no_other() {
    let mut hypercube = Hypercube::start(2, 1);
    let client = hypercube.builder(&[0, 1]).retry_timeout(Duration::ZERO).build().unwrap();
    let second = client.only(hypercube.url(1)).unwrap();
    assert_eq!(second.cluster().await.unwrap().answered_by.as_str(), "01");
    hypercube.kill(1);
    assert!(second.cluster().await.is_err());
}
