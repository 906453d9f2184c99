//! Why the log refuses or fails.

use std::io;

use hcube_core::codec::DecodeError;
use hcube_core::ids::{GroupId, ReplicaId};

/// Why a log cannot be opened. Damage inside it is no reason: that is reported in the recovery.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A file of a format that this version does not know, by a newer hcube perhaps.
    #[error("{path} has format version {found}; this hcube knows version {known}")]
    Version {
        /// The file.
        path: String,
        /// The version it names.
        found: u32,
        /// The version known here.
        known: u32,
    },
    /// A frame of a kind that this version does not know, by a newer hcube perhaps.
    #[error("log segment {segment} has a frame of unknown kind {kind} at byte {offset}")]
    FrameKind {
        /// Number of the segment.
        segment: u64,
        /// Where the frame begins.
        offset: u32,
        /// The kind it names.
        kind: u8,
    },
    /// A frame whose checksums hold but whose content makes no sense.
    #[error("log segment {segment} has a malformed frame at byte {offset}: {source}")]
    Malformed {
        /// Number of the segment.
        segment: u64,
        /// Where the frame begins.
        offset: u32,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The segment was written under another identity than the one on this disk.
    #[error("log segment {segment} belongs to another incarnation than this disk's identity")]
    Foreign {
        /// Number of the segment.
        segment: u64,
    },
    /// No segment's header can be read, so nothing in the log can be verified.
    #[error("the header of log segment {segment} is damaged and no other file tells how to verify the log")]
    Unreadable {
        /// Number of the segment.
        segment: u64,
    },
    /// The identity file is damaged or of another version.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The configuration cannot work.
    #[error("segment_bytes must be between {min} and {max}, not {found}")]
    SegmentBytes {
        /// What was asked.
        found: u64,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
}

/// Why nothing was written.
///
/// After [`WriteError::Io`], [`WriteError::Sync`] and [`WriteError::Poisoned`] the process must end; after all
/// others the log is as it was before the call.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk has no room for a further segment.
    #[error("the disk is full")]
    Full,
    /// An entry or base that no segment can hold.
    #[error("{bytes} bytes are too large for one frame of the log, which holds {max}")]
    TooLarge {
        /// What was asked.
        bytes: u64,
        /// Most.
        max: u64,
    },
    /// The group has no replica here.
    #[error("group {0} has no replica in this log")]
    UnknownGroup(GroupId),
    /// Entries that leave a gap, or reach below the base.
    #[error("group {group} can append from {first} to {next}, not at {found}")]
    NotDense {
        /// Whose entries.
        group: GroupId,
        /// The first index above the base.
        first: u64,
        /// The index behind the last entry.
        next: u64,
        /// What was asked.
        found: u64,
    },
    /// The base would move back.
    #[error("group {group} has its base at {current} and cannot go back to {found}")]
    BaseRegressed {
        /// Whose base.
        group: GroupId,
        /// Where it is.
        current: u64,
        /// What was asked.
        found: u64,
    },
    /// The replica was destroyed here and may never come back.
    #[error("replica {replica} of group {group} was destroyed here and may never be created again")]
    Tombstoned {
        /// Its group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// The group is held by another replica.
    #[error("group {group} is replica {held} here, not {found}")]
    OtherReplica {
        /// The group.
        group: GroupId,
        /// What this log holds.
        held: ReplicaId,
        /// What was asked.
        found: ReplicaId,
    },
    /// The group is damaged: it can only be destroyed, or created under a new replica id.
    #[error("group {0} is damaged in this log; its replica must be replaced")]
    Damaged(GroupId),
    /// Writing failed; the process must end.
    #[error("the log cannot be written: {0}")]
    Io(#[source] io::Error),
    /// Syncing failed; the process must end.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// An earlier call failed; the process must end.
    #[error("the log failed before and does nothing any more")]
    Poisoned,
}

/// What was written may be lost. The process must end; a sync is never retried, because the kernel may have
/// dropped the dirty pages and would report success.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The disk failed.
    #[error("the log cannot be synced: {0}")]
    Io(#[source] io::Error),
    /// An earlier call failed.
    #[error("the log failed before and does nothing any more")]
    Poisoned,
}
