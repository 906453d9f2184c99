//! Requests to a peer's administration port.

use hcube_api::admin::{Bootstrap, Bootstrapped, Identity};
use hcube_api::paths;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};

use crate::client::{Call, Client};
use crate::error::Error;

/// A client of one peer's administration port. Cheap to clone.
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
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Error::Invalid("the token holds characters that a header cannot".into()))?;
        // Keeps the token out of debug output.
        authorization.set_sensitive(true);
        let builder = Client::builder([endpoint]).learns_members(false).authorization(authorization);
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
}
