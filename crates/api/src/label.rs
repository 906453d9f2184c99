//! Vertex labels as they stand in URLs, headers and bodies.

use std::fmt;
use std::str::FromStr;

use hcube_core::ids::Vertex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most binary digits of a label; more than any hypercube that hcube builds needs.
const DIGITS_MAX: usize = 16;

/// A vertex written in binary, one digit a dimension: `101`. A single peer, which has no dimension, is `0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[01]{1,16}$", "examples" = ["101"]))]
pub struct Label(String);

/// A text that is not a vertex label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label is 1 to 16 of the digits 0 and 1")]
pub struct LabelError;

impl Label {
    /// The label of a vertex in a hypercube of so many dimensions; longer where the vertex needs more digits.
    #[must_use]
    pub fn new(vertex: Vertex, dimension: u8) -> Self {
        let width = usize::from(dimension).clamp(1, DIGITS_MAX);
        Self(format!("{:0width$b}", vertex.0))
    }

    /// The vertex that the label names.
    #[must_use]
    pub fn vertex(&self) -> Vertex {
        Vertex(u16::from_str_radix(&self.0, 2).expect("a label has at most sixteen binary digits"))
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let valid = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0' | b'1'));
        if valid { Ok(Self(text.to_owned())) } else { Err(LabelError) }
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_vertex_has_a_label_that_leads_back(vertex: u16, dimension in 0u8..20) {
            let label = Label::new(Vertex(vertex), dimension);
            prop_assert_eq!(label.vertex(), Vertex(vertex));
            prop_assert_eq!(label.to_string().parse::<Label>().unwrap(), label);
        }

        #[test]
        fn random_text_never_panics(text in ".{0,20}") {
            let _ = text.parse::<Label>();
        }
    }

    #[test]
    fn labels_are_padded_to_the_dimension() {
        assert_eq!(Label::new(Vertex(1), 3).as_str(), "001");
        assert_eq!(Label::new(Vertex(0), 0).as_str(), "0");
        assert!("".parse::<Label>().is_err());
        assert!("2".parse::<Label>().is_err());
    }
}
