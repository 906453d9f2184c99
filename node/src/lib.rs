//! The hcube peer process: the threads, sockets and clocks around the pure [`hcube_broker::Peer`].
//!
//! [`Node::start`] holds a data directory and listens for other peers. A node whose disk belongs to a hypercube
//! goes on at once; any other waits until it is founded, by [`Node::bootstrap`] or by a member that knows it as
//! a founder, or invited by a member of the hypercube that it was added to, and forms none of its own. From then on [`Node::handle`] is the way to ask it for
//! something.

pub mod config;
mod engine;
mod founding;
mod handle;
pub mod http;
mod links;
mod metrics;
mod node;
pub mod run;

pub use config::Config;
pub use engine::Error as EngineError;
pub use founding::Error as FoundingError;
pub use handle::Handle;
pub use links::wanted;
pub use metrics::Metrics;
pub use node::{Bootstrap, BootstrapError, Node, StartError};
