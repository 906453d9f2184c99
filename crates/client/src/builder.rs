//! How a client is set up.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::client::{Client, Inner};
use crate::endpoints::Directory;
use crate::error::Error;
use crate::stream::Streams;

/// Idle connections kept to each peer.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// Sets up a [`Client`]; see [`Client::builder`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    endpoints: Vec<Url>,
    connect_timeout: Duration,
    proxy: Option<Url>,
    http: Option<reqwest::Client>,
    settings: Settings,
}

/// What a client goes by.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) request_timeout: Duration,
    pub(crate) retry_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) learns_members: bool,
    pub(crate) authorization: Option<HeaderValue>,
}

impl ClientBuilder {
    pub(crate) fn new(endpoints: Vec<Url>) -> Self {
        Self {
            endpoints,
            connect_timeout: Duration::from_secs(2),
            proxy: None,
            http: None,
            settings: Settings {
                request_timeout: Duration::from_secs(12),
                retry_timeout: Duration::from_secs(30),
                idle_timeout: Duration::from_secs(60),
                learns_members: true,
                authorization: None,
            },
        }
    }

    /// How long a connection may take to come about; 2 s unless said. Of no effect beside
    /// [`ClientBuilder::http`].
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one attempt waits for its answer, beyond what a long poll asks for; 12 s unless said, a little longer than
    /// a peer waits for a leader.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// How long a request is tried again before its error is returned; 30 s unless said. Zero tries once.
    #[must_use]
    pub fn retry_timeout(mut self, timeout: Duration) -> Self {
        self.settings.retry_timeout = timeout;
        self
    }

    /// How long a subscription may be silent, keep-alives included, before it is taken for dead; 60 s unless
    /// said.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = timeout;
        self
    }

    /// Whether to learn the other peers' addresses from the first one that answers, so that a client survives
    /// the endpoints it was given; yes unless said. Say no where clients cannot reach those addresses.
    #[must_use]
    pub fn learns_members(mut self, learns: bool) -> Self {
        self.settings.learns_members = learns;
        self
    }

    /// An HTTP proxy through which every peer is reached, such as `http://127.0.0.1:3128`; it is the proxy that
    /// resolves the peers' names. Of no effect beside [`ClientBuilder::http`].
    #[must_use]
    pub fn proxy(mut self, proxy: Url) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// The HTTP client to use instead of the built-in one, which speaks plain HTTP and follows neither proxies
    /// nor redirects. Bring one with TLS and use `https` endpoints.
    #[must_use]
    pub fn http(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Sends this `Authorization` with every request.
    pub(crate) fn authorization(mut self, value: HeaderValue) -> Self {
        self.settings.authorization = Some(value);
        self
    }

    /// The client. It connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] without endpoints, or with one that is no HTTP URL.
    pub fn build(self) -> Result<Client, Error> {
        if self.endpoints.is_empty() {
            return Err(Error::Invalid("a client needs at least one endpoint".into()));
        }
        for endpoint in &self.endpoints {
            let is_http = matches!(endpoint.scheme(), "http" | "https") && endpoint.has_host();
            if !is_http || endpoint.query().is_some() || endpoint.fragment().is_some() {
                return Err(Error::Invalid(format!(
                    "{endpoint} is not an endpoint such as http://host:8000"
                )));
            }
        }
        let http = match self.http {
            Some(http) => http,
            None => connections(self.connect_timeout, self.proxy)
                .map_err(|error| Error::Invalid(error.to_string()))?,
        };
        let directory = Directory::new(&self.endpoints);
        Ok(Client {
            inner: Arc::new(Inner { http, directory, settings: self.settings, streams: Streams::default() }),
        })
    }
}

fn connections(connect_timeout: Duration, proxy: Option<Url>) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .tcp_nodelay(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    match proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy)?).build(),
        None => builder.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked() {
        let build = |texts: &[&str]| {
            let urls = texts.iter().map(|text| text.parse().unwrap()).collect();
            ClientBuilder::new(urls).build()
        };
        assert!(build(&["http://127.0.0.1:8000", "http://[::1]:8001/"]).is_ok());
        for wrong in [&[][..], &["ftp://a"], &["http://a?x=1"], &["data:text/plain,x"]] {
            assert!(matches!(build(wrong), Err(Error::Invalid(_))), "{wrong:?}");
        }
    }
}
