//! Messages as readers get them in JSON.

use bytes::Bytes;
use hcube_core::record::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::field::{Headers, from_base64, split};
use crate::cursor::Cursor;
use crate::headers::HighWatermarks;

/// One message with its place. In JSON it is a [`MessageBody`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "MessageBody")]
pub struct Message {
    /// Its partition.
    pub partition: u16,
    /// Its place in the partition; never changes.
    pub offset: u64,
    /// The leader's stamp, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Key, headers and value.
    pub record: Record,
}

/// The JSON form of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Message")]
pub struct MessageBody {
    /// Its partition.
    pub partition: u16,
    /// Its place in the partition, from 0.
    pub offset: u64,
    /// The leader's stamp, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The key, where there is one and it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key, where there is one and it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64"))]
    pub key_base64: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: Headers,
    /// The message, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The message, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentEncoding" = "base64"))]
    pub value_base64: Option<String>,
}

impl Serialize for Message {
    /// Borrows what [`MessageBody`] would copy; the fields are the same.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let (key, key_base64) = self.record.key.as_deref().map_or((None, None), split);
        let (value, value_base64) = split(&self.record.value);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("timestamp_ms", &self.timestamp_ms)?;
        if let Some(key) = key {
            map.serialize_entry("key", key)?;
        }
        if let Some(key) = key_base64 {
            map.serialize_entry("key_base64", &key)?;
        }
        map.serialize_entry("headers", &HeadersRef(&self.record.headers))?;
        if let Some(value) = value {
            map.serialize_entry("value", value)?;
        }
        if let Some(value) = value_base64 {
            map.serialize_entry("value_base64", &value)?;
        }
        map.end()
    }
}

struct HeadersRef<'a>(&'a [(String, Bytes)]);

impl Serialize for HeadersRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::field::serialize_headers(self.0, serializer)
    }
}

impl TryFrom<MessageBody> for Message {
    type Error = String;

    fn try_from(body: MessageBody) -> Result<Self, String> {
        let key = match (body.key, body.key_base64) {
            (Some(text), None) => Some(Bytes::from(text)),
            (None, Some(text)) => Some(from_base64(&text, "key_base64")?),
            (None, None) => None,
            (Some(_), Some(_)) => return Err("key and key_base64 exclude each other".into()),
        };
        let value = match (body.value, body.value_base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => from_base64(&text, "value_base64")?,
            _ => return Err("a message has either a value or a value_base64".into()),
        };
        let Headers(headers) = body.headers;
        let record = Record { key, headers, value };
        Ok(Self { partition: body.partition, offset: body.offset, timestamp_ms: body.timestamp_ms, record })
    }
}

/// Answer to a pull as `application/json`. As `application/x-ndjson` the messages come one a line, and the
/// rest in headers: `Hcube-Next`, `Hcube-High-Watermark`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullAnswer {
    /// The messages; those of one partition in the order of their offsets.
    #[schemars(with = "Vec<MessageBody>")]
    pub messages: Vec<Message>,
    /// Where the next pull goes on: give it back as `from`.
    pub next: Cursor,
    /// The end of each partition read.
    pub high_watermarks: Vec<Watermark>,
}

impl From<&HighWatermarks> for Vec<Watermark> {
    fn from(marks: &HighWatermarks) -> Self {
        marks.0.iter().map(|(&partition, &high_watermark)| Watermark { partition, high_watermark }).collect()
    }
}

/// The end of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watermark {
    /// The partition.
    pub partition: u16,
    /// The offset after its last committed message.
    pub high_watermark: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop_oneof![
            ".{0,20}".prop_map(Bytes::from),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
        ]
    }

    pub(crate) fn message() -> impl Strategy<Value = Message> {
        // Distinct names: JSON moves the repeats of a name together.
        let headers = prop::collection::btree_map("[a-z]{1,5}", bytes(), 0..4);
        let record = (prop::option::of(bytes()), headers, bytes()).prop_map(|(key, headers, value)| Record {
            key,
            headers: headers.into_iter().collect(),
            value,
        });
        (any::<u16>(), any::<u64>(), any::<u64>(), record).prop_map(
            |(partition, offset, timestamp_ms, record)| Message { partition, offset, timestamp_ms, record },
        )
    }

    proptest! {
        #[test]
        fn messages_round_trip(message in message()) {
            let text = serde_json::to_string(&message).unwrap();
            prop_assert!(!text.contains('\n'), "a message is one line");
            prop_assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
            // The schema is that of the body: both spell a message alike.
            let body: MessageBody = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::to_string(&body).unwrap(), text);
        }
    }

    #[test]
    fn a_message_looks_as_documented() {
        let record =
            Record { key: Some("eu".into()), headers: vec![("a".into(), "1".into())], value: "hi".into() };
        let message = Message { partition: 1, offset: 7, timestamp_ms: 9, record };
        let text =
            r#"{"partition":1,"offset":7,"timestamp_ms":9,"key":"eu","headers":{"a":"1"},"value":"hi"}"#;
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
        let neither = r#"{"partition":1,"offset":7,"timestamp_ms":9}"#;
        assert!(serde_json::from_str::<Message>(neither).is_err());
    }
}
