//! Media types: what a publish carries, what a pull answers with, and how `Accept` chooses.

use crate::error::{Code, Problem};

/// Control requests and answers.
pub const JSON: &str = "application/json";
/// One JSON message a line.
pub const NDJSON: &str = "application/x-ndjson";
/// Server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Binary record batches: one in a publish (`hcube_core::record`), [`crate::messages::frames`] in a pull.
pub const BATCH: &str = "application/vnd.hcube.batch";
/// The same frames as a subscription: [`crate::messages::frames`] without end.
pub const BATCH_STREAM: &str = "application/vnd.hcube.batch-stream";
/// Body of a PATCH; [`JSON`] is taken too.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Metrics.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the body of a publish is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishFormat {
    /// The body is one message's value, whatever its type.
    Single,
    /// One JSON message a line.
    Ndjson,
    /// A binary record batch.
    Batch,
}

/// How a pull is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullFormat {
    /// One JSON object.
    Json,
    /// One JSON message a line.
    Ndjson,
    /// Frames of record batches, as they are stored.
    Batches,
    /// A subscription by server-sent events.
    Events,
    /// A subscription by frames.
    BatchStream,
}

impl PullFormat {
    /// In the order in which a client that takes anything gets them.
    const ALL: [Self; 5] = [Self::Json, Self::Ndjson, Self::Batches, Self::Events, Self::BatchStream];

    /// The `Content-Type` of the answer.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Ndjson => NDJSON,
            Self::Batches => BATCH,
            Self::Events => EVENT_STREAM,
            Self::BatchStream => BATCH_STREAM,
        }
    }

    /// Whether the answer has no end.
    #[must_use]
    pub fn is_subscription(self) -> bool {
        matches!(self, Self::Events | Self::BatchStream)
    }

    /// Chooses by an `Accept` header (RFC 9110, section 12.5.1): the format with the highest quality; among
    /// equals the one that stands first in the header.
    ///
    /// # Errors
    /// `not-acceptable` where it allows none.
    pub fn negotiate(accept: Option<&str>) -> Result<Self, Problem> {
        let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
            return Ok(Self::Json);
        };
        let mut best: Option<(u16, Self)> = None;
        for range in accept.split(',') {
            let quality = quality(range);
            let wanted = essence(range);
            let offered = Self::ALL.into_iter().find(|format| covers(&wanted, format.media_type()));
            if let Some(format) = offered
                && quality > best.map_or(0, |(best, _)| best)
            {
                best = Some((quality, format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| {
            let offered = Self::ALL.map(Self::media_type).join(", ");
            Problem::new(Code::NotAcceptable, format!("messages come as {offered}"))
        })
    }
}

impl PublishFormat {
    /// Reads the format off a `Content-Type`.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        match content_type.map(essence).as_deref() {
            Some(NDJSON) => Self::Ndjson,
            Some(BATCH) => Self::Batch,
            _ => Self::Single,
        }
    }
}

/// Asserts that a control request's body, where it has one, says that it is JSON.
///
/// # Errors
/// `unsupported-media-type`. A missing header is taken as JSON, and so is the form type that curl's `-d`
/// sends unasked: the body decides.
pub fn expect_json(content_type: Option<&str>) -> Result<(), Problem> {
    const CURL_DEFAULT: &str = "application/x-www-form-urlencoded";
    match content_type.map(essence).as_deref() {
        None | Some(JSON | MERGE_PATCH | CURL_DEFAULT) => Ok(()),
        Some(other) => {
            Err(Problem::new(Code::UnsupportedMediaType, format!("the body must be {JSON}, not {other}")))
        }
    }
}

/// A media type without its parameters, in lower case.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn covers(range: &str, media_type: &str) -> bool {
    match range.strip_suffix('*') {
        Some("*/") => true,
        Some(prefix) if prefix.ends_with('/') => media_type.starts_with(prefix),
        _ => range == media_type,
    }
}

/// The parameter `q` in thousandths; 1000 where it is missing, 0 where it makes no sense.
fn quality(range: &str) -> u16 {
    let q = range.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(q) = q else { return 1000 };
    let (whole, fraction) = q.split_once('.').unwrap_or((q, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if digits && fraction.bytes().all(|byte| byte == b'0') => 1000,
        "0" if digits => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_header_is_survived(text in "[ -~]{0,60}", shaped in "[a-z*/;q=.0-9, ]{0,60}") {
            let _ = (PullFormat::negotiate(Some(&text)), PullFormat::negotiate(Some(&shaped)));
            let _ = (PublishFormat::of(Some(&text)), expect_json(Some(&shaped)));
        }
    }

    #[test]
    fn accept_chooses_by_quality_then_order() {
        let format = |accept: &str| PullFormat::negotiate(Some(accept)).map_err(|problem| problem.code);
        assert_eq!(PullFormat::negotiate(None), Ok(PullFormat::Json));
        assert_eq!(format("*/*"), Ok(PullFormat::Json));
        assert_eq!(format("text/event-stream"), Ok(PullFormat::Events));
        assert_eq!(format("text/*"), Ok(PullFormat::Events));
        assert_eq!(format("application/json;q=0.5, Application/X-NDJSON"), Ok(PullFormat::Ndjson));
        assert_eq!(format("application/x-ndjson; q=0.250, application/json; q=0.3"), Ok(PullFormat::Json));
        assert_eq!(format("image/png"), Err(Code::NotAcceptable));
        assert_eq!(format("application/json;q=0"), Err(Code::NotAcceptable));
    }

    #[test]
    fn content_types_choose_how_a_publish_is_read() {
        assert_eq!(PublishFormat::of(Some("application/x-ndjson; charset=utf-8")), PublishFormat::Ndjson);
        assert_eq!(PublishFormat::of(Some(BATCH)), PublishFormat::Batch);
        assert_eq!(PublishFormat::of(Some(JSON)), PublishFormat::Single);
        assert_eq!(PublishFormat::of(None), PublishFormat::Single);
        assert!(expect_json(Some("application/json; charset=utf-8")).is_ok());
        assert_eq!(expect_json(Some("text/xml")).unwrap_err().code, Code::UnsupportedMediaType);
    }
}
