//! A node from start to end: its data directory, its founding or joining, its engine and its links.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hcube_core::ids::{ClusterId, Incarnation};
use hcube_core::meta::{self, Founder, GenesisError, Meta};
use hcube_log::disk::{LockError, RealDisk};
use hcube_log::identity::Membership;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use crate::config::{self, Config};
use crate::engine::{self, Engine};
use crate::founding;
use crate::handle::Handle;
use crate::links::{Bound, Introduction, Links, Setup};
use crate::metrics::Metrics;

/// How often a shutdown looks whether the last requests are answered.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long a shutdown waits for others to lead what this node leads: an election would not take longer.
const HAND_OFF_PATIENCE: Duration = Duration::from_secs(2);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The data directory cannot be held.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another process listens there, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The disk does not say whose it is, or cannot be founded.
    #[error(transparent)]
    Founding(#[from] founding::Error),
    /// The log cannot be taken up.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The node was shut down meanwhile.
    #[error("the node has been shut down")]
    Ended,
}

/// Why a node does not found a hypercube.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The founders or the figures cannot make one.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// This node cannot be one of its founders.
    #[error(transparent)]
    Founding(#[from] founding::Error),
    /// It was founded and cannot go on.
    #[error(transparent)]
    Start(StartError),
}

/// The call that founds a hypercube, made to exactly one of its founders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Names the hypercube for ever.
    pub cluster: ClusterId,
    /// Every first peer.
    pub founders: Vec<Founder>,
    /// S, a power of two.
    pub slots: u16,
    /// R: 1, 3, 5 or 7.
    pub replication: u8,
}

/// A running node. Dropped without [`Node::shutdown`] it ends as if its process had been killed.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    peer_address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    incarnation: Incarnation,
    metrics: Arc<Metrics>,
    links: Links,
    state: Mutex<State>,
    /// The handle, from the moment there is one.
    founded: watch::Sender<Option<Handle>>,
    /// Whether others were asked to lead what this node leads, which happens once.
    handed_off: AtomicBool,
}

#[derive(Debug)]
enum State {
    /// The disk belongs to no hypercube.
    Unbound(RealDisk),
    Running(Engine),
    Ended,
}

impl Node {
    /// Holds the data directory, listens for peers, and takes up what the disk holds.
    ///
    /// # Errors
    /// When any of this is not possible; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let data_dir = config.data_dir.clone();
        let (disk, identity) = blocking(move || {
            let disk = RealDisk::open(data_dir)?;
            let identity = founding::identity(&disk, Incarnation(rand::random()))?;
            Ok::<_, StartError>((disk, identity))
        })
        .await?;
        let address = config.peer_listen;
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let peer_address = listener.local_addr().map_err(listen)?;
        let metrics = Arc::new(Metrics::new());
        let (links, introductions) = Links::new(Setup {
            secret: config.cluster_secret.clone(),
            incarnation: identity.incarnation,
            feature_level: config.feature_level,
            address: announced(&config, peer_address),
            source: source(address),
            bytes_max: config.link_bytes_max,
            metrics: Arc::clone(&metrics),
        });
        tracing::info!(incarnation = %identity.incarnation, peers = %peer_address, "node started");
        let shared = Arc::new(Shared {
            config,
            incarnation: identity.incarnation,
            metrics,
            links: links.clone(),
            state: Mutex::new(State::Unbound(disk.clone())),
            founded: watch::Sender::new(None),
            handed_off: AtomicBool::new(false),
        });
        if let Some(member) = identity.member {
            let mut state = shared.state.lock().await;
            shared.run(&mut state, disk, member).await?;
        }
        let tasks = vec![
            tokio::spawn(links.run(listener)),
            tokio::spawn(introduced_by_peers(Arc::clone(&shared), introductions)),
        ];
        Ok(Self { shared, peer_address, tasks })
    }

    /// Names this disk.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// Where other peers connect.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// What the node was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The node's metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The way to ask the peer for something; none before the node is founded.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.shared.founded.borrow().clone()
    }

    /// Waits until the node belongs to a hypercube.
    pub async fn founded(&self) -> Handle {
        let mut founded = self.shared.founded.subscribe();
        loop {
            if let Some(handle) = founded.borrow_and_update().clone() {
                return handle;
            }
            // The sender lives as long as this node.
            if founded.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Founds a hypercube, or joins this node to the one of that name as the founder it is listed as.
    ///
    /// The other founders are told by this node, whenever they can be reached. Repeating the call changes
    /// nothing, and giving up on it does not stop it.
    ///
    /// # Errors
    /// When the founders cannot make a hypercube, or this node is not one of them or belongs to another.
    pub async fn bootstrap(&self, call: Bootstrap) -> Result<Handle, BootstrapError> {
        let Bootstrap { cluster, founders, slots, replication } = call;
        let mut genesis = meta::genesis(cluster, founders, slots, replication)?;
        genesis.feature_level = self.shared.config.feature_level;
        let shared = Arc::clone(&self.shared);
        let founding =
            tokio::spawn(async move { shared.become_member(Introduction::Genesis(genesis)).await });
        match founding.await {
            Ok(Ok(handle)) => Ok(handle),
            Ok(Err(StartError::Founding(error))) => Err(BootstrapError::Founding(error)),
            Ok(Err(error)) => Err(BootstrapError::Start(error)),
            Err(_runtime_ends) => Err(BootstrapError::Start(StartError::Ended)),
        }
    }

    /// The metadata that this node was founded with; none before that, and where it was invited.
    #[must_use]
    pub(crate) fn genesis(&self) -> Option<Meta> {
        // It was decoded when it was read.
        self.shared.links.genesis().and_then(|encoded| Meta::decode(encoded).ok())
    }

    /// Lets others lead what this node leads, which clients then hardly notice; for a node that is about to be shut
    /// down. Waits two seconds at most, and nothing more happens when called again.
    pub async fn hand_off(&self) {
        let Some(handle) = self.handle() else { return };
        if self.shared.handed_off.swap(true, Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let left = handle.hand_off(HAND_OFF_PATIENCE).await;
        tracing::info!(took_ms = began.elapsed().as_millis(), left, "leadership handed over");
    }

    /// Hands its leadership over, takes no more requests, waits a while for those under way, writes what is to be
    /// written, and ends.
    ///
    /// Requests that are still under way then have an unknown outcome.
    pub async fn shutdown(mut self) {
        self.hand_off().await;
        if let Some(handle) = self.handle() {
            handle.close();
            let patience = Duration::from_millis(self.shared.config.shutdown_patience_ms);
            let began = Instant::now();
            while handle.requests_under_way() > 0 && began.elapsed() < patience {
                sleep(DRAIN_LOOK).await;
            }
            // The links still carry the last answers.
            sleep(DRAIN_LOOK).await;
        }
        for task in self.tasks.drain(..) {
            task.abort();
            // It ends by being aborted.
            let _aborted = task.await;
        }
        let state = std::mem::replace(&mut *self.shared.state.lock().await, State::Ended);
        blocking(move || match state {
            State::Running(engine) => engine.stop(),
            State::Unbound(_) | State::Ended => {}
        })
        .await;
        tracing::info!("node ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    /// Makes this node the member that a genesis or an invitation says it is, unless it is that already.
    async fn become_member(&self, introduction: Introduction) -> Result<Handle, StartError> {
        let mut state = self.state.lock().await;
        let disk = match &*state {
            State::Unbound(disk) => disk.clone(),
            State::Running(engine) => {
                let handle = engine.handle();
                let (bound, asked) = (handle.cluster(), introduction.cluster());
                return if bound == asked {
                    Ok(handle.clone())
                } else {
                    Err(founding::Error::OtherCluster { bound, asked }.into())
                };
            }
            State::Ended => return Err(StartError::Ended),
        };
        let (log, on_disk) = (self.config.log(), disk.clone());
        let member = blocking(move || match introduction {
            Introduction::Genesis(genesis) => {
                let member = founding::found(&on_disk, log, &genesis)?;
                tracing::info!(cluster = %member.cluster, node = %member.node, "founded");
                Ok::<_, founding::Error>(member)
            }
            Introduction::Invitation(invitation) => {
                let member = founding::join(&on_disk, log, &invitation)?;
                tracing::info!(cluster = %member.cluster, node = %member.node, "joined");
                Ok(member)
            }
        })
        .await?;
        self.run(&mut state, disk, member).await
    }

    /// Starts the engine of a member, and lets the links serve it.
    async fn run(&self, state: &mut State, disk: RealDisk, member: Membership) -> Result<Handle, StartError> {
        let (config, links, metrics) = (self.config.clone(), self.links.clone(), Arc::clone(&self.metrics));
        let (engine, genesis) = blocking(move || {
            let engine = Engine::start(&config, &disk, member, links, &metrics)?;
            Ok::<_, engine::Error>((engine, founding::load_genesis(&disk)))
        })
        .await?;
        let genesis = genesis.unwrap_or_else(|error| {
            tracing::warn!(%error, "this node goes on, but cannot found others");
            None
        });
        let handle = engine.handle().clone();
        let (meta, inputs) = (engine.meta(), engine.inputs().clone());
        self.links.bind(Bound { member, genesis, meta, inputs });
        *state = State::Running(engine);
        self.founded.send_replace(Some(handle.clone()));
        Ok(handle)
    }
}

/// Where others are told to reach this node: not at an address that means another machine on each.
fn announced(config: &Config, listening: SocketAddr) -> String {
    match &config.peer_address {
        Some(address) => address.clone(),
        None if listening.ip().is_unspecified() => String::new(),
        None => listening.to_string(),
    }
}

/// From where other peers are dialled: the address that they know, unless this node listens at all it has.
fn source(listen: SocketAddr) -> Option<SocketAddr> {
    (!listen.ip().is_unspecified()).then(|| {
        let mut source = listen;
        source.set_port(0);
        source
    })
}

/// Takes every genesis and every invitation that a member sends.
async fn introduced_by_peers(shared: Arc<Shared>, mut introductions: mpsc::Receiver<Introduction>) {
    while let Some(introduction) = introductions.recv().await {
        let cluster = introduction.cluster();
        if let Err(error) = shared.become_member(introduction).await {
            tracing::error!(%cluster, %error, "what a member sent does not make this node one");
        }
    }
}

/// Runs something that may take long where that harms nobody.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(run).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being taken down, and this future with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
