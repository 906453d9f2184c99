//! Feature levels: which formats peers of different versions may send each other and write.
//!
//! A hypercube is at one level, which its metadata holds. A peer knows every level from [`OLDEST`] to its newest, and
//! writes, on its disk and to others, only what the hypercube's level has. When every member can be reached and knows a
//! newer one, the metadata's leader raises the level by a committed change; from then on a peer that does not know it
//! is refused by name, when it starts and when it links. What a level adds stands at its constant.

/// Everything there was before there were levels.
pub const BASE: u32 = 1;
/// The metadata can go on after the loss of its majority: the requests and the command for that, and members that are
/// [dead](crate::placement::Standing::Dead).
pub const METADATA_RECOVERY: u32 = 2;
/// Batches of a sorted file may stay in the log's segments: what a peer's disk holds, not what it sends.
pub const KEPT_SEGMENTS: u32 = 3;

/// The oldest level that this version takes part in.
pub const OLDEST: u32 = BASE;
/// The newest level that this version knows.
pub const NEWEST: u32 = KEPT_SEGMENTS;
