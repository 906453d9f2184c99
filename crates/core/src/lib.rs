//! The pure heart of hcube: identifiers, limits, hypercube arithmetic, placement, metadata and records.
//!
//! Nothing here touches a file, a socket, a clock, a runtime or a source of randomness.

pub mod codec;
pub mod conf;
pub mod cube;
pub mod feature;
pub mod ids;
pub mod limits;
pub mod meta;
pub mod placement;
pub mod planted;
pub mod record;
pub mod topic;
