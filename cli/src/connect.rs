//! The client that every command but `local` talks through.

use std::time::Duration;

use anyhow::Context as _;
use hcube_client::{Client, ClientBuilder};

/// How long a command tries again what fails for a while: longer than an election takes, and short for a
/// person who forgot to start the peers.
pub const RETRY: Duration = Duration::from_secs(6);

/// A client of these peers.
pub fn client(endpoints: &[String]) -> anyhow::Result<Client> {
    Ok(builder(endpoints)?.retry_timeout(RETRY).build()?)
}

/// The same, with settings to be changed.
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
        assert!(client(&["127.0.0.1:8000".into(), " http://localhost:8001".into()]).is_ok());
        assert!(client(&["http://a b".into()]).is_err());
        assert!(client(&["".into()]).is_err(), "there must be an endpoint");
    }
}
