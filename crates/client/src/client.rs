//! The client: what all requests have in common.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hcube_api::cluster::Cluster;
use hcube_api::headers::{self, Path};
use hcube_api::{Problem, media, paths};
use hcube_core::ids::Vertex;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::builder::{ClientBuilder, Settings};
use crate::endpoints::{Directory, Endpoint};
use crate::error::Error;
use crate::stream::Streams;

mod cluster;
mod publish;
mod pull;
mod registrations;
mod topics;

pub use publish::Published;
pub(crate) use publish::{Addressed, Delivered};
pub(crate) use pull::Near;
pub use pull::Pulled;
pub use topics::Created;

/// Bytes of the largest answer that is read; above any that a peer gives.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// A peer that asks for a longer pause is asked again after this all the same, in seconds.
const RETRY_AFTER_MAX_S: u64 = 60;

/// A client of one hypercube. Clones share their connections and what they know of the peers.
///
/// Any peer serves any request. Where one cannot be reached or is not ready, the next is asked; what fails for
/// a while is tried again with growing pauses until the retry timeout, but never where a request may have been
/// carried out and repeating it could do harm.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) directory: Directory,
    pub(crate) settings: Settings,
    pub(crate) streams: Streams,
}

/// A request, as it is sent to one peer after the other.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    /// Path and query.
    target: String,
    headers: HeaderMap,
    body: Bytes,
    /// How long the peer itself may wait before it answers.
    wait: Duration,
    is_repeatable: bool,
    is_pinned: bool,
    prefer: Option<Vertex>,
}

impl Call {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            wait: Duration::ZERO,
            is_repeatable: true,
            is_pinned: false,
            prefer: None,
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn json<T: Serialize>(self, body: &T) -> Self {
        self.header(CONTENT_TYPE, media::JSON).body(hcube_api::json::to_vec(body).into())
    }

    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(crate) fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(crate) fn accept(self, media_type: &'static str) -> Self {
        self.header(ACCEPT, media_type)
    }

    pub(crate) fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    pub(crate) fn repeatable(mut self, is_repeatable: bool) -> Self {
        self.is_repeatable = is_repeatable;
        self
    }

    pub(crate) fn pinned(mut self, is_pinned: bool) -> Self {
        self.is_pinned = is_pinned;
        self
    }

    pub(crate) fn prefer(mut self, prefer: Option<Vertex>) -> Self {
        self.prefer = prefer;
        self
    }
}

/// A good answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) endpoint: Endpoint,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.senseless(error.to_string()))
    }

    /// A header that parses; none where it is missing.
    pub(crate) fn header<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
        parsed.map(Some).ok_or_else(|| self.senseless(format!("the header {name} does not parse")))
    }

    /// The vertex that served the request; the last of its path.
    pub(crate) fn served_by(&self) -> Option<Vertex> {
        let path: Path = self.header(headers::PATH).ok()??;
        path.hops().last().map(hcube_api::label::Label::vertex)
    }

    pub(crate) fn senseless(&self, reason: String) -> Error {
        Error::Answer { endpoint: self.endpoint.to_string(), reason }
    }
}

impl Client {
    /// A client with the usual settings. It connects when it is first used.
    ///
    /// # Errors
    /// [`Error::Invalid`] without endpoints, or with one that is no HTTP URL.
    pub fn new(endpoints: impl IntoIterator<Item = Url>) -> Result<Self, Error> {
        Self::builder(endpoints).build()
    }

    /// Sets up a client of these endpoints, to be asked in this order.
    #[must_use]
    pub fn builder(endpoints: impl IntoIterator<Item = Url>) -> ClientBuilder {
        ClientBuilder::new(endpoints.into_iter().collect())
    }

    /// A client of this peer and no other, over the same connections: to look at one peer's own view.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no HTTP URL.
    pub fn only(&self, endpoint: Url) -> Result<Self, Error> {
        let mut client = ClientBuilder::new(vec![endpoint]).http(self.inner.http.clone()).build()?;
        let settings = Settings { learns_members: false, ..self.inner.settings.clone() };
        let inner = Arc::get_mut(&mut client.inner).expect("a client just built has no clones");
        inner.settings = settings;
        Ok(client)
    }

    /// Sends the request until it is answered, refused for good, or the retry timeout is over.
    pub(crate) async fn execute(&self, call: &Call) -> Result<Answer, Error> {
        let mut attempts = self.attempts(self.inner.settings.retry_timeout);
        attempts.prefer = call.prefer;
        attempts.is_repeatable = call.is_repeatable;
        attempts.is_pinned = call.is_pinned;
        // The time for retries does not cut the first attempt short.
        let patience = self.inner.settings.request_timeout + call.wait;
        loop {
            let endpoint = attempts.endpoint();
            match self.exchange(call, &endpoint, patience).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    attempts.failed(&endpoint, error).await?;
                    attempts.prefer = None;
                }
            }
        }
    }

    /// A course of attempts of its own.
    pub(crate) fn attempts(&self, budget: Duration) -> Attempts<'_> {
        Attempts::new(&self.inner.directory, budget)
    }

    /// One attempt at one peer: sends the request and reads the whole answer.
    pub(crate) async fn exchange(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        patience: Duration,
    ) -> Result<Answer, Error> {
        let result = match tokio::time::timeout(patience, self.talk(call, endpoint)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Silent { endpoint: endpoint.to_string() }),
        };
        self.note(endpoint, call.prefer.is_none(), result.as_ref().err());
        result
    }

    /// One attempt at one peer that leaves the answer's body to be read as it comes.
    pub(crate) async fn open(&self, call: &Call, endpoint: &Endpoint) -> Result<Response, Error> {
        let patience = self.inner.settings.request_timeout;
        let result = match tokio::time::timeout(patience, self.begin(call, endpoint)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Silent { endpoint: endpoint.to_string() }),
        };
        self.note(endpoint, true, result.as_ref().err());
        result
    }

    async fn talk(&self, call: &Call, endpoint: &Endpoint) -> Result<Answer, Error> {
        let response = self.begin(call, endpoint).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_whole(response, endpoint).await?;
        Ok(Answer { endpoint: endpoint.clone(), status, headers, body })
    }

    /// Sends the request and reads the answer's head; a refusal is read whole.
    async fn begin(&self, call: &Call, endpoint: &Endpoint) -> Result<Response, Error> {
        let Inner { http, settings, .. } = &*self.inner;
        let mut request = http
            .request(call.method.clone(), format!("{endpoint}{}", call.target))
            .headers(call.headers.clone());
        if let Some(authorization) = &settings.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !call.body.is_empty() {
            request = request.body(call.body.clone());
        }
        let response = request.send().await.map_err(|error| Error::from_transport(endpoint, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response, endpoint).await?.into())
    }

    /// Remembers how a peer fared, and learns the members when that is due.
    pub(crate) fn note(&self, endpoint: &Endpoint, is_chosen: bool, error: Option<&Error>) {
        let Inner { directory, settings, .. } = &*self.inner;
        let failed = error.is_some_and(Error::is_of_one_peer);
        if failed {
            directory.failed(endpoint, Instant::now());
        } else {
            directory.worked(endpoint, is_chosen);
        }
        if settings.learns_members && (failed || directory.is_unlearned()) {
            self.learn_members();
        }
    }

    /// Asks for the members in the background, where nobody does already.
    pub(crate) fn learn_members(&self) {
        let settings = &self.inner.settings;
        if !settings.learns_members || !self.inner.directory.begin_learning(Instant::now()) {
            return;
        }
        let client = self.clone();
        tokio::spawn(async move {
            let call = Call::get(paths::CLUSTER);
            let directory = &client.inner.directory;
            for endpoint in directory.candidates(None, Instant::now()) {
                let patience = client.inner.settings.request_timeout;
                // Not `exchange`, which would call for learning again.
                let answer = tokio::time::timeout(patience, client.talk(&call, &endpoint)).await;
                let Ok(Ok(answer)) = answer else { continue };
                match answer.json::<Cluster>() {
                    Ok(cluster) => return directory.learn(&cluster),
                    Err(error) => tracing::debug!(%error, "the members cannot be read"),
                }
            }
        });
    }
}

/// What an answer that is no success says.
pub(crate) async fn refusal(response: Response, endpoint: &Endpoint) -> Result<Problem, Error> {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut problem = Problem::from_answer(status, &read_whole(response, endpoint).await?);
    problem.retry_after_ms =
        problem.retry_after_ms.or(after.map(|seconds: u64| seconds.min(RETRY_AFTER_MAX_S) * 1000));
    Ok(problem)
}

async fn read_whole(mut response: Response, endpoint: &Endpoint) -> Result<Bytes, Error> {
    // What the peer says is believed up to what is read at most.
    let length = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = BytesMut::with_capacity(length.unwrap_or_default().min(ANSWER_BYTES_MAX));
    while let Some(piece) = response.chunk().await.map_err(|error| Error::from_transport(endpoint, &error))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            let reason = format!("it has more than {ANSWER_BYTES_MAX} bytes");
            return Err(Error::Answer { endpoint: endpoint.to_string(), reason });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
