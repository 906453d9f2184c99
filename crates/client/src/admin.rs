//! Requests to a peer's administration port.

use hcube_api::admin::{
    AddMember, Bootstrap, Bootstrapped, Identity, MemberStatus, Members, OfCluster, PatchCluster,
    ReadReplicas, Recovered, Removed, SetReadReplicas, UnsafeRecover,
};
use hcube_api::cluster::Rebalance;
use hcube_api::paths;
use hcube_core::ids::{ClusterId, NodeId};
use hcube_core::topic::Name;
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};

use crate::builder::ClientBuilder;
use crate::client::{Call, Client};
use crate::error::Error;

/// Answer to the addition of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The member as it stands now.
    pub member: MemberStatus,
    /// Whether it was added now; false where it was a member, be it by an earlier attempt of this very request.
    pub is_new: bool,
}

/// A client of one peer's administration port. Cheap to clone.
///
/// Any peer takes any change. A change names the hypercube that it is meant for, and is repeated where its outcome
/// is unknown: once it has been made, repeating it changes nothing. What all changes may be refused with is
/// `unauthorized`, `wrong-cluster`, `not-ready`, `no-leader` and `timeout`, after which the change may still be made.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// A client of the administration port at `endpoint`, with the peer's bearer token.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an endpoint that is no HTTP URL, or a token that no header can carry.
    pub fn new(endpoint: Url, token: &str) -> Result<Self, Error> {
        Self::of(Client::builder([endpoint]), token)
    }

    /// The same for a client that is set up already, with one endpoint.
    ///
    /// # Errors
    /// See [`Admin::new`].
    pub fn of(builder: ClientBuilder, token: &str) -> Result<Self, Error> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Error::Invalid("the token holds characters that a header cannot".into()))?;
        // Keeps the token out of debug output.
        authorization.set_sensitive(true);
        let builder = builder.learns_members(false).authorization(authorization);
        Ok(Self { client: builder.build()? })
    }

    /// Founds a hypercube. Send it to exactly one peer; repeating it changes nothing.
    ///
    /// # Errors
    /// `unauthorized`, `wrong-cluster`, `already-bootstrapped`; see [`Error`].
    pub async fn bootstrap(&self, founding: &Bootstrap) -> Result<Bootstrapped, Error> {
        let call = Call::new(Method::POST, paths::BOOTSTRAP).json(founding);
        self.client.execute(&call).await?.json()
    }

    /// Who the peer is.
    ///
    /// # Errors
    /// `unauthorized`; see [`Error`].
    pub async fn identity(&self) -> Result<Identity, Error> {
        self.client.execute(&Call::get(paths::IDENTITY)).await?.json()
    }

    /// The members, as the peer sees them.
    ///
    /// # Errors
    /// `not-ready`; see [`Error`].
    pub async fn members(&self) -> Result<Members, Error> {
        self.client.execute(&Call::get(paths::MEMBERS)).await?.json()
    }

    /// Makes a peer a member, at the next vertex or in the place of one whose disk is lost.
    ///
    /// # Errors
    /// `vertex-taken`, `not-next`, `too-many-peers`, `incarnation-used`, `not-replaced`, `still-alive`,
    /// `drain-in-progress`, `unknown-node`, `node-retired`; see [`Error`].
    pub async fn add(&self, new: &AddMember) -> Result<Added, Error> {
        let answer = self.client.execute(&Call::new(Method::POST, paths::MEMBERS).json(new)).await?;
        Ok(Added { member: answer.json()?, is_new: answer.status == StatusCode::CREATED })
    }

    /// Lets a member give its replicas away. [`Admin::members`] tells how far it is.
    ///
    /// # Errors
    /// `unknown-node`, `node-retired`, `not-highest`, `too-few-peers`, `drain-limit`; see [`Error`].
    pub async fn drain(&self, node: NodeId, cluster: ClusterId) -> Result<MemberStatus, Error> {
        let call = Call::new(Method::POST, paths::drain(node)).json(&OfCluster { cluster_id: cluster });
        self.client.execute(&call).await?.json()
    }

    /// Lets a member stay after all, and with it every member below it that was being drained.
    ///
    /// # Errors
    /// `unknown-node`, `node-retired`; see [`Error`].
    pub async fn cancel_drain(&self, node: NodeId, cluster: ClusterId) -> Result<MemberStatus, Error> {
        let call =
            Call::new(Method::POST, paths::cancel_drain(node)).json(&OfCluster { cluster_id: cluster });
        self.client.execute(&call).await?.json()
    }

    /// Removes a drained member for ever.
    ///
    /// # Errors
    /// `not-empty` while it holds replicas; `not-draining`, `not-highest`, `unknown-node`; see [`Error`].
    pub async fn remove(&self, node: NodeId, cluster: ClusterId) -> Result<Removed, Error> {
        self.client.execute(&Call::new(Method::DELETE, paths::member(node, cluster))).await?.json()
    }

    /// Sets R.
    ///
    /// # Errors
    /// `invalid-argument`; `too-few-peers` where drains leave fewer peers; see [`Error`].
    pub async fn set_replication(&self, cluster: ClusterId, replication: u8) -> Result<Rebalance, Error> {
        self.patch(&PatchCluster { cluster_id: cluster, replication: Some(replication), paused: None }).await
    }

    /// Keeps slots where they are, or lets them move on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_paused(&self, cluster: ClusterId, paused: bool) -> Result<Rebalance, Error> {
        self.patch(&PatchCluster { cluster_id: cluster, replication: None, paused: Some(paused) }).await
    }

    async fn patch(&self, patch: &PatchCluster) -> Result<Rebalance, Error> {
        self.client.execute(&Call::new(Method::PATCH, paths::CLUSTER).json(patch)).await?.json()
    }

    /// Lets slots that lost most of their voters with these nodes go on with what is left. What only those disks held
    /// is gone for good, although it may have been acknowledged.
    ///
    /// # Errors
    /// `not-lost` and `still-alive` for nodes that are members still; `unknown-node`; `survivor-silent` where a peer
    /// that may have the best copy does not answer; `stale`; see [`Error`].
    pub async fn unsafe_recover(&self, cluster: ClusterId, lost: &[NodeId]) -> Result<Recovered, Error> {
        self.recover(cluster, lost, false).await
    }

    /// Lets the metadata, which lost most of its voters' disks with these nodes, go on with what one peer has of it.
    ///
    /// # Errors
    /// `metadata-not-lost` while it has a leader or can elect one; `still-alive`, `unknown-node`; `survivor-silent`
    /// where a peer that is not named does not answer; `stale`; see [`Error`].
    pub async fn unsafe_recover_metadata(
        &self,
        cluster: ClusterId,
        lost: &[NodeId],
    ) -> Result<Recovered, Error> {
        self.recover(cluster, lost, true).await
    }

    async fn recover(&self, cluster: ClusterId, lost: &[NodeId], metadata: bool) -> Result<Recovered, Error> {
        let body =
            UnsafeRecover { cluster_id: cluster, lost: lost.to_vec(), accept_data_loss: true, metadata };
        self.client.execute(&Call::new(Method::POST, paths::UNSAFE_RECOVER).json(&body)).await?.json()
    }

    /// Sets how many replicas of a topic only read.
    ///
    /// # Errors
    /// `unknown-topic`, `invalid-argument`; see [`Error`].
    pub async fn set_read_replicas(
        &self,
        topic: &Name,
        cluster: ClusterId,
        count: u8,
    ) -> Result<ReadReplicas, Error> {
        let wish = SetReadReplicas { cluster_id: cluster, count };
        let call = Call::new(Method::PUT, paths::read_replicas(topic)).json(&wish);
        self.client.execute(&call).await?.json()
    }
}
