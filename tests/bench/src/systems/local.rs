//! A hypercube on this machine, raised by the program as a person would raise it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hcube_client::api::topics::CreateTopic;
use hcube_client::{Client, Name};
use serde_json::Value;

use crate::servers::{Server, Servers, is_free};

/// Ports of a peer lie so far apart: clients, other peers, administration.
const STRIDE: u16 = 100;
/// Base ports are taken from here, below the ports that the kernel hands out by itself.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// Topics that are made at once.
const AT_ONCE: usize = 16;
/// How long a topic is tried to be made.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running hypercube.
#[derive(Debug)]
pub struct Hypercube {
    /// Its processes, by vertex.
    pub servers: Servers,
    /// When they were started.
    pub started: Instant,
    /// Where peers serve clients.
    pub endpoints: Vec<String>,
    /// For what is not measured.
    pub client: Client,
}

impl Hypercube {
    /// Raises so many peers by the program `hcube`, with its defaults.
    ///
    /// # Errors
    /// When the program says so.
    pub async fn raise(program: &Path, dir: &Path, peers: u16) -> Result<Self> {
        // Not on another thread: were this given up meanwhile, peers would run of which nobody here knows, and their
        // folder would go first.
        tokio::task::block_in_place(|| Self::raise_here(program, dir, peers))
    }

    fn raise_here(program: &Path, dir: &Path, peers: u16) -> Result<Self> {
        let base_port = free_base_port(peers)?;
        let mut command = Command::new(program);
        command.args(["local", "up", "--output", "json", "--peers", &peers.to_string()]);
        command.args(["--base-port", &base_port.to_string(), "--dir"]).arg(dir.join("hypercube"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HCUBE_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        // Ctrl-C is for us: it comes to its end, and what it has started is known and ended here.
        command.process_group(0);
        let started = Instant::now();
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot run {}; set HCUBE_BIN", program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Whatever runs is taken hold of first, so that it ends also where not all came up.
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let mut servers = Servers::default();
        let mut endpoints = Vec::new();
        for peer in status["peers"].as_array().into_iter().flatten() {
            if let Some(pid) = peer["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
                servers.0.push(Server::of(pid)?);
            }
            endpoints.extend(peer["endpoint"].as_str().map(str::to_owned));
        }
        ensure!(output.status.success(), "hcube local up: {said}");
        ensure!(servers.0.len() == usize::from(peers), "{} of {peers} peers run: {said}", servers.0.len());
        let urls = endpoints.iter().map(|endpoint| endpoint.parse());
        let client = Client::new(urls.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Self { servers, started, endpoints, client })
    }

    /// Makes topics of one partition.
    ///
    /// # Errors
    /// When one cannot be made.
    pub async fn create_topics(&self, names: &[String]) -> Result<()> {
        for some in names.chunks(AT_ONCE) {
            let mut tasks = tokio::task::JoinSet::new();
            for name in some {
                let (client, name) = (self.client.clone(), name.parse::<Name>()?);
                tasks.spawn(async move { create_topic(&client, &name).await });
            }
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
        }
        Ok(())
    }

    /// The vertex that leads the topic's only partition.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn leader(&self, topic: &str) -> Result<usize> {
        let described = self.client.describe_topic(&topic.parse()?).await?;
        let leader = described.partitions.first().and_then(|partition| partition.leader.as_ref());
        Ok(usize::from(leader.context("nobody leads the topic")?.vertex().0))
    }
}

async fn create_topic(client: &Client, name: &Name) -> Result<()> {
    let began = Instant::now();
    loop {
        match client.create_topic(name, &CreateTopic::default()).await {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("topic {name}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A base port at which all ports of so many peers are free.
fn free_base_port(peers: u16) -> Result<u16> {
    let places = (PORTS.end - PORTS.start) / (3 * STRIDE);
    // Others may look for ports at the same time; each process begins elsewhere.
    let first = u16::try_from(std::process::id() % u32::from(places)).unwrap_or_default();
    for turn in 0..places {
        let base = PORTS.start + (first + turn) % places * 3 * STRIDE;
        let mut all = (0..peers).flat_map(|vertex| (0..3).map(move |kind| base + kind * STRIDE + vertex));
        if all.all(is_free) {
            return Ok(base);
        }
    }
    bail!("no {} free ports between {} and {}", 3 * peers, PORTS.start, PORTS.end)
}

/// What the program says of its version.
#[must_use]
pub fn version(program: &PathBuf) -> String {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
