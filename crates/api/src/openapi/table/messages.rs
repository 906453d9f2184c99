//! The rows about messages: publish, pull and subscribe.

use http::Method;
use serde_json::Value;

use super::super::endpoint::{Endpoint, Operation, Place, Reply, Request, of};
use super::{in_topic, parameter, path_header, row};
use crate::error::Code;
use crate::json::UuidSchema;
use crate::label::Label;
use crate::messages::{BatchAck, IncomingMessage, MessageBody, PublishAck, PullAnswer};
use crate::{media, paths};

pub(super) fn rows() -> Vec<Endpoint> {
    vec![publish(), publish_stream(), pull()]
}

fn publish() -> Endpoint {
    let header = |name, schema, doc| parameter(Place::Header, name, schema, doc);
    Endpoint {
        parameters: vec![
            in_topic(),
            parameter(Place::Query, "partition", of::<u16>(), "The partition for messages that name none."),
            header(
                "Hcube-Partition",
                of::<u16>(),
                "The same as the parameter partition; a binary batch needs one.",
            ),
            header(
                "Hcube-Key",
                of::<String>(),
                "Key of a single message, percent-encoded; chooses the partition.",
            ),
            header(
                "Hcube-Header-NAME",
                of::<String>(),
                "Message header NAME (in lower case), percent-encoded. Headers ce-* are kept as they are.",
            ),
            header(
                "Hcube-Producer-Id",
                of::<UuidSchema>(),
                "Makes the publish repeatable, with Hcube-Sequence; all messages go to one partition then.",
            ),
            header("Hcube-Producer-Epoch", of::<u32>(), "Epoch of the producer, 0 where left out."),
            header(
                "Hcube-Sequence",
                of::<u64>(),
                "Sequence of the first message: counts messages per producer and partition, from 0.",
            ),
        ],
        request: Some(Request {
            content: vec![
                ("*/*", of::<Value>()),
                (media::NDJSON, of::<IncomingMessage<'static>>()),
                (media::BATCH, of::<Value>()),
            ],
            optional: true,
        }),
        replies: vec![Reply {
            status: 200,
            doc: "Stored and synced by a majority of the replicas. An NDJSON batch is answered with one \
                  acknowledgement a partition.",
            content: vec![(media::JSON, |generator| {
                let one = generator.subschema_for::<PublishAck>();
                let batch = generator.subschema_for::<BatchAck>();
                schemars::json_schema!({ "anyOf": [one, batch] })
            })],
            headers: [
                path_header(),
                vec![
                    ("Hcube-Ack", "What was promised: quorum; replicas=3; fsync."),
                    ("Hcube-Partition", "Partition of a single message or binary batch."),
                    ("Hcube-Offset", "Offset of its first message."),
                    ("Hcube-Timestamp", "The leader's stamp on it, milliseconds since 1970."),
                ],
            ]
            .concat(),
        }],
        problems: vec![
            Code::InvalidName,
            Code::UnknownTopic,
            Code::UnknownPartition,
            Code::InvalidArgument,
            Code::InvalidJson,
            Code::InvalidBatch,
            Code::MessageTooLarge,
            Code::BatchTooLarge,
            Code::SequenceGap,
            Code::Fenced,
            Code::UnknownProducer,
            Code::DiskFull,
            Code::NoLeader,
            Code::MajorityLost,
            Code::NotReady,
            Code::PublishUnknown,
        ],
        ..row(Operation::Publish, Method::POST, paths::MESSAGES, "Publish a message or a batch")
    }
}

fn publish_stream() -> Endpoint {
    Endpoint {
        parameters: vec![parameter(
            Place::Header,
            "Upgrade",
            of::<String>(),
            "hcube-publish, with `Connection: upgrade`; over HTTP/1.1 only.",
        )],
        replies: vec![Reply {
            status: 101,
            doc: "From here on both sides send frames: record batches, and what became of each.",
            content: Vec::new(),
            headers: vec![("Upgrade", "hcube-publish")],
        }],
        problems: vec![Code::InvalidArgument, Code::NotReady],
        ..row(
            Operation::PublishStream,
            Method::GET,
            paths::PUBLISH,
            "Publish many batches over one connection",
        )
    }
}

fn pull() -> Endpoint {
    let query = |name, schema, doc| parameter(Place::Query, name, schema, doc);
    Endpoint {
        parameters: vec![
            in_topic(),
            query("partition", of::<u16>(), "The partition; all of them where left out."),
            query(
                "from",
                of::<String>(),
                "earliest (a pull's default), latest (a subscription's), timestamp:MS, a cursor, or an offset of a single partition.",
            ),
            query(
                "limit",
                of::<u32>(),
                "Most messages, 1 to 10000, 100 where left out; a subscription has no end.",
            ),
            query(
                "max_bytes",
                of::<u32>(),
                "Most bytes of keys, headers and values, up to 8 MiB, 1 MiB where left out.",
            ),
            query(
                "wait",
                of::<u32>(),
                "Milliseconds to wait for a first message, up to 30000, 0 where left out.",
            ),
            query("replica", of::<Label>(), "Answer from the copy at this vertex and no other."),
            query("min-offset", of::<u64>(), "Answer only from a replica that has committed this offset."),
            parameter(
                Place::Header,
                "Last-Event-ID",
                of::<String>(),
                "Resumes a subscription; stands above `from`.",
            ),
        ],
        replies: vec![Reply {
            status: 200,
            doc: "The messages as one JSON object, one a line, or as binary frames; without end as events or frames.",
            content: vec![
                (media::JSON, of::<PullAnswer>()),
                (media::NDJSON, of::<MessageBody>()),
                (media::EVENT_STREAM, of::<MessageBody>()),
                (media::BATCH, of::<Value>()),
                (media::BATCH_STREAM, of::<Value>()),
            ],
            headers: [
                path_header(),
                vec![
                    (
                        "Hcube-High-Watermark",
                        "For each partition read, the offset after its last committed message: 0=17, 1=4.",
                    ),
                    ("Hcube-Next", "Where the next pull goes on."),
                ],
            ]
            .concat(),
        }],
        problems: vec![
            Code::InvalidName,
            Code::UnknownTopic,
            Code::UnknownPartition,
            Code::InvalidArgument,
            Code::InvalidCursor,
            Code::OffsetOutOfRange,
            Code::NotAcceptable,
            Code::ReplicaNotHere,
            Code::Damaged,
            Code::NoLeader,
            Code::MajorityLost,
            Code::NotReady,
            Code::Timeout,
        ],
        ..row(Operation::Pull, Method::GET, paths::MESSAGES, "Pull messages, or subscribe to them")
    }
}
