//! One peer on a real disk: what it answers, what it finds again, and that the formats of today stay readable.

mod harness;

use std::path::{Path, PathBuf};

use hcube_broker::request::{From, Pull, StoredBatch, TopicRef};
use hcube_broker::{Answer, Error, Request};
use hcube_core::ids::{Incarnation, ProducerId, TopicId, Vertex};
use hcube_core::meta::{Change, NewMember};
use hcube_core::record::{Batch, Producer, Record};
use hcube_core::topic::Retention;

use harness::One;

fn topic() -> TopicRef {
    TopicRef { name: "golden".parse().expect("a valid name"), id: TopicId(3) }
}

fn create(one: &mut One) {
    let TopicRef { name, id } = topic();
    let request = Request::CreateTopic { name, id, partitions: 1, retention: Retention::default() };
    one.ask(request).expect("the topic is created");
}

fn batch(sequence: u64) -> Batch {
    let producer = Producer { id: ProducerId(5), epoch: 0, sequence };
    let record = |number: u64| Record {
        key: Some("key".into()),
        headers: vec![("number".to_owned(), number.to_string().into())],
        value: vec![b'a' + u8::try_from(number % 26).expect("below 26"); 200].into(),
    };
    Batch::build(producer, &[record(sequence), record(sequence + 1)]).expect("a valid batch")
}

fn publish(one: &mut One, sequence: u64) -> Result<Answer, Error> {
    one.ask(Request::Publish { topic: topic(), partition: 0, batch: batch(sequence) })
}

fn pull(one: &mut One, from: From) -> Result<Answer, Error> {
    one.ask(Request::Pull(Pull {
        topic: topic(),
        partition: 0,
        from,
        max_records: 1000,
        max_bytes: 1 << 20,
        wait_ms: 0,
        replica: None,
        leader: false,
    }))
}

/// Publishes batches of two records at offsets 0, 2, 4 and so on.
fn publish_all(one: &mut One, sequences: impl Iterator<Item = u64>) {
    for sequence in sequences {
        let Ok(Answer::Published { base_offset, duplicate, .. }) = publish(one, sequence) else {
            panic!("batch {sequence} was refused")
        };
        assert_eq!((base_offset, duplicate), (sequence, false));
    }
}

fn assert_content(one: &mut One, from: u64, end: u64) {
    let Ok(Answer::Pulled { batches, high_watermark, .. }) = pull(one, From::Offset(from)) else {
        panic!("the records cannot be read")
    };
    assert_eq!(high_watermark, end);
    let expected: Vec<_> = (from..end).step_by(2).map(|sequence| (sequence, batch(sequence))).collect();
    let found: Vec<_> = batches
        .into_iter()
        .map(|StoredBatch { base_offset, batch, .. }| (base_offset, Batch::parse(batch).expect("whole")))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_repeat_gets_the_first_offset_before_and_after_a_restart_and_a_compaction() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut one = One::found(dir.path());
    create(&mut one);
    publish_all(&mut one, (0..20).step_by(2));
    let repeat = |one: &mut One| match publish(one, 18) {
        Ok(Answer::Published { base_offset, duplicate, .. }) => (base_offset, duplicate),
        other => panic!("a repeat was answered with {other:?}"),
    };
    assert_eq!(repeat(&mut one), (18, true));
    one.compact();
    assert_eq!(repeat(&mut one), (18, true));
    drop(one);
    let mut one = One::open(dir.path());
    assert_eq!(repeat(&mut one), (18, true));
    assert_eq!(publish(&mut one, 24), Err(Error::SequenceGap { expected: 20 }));
    assert_eq!(publish(&mut one, 2), Err(Error::SequenceTooOld));
    assert_content(&mut one, 0, 20);
}

#[test]
fn records_are_found_in_files_and_log_alike_and_offsets_out_of_range_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut one = One::found(dir.path());
    create(&mut one);
    publish_all(&mut one, (0..10).step_by(2));
    one.compact();
    publish_all(&mut one, (10..20).step_by(2));
    for from in [0, 4, 8, 10, 18] {
        assert_content(&mut one, from, 20);
    }
    let refusal = Error::OutOfRange { wanted: 21, log_start: 0, high_watermark: 20 };
    assert_eq!(pull(&mut one, From::Offset(21)), Err(refusal));
    let refusal = Error::OutOfRange { wanted: u64::MAX, log_start: 0, high_watermark: 20 };
    assert_eq!(pull(&mut one, From::Offset(u64::MAX)), Err(refusal));
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/one_peer_v1")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("there is room");
    for entry in std::fs::read_dir(from).expect("the directory is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("there is room");
        }
    }
}

/// A data directory written by the first version; `HCUBE_BLESS=1` writes it anew, which only a change of format
/// with a new version justifies.
#[test]
fn the_golden_data_directory_opens() {
    if std::env::var_os("HCUBE_BLESS").is_some() {
        let _absent = std::fs::remove_dir_all(golden());
        std::fs::create_dir_all(golden()).expect("there is room");
        let mut one = One::found(&golden());
        create(&mut one);
        publish_all(&mut one, (0..20).step_by(2));
        one.compact();
        publish_all(&mut one, (20..30).step_by(2));
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    copy(&golden(), dir.path());
    let mut one = One::open(dir.path());
    assert_content(&mut one, 0, 30);
    publish_all(&mut one, std::iter::once(30));
    assert_content(&mut one, 28, 32);
}

/// Whoever hears only of the change could be elected without knowing that it is committed; behind an entry more, it is.
#[test]
fn a_change_of_votes_is_reported_behind_an_empty_entry() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut one = One::found(dir.path());
    // Nothing else is written then.
    one.ask(Request::Change(Change::SetPaused { paused: true })).expect("moves can be paused");
    let before = one.meta().1;
    let new = NewMember {
        incarnation: Incarnation(12),
        vertex: Vertex(1),
        zone: String::new(),
        peer_address: "peer:2".into(),
        client_address: "client:2".into(),
        replaces: None,
    };
    one.ask(Request::Change(Change::AddMember(new))).expect("a peer can join");
    assert!(!one.meta().0.metadata.settled, "it is to follow the metadata");
    for _ in 0..100 {
        one.tick();
    }
    let (meta, applied) = one.meta();
    assert!(meta.metadata.settled && meta.metadata.learners.len() == 1);
    // The member, the new configuration, the empty entry, the report.
    assert_eq!(applied - before, 4);
}
