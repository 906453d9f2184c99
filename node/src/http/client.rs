//! The client port: what every request passes before its handler, and which handler that is.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use hcube_api::cluster::Health;
use hcube_api::openapi::{Operation, Port, Resolved, document, resolve};
use hcube_api::{Code, Problem, json, media};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use tracing::Instrument as _;

use super::answer::{self, Response, Stop};
use super::body::{self, Body, Held, Incoming, Read};
use super::listen::Context;
use super::peer::Peer;
use super::ready::{check_member, not_ready};
use super::survey::Survey;
use super::{Shared, clients, cluster, publish, pull, stream, topics};
use crate::Handle;

/// Bytes of a control request's body at most; the largest sets a cursor in 1,024 partitions.
const CONTROL_BYTES_MAX: usize = 256 << 10;

/// The OpenAPI document, which never changes.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| json::to_vec(&document(Port::Client)).into());

/// Answers one request.
///
/// # Errors
/// [`Stop`].
pub(super) async fn serve(
    shared: &Arc<Shared>,
    context: &Context,
    request: Request<Incoming>,
) -> Result<Response, Stop> {
    let began = Instant::now();
    let head = request.method() == Method::HEAD;
    let resolved = resolve(Port::Client, request.method(), request.uri().path());
    let operation = resolved.as_ref().map_or("none", |resolved| label(resolved.operation));
    let answered = admit(shared, context, request, resolved).await;
    let response = match answered {
        Ok(response) if head => without_body(response),
        Ok(response) => response,
        Err(Stop::Problem(problem)) => answer::problem(&problem),
        Err(Stop::Drop) => return Err(Stop::Drop),
    };
    shared.metrics.answered(operation, response.status().as_u16(), began.elapsed());
    Ok(response)
}

/// An answer to `HEAD`: what `GET` would say, without saying it.
fn without_body(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let mut response = Response::from_parts(parts, Body::default());
    if let Some(length) = body.len() {
        answer::set(&mut response, http::header::CONTENT_LENGTH, length);
    }
    response
}

/// Refuses what is not for this peer, or too much for it.
async fn admit(
    shared: &Arc<Shared>,
    context: &Context,
    request: Request<Incoming>,
    resolved: Result<Resolved, Problem>,
) -> Result<Response, Stop> {
    let handle = shared.node.handle();
    let advertised = handle.as_ref().and_then(|handle| {
        let member = handle.meta().members.get(&handle.node()).cloned();
        member.map(|member| member.client_address)
    });
    shared.hosts.check(request.uri(), request.headers(), context.local, advertised.as_deref())?;
    let Resolved { operation, names, .. } = resolved?;
    let (parts, body) = request.into_parts();
    if let Some(response) = probe(shared, handle.as_ref(), operation).await {
        return response.map_err(Stop::from);
    }
    let of_connection = shared.limits.of_connection(&context.under_way)?;
    let permit = shared.limits.request()?;
    if *shared.closing.borrow() {
        return Err(not_ready("the peer is shutting down").into());
    }
    let handle = handle.ok_or_else(|| not_ready("the peer belongs to no hypercube yet"))?;
    check_member(&handle)?;
    let peer = Peer { handle, patience_ms: shared.config.patience_ms };
    if operation == Operation::PublishStream {
        return Ok(stream::begin(shared, &context.stream, peer, &parts)?);
    }
    let call = Call { shared, peer, parts, names };
    let response = dispatch(operation, call, body).await?;
    let (parts, body) = response.into_parts();
    // A stream is a subscription, which counts as one from here on.
    let body = match body.len() {
        Some(length) => {
            let mut room = shared.limits.answer_room();
            room.grow(length)?;
            let (request, of_connection) = (Some(permit), Some(of_connection));
            body.holding(Held { request, of_connection, room: Some(room) })
        }
        None => body,
    };
    Ok(Response::from_parts(parts, body))
}

/// Answers what must be answered whatever the load and whatever the hypercube does.
async fn probe(
    shared: &Shared,
    handle: Option<&Handle>,
    operation: Operation,
) -> Option<Result<Response, Problem>> {
    match operation {
        Operation::Health => Some(Ok(answer::json(StatusCode::OK, &Health::ok()))),
        Operation::Ready => Some(if *shared.closing.borrow() {
            Err(not_ready("the peer is shutting down"))
        } else if let Some(Err(problem)) = handle.map(check_member) {
            Err(problem)
        } else if shared.ready.is_set() {
            Ok(answer::json(StatusCode::OK, &Health::ok()))
        } else {
            Err(not_ready("the peer has not caught up yet"))
        }),
        Operation::Metrics => {
            if let Some(handle) = handle {
                show_members(shared, handle).await;
            }
            let text = shared.metrics.text(&shared.node.metrics().text());
            Some(Ok(answer::answer(StatusCode::OK, media::PROMETHEUS, text.into_bytes())))
        }
        Operation::OpenApi => {
            Some(Ok(answer::answer(StatusCode::OK, media::JSON, Body::pieces([DOCUMENT.clone()]))))
        }
        _ => None,
    }
}

/// Brings what the metrics say of members and slots up to date: only who asks needs to know.
async fn show_members(shared: &Shared, handle: &Handle) {
    let peer = Peer { handle: handle.clone(), patience_ms: shared.config.patience_ms };
    let view = peer.view();
    // Without a plan the figures stay as they were, and the log says why there is none.
    let Ok(outlook) = shared.planner.outlook(&view.meta).await else { return };
    let survey = Survey::new(&view);
    let states = survey.members().into_iter().map(|member| survey.state(member));
    shared.node.metrics().show_members(states, outlook.rebalance(), view.meta.losses.len());
}

/// A request that is served, but for its body.
pub(super) struct Call<'s> {
    pub shared: &'s Arc<Shared>,
    pub peer: Peer,
    pub parts: Parts,
    /// The names in the path, in its order.
    names: Vec<hcube_core::topic::Name>,
}

impl Call<'_> {
    /// The only name in the path, or the first.
    pub fn name(&self) -> &hcube_core::topic::Name {
        &self.names[0]
    }

    /// Reads a control request's body, which must be JSON.
    ///
    /// # Errors
    /// `unsupported-media-type`, `batch-too-large`, `overloaded`.
    async fn body(&self, body: Incoming) -> Result<Read, Stop> {
        media::expect_json(self.header(&http::header::CONTENT_TYPE))?;
        let room = self.shared.limits.room();
        body::read(body, &self.parts.headers, CONTROL_BYTES_MAX, Code::BatchTooLarge, room).await
    }

    /// A header as text; none where it is missing or not text.
    pub fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn dispatch(operation: Operation, call: Call<'_>, body: Incoming) -> Result<Response, Stop> {
    let peer = &call.peer;
    let response = match operation {
        Operation::ListTopics => Ok(topics::list(peer)),
        Operation::CreateTopic => {
            let body = call.body(body).await?;
            let span = tracing::debug_span!("create", topic = %call.name());
            topics::create(peer, call.name(), &body.bytes).instrument(span).await
        }
        Operation::DescribeTopic => topics::describe(peer, call.name()).await,
        Operation::AlterTopic => {
            let body = call.body(body).await?;
            topics::alter(peer, call.name(), &body.bytes).await
        }
        Operation::DeleteTopic => topics::delete(peer, call.name()).await,
        Operation::Publish => {
            let span = tracing::debug_span!("publish", topic = %call.name());
            return publish::publish(&call, body).instrument(span).await;
        }
        Operation::Pull => {
            let span = tracing::debug_span!("pull", topic = %call.name());
            pull::pull(&call).instrument(span).await
        }
        Operation::RegisterPublisher => {
            let body = call.body(body).await?;
            clients::register_publisher(peer, &body.bytes).await
        }
        Operation::RegisterSubscriber => {
            let body = call.body(body).await?;
            clients::register_subscriber(peer, &body.bytes).await
        }
        Operation::FetchCursor => clients::fetch_cursor(peer, &call.names[0], &call.names[1]).await,
        Operation::SetCursor => {
            let body = call.body(body).await?;
            clients::set_cursor(peer, &call.names[0], &call.names[1], &body.bytes).await
        }
        Operation::DescribeCluster => cluster::describe(&call.shared.planner, peer).await,
        Operation::PlanCluster => cluster::plan(&call.shared.planner, peer, call.parts.uri.query()).await,
        Operation::FindRoute => cluster::route(peer, call.name(), call.parts.uri.query()).await,
        // The first four are answered by `probe`, the fifth by `admit`; the others stand at the other port, where
        // `resolve` looks for them.
        Operation::Health
        | Operation::Ready
        | Operation::Metrics
        | Operation::OpenApi
        | Operation::PublishStream
        | Operation::Bootstrap
        | Operation::Identity
        | Operation::ListMembers
        | Operation::AddMember
        | Operation::DrainMember
        | Operation::CancelDrain
        | Operation::RemoveMember
        | Operation::AlterCluster
        | Operation::UnsafeRecover
        | Operation::SetReadReplicas => Err(Problem::new(Code::NotFound, "nothing is served here")),
    };
    response.map_err(Stop::from)
}

/// The operation in a metric's label.
pub(super) fn label(operation: Operation) -> &'static str {
    match operation {
        Operation::ListTopics => "list-topics",
        Operation::CreateTopic => "create-topic",
        Operation::DescribeTopic => "describe-topic",
        Operation::AlterTopic => "alter-topic",
        Operation::DeleteTopic => "delete-topic",
        Operation::Publish => "publish",
        Operation::PublishStream => "open-publish-stream",
        Operation::Pull => "pull",
        Operation::RegisterPublisher => "register-publisher",
        Operation::RegisterSubscriber => "register-subscriber",
        Operation::FetchCursor => "fetch-cursor",
        Operation::SetCursor => "set-cursor",
        Operation::DescribeCluster => "describe-cluster",
        Operation::FindRoute => "find-route",
        Operation::PlanCluster => "plan-cluster",
        Operation::Health => "health",
        Operation::Ready => "ready",
        Operation::Metrics => "metrics",
        Operation::OpenApi => "open-api",
        Operation::Bootstrap => "bootstrap",
        Operation::Identity => "identity",
        Operation::ListMembers => "list-members",
        Operation::AddMember => "add-member",
        Operation::DrainMember => "drain-member",
        Operation::CancelDrain => "cancel-drain",
        Operation::RemoveMember => "remove-member",
        Operation::AlterCluster => "alter-cluster",
        Operation::UnsafeRecover => "unsafe-recover",
        Operation::SetReadReplicas => "set-read-replicas",
    }
}
