//! Answers to HTTP requests, kept whole.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;

/// How long a request may take: longer than a peer waits for a leader, shorter than a story.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A client that goes straight to this machine's peers.
///
/// # Panics
/// When the machine cannot give it a thread.
#[must_use]
pub fn client() -> Client {
    let built =
        Client::builder().no_proxy().timeout(PATIENCE).connect_timeout(Duration::from_secs(2)).build();
    built.expect("a client without TLS needs nothing but a thread")
}

/// What a peer answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Sends a request and reads its whole answer.
    ///
    /// # Errors
    /// What went wrong when there is no whole answer: the request may have been carried out all the same.
    pub fn of(client: &Client, request: RequestBuilder) -> Result<Self, String> {
        let request = request.build().map_err(|error| error.to_string())?;
        let line = format!("{} {}", request.method(), request.url());
        let whole = |response: Response| {
            let status = response.status().as_u16();
            let text =
                |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers =
                response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            response.bytes().map(|body| Self { request: line.clone(), status, headers, body: body.to_vec() })
        };
        client.execute(request).and_then(whole).map_err(|error| format!("{line}: {error:?}"))
    }

    /// Itself, where it has this status.
    ///
    /// # Panics
    /// Where it has another.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Itself, where it is a problem document of this status and code, complete as RFC 9457 wants it.
    ///
    /// # Panics
    /// Where it is not.
    #[track_caller]
    #[must_use]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        let document = self.json();
        assert_eq!(document["status"], status, "{self}");
        assert_eq!(document["type"], format!("urn:hcube:problem:{code}"), "{self}");
        assert!(document["title"].is_string() && document["detail"].is_string(), "{self}");
        self
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The problem's code; empty where the body is no problem.
    #[must_use]
    pub fn code(&self) -> String {
        let document: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        document["code"].as_str().unwrap_or_default().to_owned()
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(1000).collect();
        write!(f, "{} -> {} {:?} {body}", self.request, self.status, self.headers)
    }
}
