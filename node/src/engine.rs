//! The threads around the pure [`Peer`], and the way of everything between them.
//!
//! ```text
//! clients, links ──> core (the Peer) ──> log thread ──> core
//!                                   ├──> readers ─────> core
//!                                   ├──> maintenance ─> core
//!                                   └──> links, clients
//! ```
//!
//! The core never waits for another thread, and no other thread waits for the core: the channels between them
//! have no bound of their own. What goes in is bounded at its sources instead (requests under way in
//! [`Handle`], bytes read ahead by each link), and what the core gives out is bounded by what Raft lets it
//! have under way. So no two of them can ever wait for each other.

mod clock;
mod core_thread;
mod fatal;
mod inputs;
mod log_thread;
mod maintenance;
mod pace;
mod readers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use hcube_broker::storage::{self, Storage};
use hcube_broker::{Peer, start};
use hcube_core::meta::Meta;
use hcube_log::disk::RealDisk;
use hcube_log::identity::Membership;
use hcube_log::{Log, OpenError, Recovery};
use tokio::sync::watch;

use crate::config::Config;
use crate::handle::Handle;
use crate::links::Links;
use crate::metrics::Metrics;

#[cfg(test)]
pub(crate) use inputs::InputQueue;
pub(crate) use inputs::{Asking, Input, Inputs};

use clock::Clock;
use core_thread::{Core, Outputs};
use log_thread::LogThread;
use pace::Pace;

/// What a base holds besides the state: its configuration and the names of its files.
const BASE_EXTRA_BYTES: usize = 256 << 10;

/// Why a bound node cannot go on where it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be taken up: damaged, or not a member's.
    #[error(transparent)]
    Start(#[from] start::StartError),
    /// The log is another cluster's.
    #[error("the log is one of another cluster than the identity names")]
    OtherCluster,
    /// The sorted files, or a thread.
    #[error("{what}: {source}")]
    Io {
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A peer at work.
#[derive(Debug)]
pub(crate) struct Engine {
    handle: Handle,
    meta: watch::Receiver<Arc<Meta>>,
    inputs: Inputs,
    /// Set when nothing more shall be written, as if the process had died.
    abandoned: Arc<AtomicBool>,
    pace: Arc<Pace>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Takes up what the disk holds. Reads the whole log; to be called where blocking is allowed.
    pub fn start(
        config: &Config,
        disk: &RealDisk,
        member: Membership,
        links: Links,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let (log, recovery) = Log::open(disk.clone(), config.log())?;
        let reader = log.reader();
        let clock = Clock::start();
        let peer = Peer::start(
            peer_config(config, &log),
            member.node,
            &recovery,
            |position| reader.read(position),
            clock.now(),
            rand::random(),
        )?;
        if peer.meta().cluster != member.cluster {
            return Err(Error::OtherCluster);
        }
        tracing::info!(
            groups = recovery.groups.len(),
            scanned_bytes = recovery.scanned_bytes,
            torn_bytes = recovery.torn_bytes,
            "log opened"
        );
        clean(disk, &recovery).map_err(|source| Error::Io { what: "sorted files", source })?;
        let storage = Arc::new(Storage::new(disk.clone(), reader));
        let abandoned = Arc::new(AtomicBool::new(false));
        let (inputs, input_queue) = Inputs::new(Arc::clone(metrics));
        let (status_sender, status) = watch::channel(Arc::new(peer.status()));
        let (meta_sender, meta) = watch::channel(Arc::clone(peer.meta()));
        let handle = Handle::new(config, member, inputs.clone(), status, meta.clone(), Arc::clone(metrics));

        let (log_jobs, log_queue) = mpsc::channel();
        let (reads, read_queue) = mpsc::channel();
        let (maintenance, maintenance_queue) = mpsc::channel();
        let (orders, order_queue) = mpsc::channel();
        let mut threads = Threads::default();
        let pace = Arc::new(Pace::default());
        let prepared = log_jobs.clone();
        let segments_pace = Arc::clone(&pace);
        threads.spawn("segments", move || {
            log_thread::make_segments(&order_queue, &prepared, &segments_pace);
        })?;
        let log_thread = LogThread::new(
            log,
            log_queue,
            orders,
            inputs.clone(),
            Arc::clone(metrics),
            Arc::clone(&abandoned),
            Arc::clone(&pace),
        );
        threads.spawn("log", move || log_thread.run())?;
        let read_queue = readers::Queue::new(read_queue, Arc::clone(metrics));
        for _ in 0..config.reader_threads {
            let (queue, storage, inputs) = (read_queue.clone(), Arc::clone(&storage), inputs.clone());
            threads.spawn("reader", move || readers::run(&queue, &storage, &inputs))?;
        }
        let (upkeep, upkeep_inputs, upkeep_metrics, upkeep_pace) =
            (Arc::clone(&storage), inputs.clone(), Arc::clone(metrics), Arc::clone(&pace));
        threads.spawn("maintenance", move || {
            maintenance::run(&maintenance_queue, &upkeep, &upkeep_inputs, &upkeep_metrics, &upkeep_pace);
        })?;
        let outputs = Outputs {
            log: log_jobs,
            reads,
            maintenance,
            links,
            storage,
            pace: Arc::clone(&pace),
            metrics: Arc::clone(metrics),
        };
        let core = Core::new(peer, clock, config.tick_ms, input_queue, outputs, status_sender, meta_sender);
        threads.spawn("core", move || core.run())?;
        Ok(Self { handle, meta, inputs, abandoned, pace, threads: threads.0 })
    }

    /// The way to ask the peer for something.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The way for everything else.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The metadata as it is applied.
    pub fn meta(&self) -> watch::Receiver<Arc<Meta>> {
        self.meta.clone()
    }

    /// Writes what is to be written, then ends every thread. To be called where blocking is allowed.
    pub fn stop(mut self) {
        self.inputs.send(Input::Stop);
        self.pace.end();
        for thread in std::mem::take(&mut self.threads) {
            // A thread that panics has ended the process already.
            let _ended = thread.join();
        }
    }
}

impl Drop for Engine {
    /// Without [`Engine::stop`], as if the process had been killed: what is queued is not written.
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.abandoned.store(true, Ordering::Release);
            self.pace.end();
            self.inputs.send(Input::Stop);
        }
    }
}

#[derive(Default)]
struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Starts a thread whose panic ends the process: the others could not go on without it.
    fn spawn(&mut self, name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let guarded = move || {
            let _guard = fatal::EndsWithPanic;
            run();
        };
        let spawned = thread::Builder::new().name(format!("hcube-{name}")).spawn(guarded);
        self.0.push(spawned.map_err(|source| Error::Io { what: "starting a thread", source })?);
        Ok(())
    }
}

/// How the peer behaves over this log: a state that no segment could hold must not become a group's base.
fn peer_config(node: &Config, log: &Log<RealDisk>) -> hcube_broker::Config {
    let config = hcube_broker::Config { feature_level: node.feature_level, ..Default::default() };
    let room =
        usize::try_from(log.payload_bytes_max()).unwrap_or(usize::MAX).saturating_sub(BASE_EXTRA_BYTES);
    hcube_broker::Config { base_bytes_max: config.base_bytes_max.min(room), ..config }
}

/// Removes what an earlier life left unfinished.
fn clean(disk: &RealDisk, recovery: &Recovery) -> io::Result<()> {
    for orphan in storage::clean(disk, recovery)? {
        tracing::info!(file = %orphan, "removed a sorted file that nothing refers to");
    }
    Ok(())
}
