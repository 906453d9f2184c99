//! The rows of the administration port.

use http::Method;

use super::super::endpoint::{Endpoint, Operation, Parameter, Place, Port, Reply, Request, SchemaOf, of};
use super::{BODY, REACH, in_topic, json_body, json_reply, parameter, problems, row};
use crate::admin::{
    AddMember, Bootstrap, Bootstrapped, Identity, MemberStatus, Members, OfCluster, PatchCluster,
    ReadReplicas, Recovered, Removed, SetReadReplicas, UnsafeRecover,
};
use crate::cluster::Rebalance;
use crate::error::Code;
use crate::json::UuidSchema;
use crate::{media, paths};

pub(super) fn rows() -> Vec<Endpoint> {
    [founding(), members(), whole()].concat()
}

fn admin_row(operation: Operation, method: Method, path: &'static str, summary: &'static str) -> Endpoint {
    Endpoint { port: Port::Admin, ..row(operation, method, path, summary) }
}

/// An answer without a way: this port is asked for a hypercube's sake, not for a slot's.
fn reply(status: u16, doc: &'static str, schema: SchemaOf) -> Reply {
    Reply { headers: Vec::new(), ..json_reply(status, doc, schema) }
}

fn in_node() -> Parameter {
    parameter(Place::Path, "node_id", of::<u64>(), "The member's node id.")
}

/// What any change of members or of the whole may answer.
const CHANGE: [Code; 2] = [Code::WrongCluster, Code::DiskFull];
/// What any change of one member may answer.
const MEMBER: [Code; 2] = [Code::UnknownNode, Code::NodeRetired];

fn founding() -> Vec<Endpoint> {
    vec![
        Endpoint {
            request: json_body(of::<Bootstrap>(), false),
            replies: vec![
                reply(201, "The hypercube is founded.", of::<Bootstrapped>()),
                reply(200, "It was founded so before.", of::<Bootstrapped>()),
            ],
            problems: problems(&[
                &[
                    Code::WrongCluster,
                    Code::AlreadyBootstrapped,
                    Code::DiskFull,
                    Code::NotReady,
                    Code::Timeout,
                ],
                &BODY,
            ]),
            ..admin_row(Operation::Bootstrap, Method::POST, paths::BOOTSTRAP, "Found a hypercube")
        },
        Endpoint {
            replies: vec![reply(200, "Who this peer is.", of::<Identity>())],
            ..admin_row(Operation::Identity, Method::GET, paths::IDENTITY, "Tell who this peer is")
        },
    ]
}

fn members() -> Vec<Endpoint> {
    vec![
        Endpoint {
            replies: vec![reply(200, "The members as this peer sees them.", of::<Members>())],
            problems: vec![Code::NotReady],
            ..admin_row(Operation::ListMembers, Method::GET, paths::MEMBERS, "List the members")
        },
        Endpoint {
            request: json_body(of::<AddMember>(), false),
            replies: vec![
                reply(201, "It is a member now, and is being told so.", of::<MemberStatus>()),
                reply(200, "It was a member already.", of::<MemberStatus>()),
            ],
            problems: problems(&[
                &[
                    Code::VertexTaken,
                    Code::NotNext,
                    Code::TooManyPeers,
                    Code::IncarnationUsed,
                    Code::NotReplaced,
                    Code::StillAlive,
                    Code::DrainInProgress,
                ],
                &MEMBER,
                &CHANGE,
                &BODY,
                &REACH,
            ]),
            ..admin_row(Operation::AddMember, Method::POST, paths::MEMBERS, "Add or replace a member")
        },
        Endpoint {
            parameters: vec![in_node()],
            request: json_body(of::<OfCluster>(), false),
            replies: vec![reply(202, "Its replicas go elsewhere from now on.", of::<MemberStatus>())],
            problems: problems(&[
                &[Code::NotHighest, Code::TooFewPeers, Code::DrainLimit],
                &MEMBER,
                &CHANGE,
                &BODY,
                &REACH,
            ]),
            ..admin_row(Operation::DrainMember, Method::POST, paths::DRAIN, "Drain a member")
        },
        Endpoint {
            parameters: vec![in_node()],
            request: json_body(of::<OfCluster>(), false),
            replies: vec![reply(
                200,
                "It stays, and so does every member below it that was being drained.",
                of::<MemberStatus>(),
            )],
            problems: problems(&[&MEMBER, &CHANGE, &BODY, &REACH]),
            ..admin_row(Operation::CancelDrain, Method::POST, paths::CANCEL_DRAIN, "Cancel a drain")
        },
        Endpoint {
            parameters: vec![
                in_node(),
                Parameter {
                    required: true,
                    ..parameter(Place::Query, "cluster_id", of::<UuidSchema>(), "The hypercube.")
                },
            ],
            replies: vec![reply(200, "It is not a member any more, and never again.", of::<Removed>())],
            problems: problems(&[
                &[Code::InvalidArgument, Code::NotDraining, Code::NotHighest, Code::NotEmpty],
                &MEMBER,
                &CHANGE,
                &REACH,
            ]),
            ..admin_row(Operation::RemoveMember, Method::DELETE, paths::MEMBER, "Remove a drained member")
        },
    ]
}

fn whole() -> Vec<Endpoint> {
    let patch = || of::<PatchCluster>();
    vec![
        Endpoint {
            request: Some(Request {
                content: vec![(media::MERGE_PATCH, patch()), (media::JSON, patch())],
                optional: false,
            }),
            replies: vec![reply(200, "What is left to move after the change.", of::<Rebalance>())],
            problems: problems(&[&[Code::TooFewPeers], &CHANGE, &BODY, &REACH]),
            ..admin_row(
                Operation::AlterCluster,
                Method::PATCH,
                paths::CLUSTER,
                "Change the replication; pause or resume moves",
            )
        },
        Endpoint {
            request: json_body(of::<UnsafeRecover>(), false),
            replies: vec![reply(200, "What was given up for good, if anything was.", of::<Recovered>())],
            problems: problems(&[
                &[
                    Code::LossNotAccepted,
                    Code::NotLost,
                    Code::StillAlive,
                    Code::UnknownNode,
                    Code::MetadataNotLost,
                    Code::FeatureLevel,
                    Code::SurvivorSilent,
                    Code::Stale,
                ],
                &CHANGE,
                &BODY,
                &REACH,
            ]),
            ..admin_row(
                Operation::UnsafeRecover,
                Method::POST,
                paths::UNSAFE_RECOVER,
                "Let slots that lost their majority, or the metadata, go on with what is left",
            )
        },
        Endpoint {
            parameters: vec![in_topic()],
            request: json_body(of::<SetReadReplicas>(), false),
            replies: vec![reply(200, "So many are wished for.", of::<ReadReplicas>())],
            problems: problems(&[&[Code::InvalidName, Code::UnknownTopic], &CHANGE, &BODY, &REACH]),
            ..admin_row(
                Operation::SetReadReplicas,
                Method::PUT,
                paths::READ_REPLICAS,
                "Set how many replicas of a topic only read",
            )
        },
    ]
}
