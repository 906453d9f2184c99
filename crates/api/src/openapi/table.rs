//! The table of endpoints: the one place that says what hcube serves.

mod administration;
mod messages;

use http::Method;
use serde_json::Value;

use super::endpoint::{Endpoint, Operation, Parameter, Place, Port, Reply, Request, SchemaOf, of};
use crate::clients::{CursorAnswer, Publisher, RegisterPublisher, RegisterSubscriber, SetCursor, Subscriber};
use crate::cluster::{Cluster, Health, Plan, Route};
use crate::error::Code;
use crate::json::NameSchema;
use crate::topics::{CreateTopic, PatchTopic, Topic, TopicList};
use crate::{media, paths};

/// Every endpoint of both ports.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    [topics(), messages::rows(), clients(), cluster(), operation(), administration::rows()].concat()
}

fn row(operation: Operation, method: Method, path: &'static str, summary: &'static str) -> Endpoint {
    Endpoint {
        operation,
        port: Port::Client,
        method,
        path,
        summary,
        parameters: Vec::new(),
        request: None,
        replies: Vec::new(),
        problems: Vec::new(),
    }
}

fn parameter(place: Place, name: &'static str, schema: SchemaOf, doc: &'static str) -> Parameter {
    Parameter { name, place, required: place == Place::Path, doc, schema }
}

fn in_topic() -> Parameter {
    parameter(Place::Path, "topic", of::<NameSchema>(), "The topic's name.")
}

fn json_body(schema: SchemaOf, optional: bool) -> Option<Request> {
    Some(Request { content: vec![(media::JSON, schema)], optional })
}

fn json_reply(status: u16, doc: &'static str, schema: SchemaOf) -> Reply {
    Reply { status, doc, content: vec![(media::JSON, schema)], headers: path_header() }
}

fn path_header() -> Vec<(&'static str, &'static str)> {
    vec![("Hcube-Path", "The vertices that the request passed: 101>100.")]
}

/// What any endpoint may answer that has to ask another peer.
const REACH: [Code; 4] = [Code::NoLeader, Code::MajorityLost, Code::NotReady, Code::Timeout];
/// What any endpoint may answer that reads a JSON body.
const BODY: [Code; 4] =
    [Code::InvalidJson, Code::InvalidArgument, Code::UnsupportedMediaType, Code::BatchTooLarge];

fn problems(groups: &[&[Code]]) -> Vec<Code> {
    groups.concat()
}

fn topics() -> Vec<Endpoint> {
    let named = [Code::InvalidName, Code::UnknownTopic];
    vec![
        Endpoint {
            replies: vec![json_reply(200, "The topics by name.", of::<TopicList>())],
            problems: vec![Code::NotReady],
            ..row(Operation::ListTopics, Method::GET, paths::TOPICS, "List the topics")
        },
        Endpoint {
            parameters: vec![in_topic()],
            request: json_body(of::<CreateTopic>(), true),
            replies: vec![
                json_reply(201, "The topic was created.", of::<Topic>()),
                json_reply(
                    200,
                    "It existed already with these partitions and this retention.",
                    of::<Topic>(),
                ),
            ],
            problems: problems(&[&[Code::InvalidName, Code::TopicExists, Code::DiskFull], &BODY, &REACH]),
            ..row(Operation::CreateTopic, Method::PUT, paths::TOPIC, "Create a topic")
        },
        Endpoint {
            parameters: vec![in_topic()],
            replies: vec![json_reply(200, "The topic, where it lives and how far it goes.", of::<Topic>())],
            problems: problems(&[&named, &[Code::NotReady]]),
            ..row(Operation::DescribeTopic, Method::GET, paths::TOPIC, "Describe a topic")
        },
        Endpoint {
            parameters: vec![in_topic()],
            request: Some(Request {
                content: vec![(media::MERGE_PATCH, of::<PatchTopic>()), (media::JSON, of::<PatchTopic>())],
                optional: false,
            }),
            replies: vec![json_reply(200, "The topic after the change.", of::<Topic>())],
            problems: problems(&[&named, &[Code::DiskFull], &BODY, &REACH]),
            ..row(Operation::AlterTopic, Method::PATCH, paths::TOPIC, "Change a topic's retention")
        },
        Endpoint {
            parameters: vec![in_topic()],
            replies: vec![Reply {
                status: 204,
                doc: "The topic is deleted; a new one of the name starts empty.",
                content: Vec::new(),
                headers: path_header(),
            }],
            problems: problems(&[&named, &REACH]),
            ..row(Operation::DeleteTopic, Method::DELETE, paths::TOPIC, "Delete a topic")
        },
    ]
}

fn clients() -> Vec<Endpoint> {
    let cursor = || {
        vec![parameter(Place::Path, "subscriber", of::<NameSchema>(), "The subscriber's name."), in_topic()]
    };
    let named = [Code::InvalidName, Code::UnknownSubscriber, Code::UnknownTopic];
    vec![
        Endpoint {
            request: json_body(of::<RegisterPublisher>(), true),
            replies: vec![json_reply(200, "The producer id and its epoch.", of::<Publisher>())],
            problems: problems(&[&[Code::DiskFull], &BODY, &REACH]),
            ..row(Operation::RegisterPublisher, Method::POST, paths::PUBLISHERS, "Register a publisher")
        },
        Endpoint {
            request: json_body(of::<RegisterSubscriber>(), false),
            replies: vec![json_reply(200, "The subscriber is registered.", of::<Subscriber>())],
            problems: problems(&[&[Code::DiskFull], &BODY, &REACH]),
            ..row(Operation::RegisterSubscriber, Method::POST, paths::SUBSCRIBERS, "Register a subscriber")
        },
        Endpoint {
            parameters: cursor(),
            replies: vec![json_reply(200, "Where the subscriber is in the topic.", of::<CursorAnswer>())],
            problems: problems(&[&named, &REACH]),
            ..row(Operation::FetchCursor, Method::GET, paths::CURSOR, "Fetch a durable cursor")
        },
        Endpoint {
            parameters: cursor(),
            request: json_body(of::<SetCursor>(), false),
            replies: vec![json_reply(200, "The cursor after the change.", of::<CursorAnswer>())],
            problems: problems(&[
                &named,
                &[Code::UnknownPartition, Code::InvalidCursor, Code::OffsetOutOfRange, Code::DiskFull],
                &BODY,
                &REACH,
            ]),
            ..row(Operation::SetCursor, Method::PUT, paths::CURSOR, "Commit or reset a durable cursor")
        },
    ]
}

fn cluster() -> Vec<Endpoint> {
    vec![
        Endpoint {
            replies: vec![json_reply(200, "The hypercube as this peer sees it.", of::<Cluster>())],
            problems: vec![Code::NotReady],
            ..row(Operation::DescribeCluster, Method::GET, paths::CLUSTER, "Describe the hypercube")
        },
        Endpoint {
            parameters: vec![
                in_topic(),
                parameter(Place::Query, "partition", of::<u16>(), "The partition; 0 where left out."),
            ],
            replies: vec![json_reply(200, "The way from this peer to the leader.", of::<Route>())],
            problems: vec![
                Code::InvalidName,
                Code::InvalidArgument,
                Code::UnknownTopic,
                Code::UnknownPartition,
                Code::NotReady,
            ],
            ..row(Operation::FindRoute, Method::GET, paths::ROUTE, "Show the way to a topic's leader")
        },
        Endpoint {
            parameters: vec![
                parameter(Place::Query, "peers", of::<u16>(), "N as it might be; as it is where left out."),
                parameter(
                    Place::Query,
                    "replication",
                    of::<u8>(),
                    "R as it might be: 1, 3, 5 or 7; as it is where left out.",
                ),
            ],
            replies: vec![json_reply(200, "What would move. Nothing is changed.", of::<Plan>())],
            problems: vec![Code::InvalidArgument, Code::TooFewPeers, Code::NotReady],
            ..row(
                Operation::PlanCluster,
                Method::GET,
                paths::PLAN,
                "Show what would move with other peers or replicas",
            )
        },
    ]
}

fn operation() -> Vec<Endpoint> {
    let plain = |doc, content| Reply { status: 200, doc, content, headers: Vec::new() };
    vec![
        Endpoint {
            replies: vec![plain(
                "The process lives; other peers do not matter.",
                vec![(media::JSON, of::<Health>())],
            )],
            ..row(Operation::Health, Method::GET, paths::HEALTH, "Liveness")
        },
        Endpoint {
            replies: vec![plain("The peer has caught up and serves.", vec![(media::JSON, of::<Health>())])],
            problems: vec![Code::NotReady, Code::Damaged],
            ..row(Operation::Ready, Method::GET, paths::READY, "Readiness")
        },
        Endpoint {
            replies: vec![plain(
                "Metrics in Prometheus' text form.",
                vec![(media::PROMETHEUS, of::<String>())],
            )],
            ..row(Operation::Metrics, Method::GET, paths::METRICS, "Metrics")
        },
        Endpoint {
            replies: vec![plain("This document.", vec![(media::JSON, of::<Value>())])],
            ..row(Operation::OpenApi, Method::GET, paths::OPENAPI, "The OpenAPI document")
        },
    ]
}
