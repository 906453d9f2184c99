//! What a run has seen: who published what, what was acknowledged where, and what was read of it in which way.

use std::collections::BTreeMap;
use std::fmt;

/// One partition of one of the run's topics, both by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The topic.
    pub topic: u16,
    /// The partition.
    pub partition: u16,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {} partition {}", self.topic, self.partition)
    }
}

/// A record of the run: no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Who published it.
    pub producer: u32,
    /// Its number among those of this producer in this partition, from 0.
    pub number: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.producer, self.number)
    }
}

impl Id {
    /// A value that tells the id, and has so many bytes where that is more.
    pub fn to_value(self, bytes: usize) -> String {
        let id = format!("{self} ");
        format!("{id:.<bytes$}")
    }

    /// The id that a value tells; none where nobody of this run wrote it.
    pub fn of_value(value: &[u8]) -> Option<Self> {
        let (id, padding) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        let (producer, number) = id.split_once('#')?;
        let id = Self { producer: producer.parse().ok()?, number: number.parse().ok()? };
        padding.bytes().all(|byte| byte == b'.').then_some(id)
    }
}

/// A record that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Which.
    pub id: Id,
    /// Where.
    pub key: Key,
    /// At which offset.
    pub offset: u64,
}

/// A record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its offset.
    pub offset: u64,
    /// Which it is; none where nobody of this run wrote it.
    pub id: Option<Id>,
}

/// What a subscription delivered, in its order.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// What kind of subscription, and of which topic.
    pub name: String,
    /// Its records.
    pub seen: BTreeMap<Key, Vec<Seen>>,
}

/// What one replica holds of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where.
    pub label: String,
    /// How many records.
    pub records: u64,
    /// A checksum over all of them: offset, stamp, key, headers and value.
    pub checksum: u64,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// In no particular order.
    pub acked: Vec<Acked>,
    /// All records of each partition, as read at the end.
    pub stored: BTreeMap<Key, Vec<Seen>>,
    /// The same as a copy, read from whichever replica answered.
    pub whole: BTreeMap<Key, Copy>,
    /// The subscriptions, which began before anything was published.
    pub streams: Vec<Stream>,
    /// Records that were read here and there meanwhile.
    pub glimpses: Vec<(Key, Seen)>,
    /// What each replica holds.
    pub copies: BTreeMap<Key, Vec<Copy>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_record() {
        let id = Id { producer: 7, number: 1_234_567 };
        let value = id.to_value(100);
        assert_eq!(value.len(), 100);
        assert_eq!(Id::of_value(value.as_bytes()), Some(id));
        assert_eq!(Id::of_value(id.to_value(0).as_bytes()), Some(id));
        for foreign in ["", "7#1", "7#1 x", "a#1 ", "7 1 "] {
            assert_eq!(Id::of_value(foreign.as_bytes()), None, "{foreign:?}");
        }
    }
}
