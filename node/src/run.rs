//! A whole peer process: arguments, logs, node and HTTP, until it is told to end.
//!
//! The binary `hcube-node` is this and nothing else; `hcube` runs the same in a subcommand of its own.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hcube_core::feature;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Secret;
use crate::http::{self, Server};
use crate::{Config, Node};

/// How long the process waits at its end for what blocks a thread.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What a peer is told on its command line or by its environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Its data; created where it does not exist
    #[arg(long, env = "HCUBE_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where clients are served
    #[arg(long, env = "HCUBE_CLIENT_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    pub client_listen: SocketAddr,
    /// Where other peers connect
    #[arg(long, env = "HCUBE_PEER_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:8100")]
    pub peer_listen: SocketAddr,
    /// Where it is administered
    #[arg(long, env = "HCUBE_ADMIN_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:8200")]
    pub admin_listen: SocketAddr,
    /// Where other peers reach this one, where that is not the address it listens at
    #[arg(long, env = "HCUBE_PEER_ADDRESS", value_name = "HOST:PORT")]
    pub peer_address: Option<String>,
    /// File with what all peers know and nobody else; mode 0600
    #[arg(long, env = "HCUBE_SECRET_FILE", value_name = "FILE")]
    pub secret_file: PathBuf,
    /// File with what administrators show; mode 0600
    #[arg(long, env = "HCUBE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
    /// Failure domain
    #[arg(long, env = "HCUBE_ZONE", default_value = "")]
    pub zone: String,
    /// Newest feature level to take part in; with an older one than this hcube's, older ones can still run
    #[arg(long, env = "HCUBE_FEATURE_LEVEL", value_name = "LEVEL", default_value_t = feature::NEWEST)]
    pub feature_level: u32,
    /// Further hosts that requests may name
    #[arg(long, env = "HCUBE_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub host: Vec<String>,
    /// Bytes of a segment of its log
    #[arg(long, env = "HCUBE_SEGMENT_BYTES", value_name = "BYTES", default_value_t = 64 << 20)]
    pub segment_bytes: u64,
    /// Write logs as JSON; RUST_LOG says which
    #[arg(long, env = "HCUBE_LOG_JSON")]
    pub log_json: bool,
}

impl Args {
    /// The configuration that the arguments stand for; reads both secrets.
    ///
    /// # Errors
    /// When a file cannot be read, or others than its owner may read it.
    pub fn config(&self) -> anyhow::Result<(Config, http::Config)> {
        let cluster_secret = Secret::from_file(&self.secret_file).context("the cluster secret")?;
        let admin_token = Secret::from_file(&self.token_file).context("the administration token")?;
        let config = Config {
            client_listen: self.client_listen,
            peer_listen: self.peer_listen,
            admin_listen: self.admin_listen,
            peer_address: self.peer_address.clone(),
            zone: self.zone.clone(),
            feature_level: self.feature_level,
            segment_bytes: self.segment_bytes,
            ..Config::new(&self.data_dir, cluster_secret, admin_token)
        };
        Ok((config, http::Config { hosts: self.host.clone(), ..http::Config::default() }))
    }
}

/// Runs a peer until SIGTERM or SIGINT, as the main function of a process: with a runtime and logs of its own.
///
/// # Errors
/// When it cannot start; see [`run`].
pub fn main_with(args: &Args) -> anyhow::Result<()> {
    start_logs(args.log_json);
    let (config, http) = args.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run(config, http, std::future::pending()));
    // A name that is still being looked up would otherwise hold up the end of the process until the resolver gives up.
    runtime.shutdown_timeout(END_PATIENCE);
    ended
}

/// Runs a peer until SIGTERM, SIGINT or the end given, then lets requests under way finish.
///
/// # Errors
/// When the data directory cannot be held or taken up, or an address cannot be listened at.
pub async fn run(config: Config, http: http::Config, end: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (client, admin) = (config.client_listen, config.admin_listen);
    let node = Arc::new(Node::start(config).await?);
    let server = Server::start(Arc::clone(&node), http, client, admin).await?;
    tokio::select! {
        _signal = terminate.recv() => tracing::info!("SIGTERM"),
        _signal = interrupt.recv() => tracing::info!("SIGINT"),
        () = end => tracing::info!("told to end"),
    }
    // While clients are still served, so that their publishes go on elsewhere without a pause.
    node.hand_off().await;
    server.shutdown().await;
    match alone(node).await {
        Some(node) => node.shutdown().await,
        // Dropped by whoever holds it last, the node ends as if it had been killed, which it survives.
        None => tracing::warn!("the node is still in use at its end"),
    }
    Ok(())
}

/// The node, once the connections that were cut off have let go of it.
async fn alone(mut node: Arc<Node>) -> Option<Node> {
    for _ in 0..100 {
        match Arc::try_unwrap(node) {
            Ok(node) => return Some(node),
            Err(shared) => node = shared,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

/// Writes logs to stderr, by `RUST_LOG` or at level info. Called again, it changes nothing.
pub fn start_logs(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call finds the first one's logs, which go on.
    let _already = if json { logs.json().try_init() } else { logs.try_init() };
}
