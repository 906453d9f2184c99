//! The way to ask a running peer for something.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hcube_broker::{Error, Event, Reply, Request, RequestId, Status};
use hcube_core::ids::{ClusterId, NodeId};
use hcube_core::meta::Meta;
use hcube_log::identity::Membership;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::engine::{Asking, Input, Inputs};
use crate::metrics::{Metrics, kind_label};

/// A running peer, as its clients' side sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    /// Requests that wait to be handed over together, where they do.
    gathered: Option<Arc<Mutex<Vec<Asking>>>>,
}

#[derive(Debug)]
struct Shared {
    member: Membership,
    inputs: Inputs,
    status: watch::Receiver<Arc<Status>>,
    meta: watch::Receiver<Arc<Meta>>,
    metrics: Arc<Metrics>,
    next_request: AtomicU64,
    under_way: AtomicUsize,
    under_way_max: usize,
    closing: AtomicBool,
}

impl Handle {
    pub(crate) fn new(
        config: &Config,
        member: Membership,
        inputs: Inputs,
        status: watch::Receiver<Arc<Status>>,
        meta: watch::Receiver<Arc<Meta>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Shared {
            member,
            inputs,
            status,
            meta,
            metrics,
            next_request: AtomicU64::new(1),
            under_way: AtomicUsize::new(0),
            under_way_max: config.requests_max,
            closing: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), gathered: None }
    }

    /// A handle whose requests wait for [`Handle::hand_over`], so that the peer sees those together that are made
    /// together: many publishes are then one write and one message to each follower.
    pub(crate) fn gathering(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), gathered: Some(Arc::default()) }
    }

    /// Hands the requests over that were made since the last call; to be called whenever some may have been.
    pub(crate) fn hand_over(&self) {
        let Some(gathered) = &self.gathered else { return };
        let all = std::mem::take(&mut *gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if !all.is_empty() {
            self.shared.inputs.send(Input::Requests(all));
        }
    }

    /// Asks for something and waits for the answer, which comes within `patience_ms` and the length of a tick.
    ///
    /// Whoever drops the future gives the request up: it may still be carried out, as one that timed out.
    /// A node that shuts down takes no requests, and leaves the outcome of those under way unknown.
    pub async fn request(&self, request: Request, patience_ms: u32) -> Reply {
        let shared = &*self.shared;
        let began = Instant::now();
        let kind = kind_label(&request);
        let reply = match UnderWay::begin(shared, request.may_wait()) {
            Some(mut under_way) => {
                let (sender, receiver) = oneshot::channel();
                let id = under_way.id;
                let asking = Asking { id, request, patience_ms, reply: sender };
                match &self.gathered {
                    Some(gathered) => {
                        gathered.lock().unwrap_or_else(PoisonError::into_inner).push(asking);
                    }
                    None => shared.inputs.send(Input::Request(asking)),
                }
                let reply = receiver.await;
                under_way.answered = true;
                reply.unwrap_or_else(|_ended| self.refusal(Error::Unknown))
            }
            None => self.refusal(Error::Overloaded),
        };
        shared.metrics.request_ended(kind, &reply, began.elapsed());
        reply
    }

    fn refusal(&self, error: Error) -> Reply {
        Reply { result: Err(error), path: vec![self.shared.status.borrow().vertex] }
    }

    /// How the peer stood some 50 milliseconds ago at most, or a tick ago when nothing happened since.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.shared.status.borrow())
    }

    /// Waits until the peer's status is one that was hoped for; none when the peer ends before.
    pub async fn status_where(&self, hoped: impl Fn(&Status) -> bool) -> Option<Arc<Status>> {
        let mut status = self.shared.status.clone();
        status.wait_for(|status| hoped(status)).await.ok().map(|status| Arc::clone(&status))
    }

    /// Members, placement and topics as far as this peer has applied them, without delay.
    #[must_use]
    pub fn meta(&self) -> Arc<Meta> {
        Arc::clone(&self.shared.meta.borrow())
    }

    /// Waits until the metadata is as hoped for; none when the peer ends before.
    pub async fn meta_where(&self, hoped: impl Fn(&Meta) -> bool) -> Option<Arc<Meta>> {
        let mut meta = self.shared.meta.clone();
        meta.wait_for(|meta| hoped(meta)).await.ok().map(|meta| Arc::clone(&meta))
    }

    /// The hypercube.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.shared.member.cluster
    }

    /// This peer's node id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.member.node
    }

    /// Requests of this peer's own clients under way.
    #[must_use]
    pub fn requests_under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }

    /// Whether the node shuts down and takes no requests any more.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Relaxed)
    }

    /// Lets others lead what this peer leads, and waits until they do, as far as there are any. Returns how many
    /// groups are left when the patience has run out.
    pub(crate) async fn hand_off(&self, patience: Duration) -> usize {
        self.shared.inputs.event(Event::HandOff);
        let handed_over = self.status_where(|status| led_for_others(status) == 0);
        match timeout(patience, handed_over).await {
            Ok(_) => 0,
            Err(_elapsed) => led_for_others(&self.status()),
        }
    }

    pub(crate) fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }
}

/// Groups that a peer leads and that another one could lead, as far as links show.
fn led_for_others(status: &Status) -> usize {
    let led = status.groups.iter().filter(|(_, group)| group.leader == Some(status.node));
    let placements = led.filter_map(|(group, _)| status.meta.placement_of(*group));
    placements.filter(|placement| placement.voting_nodes().any(|node| status.links.contains(&node))).count()
}

/// A request under way, counted; given up when it is dropped without an answer.
struct UnderWay<'a> {
    shared: &'a Shared,
    id: RequestId,
    answered: bool,
}

impl<'a> UnderWay<'a> {
    /// Polls wait long and may be many; they leave half of the room to everything else.
    fn begin(shared: &'a Shared, may_wait: bool) -> Option<Self> {
        let room = if may_wait { shared.under_way_max / 2 } else { shared.under_way_max };
        let before = shared.under_way.fetch_add(1, Ordering::Relaxed);
        if before >= room || shared.closing.load(Ordering::Relaxed) {
            shared.under_way.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let id = RequestId(shared.next_request.fetch_add(1, Ordering::Relaxed));
        Some(Self { shared, id, answered: false })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            self.shared.inputs.event(Event::Cancel(self.id));
        }
    }
}
