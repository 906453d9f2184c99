//! What a run did, as figures.

use crate::faults::Fault;

/// What happened how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Faults by their kinds, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// Machines that lost power, for whatever reason.
    pub crashes: u64,
    /// Bytes of logs that were torn and cut.
    pub torn_bytes: u64,
    /// Compactions into sorted files.
    pub compactions: u64,
    /// Those of them that left batches in the log's segments.
    pub left_in_segments: u64,
    /// Files of such compactions that were made whole.
    pub made_whole: u64,
    /// Parts of files staged for snapshots.
    pub staged_parts: u64,
    /// Log segments deleted.
    pub reclaimed: u64,
    /// Fetches of old entries for followers.
    pub fetches: u64,
    /// Disks that peers found full.
    pub full: u64,
    /// Processes that ended because their disk failed.
    pub sync_errors: u64,
    /// Replicas that were damaged and had to be had anew.
    pub damaged: u64,
    /// Starts that were refused, as they had to be.
    pub refused_starts: u64,
    /// Frames of processes that were not members, or not any more.
    pub refused_frames: u64,
    /// Invitations that arrived.
    pub invitations: u64,
    /// Machines that became members.
    pub joined: u64,
    /// Attempts to become a member that were cut short.
    pub interrupted_joins: u64,
    /// Peers that heard that they had left, and ended.
    pub left: u64,
}

/// What the administrator reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Peers that joined at a new vertex.
    pub joins: u64,
    /// Peers that were drained and removed.
    pub leaves: u64,
    /// Drains that were cancelled.
    pub cancels: u64,
    /// Peers that took the place of lost ones.
    pub replacements: u64,
    /// Other numbers of replicas.
    pub replications: u64,
    /// Other numbers of read replicas.
    pub readers: u64,
    /// Pauses of all moves.
    pub pauses: u64,
    /// Changes that were refused.
    pub refusals: u64,
    /// Requests that were sent again because their end was not known.
    pub repeats: u64,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The scenario's seed.
    pub seed: u64,
    /// A number that every event went into: the same seed gives the same.
    pub trace: u64,
    /// Batches that were acknowledged.
    pub commits: u64,
    /// Records that were acknowledged, each found again.
    pub records: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Times a publisher repeated a batch whose end it did not know.
    pub repeats: u64,
    /// Lives of topics from creation to deletion.
    pub lives: u64,
    /// Acknowledgements for which a majority of the disks was looked at.
    pub durability_checks: u64,
    /// Vertices on the longest way that a request went.
    pub longest_path: u64,
    /// Polls that were answered by what another poll had brought to the same peer.
    pub polls_shared: u64,
    /// Placements that changed.
    pub moves: u64,
    /// Configurations that groups went through.
    pub configurations: u64,
    /// Those of them in which two sets of voters counted.
    pub joint: u64,
    /// Raised feature levels.
    pub raises: u64,
    /// Peers at the end.
    pub peers: u64,
    /// Faults, and what the storage did.
    pub counts: Counts,
    /// What the administrator did.
    pub changes: Changes,
    /// Frames lost.
    pub frames_lost: u64,
    /// Frames that arrived twice.
    pub frames_repeated: u64,
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
}
