//! A harness for real hypercubes: it runs the program `hcube`, speaks HTTP to its peers, and checks what they
//! answered with code of its own. Nothing here uses a crate of the product, so both cannot share a mistake.
//!
//! Everything happens on 127.0.0.1, in network namespaces of its own or in the kind cluster of `tests/kind/up`, in a
//! temporary directory, and ends in bounded time. What fails panics with what was asked and answered; a [`Cluster`] that
//! is dropped by a panic shows the ends of its peers' logs, and a [`kubernetes::Namespace`] everything in it.

pub mod answer;
pub mod bulk;
pub mod cluster;
pub mod events;
pub mod feed;
pub mod history;
pub mod kubernetes;
pub mod load;
pub mod namespaces;
pub mod process;
pub mod program;
pub mod publisher;
pub mod raw;
pub mod reading;
pub mod readme;
pub mod tmpfs;
pub mod wait;

pub use answer::Answer;
pub use cluster::{Cluster, Shape};
pub use events::Events;
pub use feed::Feed;
pub use history::{Acked, Reading, Stored};
pub use namespaces::Apart;
pub use process::Peer;
pub use program::{Ran, hcube};
pub use publisher::Publisher;
pub use wait::{eventually, seconds};
