//! TCP links between peers: a listener, a dialer for each peer that is wanted, and who can be reached.
//!
//! A link opens with a mutual challenge over the cluster secret ([`handshake`]); not one byte of Raft is parsed
//! before both sides have passed it. Then each side's [`hello::Hello`] says who it is, and [`admission`]
//! compares that with the metadata. After the handshake the bytes are checked against accidents but neither
//! encrypted nor signed: the network between peers is trusted not to alter them.
//!
//! Both peers of a pair dial, so that one address that works suffices. Each sends over the link it dialled
//! while that is up. A link ends when the metadata says that its peer has left the hypercube.
//!
//! A peer that belongs to no hypercube dials nobody. A member that finds its disk in the metadata tells it who it
//! is: a founder gets the genesis, everybody else an invitation.

mod admission;
mod connection;
mod dialer;
mod handshake;
mod hello;
mod listener;
mod outbox;
mod table;
mod wanted;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hcube_broker::Frame;
use hcube_broker::start::Invitation;
use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_core::meta::Meta;
use hcube_log::identity::Membership;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::config::Secret;
use crate::engine::Inputs;
use crate::founding::Genesis;
use crate::metrics::Metrics;

use hello::Hello;
use table::Table;

pub use wanted::wanted;

/// How long the two sides of a new connection may take to prove themselves.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to tell a peer who it is: with the metadata of a large hypercube, over a slow network.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The links of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    shared: Arc<Shared>,
}

/// What the links know of their node.
#[derive(Debug)]
struct Shared {
    secret: Secret,
    incarnation: Incarnation,
    feature_level: u32,
    /// Where others reach this node.
    address: String,
    source: Option<SocketAddr>,
    bytes_max: usize,
    metrics: Arc<Metrics>,
    /// None as long as the node belongs to no hypercube.
    bound: watch::Sender<Option<Arc<Bound>>>,
    table: Table,
    /// Where peers said they are reached, when they connected last.
    announced: Mutex<BTreeMap<NodeId, String>>,
    /// Where goes what a member sent to make this node one.
    introductions: mpsc::Sender<Introduction>,
}

/// What makes a node a member.
#[derive(Debug)]
pub(crate) enum Introduction {
    /// The hypercube begins, and the node is one of its founders.
    Genesis(Meta),
    /// The hypercube exists, and the node joins it.
    Invitation(Invitation),
}

impl Introduction {
    /// Which hypercube.
    pub fn cluster(&self) -> ClusterId {
        match self {
            Self::Genesis(genesis) => genesis.cluster,
            Self::Invitation(invitation) => invitation.cluster,
        }
    }
}

/// A node that belongs to a hypercube.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Its place.
    pub member: Membership,
    /// What founders that are late are sent; none where this node is no founder, or the file is lost.
    pub genesis: Option<Genesis>,
    /// The members, as this node has applied them.
    pub meta: watch::Receiver<Arc<Meta>>,
    /// The way to the core.
    pub inputs: Inputs,
}

/// What the links are told when they are made.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What all peers know.
    pub secret: Secret,
    /// This disk.
    pub incarnation: Incarnation,
    /// The newest feature level that this node lets itself know.
    pub feature_level: u32,
    /// Where others reach this node, `host:port`; empty when they had better use what the metadata says.
    pub address: String,
    /// From where this node dials, with port 0; none for whatever address the system takes.
    pub source: Option<SocketAddr>,
    /// Bytes that may wait for one link.
    pub bytes_max: usize,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Links {
    /// Links of a node that belongs to no hypercube yet, and where arrives what a member sends to make it one.
    pub fn new(setup: Setup) -> (Self, mpsc::Receiver<Introduction>) {
        // One is enough: a second that arrives before the first is taken makes it the same member or is refused.
        let (introductions, arrived) = mpsc::channel(1);
        let Setup { secret, incarnation, feature_level, address, source, bytes_max, metrics } = setup;
        let shared = Shared {
            secret,
            incarnation,
            feature_level,
            address,
            source,
            bytes_max,
            metrics,
            bound: watch::Sender::new(None),
            table: Table::default(),
            announced: Mutex::default(),
            introductions,
        };
        (Self { shared: Arc::new(shared) }, arrived)
    }

    /// The genesis, encoded, that this node was founded with; none before that, and where it was invited.
    pub fn genesis(&self) -> Option<Bytes> {
        Some(self.shared.bound()?.genesis.as_ref()?.encoded.clone())
    }

    /// From now on the node is a member: others are dialled, and frames go to the core.
    pub fn bind(&self, bound: Bound) {
        self.shared.bound.send_replace(Some(Arc::new(bound)));
    }

    /// Accepts and dials, until the future is dropped.
    pub async fn run(self, listener: TcpListener) {
        tokio::join!(
            listener::run(Arc::clone(&self.shared), listener),
            dialer::run(Arc::clone(&self.shared))
        );
    }

    /// Sends a frame, if the peer can be reached and has room. Never waits.
    pub fn send(&self, to: NodeId, frame: Frame) {
        self.shared.table.send(to, frame, &self.shared.metrics);
    }
}

impl Shared {
    fn bound(&self) -> Option<Arc<Bound>> {
        self.bound.borrow().clone()
    }

    /// Who this node is, now.
    fn hello(&self) -> Hello {
        Hello {
            feature_level: self.feature_level,
            incarnation: self.incarnation,
            member: self.bound().map(|bound| bound.member),
            address: self.address.clone(),
        }
    }

    fn announce(&self, node: NodeId, address: String) {
        if address.is_empty() {
            return;
        }
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).insert(node, address);
    }

    fn announced(&self, node: NodeId) -> Option<String> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }
}
