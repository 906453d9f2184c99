//! The few requests that raising a hypercube needs: identity, founding, readiness.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hcube_api::admin::{Bootstrap, Bootstrapped, Identity};
use hcube_client::{Client, Url};

use crate::admin::{self, Admins};

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
        Ok(Self { token: admin::token(token_file)? })
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

    /// The administration of the hypercube through any of these peers.
    pub fn any(&self, admins: impl IntoIterator<Item = SocketAddr>) -> anyhow::Result<Admins> {
        let urls = admins.into_iter().map(url).collect::<anyhow::Result<Vec<_>>>()?;
        Admins::new(urls, &self.token)
    }

    fn at(&self, admin: SocketAddr) -> anyhow::Result<hcube_client::Admin> {
        Ok(hcube_client::Admin::new(url(admin)?, &self.token)?)
    }
}

fn url(address: SocketAddr) -> anyhow::Result<Url> {
    Ok(format!("http://{address}").parse()?)
}

/// Whether the peer at this client address says that it is ready.
pub async fn is_ready(client: SocketAddr) -> bool {
    let Ok(url) = url(client) else { return false };
    // One attempt at this very peer: whoever waits for it asks again.
    let builder = Client::builder([url]).learns_members(false).request_timeout(PATIENCE);
    match builder.retry_timeout(Duration::ZERO).build() {
        Ok(client) => client.ready().await.is_ok(),
        Err(_) => false,
    }
}
