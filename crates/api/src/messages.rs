//! Messages: how they come in, how they go out, and how one asks for them.

mod field;
pub mod frames;
mod incoming;
mod message;
mod publish;
mod query;
pub mod sse;

pub use field::Headers;
pub use incoming::{Incoming, IncomingMessage, parse_lines};
pub use message::{Message, MessageBody, PullAnswer, Watermark};
pub use publish::{BatchAck, FailedPart, PublishAck, PublishLimits, PublishRequest};
pub(crate) use query::unknown_partition;
pub use query::{PullQuery, Start, partition_query};
