//! Readiness: latches once the peer has joined and caught up; only shutdown, leaving or local damage clears it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hcube_api::{Code, Problem};
use hcube_broker::Status;

use super::{Shared, closed};
use crate::Handle;

/// Milliseconds after which it makes sense to ask again.
const RETRY_AFTER_MS: u64 = 1_000;

/// Whether the peer has caught up once.
#[derive(Debug, Default)]
pub(super) struct Latch(AtomicBool);

impl Latch {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A peer that is not (or no longer) ready.
pub(super) fn not_ready(detail: &str) -> Problem {
    Problem::new(Code::NotReady, detail).retry_after_ms(RETRY_AFTER_MS)
}

/// Whether a peer is still a member.
///
/// # Errors
/// `not-ready`: it has left its hypercube, which goes on without it.
pub(super) fn check_member(handle: &Handle) -> Result<(), Problem> {
    if handle.status().removed { Err(left()) } else { Ok(()) }
}

/// A peer that is no member any more.
pub(super) fn left() -> Problem {
    not_ready("the peer has left its hypercube")
}

/// Sets the latch as soon as the peer belongs to a hypercube and has caught up.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut closing = shared.closing.clone();
    let caught_up = async {
        let handle = shared.node.founded().await;
        handle.status_where(has_caught_up).await
    };
    let caught_up = tokio::select! {
        caught_up = caught_up => caught_up,
        () = closed(&mut closing) => None,
    };
    if let Some(status) = caught_up {
        tracing::info!(groups = status.groups.len(), "ready");
        shared.ready.set();
    }
}

/// Whether every replica here has a leader and has applied what it knows to be committed.
fn has_caught_up(status: &Status) -> bool {
    let mut groups = status.groups.values();
    let caught_up =
        groups.all(|group| group.leader.is_some() && group.indexes.applied >= group.indexes.commit);
    caught_up && status.restoring.is_empty()
}
