//! Three nodes in one process, spoken to over real HTTP.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

#[path = "http/contract.rs"]
mod contract;
#[path = "http/harness.rs"]
mod harness;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/members.rs"]
mod members;
#[path = "http/ports.rs"]
mod ports;
#[path = "http/publish_streams.rs"]
mod publish_streams;
#[path = "http/refusals.rs"]
mod refusals;
#[path = "http/stories.rs"]
mod stories;
#[path = "http/streams.rs"]
mod streams;
