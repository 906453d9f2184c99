//! Where the hypercube is going: planned once for each epoch, whoever asks, and never twice at a time.

use std::sync::Arc;
use std::time::Duration;

use hcube_api::cluster::{PlanQuery, Rebalance};
use hcube_api::{Code, Problem};
use hcube_core::meta::Meta;
use hcube_core::meta::mover::{self, Preview, Progress, Target};
use hcube_core::placement::{Assignment, PlanError};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;

/// Milliseconds after which another plan may have its turn.
const TURN_MS: u64 = 1_000;

/// What this peer knows of where things are going, in one epoch.
#[derive(Debug)]
pub(super) struct Outlook {
    epoch: u64,
    paused: bool,
    /// Where everything should be; or why that cannot be said.
    pub target: Result<Target, PlanError>,
    progress: Progress,
}

impl Outlook {
    fn of(meta: &Meta) -> Self {
        let target = mover::target(meta);
        let progress = match &target {
            Ok(target) => mover::progress(meta, target),
            // Without a plan nothing waits for its turn.
            Err(_) => mover::progress(meta, &as_it_is(meta)),
        };
        Self { epoch: meta.epoch, paused: meta.paused, target, progress }
    }

    /// How far the hypercube is from where it should be.
    pub fn rebalance(&self) -> Rebalance {
        let figure = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Rebalance {
            epoch: self.epoch,
            paused: self.paused,
            moving: figure(self.progress.moving),
            waiting: figure(self.progress.waiting),
            under_replicated: figure(self.progress.under_replicated),
            without_majority: figure(self.progress.without_majority),
        }
    }
}

fn as_it_is(meta: &Meta) -> Target {
    let slot = |placement: &hcube_core::meta::Placement| Assignment {
        replicas: placement.voting_nodes().collect(),
        leader: placement.leader,
    };
    let readers = |placement: &hcube_core::meta::Placement| {
        placement.learners.iter().map(|learner| learner.node).collect()
    };
    Target {
        slots: meta.placement.iter().map(slot).collect(),
        readers: meta.placement.iter().map(readers).collect(),
        metadata: meta.metadata.voting_nodes().collect(),
    }
}

/// Plans on behalf of whoever asks. A plan for the largest hypercubes keeps a processor busy for a while, and anybody
/// can ask.
#[derive(Debug, Default)]
pub(super) struct Planner {
    known: Mutex<Option<Arc<Outlook>>>,
    turn: Mutex<()>,
}

impl Planner {
    /// Where things are going as of this metadata.
    ///
    /// # Errors
    /// `internal` where the plan could not be made at all.
    pub async fn outlook(&self, meta: &Arc<Meta>) -> Result<Arc<Outlook>, Problem> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.epoch == meta.epoch) {
            return Ok(Arc::clone(known));
        }
        let meta = Arc::clone(meta);
        let outlook = Arc::new(aside(move || Outlook::of(&meta)).await?);
        *known = Some(Arc::clone(&outlook));
        Ok(outlook)
    }

    /// Waits for the turn of a plan that nobody else will ask for.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn turn(&self, patience_ms: u32) -> Result<MutexGuard<'_, ()>, Problem> {
        let patience = Duration::from_millis(patience_ms.into());
        tokio::time::timeout(patience, self.turn.lock()).await.map_err(|_late| {
            Problem::new(Code::Overloaded, "others ask for plans as well").retry_after_ms(TURN_MS)
        })
    }

    /// What would move, in the turn that this takes.
    ///
    /// # Errors
    /// `too-few-peers` where no peer could hold a slot.
    pub async fn preview(
        &self,
        meta: &Arc<Meta>,
        query: PlanQuery,
        _turn: &MutexGuard<'_, ()>,
    ) -> Result<Preview, Problem> {
        let meta = Arc::clone(meta);
        let preview = aside(move || mover::preview(&meta, query.peers, query.replication)).await?;
        preview.map_err(|error| Problem::new(Code::TooFewPeers, error.to_string()))
    }
}

/// Computes where that holds up no other request.
async fn aside<T: Send + 'static>(compute: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    spawn_blocking(compute).await.map_err(|error| {
        tracing::error!(%error, "no plan could be made");
        Problem::new(Code::Internal, "no plan could be made")
    })
}
