//! The comparison of issue "ahead of NATS JetStream and Kafka, side by side, with fsync on": the same workloads, on the
//! same machine, in the same run, against every system by its own client.
//!
//! A system is a [`system::Launcher`]; what it can do is a [`system::System`]. Each workload is one module of
//! [`workloads`] over those traits. [`run`] takes the systems in turns, a round after the other, [`report`] holds the
//! medians against each other and against the [`goals`]. Systems that are not ours are in the workspace `rivals`.

pub mod compare;
pub mod figures;
pub mod goals;
pub mod load;
pub mod machine;
pub mod options;
pub mod payload;
pub mod report;
pub mod run;
pub mod servers;
pub mod system;
pub mod systems;
pub mod workloads;
