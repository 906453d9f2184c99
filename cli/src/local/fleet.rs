//! The peers of a local hypercube: started, founded, waited for, stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hcube_core::cube::Cube;
use hcube_core::ids::{ClusterId, Vertex};
use hcube_core::limits;
use rustix::process::Signal;

use super::admin::{self, Admin};
use super::home::{Change, Home, State};
use super::ports::{Network, Ports};
use super::process::Process;
use crate::admin::Admins;

mod enrolment;
mod founding;
mod members;

pub use enrolment::Started;
pub use members::{PACE, Step, Stepped, left};

/// Bytes of a log segment: small, because a zero-filled 64 MiB for each of many peers would fill a laptop's disk.
const SEGMENT_BYTES: u64 = 16 << 20;
/// How long a peer may take to end when asked to.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// How often a state that is waited for is looked at.
const POLL: Duration = Duration::from_millis(30);
/// Lines of a peer's log that an error quotes.
const QUOTED_LINES: usize = 5;

/// What a person asked `up` for; what is left out is as it was, or the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// N.
    pub peers: Option<u16>,
    /// S.
    pub slots: Option<u16>,
    /// R.
    pub replication: Option<u8>,
    /// The first client port.
    pub base_port: Option<u16>,
}

/// Whether peers outlive the command that started them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// They do, until `down`.
    Detached,
    /// They end with it, however it ends.
    Ours,
}

/// A local hypercube, held by this command.
#[derive(Debug)]
pub struct Fleet {
    home: Home,
    state: State,
    lifetime: Lifetime,
    network: Network,
    stopped: BTreeSet<Vertex>,
    children: BTreeMap<Vertex, Child>,
}

impl Fleet {
    /// The hypercube of a directory that has one.
    pub async fn open(dir: &Path) -> anyhow::Result<Self> {
        let home = Home::open(dir).await?;
        let state = home.load()?.context("the hypercube has just been removed")?;
        Ok(Self::of(home, state, Lifetime::Detached))
    }

    /// The hypercube of a directory, a new one where it has none.
    pub async fn open_or_create(dir: &Path, wish: Wish, lifetime: Lifetime) -> anyhow::Result<Self> {
        let home = Home::create(dir).await?;
        let state = match home.load()? {
            // What never came so far that a peer wrote something is no hypercube yet.
            Some(state) if state.founded || home.has_data(&state) => {
                agree(&state, wish).with_context(|| format!("{} holds another hypercube", dir.display()))?;
                state
            }
            _ => State::new(
                wish.peers.unwrap_or(8),
                wish.slots.unwrap_or(limits::SLOTS_DEFAULT),
                wish.replication.unwrap_or(limits::REPLICATION_DEFAULT),
                wish.base_port.unwrap_or(8000),
            ),
        };
        home.make_secrets()?;
        home.store(&state)?;
        Ok(Self::of(home, state, lifetime))
    }

    fn of(home: Home, state: State, lifetime: Lifetime) -> Self {
        let (network, stopped, children) = (Network::Direct, BTreeSet::new(), BTreeMap::new());
        Self { home, state, lifetime, network, stopped, children }
    }

    /// The same with somebody between its peers, who listens where they are announced.
    pub fn proxied(self) -> Self {
        Self { network: Network::Proxied, ..self }
    }

    /// Lets other commands work on the hypercube, while this one waits for something.
    pub fn release(&mut self) {
        self.home.release();
    }

    /// Takes the hypercube again, with what others have changed meanwhile.
    pub async fn retake(&mut self) -> anyhow::Result<()> {
        self.home.retake().await?;
        self.state = self.home.load()?.context("the hypercube has just been removed")?;
        Ok(())
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        self.home.dir()
    }

    /// Its name.
    pub fn cluster_id(&self) -> ClusterId {
        self.state.cluster_id
    }

    /// Its labels.
    pub fn cube(&self) -> Cube {
        self.state.cube()
    }

    /// The vertex that a person means by a label or a number.
    pub fn vertex(&self, text: &str) -> anyhow::Result<Vertex> {
        self.state.vertex(text)
    }

    /// A vertex's label.
    pub fn label(&self, vertex: Vertex) -> String {
        self.cube().label(vertex)
    }

    /// A vertex's addresses.
    pub fn ports(&self, vertex: Vertex) -> Ports {
        Ports::new(self.state.base_port, vertex, self.network)
    }

    /// Where clients reach a vertex.
    pub fn endpoint(&self, vertex: Vertex) -> String {
        format!("http://{}", self.ports(vertex).client)
    }

    /// Where clients reach all vertices.
    pub fn endpoints(&self) -> Vec<String> {
        self.cube().vertices().map(|vertex| self.endpoint(vertex)).collect()
    }

    /// Where a vertex keeps its log.
    pub fn log_file(&self, vertex: Vertex) -> std::path::PathBuf {
        self.home.log_file(&self.state.file_name(vertex))
    }

    /// Where a vertex keeps its data.
    pub fn data_dir(&self, vertex: Vertex) -> std::path::PathBuf {
        self.home.data_dir(&self.state.file_name(vertex))
    }

    /// What is under way.
    pub fn change(&self) -> Option<Change> {
        self.state.change
    }

    /// The administration of the hypercube, through any peer that runs but this one.
    pub fn admins(&self, but: Option<Vertex>) -> anyhow::Result<Admins> {
        let others = self.answering().filter(|vertex| Some(*vertex) != but);
        Admin::new(&self.home.token_file())?.any(others.map(|vertex| self.ports(vertex).admin))
    }

    /// The labels of the peers that do not run.
    pub fn down_labels(&self) -> Vec<String> {
        let down = self.cube().vertices().filter(|vertex| self.running(*vertex).is_none());
        down.map(|vertex| self.label(vertex)).collect()
    }

    /// The process of a vertex that runs.
    pub fn running(&self, vertex: Vertex) -> Option<&Process> {
        self.state.peers.get(usize::from(vertex.0))?.as_ref().filter(|process| process.is_running())
    }

    /// Whether a vertex is ready.
    pub async fn is_ready(&self, vertex: Vertex) -> bool {
        admin::is_ready(self.ports(vertex).client).await
    }

    /// Starts every peer that does not run, founds the hypercube if need be, waits until all are ready.
    /// What was started is stopped again where that fails.
    pub async fn up(&mut self) -> anyhow::Result<Vec<Started>> {
        let missing: Vec<Vertex> =
            self.cube().vertices().filter(|vertex| self.running(*vertex).is_none()).collect();
        let raised = self.raise(&missing).await;
        if raised.is_err() {
            // The first error is the one to tell; what went wrong cleaning up after it follows from it.
            if self.retake().await.is_ok() {
                let _ = self.end(&missing, Signal::TERM).await;
            }
        }
        raised
    }

    /// Starts one peer where it does not run, and waits until it takes part. The directory is free meanwhile.
    pub async fn start(&mut self, vertex: Vertex) -> anyhow::Result<Started> {
        self.launch(vertex)?;
        self.release();
        self.take_part(vertex).await
    }

    /// Starts one peer where it does not run, and waits for nothing.
    pub fn launch(&mut self, vertex: Vertex) -> anyhow::Result<()> {
        if self.running(vertex).is_some() { Ok(()) } else { self.spawn_all(&[vertex]) }
    }

    /// Kills one peer and removes its data.
    pub async fn wipe(&mut self, vertex: Vertex) -> anyhow::Result<()> {
        self.end(&[vertex], Signal::KILL).await?;
        self.home.remove_data(&self.state.file_name(vertex))
    }

    /// Sends a signal to a peer; whether it ran.
    pub fn signal(&mut self, vertex: Vertex, signal: Signal) -> anyhow::Result<bool> {
        if signal == Signal::STOP {
            self.stopped.insert(vertex);
        } else {
            self.stopped.remove(&vertex);
        }
        let Some(process) = self.running(vertex) else { return Ok(false) };
        process.signal(signal).with_context(|| format!("cannot signal peer {}", self.label(vertex)))
    }

    /// The peers that run, and were not stopped by [`Fleet::signal`]: those that can be asked.
    fn answering(&self) -> impl Iterator<Item = Vertex> {
        let runs = |vertex: &Vertex| self.running(*vertex).is_some() && !self.stopped.contains(vertex);
        self.cube().vertices().filter(runs)
    }

    /// Ends one peer; whether it ran.
    pub async fn stop(&mut self, vertex: Vertex, kill: bool) -> anyhow::Result<bool> {
        let ran = self.running(vertex).is_some();
        self.end(&[vertex], if kill { Signal::KILL } else { Signal::TERM }).await?;
        Ok(ran)
    }

    /// Ends all peers; how many ran.
    pub async fn down(&mut self, kill: bool) -> anyhow::Result<usize> {
        let all: Vec<Vertex> = self.cube().vertices().collect();
        let ran = all.iter().filter(|vertex| self.running(**vertex).is_some()).count();
        self.end(&all, if kill { Signal::KILL } else { Signal::TERM }).await?;
        Ok(ran)
    }

    /// Removes everything of a hypercube that is down.
    pub fn clean(self) -> anyhow::Result<()> {
        if let Some(vertex) = self.cube().vertices().find(|vertex| self.running(*vertex).is_some()) {
            bail!("peer {} still runs; `hcube local down` first", self.label(vertex));
        }
        self.home.clean(&self.state)
    }

    /// Gives the directory back, and hands over the processes that were started, by label.
    pub fn into_children(self) -> BTreeMap<String, Child> {
        let cube = self.cube();
        self.children.into_iter().map(|(vertex, child)| (cube.label(vertex), child)).collect()
    }

    async fn raise(&mut self, missing: &[Vertex]) -> anyhow::Result<Vec<Started>> {
        self.spawn_all(missing)?;
        if !self.state.founded {
            self.found().await?;
        }
        self.release();
        let mut all: Vec<Vertex> = self.cube().vertices().collect();
        if self.state.change.is_some() {
            // The last one comes or goes, and whoever carries that on waits for it.
            all.pop();
        }
        self.all_take_part(&all).await
    }

    fn spawn_all(&mut self, vertices: &[Vertex]) -> anyhow::Result<()> {
        for &vertex in vertices {
            self.ports(vertex).check_free(&self.label(vertex))?;
        }
        for &vertex in vertices {
            let child = self.spawn(vertex)?;
            self.stopped.remove(&vertex);
            let process = Process::of(child.id());
            self.state.peers[usize::from(vertex.0)] = process;
            self.children.insert(vertex, child);
            // At once, so that no peer runs unknown to the next command.
            self.home.store(&self.state)?;
        }
        Ok(())
    }

    fn spawn(&self, vertex: Vertex) -> anyhow::Result<Child> {
        let ports = self.ports(vertex);
        let path = self.log_file(vertex);
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let program = std::env::current_exe().context("cannot find the running program")?;
        let mut command = Command::new(&program);
        command.args(["node", "run"]);
        command.arg("--data-dir").arg(self.data_dir(vertex));
        command.arg("--client-listen").arg(ports.client.to_string());
        command.arg("--peer-listen").arg(ports.peer_listen.to_string());
        command.arg("--admin-listen").arg(ports.admin.to_string());
        command.arg("--secret-file").arg(self.home.secret_file());
        command.arg("--token-file").arg(self.home.token_file());
        command.arg("--segment-bytes").arg(SEGMENT_BYTES.to_string());
        if self.network == Network::Proxied {
            command.arg("--peer-address").arg(ports.peer.to_string());
        }
        command.stdout(log.try_clone()?).stderr(log);
        match self.lifetime {
            Lifetime::Detached => command.stdin(Stdio::null()),
            Lifetime::Ours => command.arg("--end-with-stdin").stdin(Stdio::piped()),
        };
        // What the environment says is for a peer that is started by itself; here every peer differs.
        for variable in ["HCUBE_PEER_ADDRESS", "HCUBE_ZONE"] {
            command.env_remove(variable);
        }
        // A Ctrl-C at the terminal is for this command, which ends its peers itself where it should.
        command.process_group(0);
        command.spawn().with_context(|| format!("cannot start {}", program.display()))
    }

    /// Waits a moment for a peer, which must still be there.
    async fn pause(&self, vertex: Vertex) -> anyhow::Result<()> {
        if self.running(vertex).is_none() {
            bail!(self.failure(vertex, "has ended"));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// What to say of a peer that failed: where its log is, and how that ends.
    pub fn failure(&self, vertex: Vertex, what: &str) -> String {
        let path = self.log_file(vertex);
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let mut text = format!("peer {} {what}; its log is {}", self.label(vertex), path.display());
        for line in &lines[lines.len().saturating_sub(QUOTED_LINES)..] {
            text.push_str("\n  | ");
            text.push_str(line);
        }
        text
    }

    /// Signals all of them, then waits for each; one that does not end when asked to is killed.
    async fn end(&mut self, vertices: &[Vertex], signal: Signal) -> anyhow::Result<()> {
        for &vertex in vertices {
            if let Some(process) = self.running(vertex) {
                process
                    .signal(signal)
                    .with_context(|| format!("cannot signal peer {}", self.label(vertex)))?;
            }
        }
        let deadline = Instant::now() + END_PATIENCE;
        for &vertex in vertices {
            if let Some(process) = self.state.peers[usize::from(vertex.0)].clone() {
                let patience = deadline.saturating_duration_since(Instant::now());
                if !process.ends_within(patience).await {
                    process.signal(Signal::KILL)?;
                    if !process.ends_within(END_PATIENCE).await {
                        bail!("peer {} (process {}) does not end", self.label(vertex), process.pid);
                    }
                }
            }
            if let Some(mut child) = self.children.remove(&vertex) {
                // It has ended, so this returns at once and leaves no zombie.
                child.wait()?;
            }
            self.state.peers[usize::from(vertex.0)] = None;
        }
        self.home.store(&self.state)
    }
}

/// Refuses to change what is fixed when a hypercube is founded.
fn agree(state: &State, wish: Wish) -> anyhow::Result<()> {
    let peers = u16::try_from(state.peers.len()).expect("a local hypercube has at most 64 peers");
    let settings = [
        ("peers", wish.peers.map(u64::from), u64::from(peers)),
        ("slots", wish.slots.map(u64::from), u64::from(state.slots)),
        ("replication", wish.replication.map(u64::from), u64::from(state.replication)),
        ("base-port", wish.base_port.map(u64::from), u64::from(state.base_port)),
    ];
    for (name, wished, has) in settings {
        if let Some(wished) = wished.filter(|wished| *wished != has) {
            bail!(
                "its --{name} is {has}, not {wished}; choose another --dir, or remove it by `hcube local clean`{}",
                if name == "peers" { ", or change it by `hcube local add` and `remove`" } else { "" }
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypercube_is_raised_again_with_what_it_was_founded_with() {
        let state = State::new(4, 16, 3, 9000);
        assert!(agree(&state, Wish::default()).is_ok());
        assert!(agree(&state, Wish { peers: Some(4), slots: Some(16), ..Wish::default() }).is_ok());
        let error = agree(&state, Wish { peers: Some(8), ..Wish::default() }).unwrap_err();
        assert!(error.to_string().starts_with("its --peers is 4, not 8"), "{error}");
        assert!(agree(&state, Wish { base_port: Some(8000), ..Wish::default() }).is_err());
    }

    #[tokio::test]
    async fn a_directory_keeps_its_hypercube() {
        let dir = tempfile::tempdir().unwrap();
        let open = |peers| {
            let wish = Wish { peers, ..Wish::default() };
            Fleet::open_or_create(dir.path(), wish, Lifetime::Ours)
        };
        let fleet = open(Some(2)).await.unwrap();
        let id = fleet.cluster_id();
        std::fs::create_dir(fleet.data_dir(Vertex(1))).unwrap();
        drop(fleet);
        let fleet = open(None).await.unwrap();
        assert_eq!((fleet.cluster_id(), fleet.cube().peers()), (id, 2));
        drop(fleet);
        let error = open(Some(3)).await.unwrap_err();
        assert!(error.to_string().contains("holds another hypercube"));
    }

    #[tokio::test]
    async fn a_hypercube_that_never_was_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        for peers in [2, 3] {
            let wish = Wish { peers: Some(peers), ..Wish::default() };
            let fleet = Fleet::open_or_create(dir.path(), wish, Lifetime::Ours).await.unwrap();
            assert_eq!(fleet.cube().peers(), peers);
        }
    }
}
