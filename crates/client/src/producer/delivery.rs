//! What becomes of a message: its acknowledgement, or why there is none.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hcube_core::record::Record;
use hcube_core::topic::Name;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::Error;

/// A message is stored and synced by a majority of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Its partition.
    pub partition: u16,
    /// Its place in the partition; never changes.
    pub offset: u64,
    /// The leader's stamp, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Whether an earlier attempt had stored it, whose answer was lost.
    pub is_duplicate: bool,
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// No peer would take the message; nothing was sent, and other messages do not suffer.
    #[error(transparent)]
    Refused(Error),
    /// The batch with the message was not acknowledged.
    #[error("{0}")]
    Unacknowledged(Arc<Failure>),
    /// Not sent, because a message before it in the partition was not acknowledged.
    #[error("not sent, because {0}")]
    NotSent(Arc<Failure>),
    /// The producer has been closed.
    #[error("the producer is closed")]
    Closed,
}

impl SendError {
    /// Whether the message may be stored nevertheless.
    #[must_use]
    pub fn maybe_stored(&self) -> bool {
        matches!(self, Self::Unacknowledged(failure) if failure.maybe_stored)
    }

    /// What a peer or the network said.
    #[must_use]
    pub fn cause(&self) -> Option<&Error> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Unacknowledged(failure) | Self::NotSent(failure) => Some(&failure.cause),
            Self::Closed => None,
        }
    }
}

/// A batch that was not acknowledged, and with which its partition ended.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The topic.
    pub topic: Name,
    /// The partition.
    pub partition: u16,
    /// Messages acknowledged in the partition before it.
    pub acknowledged: u64,
    /// Messages of the batch.
    pub messages: usize,
    /// Whether they may be stored nevertheless.
    pub maybe_stored: bool,
    /// What a peer or the network said at last.
    pub cause: Error,
}

impl Failure {
    /// The same for so many messages that may be stored.
    pub(super) fn and_maybe_stored(&self, messages: usize) -> Self {
        Self { messages, maybe_stored: true, ..self.clone() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, acknowledged, messages, maybe_stored, cause } = self;
        write!(f, "{messages} messages after the first {acknowledged} sent to {topic}/{partition} ")?;
        let outcome = if *maybe_stored { "may or may not be stored" } else { "were not stored" };
        write!(f, "{outcome}: {cause}")
    }
}

/// What a producer has taken and could not publish.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Unacknowledged {
    /// For each partition that failed: its failure, and how many messages behind it were not sent.
    pub partitions: Vec<(Arc<Failure>, u64)>,
}

impl Unacknowledged {
    pub(super) fn from_failures(partitions: Vec<(Arc<Failure>, u64)>) -> Result<(), Self> {
        if partitions.is_empty() { Ok(()) } else { Err(Self { partitions }) }
    }
}

impl fmt::Display for Unacknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (failure, not_sent)) in self.partitions.iter().enumerate() {
            write!(f, "{}{failure}", if i == 0 { "" } else { "; " })?;
            if *not_sent > 0 {
                write!(f, " ({not_sent} behind them were not sent)")?;
            }
        }
        Ok(())
    }
}

/// The outcome of a message that was taken; see [`crate::Producer::enqueue`].
#[derive(Debug)]
#[must_use = "a message is published whether or not this is awaited, but failures are told here"]
pub struct Delivery {
    outcome: oneshot::Receiver<Result<Ack, SendError>>,
}

impl Future for Delivery {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Only a runtime that shuts down drops a message without an outcome.
        Pin::new(&mut self.outcome).poll(context).map(|outcome| outcome.unwrap_or(Err(SendError::Closed)))
    }
}

/// A message on its way, which keeps its place in the buffer until it has an outcome.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    outcome: oneshot::Sender<Result<Ack, SendError>>,
    _room: OwnedSemaphorePermit,
}

impl Entry {
    pub(super) fn new(record: Record, room: OwnedSemaphorePermit) -> (Self, Delivery) {
        let (outcome, receiver) = oneshot::channel();
        (Self { record, outcome, _room: room }, Delivery { outcome: receiver })
    }

    /// Tells whoever awaits the delivery, if anybody does.
    pub(super) fn end(self, outcome: Result<Ack, SendError>) {
        let _ = self.outcome.send(outcome);
    }
}
