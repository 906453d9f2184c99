//! A hypercube of real peers, raised by `hcube local up` and taken down when dropped.

mod files;
mod http;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use reqwest::blocking::Client;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::answer;
use crate::process::Peer;
use crate::program::{self, Ran};

/// Ports of one peer lie so far apart: clients, other peers, administration.
const STRIDE: u16 = 100;
/// Base ports are taken from here, below the ports that the kernel hands out by itself.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// What to raise.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// N.
    pub peers: u16,
    /// S.
    pub slots: u16,
    /// R.
    pub replication: u8,
}

impl Shape {
    /// So many peers, 16 slots (fewer than usual, which saves time) and three replicas.
    #[must_use]
    pub fn of(peers: u16) -> Self {
        Self { peers, slots: 16, replication: 3 }
    }
}

/// A running hypercube.
#[derive(Debug)]
pub struct Cluster {
    /// What was raised.
    pub shape: Shape,
    /// The first client port.
    pub base_port: u16,
    /// Speaks to the peers.
    pub client: Client,
    dir: PathBuf,
    // Removed last; kept where a story failed.
    held: Option<TempDir>,
}

impl Cluster {
    /// Raises so many peers.
    ///
    /// # Panics
    /// When they cannot be raised.
    #[must_use]
    pub fn up(peers: u16) -> Self {
        Self::raise(Shape::of(peers), |_| {})
    }

    /// Raises a shape after the directory was prepared.
    ///
    /// # Panics
    /// When it cannot be raised.
    #[must_use]
    pub fn raise(shape: Shape, prepare: impl FnOnce(&Path)) -> Self {
        let held = tempfile::Builder::new().prefix("hcube-tests-").tempdir();
        let held = held.unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let dir = held.path().to_owned();
        prepare(&dir);
        let base_port = free_base_port(shape.peers);
        let cluster = Self { shape, base_port, client: answer::client(), dir, held: Some(held) };
        let numbers =
            [shape.peers, shape.slots, u16::from(shape.replication), base_port].map(|n| n.to_string());
        let [peers, slots, replication, port] = &numbers;
        let _shown = cluster
            .local(&[
                "up",
                "--peers",
                peers,
                "--slots",
                slots,
                "--replication",
                replication,
                "--base-port",
                port,
            ])
            .ok();
        cluster
    }

    /// Where the hypercube lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The vertices.
    #[must_use]
    pub fn vertices(&self) -> std::ops::Range<u16> {
        0..self.shape.peers
    }

    /// A vertex as a label.
    #[must_use]
    pub fn label(&self, vertex: u16) -> String {
        let digits = (u16::BITS - (self.shape.peers - 1).leading_zeros()).max(1) as usize;
        format!("{vertex:0digits$b}")
    }

    /// A label as a vertex.
    ///
    /// # Panics
    /// Where it is no label.
    #[track_caller]
    #[must_use]
    pub fn vertex(&self, label: &str) -> u16 {
        u16::from_str_radix(label, 2).unwrap_or_else(|error| panic!("{label:?}: {error}"))
    }

    /// Where clients reach a vertex.
    #[must_use]
    pub fn endpoint(&self, vertex: u16) -> String {
        format!("http://127.0.0.1:{}", self.base_port + vertex)
    }

    /// Where clients reach all vertices.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.vertices().map(|vertex| self.endpoint(vertex)).collect()
    }

    /// The port where other peers reach a vertex.
    #[must_use]
    pub fn peer_port(&self, vertex: u16) -> u16 {
        self.base_port + STRIDE + vertex
    }

    /// The port where a vertex is administered.
    #[must_use]
    pub fn admin_port(&self, vertex: u16) -> u16 {
        self.base_port + 2 * STRIDE + vertex
    }

    /// Runs `hcube local ...` in this directory.
    #[track_caller]
    #[must_use]
    pub fn local(&self, arguments: &[&str]) -> Ran {
        let mut command = program::command(&["local"]);
        command.args(arguments).arg("--dir").arg(&self.dir);
        program::run(command)
    }

    /// A command of `hcube` that knows all peers.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        program::with_peers(&self.endpoints(), arguments)
    }

    /// Runs `hcube ...` with all peers known to it.
    #[track_caller]
    #[must_use]
    pub fn hcube(&self, arguments: &[&str]) -> Ran {
        program::run(self.command(arguments))
    }

    /// Kills a peer: `kill -9`.
    ///
    /// # Panics
    /// When the command fails or the process is still there.
    #[track_caller]
    pub fn kill(&self, vertex: u16) {
        let peer = self.process(vertex);
        let _talk = self.local(&["stop", &self.label(vertex), "--kill"]).ok();
        assert!(!peer.runs(), "peer {} was not killed", self.label(vertex));
    }

    /// Starts a peer and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(&self, vertex: u16) {
        let _talk = self.local(&["start", &self.label(vertex)]).ok();
    }

    /// Tells a peer to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn stop(&self, vertex: u16) {
        let _talk = self.local(&["stop", &self.label(vertex)]).ok();
    }

    /// Lets so many peers join, and waits until they hold their share.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn grow(&mut self, count: u16) {
        let _talk = self.local(&["add", "--count", &count.to_string()]).ok();
        self.shape.peers += count;
    }

    /// Lets the peers at the highest vertices leave.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn shrink(&mut self, count: u16) {
        let _talk = self.local(&["remove", "--count", &count.to_string()]).ok();
        self.shape.peers -= count;
    }

    /// Removes the data of a peer that does not run.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn wipe(&self, vertex: u16) {
        let dir = self.data_dir(vertex);
        std::fs::remove_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }

    /// The node id of the peer at a vertex.
    ///
    /// # Panics
    /// When the hypercube has none there.
    #[track_caller]
    #[must_use]
    pub fn node_id(&self, vertex: u16) -> u64 {
        let cluster = self.get(0, "/v1/cluster").expect(200).json();
        let id = cluster["members"][usize::from(vertex)]["node_id"].as_u64();
        id.unwrap_or_else(|| panic!("no member at {vertex}: {cluster}"))
    }

    /// Takes all peers down, by SIGKILL or politely.
    ///
    /// # Panics
    /// When one does not end.
    #[track_caller]
    pub fn down(&self, kill: bool) {
        let _talk = self.local(if kill { &["down", "--kill"] } else { &["down"] }).ok();
    }

    /// Raises all peers again.
    ///
    /// # Panics
    /// When one does not become ready.
    #[track_caller]
    pub fn up_again(&self) {
        let _shown = self.local(&["up"]).ok();
    }

    /// The process of a peer that runs.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    #[must_use]
    pub fn process(&self, vertex: u16) -> Peer {
        let peers = self.processes();
        let peer = peers.get(usize::from(vertex)).cloned().flatten();
        peer.unwrap_or_else(|| panic!("peer {} does not run", self.label(vertex)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let peers: Vec<Peer> = self.processes().into_iter().flatten().collect();
        for peer in &peers {
            // A stopped process dies of SIGKILL too. That it has gone already is as good.
            let _ = peer.signal(Signal::KILL);
        }
        let began = std::time::Instant::now();
        while peers.iter().any(Peer::runs) && began.elapsed().as_secs() < 10 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if std::thread::panicking() {
            self.show_logs();
            if let Some(held) = self.held.take() {
                let _ = held.keep();
            }
        }
    }
}

/// A base port at which all ports of so many peers are free.
fn free_base_port(peers: u16) -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let stride = 3 * STRIDE;
    let places = (PORTS.end - PORTS.start) / stride;
    // Other test processes may look for ports at the same time; each begins elsewhere.
    let first = u16::try_from(std::process::id() % u32::from(places)).unwrap_or_default();
    for _ in 0..places {
        let place = first.wrapping_add(TURN.fetch_add(1, Ordering::Relaxed)) % places;
        let base = PORTS.start + place * stride;
        let mut all = (0..peers).flat_map(|vertex| (0..3).map(move |kind| base + kind * STRIDE + vertex));
        if all.all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return base;
        }
    }
    panic!("no {} free ports between {} and {}", 3 * peers, PORTS.start, PORTS.end)
}
