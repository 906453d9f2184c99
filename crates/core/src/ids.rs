//! The identifiers that everything else speaks in.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            /// 32 lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;

            /// Takes 32 hexadecimal digits, with or without the hyphens of a UUID.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(ParseIdError);
                }
                u128::from_str_radix(&digits, 16).map(Self).map_err(|_| ParseIdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u128(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return u128::deserialize(deserializer).map(Self);
                }
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits, hyphens allowed")]
pub struct ParseIdError;

id! {
    /// A position in the hypercube, `0..N`; written as its D-bit label, see [`crate::cube::Cube::label`].
    Vertex(u16)
}
id! {
    /// A number from the metadata log, never reused, bound for ever to one [`Incarnation`].
    NodeId(u64)
}
id! {
    /// One of the S replicated logs of a hypercube, `0..S`.
    Slot(u16)
}
id! {
    /// One Raft group of the hypercube: 0 is the metadata group, `slot + 1` a slot's.
    GroupId(u32)
}
id! {
    /// The Raft id of a replica inside one group; handed out by the metadata log, never reused.
    ReplicaId(u64)
}
id! {
    /// Dense position of a record in a partition, from 0; never reassigned.
    Offset(u64)
}
uuid! {
    /// Names one hypercube for ever.
    ClusterId
}
uuid! {
    /// Written once to one disk; a disk that comes back empty comes back with another.
    Incarnation
}
uuid! {
    /// Names one life of a topic; a re-created name has another.
    TopicId
}
uuid! {
    /// Names a producer; 0 stands for none.
    ProducerId
}

impl GroupId {
    /// The group that holds members, placement and topics.
    pub const META: Self = Self(0);

    /// The slot that this group replicates, none for the metadata group.
    #[must_use]
    pub fn slot(self) -> Option<Slot> {
        self.0.checked_sub(1).and_then(|slot| u16::try_from(slot).ok()).map(Slot)
    }
}

impl From<Slot> for GroupId {
    fn from(slot: Slot) -> Self {
        Self(u32::from(slot.0) + 1)
    }
}

impl ProducerId {
    /// No producer: the batch is not deduplicated.
    pub const NONE: Self = Self(0);
}
