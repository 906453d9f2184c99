//! Deliberate mistakes for the simulator to find. Without the feature `planted`, which only `crates/sim` ever asks for,
//! none can be switched on, and [`is`] is a constant.

/// One deliberate mistake inside the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// What is remembered of producers is missing from snapshots and bases.
    NoDeduplicationInSnapshots,
    /// A replica that placement has let go of stays, and votes.
    RetiredReplicaStays,
    /// A leader, a stale one too, acknowledges what it has only proposed.
    AcknowledgedWhenProposed,
    /// A damaged replica is replaced under the id that it had.
    ReusedReplicaId,
    /// A replica is destroyed because the wish does not name it, though its group may still count on it.
    DeletedByAbsence,
    /// A leader refuses a sequence without asking whether it still leads.
    UnconfirmedRefusal,
    /// A message for a replica that is not here creates it.
    StrayReplica,
    /// A replica serves what is in its log and not committed yet, as far as it knows.
    ReadsAboveCommit,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoDeduplicationInSnapshots,
        Self::RetiredReplicaStays,
        Self::AcknowledgedWhenProposed,
        Self::ReusedReplicaId,
        Self::DeletedByAbsence,
        Self::UnconfirmedRefusal,
        Self::StrayReplica,
        Self::ReadsAboveCommit,
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        /// One simulation runs on one thread.
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a mistake for whatever runs on this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this mistake is planted here.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use switch::{is, plant};

/// Whether this mistake is planted here: never.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
