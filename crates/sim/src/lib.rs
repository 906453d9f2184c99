//! A whole hypercube on one thread, from a seed: the real consensus, log and broker over a simulated network,
//! disk and clock, with faults; and the checks that must hold whatever happens.
//!
//! The same seed gives the same run, event for event ([`Report::trace`]).

mod client;
mod history;
mod lifecycle;
mod machine;
mod network;
mod scenario;
mod world;

pub use scenario::{Report, Scenario, run};
