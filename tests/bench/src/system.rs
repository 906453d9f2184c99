//! What a compared system is to the workloads.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;

use crate::servers::Servers;

/// Payloads of messages that have arrived are shown to this, in the order of the topic.
pub type Each<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// Which of its settings a system's client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each message on its way at once: there is no other that could go with it.
    Prompt,
    /// Many callers publish at once, each waiting for its acknowledgement.
    Shared,
    /// Many messages a request, where the client can.
    Batched,
    /// Prompt, and a message is sent until it is acknowledged, without being stored twice.
    Insistent,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message.
    Earliest,
    /// Behind the newest one.
    Latest,
}

/// Starts a system; one for each column of the report.
pub trait Launcher: Send + Sync {
    /// What it starts.
    type System: System;

    /// The column's name.
    fn name(&self) -> &'static str;

    /// Version and settings, for the report.
    fn described(&self) -> Vec<(String, String)>;

    /// Whether the system takes part in a workload; the reason where it does not.
    fn excuse(&self, _workload: crate::workloads::Workload) -> Option<&'static str> {
        None
    }

    /// Whether its servers compile their program while it runs: then they are under load for longer before it counts.
    fn compiles(&self) -> bool {
        false
    }

    /// Starts so many servers with their data below `dir`. They need not answer yet.
    fn launch(&self, dir: &Path, peers: u16) -> impl Future<Output = Result<Self::System>> + Send;
}

/// A running system.
pub trait System: Send + Sync + 'static {
    /// Publishes to one topic or several.
    type Publisher: Publisher;
    /// Reads one topic.
    type Reader: Reader;

    /// Its processes.
    fn servers(&self) -> &Servers;

    /// When they were started.
    fn started(&self) -> Instant;

    /// Makes topics with one partition and three replicas (one, where there are fewer servers), or waits until it can.
    fn create_topics(&self, names: &[String]) -> impl Future<Output = Result<()>> + Send;

    /// Fails where the servers do not run with the settings that the column claims.
    fn check_settings(&self) -> impl Future<Output = Result<()>> + Send;

    /// A publisher for these topics.
    fn publisher(
        &self,
        topics: &[String],
        mode: Mode,
    ) -> impl Future<Output = Result<Self::Publisher>> + Send;

    /// A reader; what is published after it was made comes to it.
    fn reader(&self, topic: &str, start: Start) -> impl Future<Output = Result<Self::Reader>> + Send;

    /// Which of the servers leads the topic.
    fn leader(&self, topic: &str) -> impl Future<Output = Result<usize>> + Send;
}

/// A client that publishes.
pub trait Publisher: Send + Sync + 'static {
    /// Ends when the message is acknowledged.
    type Delivery: Future<Output = Result<()>> + Send + 'static;

    /// Messages of so many bytes that are best under way at once where as many as possible are wanted.
    fn window(&self, payload_bytes: usize) -> usize;

    /// Hands a message for the topic at that place of the list to the client.
    fn enqueue(&self, topic: usize, payload: Bytes) -> impl Future<Output = Result<Self::Delivery>> + Send;
}

/// A client that reads.
pub trait Reader: Send + 'static {
    /// Waits for messages and shows all that have arrived. May show none, after a while.
    fn read(&mut self, each: Each<'_>) -> impl Future<Output = Result<()>> + Send;
}
