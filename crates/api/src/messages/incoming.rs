//! Messages as publishers write them in JSON, one a line.

use bytes::Bytes;
use hcube_core::limits;
use hcube_core::record::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::field::{Headers, from_base64};
use super::publish::PublishLimits;
use crate::error::{Code, Problem};
use crate::json;

/// One message of an NDJSON publish. Exactly one of `value` and `value_base64` is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncomingMessage<'a> {
    /// Chooses the partition.
    #[serde(default)]
    pub key: Option<String>,
    /// The key, where it is not UTF-8.
    #[serde(default)]
    #[schemars(extend("contentEncoding" = "base64"))]
    pub key_base64: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: Headers,
    /// The message: a text stands for its UTF-8 bytes, any other JSON for itself without white space.
    #[serde(default, borrow, deserialize_with = "any_json")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub value: Option<&'a RawValue>,
    /// The message, where it is not UTF-8.
    #[serde(default)]
    #[schemars(extend("contentEncoding" = "base64"))]
    pub value_base64: Option<String>,
    /// The partition; without it the key chooses, and without a key the peer does, one for the whole batch.
    #[serde(default)]
    pub partition: Option<u16>,
}

/// A message that was read, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The line it stood on, from 1; 1 for a single message.
    pub line: u64,
    /// The partition that the publisher named.
    pub partition: Option<u16>,
    /// The message itself.
    pub record: Record,
}

impl Incoming {
    /// The partition among `partitions`: the one named, else the key's, else none (the peer's choice).
    ///
    /// # Errors
    /// `unknown-partition` with the line.
    pub fn choose(&self, partitions: u16) -> Result<Option<u16>, Problem> {
        match (self.partition, &self.record.key) {
            (Some(named), _) if named >= partitions => {
                Err(super::query::unknown_partition(named, partitions).at_line(self.line))
            }
            (Some(named), _) => Ok(Some(named)),
            (None, Some(key)) => Ok(Some(hcube_core::topic::partition_of(key, partitions))),
            (None, None) => Ok(None),
        }
    }
}

/// Keeps a null, which `Option` would swallow: a message may be the JSON text `null`.
fn any_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the lines of an NDJSON body; empty lines are skipped.
///
/// # Errors
/// The first wrong line's problem, with the line: `invalid-json`, `invalid-argument`, `message-too-large`.
/// `batch-too-large` for more messages than a batch may hold, `invalid-argument` for none.
pub fn parse_lines(body: &[u8], limits: PublishLimits) -> Result<Vec<Incoming>, Problem> {
    let mut messages = Vec::new();
    for (line, text) in (1u64..).zip(body.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        if messages.len() >= limits.messages {
            let detail = format!("one publish carries at most {} messages", limits.messages);
            return Err(Problem::new(Code::BatchTooLarge, detail).at_line(line));
        }
        let (partition, record) = parse_line(text, limits).map_err(|problem| problem.at_line(line))?;
        messages.push(Incoming { line, partition, record });
    }
    if messages.is_empty() {
        return Err(Problem::invalid("the batch holds no message"));
    }
    Ok(messages)
}

fn parse_line(text: &[u8], limits: PublishLimits) -> Result<(Option<u16>, Record), Problem> {
    let message: IncomingMessage<'_> = serde_json::from_slice(text).map_err(|error| {
        let mut problem = json::problem(&error);
        // serde_json counts lines within this one line, which would mislead beside ours.
        problem.detail = problem.detail.replace(" at line 1 column ", " at column ").into();
        problem
    })?;
    json::expect_object(text)?;
    let key = match (message.key, message.key_base64) {
        (Some(_), Some(_)) => return Err(Problem::invalid("key and key_base64 exclude each other")),
        (Some(text), None) => Some(Bytes::from(text)),
        (None, Some(text)) => Some(from_base64(&text, "key_base64").map_err(Problem::invalid)?),
        (None, None) => None,
    };
    let value = match (message.value, message.value_base64) {
        (Some(json), None) => value_bytes(json)?,
        (None, Some(text)) => from_base64(&text, "value_base64").map_err(Problem::invalid)?,
        (Some(_), Some(_)) => return Err(Problem::invalid("value and value_base64 exclude each other")),
        (None, None) => return Err(Problem::invalid("a message has a value or a value_base64")),
    };
    let record = Record { key, headers: message.headers.0, value };
    check_record(&record, limits)?;
    Ok((message.partition, record))
}

/// A JSON text's own bytes, or any other JSON's shortest spelling, numbers as they were written.
fn value_bytes(json: &RawValue) -> Result<Bytes, Problem> {
    let text = json.get();
    if text.starts_with('"') {
        let unquoted: String = serde_json::from_str(text).map_err(|error| json::problem(&error))?;
        return Ok(unquoted.into());
    }
    let (mut quoted, mut escaped) = (false, false);
    let compact = text.bytes().filter(|byte| {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            true
        } else {
            quoted = *byte == b'"';
            !byte.is_ascii_whitespace()
        }
    });
    Ok(compact.collect::<Vec<u8>>().into())
}

/// Checks what no record may exceed, however it came in.
///
/// # Errors
/// `message-too-large`, `invalid-argument`.
pub(super) fn check_record(record: &Record, limits: PublishLimits) -> Result<(), Problem> {
    if record.payload_bytes() > limits.message_bytes {
        let has = record.payload_bytes();
        let detail =
            format!("key, headers and value have {has} bytes; the limit is {}", limits.message_bytes);
        return Err(Problem::new(Code::MessageTooLarge, detail));
    }
    if record.headers.len() > limits::HEADERS_MAX {
        return Err(Problem::invalid(format!("a message has at most {} headers", limits::HEADERS_MAX)));
    }
    let wrong = |name: &str| {
        name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control)
    };
    match record.headers.iter().find(|(name, _)| wrong(name)) {
        Some((name, _)) => Err(Problem::invalid(format!(
            "a header's name has 1 to {} bytes and no control characters, unlike {name:?}",
            limits::NAME_BYTES_MAX
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<Vec<Incoming>, Problem> {
        parse_lines(body.as_bytes(), PublishLimits::default())
    }

    fn value(line: &str) -> Bytes {
        parse(line).unwrap().remove(0).record.value
    }

    proptest! {
        #[test]
        fn random_bodies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-z0-9 \n\\\\]{0,80}") {
            let _ = parse_lines(&bytes, PublishLimits::default());
            let _ = parse(&text);
            let _ = parse(&format!("{{\"value\":{text}}}"));
        }

        #[test]
        fn any_text_is_its_own_bytes(text in ".{0,40}") {
            prop_assert_eq!(value(&serde_json::json!({ "value": text }).to_string()), text.as_bytes());
        }
    }

    #[test]
    fn values_are_texts_or_compact_json_or_bytes() {
        assert_eq!(value(r#"{"value":"a\nb"}"#), "a\nb");
        assert_eq!(value(r#"{"value": {"b" : [1.10, 1e400, "x \" y"]} }"#), r#"{"b":[1.10,1e400,"x \" y"]}"#);
        assert_eq!(value(r#"{"value": null}"#), "null");
        assert_eq!(value(r#"{"value_base64":"/w=="}"#), &b"\xff"[..]);
    }

    #[test]
    fn lines_are_counted_and_empty_ones_skipped() {
        let read = parse("{\"value\":\"a\"}\r\n\n{\"value\":1,\"key\":\"k\",\"partition\":2}\n").unwrap();
        assert_eq!(read.iter().map(|message| message.line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(read[1].record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(read[1].choose(3), Ok(Some(2)));
        assert_eq!(read[0].choose(3), Ok(None));
        let refused = read[1].choose(2).unwrap_err();
        assert_eq!((refused.code, refused.line), (Code::UnknownPartition, Some(3)));
    }

    #[test]
    fn the_wrong_line_is_named() {
        let refused = |line: &str| {
            let problem = parse(&format!("{{\"value\":1}}\n{line}\n")).unwrap_err();
            assert_eq!(problem.line, Some(2), "{line}");
            problem.code
        };
        assert_eq!(refused("{\"value\":"), Code::InvalidJson);
        assert_eq!(refused("{\"value\":1} {}"), Code::InvalidJson);
        assert_eq!(refused("{\"valeu\":1}"), Code::InvalidArgument);
        assert_eq!(refused("{}"), Code::InvalidArgument);
        assert_eq!(refused("[\"k\",null,{},1,null,0]"), Code::InvalidArgument);
        assert_eq!(refused("{\"value\":1,\"value_base64\":\"\"}"), Code::InvalidArgument);
        assert_eq!(refused("{\"value\":1,\"headers\":{\"\":\"\"}}"), Code::InvalidArgument);
        assert_eq!(refused("{\"value\":1,\"partition\":-1}"), Code::InvalidArgument);
        assert_eq!(parse("\n \n").unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn limits_are_kept() {
        let limits = PublishLimits { message_bytes: 3, messages: 2 };
        let code = |body: &str| parse_lines(body.as_bytes(), limits).map_err(|problem| problem.code);
        assert_eq!(code("{\"value\":1234}"), Err(Code::MessageTooLarge));
        assert_eq!(code("{\"value\":1}\n{\"value\":1}\n{\"value\":1}"), Err(Code::BatchTooLarge));
        assert_eq!(code("{\"value\":1}\n{\"value\":1}").unwrap().len(), 2);
    }
}
