//! The JSON forms of bytes and of message headers.
//!
//! JSON has no bytes: what is valid UTF-8 stands as text, everything else as base64 under another name.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Written with padding, read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes as text where they are UTF-8, otherwise as base64: exactly one of the two is given.
pub(crate) fn split(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

/// The bytes behind base64, or an explanation that names the field.
pub(crate) fn from_base64(text: &str, field: &str) -> Result<Bytes, String> {
    BASE64.decode(text).map(Bytes::from).map_err(|error| format!("{field} is not base64: {error}"))
}

/// Headers of a message in their order; names may repeat.
///
/// In JSON an object of name and value. A value is a text, or `{"base64": "…"}` where it is not UTF-8, or an
/// array of those for a name that repeats (their order stays, but the array stands where the first stood).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub Vec<(String, Bytes)>);

/// One header value as JSON.
fn to_json(bytes: &[u8]) -> Value {
    match split(bytes) {
        (Some(text), _) => text.into(),
        (None, base64) => serde_json::json!({ "base64": base64 }),
    }
}

/// The values of one name. Written by hand, because derived structs would take arrays for objects.
fn from_json(name: &str, json: &Value) -> Result<Vec<Bytes>, String> {
    let one = |json: &Value| match json {
        Value::String(text) => Ok(Bytes::from(text.clone())),
        Value::Object(object) => match object.get("base64") {
            Some(Value::String(text)) if object.len() == 1 => from_base64(text, &format!("header {name:?}")),
            _ => Err(format!("header {name:?}: an object has one member, base64")),
        },
        _ => Err(format!("header {name:?} is a text, {{\"base64\": ...}}, or an array of those")),
    };
    match json {
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_headers(&self.0, serializer)
    }
}

/// Writes headers as [`Headers`] does, without owning them.
pub(crate) fn serialize_headers<S: Serializer>(
    headers: &[(String, Bytes)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut grouped: Vec<(&str, Vec<Value>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, value) in headers {
        let at = *places.entry(name).or_insert(grouped.len());
        if at == grouped.len() {
            grouped.push((name, Vec::new()));
        }
        grouped[at].1.push(to_json(value));
    }
    let mut map = serializer.serialize_map(Some(grouped.len()))?;
    for (name, values) in &grouped {
        match &values[..] {
            [only] => map.serialize_entry(name, only)?,
            several => map.serialize_entry(name, several)?,
        }
    }
    map.end()
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        use serde::de::Error as _;
        let mut headers = Vec::new();
        while let Some((name, json)) = map.next_entry::<String, Value>()? {
            let values = from_json(&name, &json).map_err(A::Error::custom)?;
            headers.extend(values.into_iter().map(|value| (name.clone(), value)));
        }
        Ok(Headers(headers))
    }
}

impl JsonSchema for Headers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let bytes = serde_json::json!({
            "type": "object",
            "properties": { "base64": { "type": "string", "contentEncoding": "base64" } },
            "required": ["base64"],
            "additionalProperties": false,
        });
        let one = serde_json::json!([{ "type": "string" }, bytes]);
        json_schema!({
            "type": "object",
            "description": "Header names and values. A value is a text, {\"base64\": …} where it is not UTF-8, \
                            or an array of those for a name that repeats.",
            "additionalProperties": {
                "anyOf": [one[0], one[1], { "type": "array", "items": { "anyOf": one } }],
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_round_trip_up_to_the_place_of_repeats(
            headers in prop::collection::vec(("[a-c]", prop::collection::vec(any::<u8>(), 0..6)), 0..8)
        ) {
            let headers = Headers(headers.into_iter().map(|(name, value)| (name, value.into())).collect());
            let text = serde_json::to_string(&headers).unwrap();
            let read: Headers = serde_json::from_str(&text).unwrap();
            for name in ["a", "b", "c"] {
                let values = |headers: &Headers| -> Vec<Bytes> {
                    headers.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
                };
                prop_assert_eq!(values(&read), values(&headers));
            }
            // A second trip changes nothing.
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn headers_look_as_documented() {
        let headers: Headers = serde_json::from_str(r#"{"a":"1","b":{"base64":"/w"},"a":["2"]}"#).unwrap();
        assert_eq!(headers.0.len(), 3);
        assert_eq!(serde_json::to_string(&headers).unwrap(), r#"{"a":["1","2"],"b":{"base64":"/w=="}}"#);
        for wrong in [
            r#"{"a":1}"#,
            r#"{"a":{"base64":"?"}}"#,
            r#"{"a":{"base65":""}}"#,
            "[]",
            r#"{"a":[["eA=="]]}"#,
            r#"{"a":null}"#,
        ] {
            assert!(serde_json::from_str::<Headers>(wrong).is_err(), "{wrong}");
        }
    }
}
