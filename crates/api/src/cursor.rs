//! The opaque cursor: where a reader of several partitions goes on.
//!
//! Written `c1-` and base64url (RFC 4648, section 5, without padding) of
//!
//! ```text
//! u32 LE   low 32 bits of the topic id, so that a cursor of an earlier topic of the name is noticed
//! varint   number of partitions
//! each, ascending: varint distance from the partition before (from -1), varint next offset
//! u32 LE   CRC-32C of everything before
//! ```
//!
//! Varints are LEB128. `c1` names the version; a reader knows it before it decodes anything.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hcube_core::ids::TopicId;
use hcube_core::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Problem};

/// What every cursor of this version starts with.
pub const PREFIX: &str = "c1-";
/// Characters of the longest cursor: 1,024 partitions, each with a one-byte distance and a ten-byte offset.
const TEXT_MAX: usize = PREFIX.len() + (8 + 2 + limits::PARTITIONS_MAX as usize * 12) * 4 / 3 + 4;

/// Where a reader goes on: in each partition, the offset that it has not seen yet. A partition that is
/// missing starts at its earliest message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^c1-[A-Za-z0-9_-]+$"))]
pub struct Cursor {
    tag: u32,
    next: BTreeMap<u16, u64>,
}

/// Why a text is not a cursor, or not one for this topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It does not start with [`PREFIX`].
    #[error("a cursor of this version starts with {PREFIX}")]
    Version,
    /// Characters were lost or changed.
    #[error("the cursor is damaged")]
    Damaged,
    /// It was made for another topic, or an earlier one of the same name.
    #[error("the cursor belongs to another topic, or to an earlier one of this name")]
    Topic,
}

impl Cursor {
    /// A cursor at the beginning of the topic.
    #[must_use]
    pub fn new(topic: TopicId) -> Self {
        Self { tag: tag(topic), next: BTreeMap::new() }
    }

    /// Sets the offset that is next in a partition.
    ///
    /// # Panics
    /// Beyond the partitions that a topic can have.
    pub fn set(&mut self, partition: u16, next: u64) {
        assert!(
            partition < limits::PARTITIONS_MAX,
            "a topic has at most {} partitions",
            limits::PARTITIONS_MAX
        );
        self.next.insert(partition, next);
    }

    /// The offset that is next in a partition; none for the earliest.
    #[must_use]
    pub fn get(&self, partition: u16) -> Option<u64> {
        self.next.get(&partition).copied()
    }

    /// Partitions and next offsets, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        self.next.iter().map(|(partition, next)| (*partition, *next))
    }

    /// Asserts that the cursor was made for this life of the topic and its partitions.
    ///
    /// # Errors
    /// [`CursorError::Topic`].
    pub fn check(&self, topic: TopicId, partitions: u16) -> Result<(), CursorError> {
        let fits = self.next.last_key_value().is_none_or(|(last, _)| *last < partitions);
        if self.tag == tag(topic) && fits { Ok(()) } else { Err(CursorError::Topic) }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (tag, mut rest) = body.split_first_chunk::<4>()?;
        let count = take_varint(&mut rest)?;
        let mut next = BTreeMap::new();
        let mut from = 0u64;
        for _ in 0..count {
            let partition = from.checked_add(take_varint(&mut rest)?)?;
            if partition >= u64::from(limits::PARTITIONS_MAX) {
                return None;
            }
            next.insert(u16::try_from(partition).ok()?, take_varint(&mut rest)?);
            from = partition + 1;
        }
        rest.is_empty().then_some(Self { tag: u32::from_le_bytes(*tag), next })
    }
}

fn tag(topic: TopicId) -> u32 {
    u32::try_from(topic.0 & u128::from(u32::MAX)).expect("masked to 32 bits")
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7F).expect("masked to 7 bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("below 0x80"));
}

/// Only the shortest form of a number is taken, so that equal cursors are equal texts.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return (shift == 0 || bits != 0).then_some(value);
        }
    }
    None
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = self.tag.to_le_bytes().to_vec();
        put_varint(&mut out, self.next.len() as u64);
        let mut from = 0;
        for (partition, next) in &self.next {
            put_varint(&mut out, u64::from(*partition - from));
            put_varint(&mut out, *next);
            from = partition + 1;
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(out))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(CursorError::Version)?;
        if text.len() > TEXT_MAX {
            return Err(CursorError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| CursorError::Damaged)?;
        Self::decode(&bytes).ok_or(CursorError::Damaged)
    }
}

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        Self::new(Code::InvalidCursor, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> impl Strategy<Value = Cursor> {
        let next = prop::collection::btree_map(0..limits::PARTITIONS_MAX, any::<u64>(), 0..40);
        (any::<u32>(), next).prop_map(|(tag, next)| Cursor { tag, next })
    }

    proptest! {
        #[test]
        fn cursors_round_trip(cursor in cursor()) {
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn a_changed_character_is_noticed(cursor in cursor(), at: prop::sample::Index, to in "[A-Za-z0-9_-]") {
            let text = cursor.to_string();
            let at = at.index(text.len());
            let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assume!(changed != text);
            prop_assert!(changed.parse::<Cursor>().is_err());
        }

        #[test]
        fn random_input_never_panics(text in ".{0,40}", mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = text.parse::<Cursor>();
            // The same bytes behind a right checksum: the decoder proper sees them, and takes one text a cursor.
            let crc = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            if let Some(cursor) = Cursor::decode(&bytes) {
                prop_assert_eq!(cursor.to_string(), format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes)));
            }
        }
    }

    #[test]
    fn the_longest_cursor_is_accepted() {
        let next = (0..limits::PARTITIONS_MAX).map(|partition| (partition, u64::MAX)).collect();
        let cursor = Cursor { tag: 7, next };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn a_cursor_of_an_earlier_topic_is_refused() {
        let mut cursor = Cursor::new(TopicId(1 << 90 | 5));
        cursor.set(2, 10);
        assert_eq!(cursor.check(TopicId(1 << 90 | 5), 3), Ok(()));
        assert_eq!(cursor.check(TopicId(1 << 90 | 6), 3), Err(CursorError::Topic));
        assert_eq!(cursor.check(TopicId(1 << 90 | 5), 2), Err(CursorError::Topic));
        assert_eq!("17".parse::<Cursor>(), Err(CursorError::Version));
    }
}
