//! The custom resources of hcube, `Hypercube` and `HypercubeTopic`, and the YAML that installs them.
//!
//! The operator and the command line share these types. What the API server checks by itself (schema and CEL rules)
//! is said here and nowhere else.

pub mod conditions;
pub mod hypercube;
pub mod manifest;
pub mod names;
pub mod quantity;
pub mod topic;

pub use hypercube::{Hypercube, HypercubeSpec, HypercubeStatus};
pub use quantity::Amount;
pub use topic::{HypercubeTopic, HypercubeTopicSpec, HypercubeTopicStatus};

/// API group of the resources, and the prefix of their labels and annotations.
pub const GROUP: &str = "hcube.dev";
