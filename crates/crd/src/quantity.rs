//! Amounts of bytes and other resources, as Kubernetes writes them: `10Gi`, `500m`, or a number.

use std::cmp::Ordering;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// An amount in the notation of Kubernetes. It is kept as it was written, and compared by what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Amount(pub String);

/// Decimal and binary suffixes with the power of ten or of two that they stand for.
const SUFFIXES: &[(&str, i128, i128)] = &[
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
];

/// Billionths are the finest that the notation knows.
const UNIT: i128 = 1_000_000_000;

impl Amount {
    /// The amount in billionths; none where the text is no amount, or one beyond any machine.
    #[must_use]
    pub fn nanos(&self) -> Option<i128> {
        let text = self.0.trim();
        let (digits, times, over) = match SUFFIXES.iter().find(|(suffix, ..)| text.ends_with(suffix)) {
            Some((suffix, times, over)) => (text.strip_suffix(suffix)?, *times, *over),
            None => (text, 1, 1),
        };
        let (digits, exponent) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<u32>().ok()?),
            None => (digits, 0),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && part.is_empty()) || !numeric(whole) || !numeric(part) || part.len() > 9 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 = format!("{part:0<9}").parse().ok()?;
        let value = whole.checked_mul(UNIT)?.checked_add(part)?;
        value.checked_mul(10_i128.checked_pow(exponent)?)?.checked_mul(times).map(|value| value / over)
    }

    /// The amount in whole units, rounded up: bytes, for storage.
    #[must_use]
    pub fn units(&self) -> Option<u64> {
        let nanos = self.nanos()?;
        u64::try_from((nanos + UNIT - 1) / UNIT).ok()
    }

    /// How two amounts compare; none where one of them is no amount.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos()?.cmp(&other.nanos()?))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&Amount> for Quantity {
    fn from(amount: &Amount) -> Self {
        Self(amount.0.clone())
    }
}

impl From<&Quantity> for Amount {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.0.clone())
    }
}

impl<'de> Deserialize<'de> for Amount {
    /// People write `cpu: 1` as well as `cpu: "1"`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": r"^(\d+(\.\d*)?|\.\d+)([eE]\d+|[KMGTPE]i|[numkMGTPE])?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_read_as_kubernetes_reads_it() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("1Ki", 1024),
            ("1.5Gi", 3 << 29),
            (".5k", 500),
            ("10G", 10_000_000_000),
            ("1e3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("1500m", 2),
        ] {
            assert_eq!(Amount::from(text).units(), Some(bytes), "{text}");
        }
        for wrong in ["", "-1", "Gi", "1 Gi", "1gi", "a", "1.2.3", "99999999999999999999999999999999Ei"] {
            assert_eq!(Amount::from(wrong).units(), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_compare_by_what_they_say() {
        let compare = |one: &str, two: &str| Amount::from(one).compare(&Amount::from(two));
        assert_eq!(compare("1Gi", "1024Mi"), Some(Ordering::Equal));
        assert_eq!(compare("1G", "1Gi"), Some(Ordering::Less));
        assert_eq!(compare("50m", "0.05"), Some(Ordering::Equal));
        assert_eq!(compare("x", "1"), None);
    }

    #[test]
    fn a_number_without_quotes_is_an_amount() {
        let amounts: Vec<Amount> = serde_json::from_str(r#"[2, "2Gi"]"#).unwrap();
        assert_eq!(amounts, [Amount::from("2"), Amount::from("2Gi")]);
    }
}
