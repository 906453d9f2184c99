//! What was acknowledged against what can be read: a checker of its own, which knows nothing of how hcube works.

use std::collections::{BTreeMap, BTreeSet};

/// A message that a peer acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// Where it is said to be.
    pub partition: u16,
    /// At which offset.
    pub offset: u64,
    /// What it says: see [`value`].
    pub value: String,
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its offset.
    pub offset: u64,
    /// Its value.
    pub value: String,
    /// Its key.
    pub key: Option<String>,
}

/// All messages of a topic, by partition, in the order in which they were read.
pub type Reading = BTreeMap<u16, Vec<Stored>>;

/// The value of a publisher's n-th message; no two messages of a story have the same.
#[must_use]
pub fn value(publisher: &str, number: u64) -> String {
    format!("{publisher}#{number}")
}

/// Publisher and number of a value.
fn parse(value: &str) -> Option<(&str, u64)> {
    let (publisher, number) = value.rsplit_once('#')?;
    Some((publisher, number.parse().ok()?))
}

/// What is wrong with a reading; nothing where
/// - offsets are dense from 0,
/// - every acknowledged message is there at the offset that was acknowledged,
/// - no value is there twice, whether it was acknowledged or not,
/// - the messages of each publisher are in its order within each partition.
#[must_use]
pub fn faults(acked: &[Acked], reading: &Reading) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&str, (u16, u64)> = BTreeMap::new();
    for (&partition, messages) in reading {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for (expected, message) in (0u64..).zip(messages) {
            let Stored { offset, value, .. } = message;
            let here = format!("partition {partition}, offset {offset}");
            if *offset != expected {
                faults.push(format!("{here}: {expected} was to come"));
            }
            if let Some(before) = seen.insert(value, (partition, *offset)) {
                faults.push(format!("{here}: {value:?} is also at {before:?}"));
            }
            let Some((publisher, number)) = parse(value) else {
                faults.push(format!("{here}: nobody published {value:?}"));
                continue;
            };
            if let Some(before) = last.insert(publisher, number).filter(|before| *before >= number) {
                faults.push(format!("{here}: {value:?} comes after number {before}"));
            }
        }
    }
    let mut places = BTreeSet::new();
    for Acked { partition, offset, value } in acked {
        match seen.get(value.as_str()) {
            Some(place) if *place == (*partition, *offset) => {}
            Some(place) => {
                faults.push(format!("{value:?}: acknowledged at {:?}, is at {place:?}", (partition, offset)))
            }
            None => faults.push(format!("{value:?}: acknowledged at {:?}, is lost", (partition, offset))),
        }
        if !places.insert((partition, offset)) {
            faults.push(format!("{value:?}: {:?} was acknowledged twice", (partition, offset)));
        }
    }
    faults
}

/// Asserts that a reading has no [`faults`].
///
/// # Panics
/// With the first faults.
#[track_caller]
pub fn check(what: &str, acked: &[Acked], reading: &Reading) {
    let faults = faults(acked, reading);
    let shown: Vec<&String> = faults.iter().take(20).collect();
    assert!(faults.is_empty(), "{what}: {} faults, such as {shown:#?}", faults.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: &[&str]) -> Reading {
        let messages =
            (0..).zip(values).map(|(offset, value)| Stored { offset, value: (*value).into(), key: None });
        BTreeMap::from([(0, messages.collect())])
    }

    fn acked(offset: u64, value: &str) -> Acked {
        Acked { partition: 0, offset, value: value.into() }
    }

    #[track_caller]
    fn one_fault(acked: &[Acked], reading: &Reading, what: &str) {
        let found = faults(acked, reading);
        assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
    }

    #[test]
    fn a_faultless_history_may_hold_what_was_not_acknowledged() {
        let reading = stored(&["a#0", "b#0", "a#1"]);
        assert!(faults(&[acked(0, "a#0"), acked(2, "a#1")], &reading).is_empty());
    }

    #[test]
    fn every_kind_of_fault_is_noticed() {
        one_fault(&[acked(1, "a#1")], &stored(&["a#0"]), "is lost");
        one_fault(&[acked(1, "a#0")], &stored(&["a#0"]), "is at");
        one_fault(&[], &stored(&["a#1", "a#0"]), "comes after");
        one_fault(&[], &stored(&["x"]), "nobody published");
        one_fault(&[acked(0, "a#0"), acked(0, "a#0")], &stored(&["a#0"]), "acknowledged twice");
        let twice = faults(&[], &stored(&["a#0", "a#0"]));
        assert!(twice[0].contains("is also at"), "{twice:?}");
        let mut gap = stored(&["a#0", "a#1"]);
        gap.entry(0).or_default().remove(0);
        one_fault(&[], &gap, "was to come");
    }
}
