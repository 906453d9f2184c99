//! The few requests that raising a hypercube needs: identity, founding, readiness.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hcube_api::admin::{Bootstrap, Bootstrapped, Identity};
use hcube_client::Client;

/// Peers on this machine answer at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Speaks to peers on this machine.
#[derive(Debug, Clone)]
pub struct Admin {
    token: String,
}

impl Admin {
    /// Shows the token in this file.
    pub fn new(token_file: &Path) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(token_file)
            .with_context(|| format!("cannot read {}", token_file.display()))?;
        Ok(Self { token: token.trim().to_owned() })
    }

    /// Who the peer is, by its administration port.
    pub async fn identity(&self, admin: SocketAddr) -> anyhow::Result<Identity> {
        Ok(tokio::time::timeout(PATIENCE, self.at(admin)?.identity())
            .await
            .context("no answer in time")??)
    }

    /// Founds the hypercube; repeating it changes nothing.
    pub async fn bootstrap(&self, admin: SocketAddr, bootstrap: &Bootstrap) -> anyhow::Result<Bootstrapped> {
        Ok(self.at(admin)?.bootstrap(bootstrap).await?)
    }

    fn at(&self, admin: SocketAddr) -> anyhow::Result<hcube_client::Admin> {
        Ok(hcube_client::Admin::new(format!("http://{admin}").parse()?, &self.token)?)
    }
}

/// Whether the peer at this client address says that it is ready.
pub async fn is_ready(client: SocketAddr) -> bool {
    let Ok(url) = format!("http://{client}").parse() else { return false };
    // One attempt at this very peer: whoever waits for it asks again.
    let builder = Client::builder([url]).learns_members(false).request_timeout(PATIENCE);
    match builder.retry_timeout(Duration::ZERO).build() {
        Ok(client) => client.ready().await.is_ok(),
        Err(_) => false,
    }
}
