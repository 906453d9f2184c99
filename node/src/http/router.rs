//! The axum routers of both ports. What is served where stands in the contract's table, which the handlers ask;
//! axum carries requests and answers, and is where layers go.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};

use super::answer::{self, Response, Stop};
use super::limits::Limits;
use super::listen::Context;
use super::{Shared, admin, client};

/// Marks an answer that is not sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped;

/// The client port.
pub(super) fn clients(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve_client).with_state(shared)
}

/// The administration port, with limits of its own.
pub(super) fn administration(shared: Arc<Shared>, limits: Arc<Limits>) -> Router {
    Router::new().fallback(serve_admin).with_state((shared, limits))
}

async fn serve_client(
    State(shared): State<Arc<Shared>>,
    Extension(context): Extension<Context>,
    request: Request,
) -> axum::response::Response {
    finish(client::serve(&shared, &context, request).await)
}

async fn serve_admin(
    State((shared, limits)): State<(Arc<Shared>, Arc<Limits>)>,
    Extension(context): Extension<Context>,
    request: Request,
) -> axum::response::Response {
    finish(admin::serve(&shared, &limits, &context, request).await)
}

fn finish(answered: Result<Response, Stop>) -> axum::response::Response {
    match answered {
        Ok(response) => response.map(axum::body::Body::new),
        Err(Stop::Problem(problem)) => answer::problem(&problem).map(axum::body::Body::new),
        Err(Stop::Drop) => {
            let mut response = axum::response::Response::default();
            response.extensions_mut().insert(Dropped);
            response
        }
    }
}
