//! What reaches the core.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use hcube_broker::start::Invitation;
use hcube_broker::{Event, Frame, Reply, Request, RequestId};
use hcube_core::ids::{Incarnation, NodeId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::metrics::{Metrics, Queue};

/// One thing for the core.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something that the peer understands as it is.
    Event(Event),
    /// Several of them, that happened together.
    Events(Vec<Event>),
    /// Requests of this peer's own clients that came together.
    Requests(Vec<Asking>),
    /// A frame from a link.
    Frame {
        /// The sender, as its link has proved.
        from: NodeId,
        /// What it sent.
        frame: Frame,
        /// The link's room for reading ahead, given back when the core has taken the frame.
        room: OwnedSemaphorePermit,
    },
    /// A request of this peer's own clients.
    Request(Asking),
    /// A disk that belongs to no hypercube was met.
    Invitation {
        /// Which.
        incarnation: Incarnation,
        /// Where goes what it is to be sent; none where it is no member's.
        reply: oneshot::Sender<Option<Invitation>>,
    },
    /// The core ends.
    Stop,
}

/// A request of this peer's own clients.
#[derive(Debug)]
pub(crate) struct Asking {
    /// Names it.
    pub id: RequestId,
    /// What is asked.
    pub request: Request,
    /// How long the client waits, in milliseconds.
    pub patience_ms: u32,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// The way to the core, for any thread.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    sender: Sender<Input>,
    metrics: Arc<Metrics>,
}

/// The core's end of it.
#[derive(Debug)]
pub(crate) struct InputQueue {
    pub receiver: Receiver<Input>,
}

impl Inputs {
    /// A way to the core, and the core's end of it.
    pub(crate) fn new(metrics: Arc<Metrics>) -> (Self, InputQueue) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, metrics }, InputQueue { receiver })
    }

    /// Hands something to the core. Once the core has ended nothing happens, for nobody is left to care.
    pub fn send(&self, input: Input) {
        if self.sender.send(input).is_ok() {
            self.metrics.queued(Queue::Core);
        }
    }

    /// Hands an event to the core.
    pub fn event(&self, event: Event) {
        self.send(Input::Event(event));
    }
}
