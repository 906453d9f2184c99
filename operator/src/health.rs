//! Health and metrics over HTTP. Whether this replica acts or waits for its turn makes no difference to its health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, ready: Arc::default() }
    }

    /// Kubernetes answers.
    pub fn is_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Kubernetes has not answered yet")
    }
}

async fn metrics(State(health): State<Health>) -> ([(http::HeaderName, &'static str); 1], String) {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], health.metrics.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_ready_once_kubernetes_has_answered() {
        let health = Health::new(Arc::new(Metrics::default()));
        assert_eq!(ready(State(health.clone())).await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.is_ready();
        assert_eq!(ready(State(health.clone())).await.0, StatusCode::OK);
        health.metrics.stands("shop", "demo", true, false, 3);
        let figure = "hcube_operator_hypercube_members{namespace=\"shop\",name=\"demo\"} 3";
        assert!(health.metrics.text().contains(figure));
        health.metrics.gone("shop", "demo");
        assert!(!health.metrics.text().contains("demo"));
        let (_, text) = metrics(State(health)).await;
        assert!(text.ends_with("# EOF\n"));
    }
}
