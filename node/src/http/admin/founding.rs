//! Who this peer is, and how it becomes part of a hypercube that is founded.

use hcube_api::admin::{Bootstrap, Bootstrapped, Identity};
use hcube_api::{Code, Problem, json};
use hcube_core::ids::NodeId;
use hcube_core::meta::Meta;
use http::StatusCode;

use crate::http::Shared;
use crate::http::answer::{self, Response};
use crate::http::ready::not_ready;
use crate::{BootstrapError, FoundingError, StartError};

/// `GET /v1/identity`
pub(super) fn identity(shared: &Shared) -> Identity {
    let incarnation = shared.node.incarnation();
    let Some(handle) = shared.node.handle() else {
        return Identity { incarnation, cluster_id: None, node_id: None, vertex: None };
    };
    Identity {
        incarnation,
        cluster_id: Some(handle.cluster()),
        node_id: Some(handle.node()),
        vertex: Some(handle.status().vertex),
    }
}

/// `POST /v1/bootstrap`
pub(super) async fn bootstrap(shared: &Shared, body: &[u8]) -> Result<Response, Problem> {
    let wanted: Bootstrap = json::from_slice(body)?;
    wanted.check()?;
    let created = shared.node.handle().is_none();
    let call = crate::Bootstrap {
        cluster: wanted.cluster_id,
        founders: wanted.founders.iter().cloned().map(Into::into).collect(),
        slots: wanted.slots,
        replication: wanted.replication,
    };
    let handle = shared.node.bootstrap(call).await.map_err(|error| refusal(&error))?;
    if !is_as_wanted(shared.node.genesis().as_ref(), &handle.meta(), &wanted) {
        let detail = "the hypercube of this name was founded with other founders or settings";
        return Err(Problem::new(Code::AlreadyBootstrapped, detail));
    }
    let node_ids = (1..).map(NodeId).take(wanted.founders.len()).collect();
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::json(status, &Bootstrapped { cluster_id: handle.cluster(), node_ids, created }))
}

/// Whether an existing hypercube is the one asked for, however it has changed since. Addresses do not count: they
/// change.
///
/// A peer that was invited does not know R as it was then, nor who was the last founder. It still knows which disk
/// was which founder's, as node ids are handed out by vertex, from 1.
fn is_as_wanted(genesis: Option<&Meta>, present: &Meta, wanted: &Bootstrap) -> bool {
    let founders = || wanted.founders.iter().map(|f| (NodeId(u64::from(f.vertex.0) + 1), f.incarnation));
    let disk = |meta: &Meta, node| meta.members.get(&node).map(|member| member.incarnation);
    match genesis {
        Some(genesis) => {
            genesis.slots == wanted.slots
                && genesis.replication == wanted.replication
                && genesis.members.len() == wanted.founders.len()
                && founders().all(|(node, incarnation)| disk(genesis, node) == Some(incarnation))
        }
        None => {
            let was = |(node, incarnation)| {
                disk(present, node) == Some(incarnation) || present.retired.get(&incarnation) == Some(&node)
            };
            present.slots == wanted.slots && founders().all(was)
        }
    }
}

fn refusal(error: &BootstrapError) -> Problem {
    let detail = error.to_string();
    match error {
        BootstrapError::Genesis(_) | BootstrapError::Founding(FoundingError::NotListed { .. }) => {
            Problem::invalid(detail)
        }
        BootstrapError::Founding(FoundingError::OtherCluster { .. }) => {
            Problem::new(Code::WrongCluster, detail)
        }
        BootstrapError::Start(StartError::Ended) => not_ready("the peer is shutting down"),
        BootstrapError::Founding(_) | BootstrapError::Start(_) => {
            tracing::error!(%error, "the hypercube could not be founded");
            Problem::new(Code::Internal, detail)
        }
    }
}
