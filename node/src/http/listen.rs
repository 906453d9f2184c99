//! A listener: accepts connections within its limits, finds out which HTTP they speak, and ends gracefully.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_io_timeout::TimeoutStream;

use super::answer;
use super::limits::{Limits, overloaded};
use super::router::Dropped;
use super::{Shared, closed, stream};

/// What a connection begins with that speaks HTTP/2 without asking (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a connection may stay silent before its first request, and between two.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take over its preface, or its headers, once it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may read nothing of what is being written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection that is one too many is kept to be told so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a request's head at most; a cursor of 1,024 partitions fits several times.
const HEAD_BYTES_MAX: usize = 128 << 10;

/// What is known of the connection that a request came over.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// This peer's own address, as the client sees it.
    pub local: IpAddr,
    /// Requests of the connection that are under way.
    pub under_way: Arc<AtomicUsize>,
    /// What the connection becomes when its last request is answered.
    pub stream: stream::Slot,
}

/// A port.
pub(super) struct Listener {
    socket: TcpListener,
    port: &'static str,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
}

impl Listener {
    pub fn new(socket: TcpListener, port: &'static str, limits: Arc<Limits>, shared: Arc<Shared>) -> Self {
        let closing = shared.closing.clone();
        Self { socket, port, limits, shared, closing }
    }

    /// Serves connections until the node ends, then waits for those that are left.
    pub async fn run(self, router: Router) {
        let mut connections = JoinSet::new();
        let mut closing = self.closing.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_ended) = connections.join_next() => continue,
                () = closed(&mut closing) => break,
            };
            match accepted {
                Ok((stream, _)) => self.take(stream, &mut connections, &router),
                Err(error) => {
                    // Out of descriptors, most likely: the connections that are there go on meanwhile.
                    tracing::warn!(%error, port = self.port, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    fn take(&self, stream: TcpStream, connections: &mut JoinSet<()>, router: &Router) {
        let Ok(local) = stream.local_addr() else { return };
        // Answers are small and whole; waiting to fill a segment would only delay them.
        let _best_effort = stream.set_nodelay(true);
        let limits = &self.limits;
        if let Ok(permit) = Arc::clone(&limits.connections).try_acquire_owned() {
            let (router, closing) = (router.clone(), self.closing.clone());
            let counted = self.shared.metrics.connection(self.port);
            connections.spawn(async move {
                connection(stream, local.ip(), router, closing).await;
                drop((permit, counted));
            });
        } else if let Ok(permit) = Arc::clone(&limits.refusals).try_acquire_owned() {
            self.shared.metrics.refused(self.port);
            connections.spawn(async move {
                refuse(stream).await;
                drop(permit);
            });
        }
    }
}

async fn connection(stream: TcpStream, local: IpAddr, router: Router, mut closing: watch::Receiver<bool>) {
    let version = tokio::select! {
        version = detect(&stream) => version,
        () = closed(&mut closing) => return,
    };
    let Some(version) = version else { return };
    let context = Context { local, under_way: Arc::default(), stream: Arc::default() };
    let slot = Arc::clone(&context.stream);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(context.clone());
        let answer = router.call(request);
        async move {
            let response = answer.await.unwrap_or_else(|never| match never {});
            if response.extensions().get::<Dropped>().is_some() { Err(GaveUp) } else { Ok(response) }
        }
    });
    let builder = builder(version);
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(WRITE_TIMEOUT));
    {
        let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = closed(&mut closing) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            // Whatever a client does wrong is not this peer's trouble.
            tracing::debug!(%error, "a connection ended badly");
        }
    }
    // Whatever else held the slot ended with the requests.
    if let Some(stream) = Arc::into_inner(slot).and_then(OnceLock::into_inner) {
        stream.run(closing).await;
    }
}

/// The handler closes the connection instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("the client did not finish its request")]
struct GaveUp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Looks at a connection's first bytes without taking them; none when too few come in time.
async fn detect(stream: &TcpStream) -> Option<Version> {
    let mut first = [0; PREFACE.len()];
    let length = timeout(IDLE_TIMEOUT, stream.peek(&mut first)).await.ok()?.ok()?;
    if length == 0 {
        return None;
    }
    let deadline = Instant::now() + HEAD_TIMEOUT;
    loop {
        let length = timeout_at(deadline, stream.peek(&mut first)).await.ok()?.ok()?;
        if first[..length] != PREFACE[..length] {
            return Some(Version::Http1);
        }
        if length == PREFACE.len() {
            return Some(Version::Http2);
        }
        // Bytes that were seen are still there, so there is nothing to wait for but time.
        sleep(Duration::from_millis(5)).await;
        if Instant::now() > deadline {
            return None;
        }
    }
}

fn builder(version: Version) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        // More than a connection may have under way, so that an eager client learns the limit from a 429.
        .max_concurrent_streams(1024)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    match version {
        Version::Http1 => builder.http1_only(),
        Version::Http2 => builder.http2_only(),
    }
}

/// Tells a connection that is one too many to come back later.
async fn refuse(stream: TcpStream) {
    let service = service_fn(|_request: Request<Incoming>| async {
        Ok::<_, Infallible>(answer::problem(&overloaded("connections")))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let serving = builder.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _gone_or_told = timeout(REFUSAL_TIMEOUT, serving).await;
}
