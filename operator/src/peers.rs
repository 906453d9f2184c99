//! The operator's words with peers, behind a trait so that tests can play them.

mod http;

use futures_util::future::BoxFuture;
use hcube_api::admin::{AddMember, Bootstrap, Identity, Members};
use hcube_api::cluster::Cluster;
use hcube_api::topics::{CreateTopic, PatchTopic, Topic, TopicSummary};
use hcube_client::{Error, Name};
use hcube_core::ids::{ClusterId, NodeId};

pub use http::Http;

/// A peer and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub ip: String,
    /// Tokens to show, the likeliest first; more than one while they are being rotated.
    pub tokens: Vec<String>,
}

/// A change of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Found the hypercube.
    Found(Bootstrap),
    /// Make a pod a member.
    Add(AddMember),
    /// Let a member give its replicas away.
    Drain(NodeId, ClusterId),
    /// Let a member stay after all.
    CancelDrain(NodeId, ClusterId),
    /// Remove a drained member for ever.
    Remove(NodeId, ClusterId),
    /// Set R.
    SetReplication(ClusterId, u8),
}

/// A change of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    /// Create one, unless it is there.
    Create(Name, CreateTopic),
    /// Change what it keeps.
    Alter(Name, PatchTopic),
    /// Delete it with its messages.
    Delete(Name),
    /// Set how many of its replicas only read.
    SetReadReplicas(Name, ClusterId, u8),
}

/// What peers can be asked and told. Every answer comes within seconds, or is an error.
pub trait Peers: Send + Sync {
    /// Who it is.
    fn identity<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Identity, Error>>;
    /// The members, as it sees them.
    fn members<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Members, Error>>;
    /// The placement, as it sees it.
    fn cluster<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Cluster, Error>>;
    /// Changes members.
    fn change<'a>(&'a self, peer: &'a Peer, change: &'a Change) -> BoxFuture<'a, Result<(), Error>>;
    /// All topics.
    fn topics<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Vec<TopicSummary>, Error>>;
    /// One topic; none where there is no such.
    fn topic<'a>(&'a self, peer: &'a Peer, name: &'a Name) -> BoxFuture<'a, Result<Option<Topic>, Error>>;
    /// Changes a topic.
    fn change_topic<'a>(
        &'a self,
        peer: &'a Peer,
        change: &'a TopicChange,
    ) -> BoxFuture<'a, Result<(), Error>>;
}
