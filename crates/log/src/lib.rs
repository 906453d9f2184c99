//! The log that all Raft groups of a node share, its recovery, and the sorted files that outlive it.
//!
//! Everything here is synchronous and deterministic: no threads, no clock, no randomness. The node's log
//! thread or the simulator calls it, over a [`disk::Disk`] that is real or faulty.
//!
//! - [`Log`] appends entries, votes and bases of all groups to one write-ahead log; one `fdatasync` covers all.
//! - [`Log::open`] scans what is there: a torn tail is cut, damage is reported and never repaired in silence.
//! - [`sorted`] holds the files into which records move before their segments are deleted.
//! - [`identity`] binds a disk to one incarnation of a node.

pub mod disk;
mod error;
mod frame;
pub mod identity;
mod log;
mod ops;
mod reader;
mod recovery;
mod scan;
mod segment;
pub mod sorted;

pub use crate::error::{OpenError, SyncError, WriteError};
pub use crate::log::{Config, Log, Prepare, Prepared, Stats};
pub use crate::ops::{Base, Entry, HardState, Op, Position};
pub use crate::reader::Reader;
pub use crate::recovery::{Damage, DamageScope, Place, RecoveredEntry, RecoveredGroup, Recovery};
pub use crate::sorted::{SortedFileId, SortedFileMeta};
