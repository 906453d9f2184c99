//! A whole hypercube on one thread, from a seed: the real consensus, log and broker over a simulated network,
//! disk and clock, with faults; and the checks that must hold whatever happens.
//!
//! The same seed gives the same run, event for event ([`Report::trace`]).

mod admin;
mod clients;
#[cfg(test)]
mod fanout;
mod faults;
mod invariants;
mod machine;
mod network;
pub mod planted;
mod report;
mod scenario;
mod streams;
mod world;

pub use faults::Fault;
pub use report::{Changes, Counts, Report};
pub use scenario::{Scenario, run};
