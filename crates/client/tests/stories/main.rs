//! The client against peers made from the contract, which fail on demand.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

mod admin;
mod client;
mod consumer;
mod mock;
mod producer;
