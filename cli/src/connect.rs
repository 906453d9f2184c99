//! The client that every command but `local` talks through.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hcube_client::{Client, ClientBuilder};

use crate::k8s::Forward;

/// How long a command tries again what fails for a while: longer than an election takes, and short for a
/// person who forgot to start the peers.
pub const RETRY: Duration = Duration::from_secs(6);

/// How long a connection through Kubernetes may take to come about: the API server, the node and the pod are asked.
const FORWARDED: Duration = Duration::from_secs(10);

/// Peers of a hypercube, and the way to them.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Their addresses, as they are called where they run.
    pub endpoints: Vec<String>,
    /// The way there through Kubernetes; none where their addresses are reached as they are.
    pub forward: Option<Arc<Forward>>,
}

impl Reach {
    /// Peers that are reached as they are.
    pub fn direct(endpoints: impl Into<Vec<String>>) -> Self {
        Self { endpoints: endpoints.into(), forward: None }
    }

    /// Others, on the same way.
    pub fn to(&self, endpoints: impl Into<Vec<String>>) -> Self {
        Self { endpoints: endpoints.into(), forward: self.forward.clone() }
    }

    /// A client of these peers.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(self.builder()?.retry_timeout(RETRY).build()?)
    }

    /// The same, with settings to be changed.
    pub fn builder(&self) -> anyhow::Result<ClientBuilder> {
        let builder = builder(&self.endpoints)?;
        Ok(match &self.forward {
            Some(forward) => builder.proxy(forward.proxy()).connect_timeout(FORWARDED),
            None => builder,
        })
    }
}

/// Sets up a client of peers that are reached as they are.
pub fn builder(endpoints: &[String]) -> anyhow::Result<ClientBuilder> {
    let urls = endpoints.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(|text| {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        url.parse().with_context(|| format!("--endpoint: {text} is no URL"))
    });
    Ok(Client::builder(urls.collect::<anyhow::Result<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_may_be_left_out() {
        let client = |endpoints: &[&str]| {
            Reach::direct(endpoints.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).client()
        };
        assert!(client(&["127.0.0.1:8000", " http://localhost:8001"]).is_ok());
        assert!(client(&["http://a b"]).is_err());
        assert!(client(&[""]).is_err(), "there must be an endpoint");
    }
}
