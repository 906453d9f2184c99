//! Tests of what a publish says and is answered.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::media;

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    pairs.iter().map(header).collect()
}

fn parse(pairs: &[(&'static str, &str)]) -> Result<PublishRequest, Code> {
    PublishRequest::parse(&map(pairs), None).map_err(|problem| problem.code)
}

const ID: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_bare_body_is_one_message() {
    let request = parse(&[]).unwrap();
    let read = request.messages("hi".into(), PublishLimits::default()).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].record, Record { value: "hi".into(), ..Record::default() });
}

#[test]
fn headers_of_a_single_message_are_kept() {
    let request = parse(&[
        ("content-type", "text/plain; charset=utf-8"),
        ("ce-id", "%41"),
        ("hcube-header-region", "n%C3%B8rd"),
        ("hcube-key", "a%00b"),
        ("hcube-partition", "4"),
        ("accept", "*/*"),
    ])
    .unwrap();
    assert_eq!(request.partition, Some(4));
    assert_eq!(request.key.as_deref(), Some(&b"a\0b"[..]));
    let headers: Vec<(&str, &[u8])> = request.headers.iter().map(|(n, v)| (n.as_str(), &v[..])).collect();
    let region = ("region", "nørd".as_bytes());
    assert_eq!(headers, [("ce-id", &b"%41"[..]), ("content-type", b"text/plain; charset=utf-8"), region]);
}

#[test]
fn what_http_would_change_is_not_sent() {
    let with = |name: &str, value: &'static [u8]| {
        let headers = vec![(name.to_owned(), Bytes::from_static(value))];
        PublishRequest { headers, ..parse(&[]).unwrap() }.to_headers().map_err(|problem| problem.code)
    };
    assert!(with("region", b"\xff\n").is_ok());
    for (name, value) in [("Region", &b""[..]), ("", b""), ("a b", b""), ("ce-id", b"\n")] {
        assert_eq!(with(name, value), Err(Code::InvalidArgument), "{name}");
    }
}

#[test]
fn a_producer_needs_id_and_sequence() {
    let full = parse(&[("hcube-producer-id", ID), ("hcube-producer-epoch", "2"), ("hcube-sequence", "9")]);
    let producer = full.unwrap().producer;
    assert_eq!((producer.id.to_string().as_str(), producer.epoch, producer.sequence), (ID, 2, 9));
    for wrong in [
        &[("hcube-producer-id", ID)][..],
        &[("hcube-sequence", "1")],
        &[("hcube-producer-id", "xyz"), ("hcube-sequence", "1")],
        &[("hcube-producer-id", ID), ("hcube-sequence", "-1")],
        &[("hcube-producer-id", ID), ("hcube-sequence", "1"), ("hcube-sequence", "2")],
        &[("hcube-producer-id", "00000000000000000000000000000000"), ("hcube-sequence", "1")],
        &[("hcube-partition", "65536")],
        &[("hcube-key", "%")],
        &[("hcube-header-", "x")],
        &[("content-type", media::NDJSON), ("hcube-key", "k")],
        &[("content-type", media::NDJSON), ("ce-id", "k")],
        &[("content-type", media::BATCH)],
        &[
            ("content-type", media::BATCH),
            ("hcube-partition", "0"),
            ("hcube-producer-id", ID),
            ("hcube-sequence", "1"),
        ],
    ] {
        assert_eq!(parse(wrong), Err(Code::InvalidArgument), "{wrong:?}");
    }
}

#[test]
fn partition_comes_from_header_or_query() {
    let both = |header, query| PublishRequest::parse(&map(&[("hcube-partition", header)]), Some(query));
    assert_eq!(PublishRequest::parse(&map(&[]), Some("partition=3")).unwrap().partition, Some(3));
    assert_eq!(both("3", "partition=3").unwrap().partition, Some(3));
    assert_eq!(both("3", "partition=4").unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn lines_name_their_partition_before_the_request_does() {
    let request = parse(&[("content-type", media::NDJSON), ("hcube-partition", "1")]).unwrap();
    let body = "{\"value\":1,\"partition\":2}\n{\"value\":1}";
    let read = request.messages(body.into(), PublishLimits::default()).unwrap();
    assert_eq!(read.iter().map(|message| message.partition).collect::<Vec<_>>(), [Some(2), Some(1)]);
}

#[test]
fn binary_batches_are_checked_whole() {
    let request = parse(&[("content-type", media::BATCH), ("hcube-partition", "1")]).unwrap();
    let record = Record { value: "hello".into(), ..Record::default() };
    let batch = Batch::build(Producer::default(), [&record, &record]).unwrap();
    let read = request.messages(batch.bytes().clone(), PublishLimits::default()).unwrap();
    assert_eq!(read.iter().map(|message| message.line).collect::<Vec<_>>(), [1, 2]);
    let code = |body: Bytes, limits| request.messages(body, limits).unwrap_err().code;
    let small = PublishLimits { message_bytes: 4, messages: 9 };
    assert_eq!(code(batch.bytes().clone(), small), Code::MessageTooLarge);
    let few = PublishLimits { message_bytes: 9, messages: 1 };
    assert_eq!(code(batch.bytes().clone(), few), Code::BatchTooLarge);
    let cut = batch.bytes().slice(..batch.bytes().len() - 1);
    assert_eq!(code(cut, PublishLimits::default()), Code::InvalidBatch);
}

#[test]
fn a_repeatable_publish_goes_to_one_partition_that_a_retry_finds_again() {
    let lines = "{\"value\":1,\"partition\":0}\n{\"value\":2}\n{\"value\":3,\"partition\":1}";
    let plain = parse(&[("content-type", media::NDJSON)]).unwrap();
    let signed =
        parse(&[("content-type", media::NDJSON), ("hcube-producer-id", ID), ("hcube-sequence", "1")])
            .unwrap();
    let messages = |body: &'static str| plain.messages(body.into(), PublishLimits::default()).unwrap();
    let parts = plain.distribute(messages(lines), 2, 1).unwrap();
    assert_eq!(parts.iter().map(|(p, records)| (*p, records.len())).collect::<Vec<_>>(), [(0, 1), (1, 2)]);
    let refused = signed.distribute(messages(lines), 2, 1).unwrap_err();
    assert_eq!((refused.code, refused.line), (Code::InvalidArgument, Some(2)));
    let two = "{\"value\":1,\"partition\":0}\n{\"value\":3,\"partition\":1}";
    assert_eq!(signed.distribute(messages(two), 2, 1).unwrap_err().code, Code::InvalidArgument);
    assert!(signed.distribute(messages("{\"value\":2}"), 1, 0).is_ok());
    let far = plain.distribute(messages("{\"value\":2,\"partition\":9}"), 2, 1).unwrap_err();
    assert_eq!((far.code, far.line), (Code::UnknownPartition, Some(1)));
}

#[test]
fn a_partial_failure_tells_who_fared_how() {
    let ack = PublishAck { partition: 0, offset: 5, count: 2, timestamp_ms: 1, duplicate: false };
    let failed = FailedPart { partition: 1, count: 3, code: Code::NoLeader, detail: "slot 9".into() };
    let answer = BatchAck { acks: vec![ack], failed: vec![failed], default_partition: Some(1) };
    let problem = answer.clone().into_problem(Problem::new(Code::NoLeader, "slot 9"));
    let read: Problem = serde_json::from_slice(&problem.to_json()).unwrap();
    assert_eq!(BatchAck::from_problem(&read), Some(answer));
    assert_eq!(BatchAck::from_problem(&Problem::invalid("all of it")), None);
}

proptest! {
    #[test]
    fn single_publishes_round_trip(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), partition: Option<u16>,
        mut headers in prop::collection::vec(("[a-b][a-z0-9-]{0,9}", prop::collection::vec(any::<u8>(), 0..20)), 0..5),
        id: u128, epoch: u32, sequence: u64,
    ) {
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        let producer = if id == 0 { Producer::default() } else { Producer { id: ProducerId(id), epoch, sequence } };
        let headers = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        let request = PublishRequest { format: PublishFormat::Single, producer, partition, key: key.map(Bytes::from), headers };
        prop_assert_eq!(PublishRequest::parse(&request.to_headers().unwrap(), None), Ok(request));
    }

    #[test]
    fn random_header_values_never_panic(
        values in prop::collection::vec((0usize..7, prop::collection::vec(32u8..=255, 0..20)), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let names = [headers::KEY, headers::PARTITION, headers::PRODUCER_ID, headers::PRODUCER_EPOCH,
            headers::SEQUENCE, "content-type", "hcube-header-x"];
        let map: HeaderMap = values.iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_static(names[*name]), HeaderValue::from_bytes(value).ok()?))
            })
            .collect();
        if let Ok(request) = PublishRequest::parse(&map, None) {
            let _ = request.messages(body.into(), PublishLimits::default());
        }
    }
}
