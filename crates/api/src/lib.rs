//! The HTTP contract of hcube, shared by node, client and command line: paths, headers, bodies, problems.
//!
//! Everything from outside is parsed here into types that cannot hold illegal values; nothing here does I/O.

pub mod admin;
pub mod clients;
pub mod cluster;
pub mod cursor;
pub mod error;
pub mod headers;
pub mod json;
pub mod label;
pub mod media;
pub mod messages;
pub mod openapi;
pub mod paths;
pub mod percent;
mod query;
pub mod stream;
pub mod topics;

pub use error::{Code, Problem};
