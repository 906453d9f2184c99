//! A client that lives through whole lives of a topic: created, published to, cursors, retention, deleted,
//! created again under the same name. Every definite answer must be the right one.

use hcube_broker::request::{From, TopicRef};
use hcube_broker::slot::Publisher;
use hcube_broker::{Answer, Error, Request};
use hcube_core::ids::{ProducerId, TopicId};
use hcube_core::record::{Batch, Producer, Record};
use hcube_core::topic::{Name, Retention};

use super::publisher;
use crate::invariants::{hold, violated};

const ANSWERS: &str = "right answers";
/// Records published in each life.
const RECORDS: u64 = 6;
/// Where the cursor is set.
const CURSOR: u64 = 2;

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Publish(u64),
    RegisterSubscriber,
    CommitCursor,
    FetchCursor,
    RegisterPublisher,
    Shorten,
    /// Pull the first offset until retention has taken it.
    Retained(u32),
    Delete,
    PublishAfterDelete,
    PullAfterDelete,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    step: Step,
    life: u128,
    name: Name,
    publisher: Option<Publisher>,
    /// Requests to delete that were sent in this life.
    deletes: u32,
    /// Whether one of the life before may still be under way. It names no life, and would hit this one.
    late_delete: bool,
    /// Lives that came to their end.
    pub lives: u64,
}

impl Lifecycle {
    pub fn new(number: u64) -> Self {
        let name = format!("life-{number}").parse().expect("a valid name");
        let life = 1000 * (u128::from(number) + 1);
        Self { step: Step::Create, life, name, publisher: None, deletes: 0, late_delete: false, lives: 0 }
    }

    fn topic(&self) -> TopicRef {
        TopicRef { name: self.name.clone(), id: TopicId(self.life) }
    }

    /// The request of the present step; repeated until its answer is definite.
    pub fn request(&mut self) -> Request {
        self.deletes += u32::from(self.step == Step::Delete);
        let (topic, name, partition) = (self.topic(), self.name.clone(), 0);
        match self.step {
            Step::Create => {
                Request::CreateTopic { name, id: topic.id, partitions: 1, retention: Retention::default() }
            }
            Step::Publish(sequence) => Request::Publish { topic, partition, batch: self.batch(sequence) },
            Step::PublishAfterDelete => Request::Publish { topic, partition, batch: self.batch(RECORDS) },
            Step::RegisterSubscriber => Request::RegisterSubscriber { name },
            Step::CommitCursor => {
                Request::CommitCursor { topic, partition, subscriber: name, offset: Some(CURSOR) }
            }
            Step::FetchCursor => Request::FetchCursor { topic, partition, subscriber: name },
            Step::RegisterPublisher => Request::RegisterPublisher { name, id: ProducerId(self.life) },
            Step::Shorten => {
                let retention = Retention { age_ms: None, bytes: Some(1) };
                Request::AlterTopic { name, retention }
            }
            Step::Retained(_) => publisher::pull(&topic, partition, From::Offset(0), 0, None),
            Step::Delete => Request::DeleteTopic { name },
            Step::PullAfterDelete => publisher::pull(&topic, partition, From::Earliest, 0, None),
        }
    }

    fn batch(&self, sequence: u64) -> Batch {
        let producer = Producer { id: ProducerId(self.life), epoch: 0, sequence };
        let record = Record { value: vec![7; 900].into(), ..Record::default() };
        Batch::build(producer, &[record]).expect("a valid batch")
    }

    /// Takes an answer, and goes on where it is definite.
    pub fn answered(&mut self, result: Result<Answer, Error>) {
        if result.as_ref().is_err_and(Error::is_passing) {
            return;
        }
        self.step = match (self.step, result) {
            (Step::Create, Ok(Answer::Topic(topic))) => {
                hold!(ANSWERS, topic.id == TopicId(self.life), "another life of {} goes on", self.name);
                Step::Publish(0)
            }
            (Step::Publish(sequence), Ok(Answer::Published { base_offset, .. })) => {
                // Nobody else publishes here: a re-created name begins at 0, and a repeat gets its first offset.
                let right = base_offset == sequence;
                hold!(ANSWERS, right, "record {sequence} of {} is at offset {base_offset}", self.name);
                if sequence + 1 < RECORDS { Step::Publish(sequence + 1) } else { Step::RegisterSubscriber }
            }
            (Step::RegisterSubscriber, Ok(Answer::Subscriber(true))) => Step::CommitCursor,
            (Step::CommitCursor, Ok(Answer::Cursor(Some(CURSOR)))) => Step::FetchCursor,
            (Step::FetchCursor, Ok(Answer::Cursor(cursor))) => {
                hold!(ANSWERS, cursor == Some(CURSOR), "a cursor of {} is {cursor:?}", self.name);
                Step::RegisterPublisher
            }
            (Step::RegisterPublisher, Ok(Answer::Publisher(publisher))) => {
                if let Some(before) = self.publisher.replace(publisher) {
                    let later = before.id == publisher.id && before.epoch < publisher.epoch;
                    hold!(ANSWERS, later, "{} is {publisher:?} and was {before:?}", self.name);
                }
                Step::Shorten
            }
            (Step::Shorten, Ok(Answer::Topic(_))) => Step::Retained(20),
            // Retention lets go of whole runs, and a compaction may have made one of all the records.
            (Step::Retained(looks), Ok(Answer::Pulled { .. })) if looks > 0 => Step::Retained(looks - 1),
            (Step::Retained(_), Ok(Answer::Pulled { .. })) => Step::Delete,
            (Step::Retained(_), Err(Error::OutOfRange { log_start, high_watermark, .. })) => {
                let right = log_start < RECORDS && high_watermark == RECORDS;
                hold!(ANSWERS, right, "retention left {log_start} to {high_watermark} of {}", self.name);
                Step::Delete
            }
            // A delete that was repeated finds nothing.
            (Step::Delete, Ok(Answer::Topic(_)) | Err(Error::UnknownTopic)) => Step::PublishAfterDelete,
            (Step::PublishAfterDelete, Err(Error::UnknownTopic)) => Step::PullAfterDelete,
            // A leader that has not heard of the deletion yet still takes it, and closes the topic later.
            (Step::PublishAfterDelete, Ok(Answer::Published { .. })) => Step::PublishAfterDelete,
            (Step::PullAfterDelete, Err(Error::UnknownTopic)) => {
                self.lives += 1;
                self.begin_again()
            }
            // A replica that has not heard of the deletion yet may still serve what was there.
            (Step::PullAfterDelete, Ok(Answer::Pulled { .. })) => Step::PullAfterDelete,
            (_, Err(Error::UnknownTopic)) if self.late_delete => self.begin_again(),
            (step, result) => {
                let what =
                    format!("life {} of {}: {step:?} was answered with {result:?}", self.life, self.name);
                violated(ANSWERS, &what)
            }
        };
    }

    fn begin_again(&mut self) -> Step {
        self.late_delete = self.deletes > 1 || (self.late_delete && self.deletes == 0);
        self.deletes = 0;
        self.life += 1;
        Step::Create
    }
}
