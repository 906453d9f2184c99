//! The hypercube of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hcube_api::admin::{Identity, Members};
use hcube_api::cluster::Cluster;
use hcube_api::topics::{Partition, Topic, TopicSummary};
use hcube_api::{Code, Problem};
use hcube_client::{Error as PeerError, Name};
use hcube_core::ids::{Slot, TopicId};

use crate::peers::{Change, Peer, Peers, TopicChange};

/// Peers that say what they are told to say.
#[derive(Debug, Default)]
pub struct Cast {
    /// Who is at which address.
    pub identities: BTreeMap<String, Identity>,
    /// What every peer that belongs to the hypercube sees.
    pub view: Option<(Members, Cluster)>,
    /// At which addresses no token is accepted.
    pub strangers: BTreeSet<String>,
    /// At which addresses somebody asked for it.
    pub viewed: Vec<String>,
    /// What was asked for.
    pub changes: Vec<Change>,
    /// Topics by name.
    pub topics: BTreeMap<String, Topic>,
    /// Topics that were ever created.
    pub lives: u128,
    /// What was asked for about topics.
    pub topic_changes: Vec<TopicChange>,
    /// What the next changes are answered with.
    pub refusal: Option<Code>,
}

#[derive(Clone, Default)]
pub(super) struct Actors(pub Arc<Mutex<Cast>>);

impl Actors {
    fn of<T>(&self, peer: &Peer, tell: impl FnOnce(&Cast) -> Option<T>) -> Result<T, PeerError> {
        let silent = || PeerError::Unreachable { endpoint: peer.ip.clone(), reason: "refused".into() };
        tell(&self.0.lock().unwrap()).ok_or_else(silent)
    }
}

impl Peers for Actors {
    fn identity<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Identity, PeerError>> {
        assert_eq!(peer.tokens.first().map(String::len), Some(64), "a token is shown");
        async move {
            if self.0.lock().unwrap().strangers.contains(&peer.ip) {
                return Err(Problem::new(Code::Unauthorized, "the token is another").into());
            }
            self.of(peer, |cast| cast.identities.get(&peer.ip).cloned())
        }
        .boxed()
    }

    fn members<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Members, PeerError>> {
        async move {
            self.0.lock().unwrap().viewed.push(peer.ip.clone());
            self.of(peer, |cast| {
                cast.identities.get(&peer.ip)?.cluster_id?;
                cast.view.as_ref().map(|view| view.0.clone())
            })
        }
        .boxed()
    }

    fn cluster<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Cluster, PeerError>> {
        async move { self.of(peer, |cast| cast.view.as_ref().map(|view| view.1.clone())) }.boxed()
    }

    fn change<'a>(&'a self, _: &'a Peer, change: &'a Change) -> BoxFuture<'a, Result<(), PeerError>> {
        async move {
            let mut cast = self.0.lock().unwrap();
            cast.changes.push(change.clone());
            match cast.refusal {
                Some(code) => Err(Problem::new(code, "why").into()),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn topics<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Vec<TopicSummary>, PeerError>> {
        let summary = |topic: &Topic| TopicSummary {
            name: topic.name.clone(),
            id: topic.id,
            partitions: u16::try_from(topic.partitions.len()).unwrap(),
            retention: topic.retention,
        };
        async move { self.of(peer, |cast| Some(cast.topics.values().map(summary).collect())) }.boxed()
    }

    fn topic<'a>(
        &'a self,
        peer: &'a Peer,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<Topic>, PeerError>> {
        async move { self.of(peer, |cast| Some(cast.topics.get(&name.to_string()).cloned())) }.boxed()
    }

    fn change_topic<'a>(
        &'a self,
        _: &'a Peer,
        change: &'a TopicChange,
    ) -> BoxFuture<'a, Result<(), PeerError>> {
        async move {
            let mut cast = self.0.lock().unwrap();
            cast.topic_changes.push(change.clone());
            match cast.refusal {
                Some(code) => return Err(Problem::new(code, "why").into()),
                None => cast.make(change),
            }
            Ok(())
        }
        .boxed()
    }
}

impl Cast {
    /// Does with topics what a hypercube does.
    fn make(&mut self, change: &TopicChange) {
        match change {
            TopicChange::Create(name, create) => {
                self.lives += 1;
                let partition = |partition| Partition {
                    partition,
                    slot: Slot(partition),
                    leader: None,
                    replicas: Vec::new(),
                    start_offset: Some(0),
                    high_watermark: Some(0),
                };
                let topic = Topic {
                    name: name.clone(),
                    id: TopicId(self.lives),
                    retention: create.retention,
                    read_replicas: 0,
                    partitions: (0..create.partitions.into()).map(partition).collect(),
                };
                self.topics.insert(name.to_string(), topic);
            }
            TopicChange::Alter(name, patch) => {
                let retention = &mut self.topics.get_mut(&name.to_string()).unwrap().retention;
                retention.age_ms = patch.retention.age_ms.unwrap_or(retention.age_ms);
                retention.bytes = patch.retention.bytes.unwrap_or(retention.bytes);
            }
            TopicChange::Delete(name) => {
                self.topics.remove(&name.to_string());
            }
            TopicChange::SetReadReplicas(name, _, count) => {
                self.topics.get_mut(&name.to_string()).unwrap().read_replicas = *count;
            }
        }
    }
}
