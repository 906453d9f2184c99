//! hcube by plain HTTP: one message a request, over kept-alive connections, each to one of the peers in turn.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::hcube::Reading;
use super::local::{Hypercube, version};
use crate::servers::Servers;
use crate::system::{Launcher, Mode, Publisher, Start, System};
use crate::workloads::Workload;

/// The column `hcube-http`.
#[derive(Debug)]
pub struct HcubeHttp {
    /// The program.
    pub program: PathBuf,
}

impl Launcher for HcubeHttp {
    type System = Running;

    fn name(&self) -> &'static str {
        "hcube-http"
    }

    fn described(&self) -> Vec<(String, String)> {
        vec![
            ("version".into(), version(&self.program)),
            ("servers".into(), "as hcube".into()),
            (
                "publishing".into(),
                "one POST a message, HTTP/1.1, a kept-alive connection for each message in flight, connections \
                 spread over all peers, whoever leads"
                    .into(),
            ),
        ]
    }

    fn excuse(&self, workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::W1 | Workload::W2 | Workload::W4 => None,
            _ => Some(
                "one message a request is about publishing; reading, failing over and growing are hcube's",
            ),
        }
    }

    async fn launch(&self, dir: &Path, peers: u16) -> Result<Running> {
        Ok(Running { hypercube: Hypercube::raise(&self.program, dir, peers).await? })
    }
}

/// A hypercube that is spoken to by plain HTTP.
#[derive(Debug)]
pub struct Running {
    hypercube: Hypercube,
}

impl System for Running {
    type Publisher = Connections;
    type Reader = Reading;

    fn servers(&self) -> &Servers {
        &self.hypercube.servers
    }

    fn started(&self) -> Instant {
        self.hypercube.started
    }

    async fn create_topics(&self, names: &[String]) -> Result<()> {
        self.hypercube.create_topics(names).await
    }

    async fn check_settings(&self) -> Result<()> {
        Ok(())
    }

    async fn publisher(&self, topics: &[String], _mode: Mode) -> Result<Connections> {
        let hosts = self.hypercube.endpoints.iter().map(|endpoint| {
            Ok(endpoint.strip_prefix("http://").context("peers of this machine speak plain HTTP")?.to_owned())
        });
        let paths = topics.iter().map(|topic| format!("/v1/topics/{topic}/messages")).collect();
        Ok(Connections {
            inner: Arc::new(Inner {
                hosts: hosts.collect::<Result<_>>()?,
                paths,
                opened: AtomicUsize::new(0),
                idle: Mutex::default(),
            }),
        })
    }

    async fn reader(&self, _topic: &str, _start: Start) -> Result<Reading> {
        anyhow::bail!("plain HTTP is measured for publishing only")
    }

    async fn leader(&self, topic: &str) -> Result<usize> {
        self.hypercube.leader(topic).await
    }
}

/// Connections that carry one request at a time each.
#[derive(Debug)]
pub struct Connections {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hosts: Vec<String>,
    paths: Vec<String>,
    opened: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Publisher for Connections {
    type Delivery = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn window(&self, _payload_bytes: usize) -> usize {
        1
    }

    async fn enqueue(&self, topic: usize, payload: Bytes) -> Result<Self::Delivery> {
        let idle = self.inner.idle.lock().await.pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.inner.open().await?,
        };
        let inner = Arc::clone(&self.inner);
        Ok(Box::pin(async move { inner.publish(connection, topic, payload).await }))
    }
}

impl Inner {
    async fn open(&self) -> Result<Connection> {
        let turn = self.opened.fetch_add(1, Ordering::Relaxed) % self.hosts.len();
        let host = self.hosts[turn].clone();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { host, sender })
    }

    async fn publish(&self, mut connection: Connection, topic: usize, payload: Bytes) -> Result<()> {
        let request = Request::post(&self.paths[topic])
            .header(HOST, &connection.host)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(payload))?;
        let answer = connection.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        connection.sender.ready().await?;
        self.idle.lock().await.push(connection);
        Ok(())
    }
}
