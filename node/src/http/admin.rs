//! The administration port: nothing but a refusal without the token.

mod founding;
mod members;
mod recovery;

use std::sync::Arc;
use std::time::Instant;

use hcube_api::openapi::{Operation, Port, Resolved, resolve};
use hcube_api::{Code, Problem, media};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};

use super::Shared;
use super::answer::{self, Response, Stop};
use super::body::{self, Incoming, Read};
use super::client::label;
use super::limits::Limits;
use super::listen::Context;
use super::peer::Peer;
use super::ready::{check_member, not_ready};
use members::Desk;

/// Bytes of a body at most: a bootstrap with a thousand founders.
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
    let resolved = resolved?;
    let _permit = limits.request()?;
    let (parts, body) = request.into_parts();
    let body = async || {
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        media::expect_json(content_type)?;
        body::read(body, &parts.headers, BODY_BYTES_MAX, Code::BatchTooLarge, limits.room()).await
    };
    match resolved.operation {
        Operation::Identity => Ok(answer::json(StatusCode::OK, &founding::identity(shared))),
        Operation::Bootstrap => Ok(founding::bootstrap(shared, &body().await?.bytes).await?),
        _ => dispatch(&desk(shared)?, &resolved, parts.uri.query(), body).await,
    }
}

/// Where a peer that belongs to a hypercube is administered.
fn desk(shared: &Shared) -> Result<Desk<'_>, Problem> {
    if *shared.closing.borrow() {
        return Err(not_ready("the peer is shutting down"));
    }
    let handle = shared.node.handle().ok_or_else(|| not_ready("the peer belongs to no hypercube yet"))?;
    check_member(&handle)?;
    let peer = Peer { handle, patience_ms: shared.config.patience_ms };
    Ok(Desk { planner: &shared.planner, peer })
}

async fn dispatch(
    desk: &Desk<'_>,
    resolved: &Resolved,
    query: Option<&str>,
    body: impl AsyncFnOnce() -> Result<Read, Stop>,
) -> Result<Response, Stop> {
    let nothing = || Problem::new(Code::NotFound, "nothing is served here");
    let node = || resolved.node.ok_or_else(nothing);
    let response = match resolved.operation {
        Operation::ListMembers => desk.list().await,
        Operation::AddMember => desk.add(&body().await?.bytes).await,
        Operation::DrainMember => desk.drain(node()?, &body().await?.bytes).await,
        Operation::CancelDrain => desk.cancel_drain(node()?, &body().await?.bytes).await,
        Operation::RemoveMember => desk.remove(node()?, query).await,
        Operation::UnsafeRecover => desk.recover(&body().await?.bytes).await,
        Operation::AlterCluster => desk.alter(&body().await?.bytes).await,
        Operation::SetReadReplicas => {
            let name = resolved.names.first().ok_or_else(nothing)?;
            desk.set_read_replicas(name, &body().await?.bytes).await
        }
        _ => Err(nothing()),
    };
    response.map_err(Stop::from)
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
