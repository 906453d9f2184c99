//! Requests about the hypercube and its peers.

use hcube_api::cluster::{Cluster, Health, Plan, PlanQuery, Route};
use hcube_api::paths;
use hcube_core::topic::Name;

use super::{Call, Client};
use crate::error::Error;

impl Client {
    /// The hypercube as the peer that answers sees it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        let cluster: Cluster = self.execute(&Call::get(paths::CLUSTER)).await?.json()?;
        if self.inner.settings.learns_members {
            self.inner.directory.learn(&cluster);
        }
        Ok(cluster)
    }

    /// The way of a publish from the peer that answers to the leader of the topic's partition.
    ///
    /// # Errors
    /// `unknown-topic`, `unknown-partition`; see [`Error`].
    pub async fn route(&self, topic: &Name, partition: u16) -> Result<Route, Error> {
        self.execute(&Call::get(paths::route(topic, partition))).await?.json()
    }

    /// What would move if the hypercube had other peers or replicas. Nothing is changed.
    ///
    /// # Errors
    /// `invalid-argument`; `too-few-peers` for fewer peers than replicas; see [`Error`].
    pub async fn plan(&self, query: &PlanQuery) -> Result<Plan, Error> {
        let query = query.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        self.execute(&Call::get(format!("{}{mark}{query}", paths::PLAN))).await?.json()
    }

    /// Whether a peer lives. Of a certain one: `client.only(endpoint)?.health()`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn health(&self) -> Result<Health, Error> {
        self.execute(&Call::get(paths::HEALTH)).await?.json()
    }

    /// Whether a peer has caught up and serves; waits for one up to the retry timeout.
    ///
    /// # Errors
    /// `not-ready`, `damaged`; see [`Error`].
    pub async fn ready(&self) -> Result<Health, Error> {
        self.execute(&Call::get(paths::READY)).await?.json()
    }

    /// A peer's metrics in Prometheus' text form.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self.execute(&Call::get(paths::METRICS)).await?;
        String::from_utf8(answer.body.to_vec()).map_err(|error| Error::Answer {
            endpoint: answer.endpoint.to_string(),
            reason: error.to_string(),
        })
    }

    /// The OpenAPI document that a peer serves.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn openapi(&self) -> Result<serde_json::Value, Error> {
        self.execute(&Call::get(paths::OPENAPI)).await?.json()
    }
}
