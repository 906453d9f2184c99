//! Topic names, partitions and where they live.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::Slot;
use crate::limits;

/// A valid name of a topic, a publisher or a subscriber: 1 to 255 of `[A-Za-z0-9._-]`, neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters, or more than 255.
    #[error("a name has 1 to 255 characters, not {0}")]
    Length(usize),
    /// A character outside `[A-Za-z0-9._-]`.
    #[error("a name consists of letters, digits, '.', '_' and '-', not {0:?}")]
    Character(char),
    /// `.` or `..`, which URLs would swallow.
    #[error("a name is neither '.' nor '..'")]
    Dots,
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |c: &char| !(c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(c));
        match text {
            "." | ".." => Err(NameError::Dots),
            _ if text.is_empty() || text.len() > limits::NAME_BYTES_MAX => {
                Err(NameError::Length(text.chars().count()))
            }
            _ => match text.chars().find(wrong) {
                Some(c) => Err(NameError::Character(c)),
                None => Ok(Self(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The slot of a topic's partition: `(xxh3_64(name, seed 0) + partition) mod slots`.
///
/// A topic's first S partitions therefore never share a slot. Fixed for ever: clients compute it too.
///
/// # Panics
/// When `slots` is 0.
#[must_use]
pub fn slot_of(topic: &Name, partition: u16, slots: u16) -> Slot {
    let at = xxh3_64(topic.as_str().as_bytes()).wrapping_add(partition.into()) % u64::from(slots);
    Slot(u16::try_from(at).expect("a remainder of a u16 fits one"))
}

/// The slots of a topic's partitions, each once.
///
/// # Panics
/// When `slots` is 0.
pub fn slots_of(topic: &Name, partitions: u16, slots: u16) -> impl Iterator<Item = Slot> + use<> {
    let Slot(first) = slot_of(topic, 0, slots);
    (0..partitions.min(slots)).map(move |partition| {
        // Both are far below the half of a u16.
        Slot((first + partition) % slots)
    })
}

/// The slot in which a named publisher or subscriber is registered.
#[must_use]
pub fn slot_of_client(name: &Name, slots: u16) -> Slot {
    slot_of(name, 0, slots)
}

/// The partition of a key: `xxh3_64(key, seed 0) mod partitions`. Fixed for ever: clients compute it too.
///
/// # Panics
/// When `partitions` is 0.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u16) -> u16 {
    u16::try_from(xxh3_64(key) % u64::from(partitions)).expect("a remainder of a u16 fits one")
}

/// How long a partition keeps its records. `None` keeps without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retention {
    /// Records older than this many milliseconds (by the replicated stamp) may go.
    pub age_ms: Option<u64>,
    /// The oldest records go while a partition holds more than this many bytes.
    pub bytes: Option<u64>,
}
