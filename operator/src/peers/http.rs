//! Words with real peers, over HTTP, each within a few seconds.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hcube_api::Code;
use hcube_api::admin::{Identity, Members};
use hcube_api::cluster::Cluster;
use hcube_api::topics::{Topic, TopicSummary};
use hcube_client::{Admin, Client, Error, Name, Url};

use super::{Change, Peer, Peers, TopicChange};
use crate::names::{ADMIN_PORT, CLIENT_PORT};

/// How long a peer may take to say who it is: one that does not answer must not hold up the others.
const QUESTION_PATIENCE: Duration = Duration::from_secs(3);
/// How long a change may take. It may be made after that; the next look shows it.
const CHANGE_PATIENCE: Duration = Duration::from_secs(15);

/// Peers that are pods.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

impl Peers for Http {
    fn identity<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Identity, Error>> {
        administer(peer, QUESTION_PATIENCE, |admin| async move { admin.identity().await }.boxed()).boxed()
    }

    fn members<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Members, Error>> {
        administer(peer, QUESTION_PATIENCE, |admin| async move { admin.members().await }.boxed()).boxed()
    }

    fn cluster<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Cluster, Error>> {
        async move { within(QUESTION_PATIENCE, peer, client(peer)?.cluster()).await }.boxed()
    }

    fn change<'a>(&'a self, peer: &'a Peer, change: &'a Change) -> BoxFuture<'a, Result<(), Error>> {
        administer(peer, CHANGE_PATIENCE, move |admin| async move { make(&admin, change).await }.boxed())
            .boxed()
    }

    fn topics<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Vec<TopicSummary>, Error>> {
        async move { within(CHANGE_PATIENCE, peer, client(peer)?.list_topics()).await }.boxed()
    }

    fn topic<'a>(&'a self, peer: &'a Peer, name: &'a Name) -> BoxFuture<'a, Result<Option<Topic>, Error>> {
        async move {
            match within(CHANGE_PATIENCE, peer, client(peer)?.describe_topic(name)).await {
                Ok(topic) => Ok(Some(topic)),
                Err(error) if error.code() == Some(Code::UnknownTopic) => Ok(None),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn change_topic<'a>(
        &'a self,
        peer: &'a Peer,
        change: &'a TopicChange,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            match change {
                TopicChange::Create(name, create) => {
                    within(CHANGE_PATIENCE, peer, client(peer)?.create_topic(name, create)).await.map(drop)
                }
                TopicChange::Alter(name, patch) => {
                    within(CHANGE_PATIENCE, peer, client(peer)?.alter_topic(name, patch)).await.map(drop)
                }
                TopicChange::Delete(name) => {
                    within(CHANGE_PATIENCE, peer, client(peer)?.delete_topic(name)).await.map(drop)
                }
                TopicChange::SetReadReplicas(name, cluster, count) => {
                    administer(peer, CHANGE_PATIENCE, move |admin| {
                        async move { admin.set_read_replicas(name, *cluster, *count).await.map(drop) }.boxed()
                    })
                    .await
                }
            }
        }
        .boxed()
    }
}

async fn make(admin: &Admin, change: &Change) -> Result<(), Error> {
    match change {
        Change::Found(bootstrap) => admin.bootstrap(bootstrap).await.map(drop),
        Change::Add(add) => admin.add(add).await.map(drop),
        Change::Drain(node, cluster) => admin.drain(*node, *cluster).await.map(drop),
        Change::CancelDrain(node, cluster) => admin.cancel_drain(*node, *cluster).await.map(drop),
        Change::Remove(node, cluster) => admin.remove(*node, *cluster).await.map(drop),
        Change::SetReplication(cluster, replication) => {
            admin.set_replication(*cluster, *replication).await.map(drop)
        }
    }
}

/// Talks to the administration port, with the next token where one is refused.
async fn administer<'a, T>(
    peer: &'a Peer,
    patience: Duration,
    talk: impl Fn(Admin) -> BoxFuture<'a, Result<T, Error>>,
) -> Result<T, Error> {
    let mut refused = Error::Invalid("there is no token to show".into());
    for token in &peer.tokens {
        let admin = Admin::new(endpoint(peer, ADMIN_PORT)?, token)?;
        match within(patience, peer, talk(admin)).await {
            Err(error) if error.code() == Some(Code::Unauthorized) => refused = error,
            other => return other,
        }
    }
    Err(refused)
}

fn client(peer: &Peer) -> Result<Client, Error> {
    Client::builder([endpoint(peer, CLIENT_PORT)?]).learns_members(false).build()
}

fn endpoint(peer: &Peer, port: u16) -> Result<Url, Error> {
    let host = if peer.ip.contains(':') { format!("[{}]", peer.ip) } else { peer.ip.clone() };
    format!("http://{host}:{port}").parse().map_err(|error| Error::Invalid(format!("{}: {error}", peer.ip)))
}

async fn within<T>(
    patience: Duration,
    peer: &Peer,
    talk: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(patience, talk).await {
        Ok(result) => result,
        Err(_) => Err(Error::Silent { endpoint: peer.ip.clone() }),
    }
}
