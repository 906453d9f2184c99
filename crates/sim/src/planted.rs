//! Deliberate mistakes that the simulator must find. Those at the edge of what is simulated are made here; those that
//! have to be inside the product are made there, in builds with the feature `planted` alone.

pub use hcube_core::planted::Bug;

/// One deliberate mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A write is reported before it is synced.
    AcknowledgeBeforeSync,
    /// A disk that lost everything begins again under its old identity.
    EmptyDiskVotes,
    /// Directories are not synced after files were created, renamed or removed.
    NoDirectorySync,
    /// A snapshot takes effect before its files are synced.
    SnapshotNotSynced,
    /// A restart cuts what was durable as if it were torn.
    DurableTailCut,
    /// Terms are written, votes are not.
    VoteNotWritten,
    /// A sync that failed is taken for one that did not.
    SyncErrorIgnored,
    /// The log uses segments again in which batches were left.
    KeptSegmentUsedAgain,
    /// One inside the product.
    Product(Bug),
}

impl Planted {
    /// The mistake inside the product that this one is, if it is one.
    #[must_use]
    pub fn bug(self) -> Option<Bug> {
        match self {
            Self::Product(bug) => Some(bug),
            _ => None,
        }
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let edge = [
            Self::AcknowledgeBeforeSync,
            Self::EmptyDiskVotes,
            Self::NoDirectorySync,
            Self::SnapshotNotSynced,
            Self::DurableTailCut,
            Self::VoteNotWritten,
            Self::SyncErrorIgnored,
            Self::KeptSegmentUsedAgain,
        ];
        edge.into_iter().chain(Bug::ALL.into_iter().map(Self::Product)).collect()
    }
}
