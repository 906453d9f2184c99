//! HTTP: the client port and the administration port of a node.
//!
//! What is served stands in one table ([`hcube_api::openapi::endpoints`]); [`client`] and [`admin`] have a
//! handler for each row. The ports are separate listeners with limits of their own, and neither knows more of
//! the node than its [`Handle`](crate::Handle).

mod admin;
mod answer;
mod body;
mod client;
mod clients;
mod cluster;
mod error;
mod feed;
mod host;
mod limits;
mod listen;
mod metrics;
mod outlook;
mod peer;
mod publish;
mod pull;
mod reader;
mod ready;
mod router;
mod stream;
mod subscribe;
mod survey;
mod topics;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hcube_api::messages::PublishLimits;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Node;
use host::Hosts;
use limits::Limits;
use listen::Listener;
use metrics::HttpMetrics;

/// How a node serves HTTP; the limits are those of each port.
#[derive(Debug, Clone)]
pub struct Config {
    /// Hosts that requests may name besides the machine itself, the address they arrive at, and the address
    /// at which clients are told to reach this peer.
    pub hosts: Vec<String>,
    /// Connections at most.
    pub connections_max: usize,
    /// Requests under way at most, long polls included.
    pub requests_max: usize,
    /// Requests under way of one connection at most.
    pub connection_requests_max: usize,
    /// Partitions that subscriptions follow at most, counted for each subscription: below half of what the node
    /// takes, which is what it keeps for requests that wait.
    pub subscriptions_max: usize,
    /// Bytes of request bodies in memory at most.
    pub body_bytes_max: usize,
    /// Bytes of answers in memory at most, until their clients have read them.
    pub answer_bytes_max: usize,
    /// What one publish may hold.
    pub publish: PublishLimits,
    /// How long a request waits for its leader or its commit, in milliseconds.
    pub patience_ms: u32,
    /// How long a graceful shutdown waits for requests under way, in milliseconds.
    pub shutdown_patience_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            connections_max: 10_000,
            requests_max: 8_000,
            connection_requests_max: 256,
            subscriptions_max: 4_000,
            body_bytes_max: 256 << 20,
            answer_bytes_max: 512 << 20,
            publish: PublishLimits::default(),
            patience_ms: 10_000,
            shutdown_patience_ms: 10_000,
        }
    }
}

/// What every request may need.
#[derive(Debug)]
struct Shared {
    node: Arc<Node>,
    config: Config,
    hosts: Hosts,
    limits: Arc<Limits>,
    metrics: HttpMetrics,
    ready: ready::Latch,
    planner: outlook::Planner,
    spread: publish::Spread,
    feeds: feed::Feeds,
    /// Becomes true when the node is to end.
    closing: watch::Receiver<bool>,
}

/// Both ports, at work.
#[derive(Debug)]
pub struct Server {
    client_address: SocketAddr,
    admin_address: SocketAddr,
    closing: watch::Sender<bool>,
    tasks: JoinSet<()>,
    patience: Duration,
}

impl Server {
    /// Serves a node at these addresses; port 0 takes one that is free.
    ///
    /// # Errors
    /// When an address cannot be listened at.
    pub async fn start(
        node: Arc<Node>,
        config: Config,
        client: SocketAddr,
        admin: SocketAddr,
    ) -> io::Result<Self> {
        let bind = async |address: SocketAddr| {
            let bound = TcpListener::bind(address).await;
            bound
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen at {address}: {error}")))
        };
        let (client, admin) = (bind(client).await?, bind(admin).await?);
        let (client_address, admin_address) = (client.local_addr()?, admin.local_addr()?);
        let (closing, closed) = watch::channel(false);
        let patience = Duration::from_millis(config.shutdown_patience_ms);
        let hosts = Hosts::new(config.hosts.iter().map(String::as_str));
        let admin_limits = Arc::new(Limits::new(&config));
        let shared = Arc::new(Shared {
            limits: Arc::new(Limits::new(&config)),
            metrics: HttpMetrics::new(),
            ready: ready::Latch::default(),
            planner: outlook::Planner::default(),
            spread: publish::Spread::default(),
            feeds: feed::Feeds::default(),
            closing: closed,
            node,
            config,
            hosts,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(ready::watch(Arc::clone(&shared)));
        let client = Listener::new(client, "client", Arc::clone(&shared.limits), Arc::clone(&shared));
        tasks.spawn(client.run(router::clients(Arc::clone(&shared))));
        let admin = Listener::new(admin, "admin", Arc::clone(&admin_limits), Arc::clone(&shared));
        tasks.spawn(admin.run(router::administration(shared, admin_limits)));
        tracing::info!(client = %client_address, admin = %admin_address, "serving HTTP");
        Ok(Self { client_address, admin_address, closing, tasks, patience })
    }

    /// Where clients are served.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where the node is administered.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Takes no new connections, lets requests under way finish for a while, then ends.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.patience, all).await.is_err() {
            tracing::warn!("requests were still under way when the time to finish them was over");
        }
        self.tasks.shutdown().await;
    }
}

/// Waits until the node is to end.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that nobody can tell any more, which is an end too.
    let _closed = closing.wait_for(|closing| *closing).await;
}
