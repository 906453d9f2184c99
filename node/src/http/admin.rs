//! The administration port: nothing but a refusal without the token.

use std::sync::Arc;
use std::time::Instant;

use hcube_api::admin::{Bootstrap, Bootstrapped, Identity};
use hcube_api::openapi::{Operation, Port, Resolved, resolve};
use hcube_api::{Code, Problem, json, media};
use hcube_core::meta::Meta;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};

use super::Shared;
use super::answer::{self, Response, Stop};
use super::body::{self, Incoming};
use super::client::label;
use super::limits::Limits;
use super::listen::Context;
use super::ready::not_ready;
use crate::{BootstrapError, FoundingError, StartError};

/// Bytes of a bootstrap at most: a thousand founders.
const BODY_BYTES_MAX: usize = 2 << 20;

/// Answers one request.
///
/// # Errors
/// [`Stop`].
pub(super) async fn serve(
    shared: &Arc<Shared>,
    limits: &Limits,
    context: &Context,
    request: Request<Incoming>,
) -> Result<Response, Stop> {
    let began = Instant::now();
    let resolved = resolve(Port::Admin, request.method(), request.uri().path());
    let operation = resolved.as_ref().map_or("none", |resolved| label(resolved.operation));
    let response = match admit(shared, limits, context, request, resolved).await {
        Ok(response) => response,
        Err(Stop::Problem(problem)) => answer::problem(&problem),
        Err(Stop::Drop) => return Err(Stop::Drop),
    };
    shared.metrics.answered(operation, response.status().as_u16(), began.elapsed());
    Ok(response)
}

async fn admit(
    shared: &Arc<Shared>,
    limits: &Limits,
    context: &Context,
    request: Request<Incoming>,
    resolved: Result<Resolved, Problem>,
) -> Result<Response, Stop> {
    // Before anything else, so that who has no token learns nothing, not even which paths there are.
    authorize(shared, request.headers())?;
    shared.hosts.check(request.uri(), request.headers(), context.local, None)?;
    let Resolved { operation, .. } = resolved?;
    let _permit = limits.request()?;
    match operation {
        Operation::Identity => Ok(answer::json(StatusCode::OK, &identity(shared))),
        Operation::Bootstrap => {
            let (parts, body) = request.into_parts();
            let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            media::expect_json(content_type)?;
            let body =
                body::read(body, &parts.headers, BODY_BYTES_MAX, Code::BatchTooLarge, limits.room()).await?;
            Ok(bootstrap(shared, &body.bytes).await?)
        }
        _ => Err(Problem::new(Code::NotFound, "nothing is served here").into()),
    }
}

fn authorize(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let shown = headers.get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let (scheme, token) = shown.split_at(shown.len().min(7));
    let bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    if shared.node.config().admin_token.matches(token.trim_ascii()) && bearer {
        Ok(())
    } else {
        Err(Problem::new(Code::Unauthorized, "show the token: Authorization: Bearer TOKEN"))
    }
}

fn identity(shared: &Shared) -> Identity {
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

async fn bootstrap(shared: &Shared, body: &[u8]) -> Result<Response, Problem> {
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
    let meta = handle.meta();
    if !is_as_wanted(&meta, &wanted) {
        let detail = "the hypercube of this name was founded with other founders or settings";
        return Err(Problem::new(Code::AlreadyBootstrapped, detail));
    }
    let mut members: Vec<_> = meta.members.values().collect();
    members.sort_by_key(|member| member.vertex);
    let node_ids = members.into_iter().map(|member| member.node).collect();
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::json(status, &Bootstrapped { cluster_id: meta.cluster, node_ids, created }))
}

/// Whether an existing hypercube is the one asked for. Addresses do not count: they change.
fn is_as_wanted(meta: &Meta, wanted: &Bootstrap) -> bool {
    let founded = |founder: &hcube_api::admin::Founder| {
        meta.member_at(founder.vertex).is_some_and(|member| member.incarnation == founder.incarnation)
    };
    meta.slots == wanted.slots
        && meta.replication == wanted.replication
        && meta.members.len() == wanted.founders.len()
        && wanted.founders.iter().all(founded)
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
