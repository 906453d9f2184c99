//! What the broker's errors are in HTTP: the one place that says so.

mod change;

use hcube_api::topics::Retention;
use hcube_api::{Code, Problem};
use hcube_broker::Error;

/// Milliseconds in which a group usually finds a new leader.
const ELECTION_MS: u64 = 500;
/// Milliseconds after which retention may have made room on a full disk.
const DISK_MS: u64 = 5_000;

/// What was asked, as far as the meaning of an error depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A publish that names a producer: repeating it is harmless.
    RepeatablePublish,
    /// A publish without one.
    Publish,
    /// Anything else.
    Other,
}

/// The problem that a client gets.
pub(super) fn problem(error: &Error, asked: Asked) -> Problem {
    let as_is = |code| Problem::new(code, error.to_string());
    match error {
        Error::UnknownTopic => as_is(Code::UnknownTopic),
        Error::TopicExists(topic) => {
            let retention = serde_json::to_value(Retention::from(topic.retention));
            as_is(Code::TopicExists)
                .with("partitions", topic.partitions)
                .with("retention", retention.unwrap_or_default())
        }
        Error::TooManyTopics | Error::TooMany | Error::Invalid(_) => as_is(Code::InvalidArgument),
        Error::OutOfRange { log_start, high_watermark, .. } => as_is(Code::OffsetOutOfRange)
            .with("start_offset", *log_start)
            .with("high_watermark", *high_watermark),
        Error::InvalidBatch(_) => as_is(Code::InvalidBatch),
        Error::SequenceGap { expected } => as_is(Code::SequenceGap).with("expected", *expected),
        // It was stored once, but its offset is no longer known.
        Error::SequenceTooOld => as_is(Code::UnknownProducer),
        Error::Fenced { epoch } => as_is(Code::Fenced).with("epoch", *epoch),
        Error::UnknownProducer => as_is(Code::UnknownProducer),
        Error::NoLeader | Error::NotLeader(_) => {
            Problem::new(Code::NoLeader, Error::NoLeader.to_string()).retry_after_ms(ELECTION_MS)
        }
        Error::Left => super::ready::left(),
        Error::Unknown => unknown(asked),
        Error::NotHere => as_is(Code::ReplicaNotHere),
        Error::Overloaded => as_is(Code::Overloaded).retry_after_ms(ELECTION_MS),
        Error::DiskFull => as_is(Code::DiskFull).retry_after_ms(DISK_MS),
        Error::Change(refusal) => change::problem(refusal),
        Error::Read(_) => {
            // What exactly failed names files, which is for this peer's log.
            tracing::error!(%error, "records could not be read");
            Problem::new(Code::Damaged, "the records could not be read here; another replica may have them")
                .retry_after_ms(ELECTION_MS)
        }
    }
}

fn unknown(asked: Asked) -> Problem {
    match asked {
        Asked::RepeatablePublish => Problem::new(
            Code::PublishUnknown,
            "no outcome was seen in time; repeat it with the same producer and sequence to learn its offset",
        ),
        Asked::Publish => Problem::new(
            Code::PublishUnknown,
            "no outcome was seen in time: it may be stored, or be stored yet; without Hcube-Producer-Id a \
             repetition may store it twice",
        ),
        Asked::Other => {
            Problem::new(Code::Timeout, "no outcome was seen in time; the change may have been made")
        }
    }
}

/// The topic has no such life any more, or this peer mistook it for another.
pub(super) fn unknown_topic(name: &hcube_core::topic::Name) -> Problem {
    Problem::new(Code::UnknownTopic, format!("there is no topic {name}"))
}

#[cfg(test)]
mod tests {
    use hcube_api::error::Retry;
    use hcube_core::ids::NodeId;

    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_called_a_failure() {
        for asked in [Asked::RepeatablePublish, Asked::Publish] {
            let problem = problem(&Error::Unknown, asked);
            assert_eq!((problem.code, problem.status), (Code::PublishUnknown, 504));
            assert!(!problem.detail.contains("fail"));
        }
        assert_eq!(problem(&Error::Unknown, Asked::Other).code, Code::Timeout);
    }

    #[test]
    fn what_was_certainly_not_done_may_be_repeated() {
        let not_led = [Error::NoLeader, Error::NotLeader(Some(NodeId(1))), Error::Left];
        for error in not_led.into_iter().chain([Error::Overloaded, Error::DiskFull]) {
            let problem = problem(&error, Asked::Publish);
            assert_eq!(problem.retry(), Retry::Later, "{error}");
            assert!(problem.retry_after_ms.is_some(), "{error}");
        }
    }

    #[test]
    fn details_help_to_go_on() {
        let error = Error::OutOfRange { wanted: 1, log_start: 5, high_watermark: 9 };
        let refused = problem(&error, Asked::Other);
        assert_eq!((refused.status, &refused.extra["start_offset"]), (416, &5.into()));
        assert_eq!(problem(&Error::SequenceGap { expected: 3 }, Asked::Publish).extra["expected"], 3);
    }
}
