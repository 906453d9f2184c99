//! Reading and writing JSON bodies, and the schemas of types that core defines.

use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Code, Problem};

/// Reads a request body of JSON.
///
/// # Errors
/// `invalid-json` where it is not JSON, `invalid-argument` where it is not what the endpoint takes.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let read = serde_json::from_slice(body).map_err(|error| match problem(&error) {
        // What is missing inside an object is reported as if the JSON itself were wrong.
        wrong if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
            Problem::invalid(wrong.detail)
        }
        wrong => wrong,
    })?;
    expect_object(body)?;
    Ok(read)
}

/// Derived readers take an array for an object, field by field, which the schema does not say.
///
/// # Errors
/// `invalid-argument`.
pub(crate) fn expect_object(json: &[u8]) -> Result<(), Problem> {
    if json.trim_ascii_start().starts_with(b"{") {
        Ok(())
    } else {
        Err(Problem::invalid("a JSON object is expected"))
    }
}

/// For `deserialize_with`: the same inside a body.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct ObjectVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

/// Reads a request body that may be left out altogether.
///
/// # Errors
/// Those of [`from_slice`].
pub fn from_slice_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { from_slice(body) }
}

/// Writes a body. The types of this crate cannot fail to become JSON.
#[must_use]
pub fn to_vec<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("bodies have text keys and writing to memory cannot fail")
}

/// What a JSON error means to the one who sent the JSON.
pub(crate) fn problem(error: &serde_json::Error) -> Problem {
    let code = if error.is_data() { Code::InvalidArgument } else { Code::InvalidJson };
    Problem::new(code, error.to_string())
}

/// Schema of a `hcube_core::topic::Name`.
pub(crate) struct NameSchema;

impl JsonSchema for NameSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "1 to 255 of A-Z a-z 0-9 . _ - and neither . nor ..",
            "pattern": "^[A-Za-z0-9._-]{1,255}$",
            "not": { "enum": [".", ".."] },
        })
    }
}

/// Schema of core's 128-bit identifiers.
pub(crate) struct UuidSchema;

impl JsonSchema for UuidSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Uuid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "128 bits as 32 hexadecimal digits; hyphens are allowed in requests.",
            "pattern": "^[0-9a-fA-F-]{32,}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::CreateTopic;

    #[test]
    fn broken_and_unfitting_bodies_get_different_codes() {
        let code = |text: &str| from_slice::<CreateTopic>(text.as_bytes()).unwrap_err().code;
        assert_eq!(code("{"), Code::InvalidJson);
        assert_eq!(code("{} x"), Code::InvalidJson);
        assert_eq!(code("{\"partitons\": 3}"), Code::InvalidArgument);
        assert_eq!(code("{\"partitions\": 0}"), Code::InvalidArgument);
        assert_eq!(code("[3]"), Code::InvalidArgument);
        assert_eq!(code("{\"retention\": [1, 2]}"), Code::InvalidArgument);
        assert_eq!(from_slice_or_default::<CreateTopic>(b" \n").unwrap(), CreateTopic::default());
    }
}
