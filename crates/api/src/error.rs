//! Problem documents (RFC 9457): what a client gets instead of an answer.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod code;

pub use code::{Code, Retry};

/// Media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The body of every refusal. Programs look at `code`; `title` and `detail` are for people.
// Texts are boxed slices because this is the error of nearly every function at the edge, and small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The code as a URI, `urn:hcube:problem:CODE`.
    #[serde(rename = "type", default)]
    pub kind: Box<str>,
    /// The code in words.
    #[serde(default)]
    pub title: Box<str>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// What was wrong this time.
    #[serde(default)]
    pub detail: Box<str>,
    /// What is wrong, stable over versions.
    pub code: Code,
    /// For a batch of lines: the line that is wrong, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Milliseconds after which a repetition makes sense; `Retry-After` has it in whole seconds, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Further members that belong to the code, such as `start_offset` for `offset-out-of-range`.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl Problem {
    /// A problem of this code with its default status and title.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:hcube:problem:{code}").into(),
            title: code.title().into(),
            status: code.status().as_u16(),
            detail: detail.into().into(),
            code,
            line: None,
            retry_after_ms: None,
            extra: BTreeMap::new(),
        }
    }

    /// An `invalid-argument`, the most common refusal.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, detail)
    }

    /// Names the line of a batch that is wrong, from 1.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// Says when a repetition makes sense.
    #[must_use]
    pub fn retry_after_ms(mut self, after_ms: u64) -> Self {
        self.retry_after_ms = Some(after_ms);
        self
    }

    /// Adds a member of its own. A name that the document has already, such as `code`, is left as it was.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        const TAKEN: [&str; 7] = ["type", "title", "status", "detail", "code", "line", "retry_after_ms"];
        if !TAKEN.contains(&name) {
            self.extra.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The status as an HTTP library wants it; 500 where a document holds an impossible one.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The value of the header `Retry-After`: whole seconds, rounded up.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1000))
    }

    /// Whether repeating the request may help; by status where the code is of a newer version.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match (self.code, self.status) {
            (Code::Unrecognized, 429 | 503 | 507) => Retry::Later,
            (Code::Unrecognized, 500..) => Retry::Idempotently,
            (code, _) => code.retry(),
        }
    }

    /// The document as bytes for the wire.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem holds nothing that JSON cannot")
    }

    /// The problem in an answer that was refused, even when its body is none of ours (from a proxy, say).
    #[must_use]
    pub fn from_answer(status: StatusCode, body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let mut problem = Self::new(Code::Unrecognized, text);
            problem.status = status.as_u16();
            problem
        })
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, if self.detail.is_empty() { &self.title } else { &self.detail })?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

impl From<hcube_core::topic::NameError> for Problem {
    fn from(error: hcube_core::topic::NameError) -> Self {
        Self::new(Code::InvalidName, error.to_string())
    }
}

impl From<hcube_core::record::BatchError> for Problem {
    fn from(error: hcube_core::record::BatchError) -> Self {
        use hcube_core::record::BatchError;
        let code = match error {
            BatchError::TooLarge(_) => Code::BatchTooLarge,
            BatchError::Count(count) if count > 0 => Code::BatchTooLarge,
            _ => Code::InvalidBatch,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_round_trip_with_their_own_members() {
        let problem = Problem::new(Code::OffsetOutOfRange, "offset 3 is gone")
            .with("start_offset", 10)
            .with("code", "hidden")
            .at_line(4)
            .retry_after_ms(1500);
        let read: Problem = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(read, problem);
        assert_eq!(read.code, Code::OffsetOutOfRange);
        assert_eq!(read.extra["start_offset"], 10);
        assert_eq!(read.retry_after_seconds(), Some(2));
        assert_eq!(read.to_string(), "offset-out-of-range: offset 3 is gone (line 4)");
    }

    #[test]
    fn foreign_bodies_become_problems_of_their_status() {
        let problem = Problem::from_answer(StatusCode::BAD_GATEWAY, b"<html>\xff");
        assert_eq!((problem.status, problem.code), (502, Code::Unrecognized));
        assert_eq!(problem.retry(), Retry::Idempotently);
        assert_eq!(Problem::from_answer(StatusCode::SERVICE_UNAVAILABLE, b"").retry(), Retry::Later);
    }

    #[test]
    fn documents_of_newer_versions_are_read() {
        let text = br#"{"code":"of-the-future","status":503,"since":1}"#;
        let problem = Problem::from_answer(StatusCode::SERVICE_UNAVAILABLE, text);
        assert_eq!((problem.code, problem.retry()), (Code::Unrecognized, Retry::Later));
    }
}
