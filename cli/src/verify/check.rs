//! History in, verdict out: what a hypercube promises, held against what a run has seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::history::{History, Id, Key, Seen, Stream};

/// Faults that are told one by one; beyond it they are only counted.
const EXAMPLES_MAX: usize = 20;

/// How often each promise was broken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Faults {
    /// Acknowledged, and not there.
    pub lost: u64,
    /// Acknowledged at another offset than it is at, or two at the same.
    pub misplaced: u64,
    /// There more than once.
    pub duplicated: u64,
    /// Behind a later one of its producer.
    pub reordered: u64,
    /// Left out, although a later one of its producer is there.
    pub skipped: u64,
    /// Nobody published it.
    pub foreign: u64,
    /// Offsets that do not follow the one before.
    pub gaps: u64,
    /// A subscription did not deliver it.
    pub undelivered: u64,
    /// A subscription delivered something else there, or not in order.
    pub misdelivered: u64,
    /// Once read there, and not there any more.
    pub changed: u64,
    /// Replicas that hold something else than the others.
    pub diverged: u64,
    /// Partitions of which no replica could be compared.
    pub uncompared: u64,
    /// The first of them, one by one.
    pub examples: Vec<String>,
}

impl Faults {
    /// All of them with their names.
    pub fn counts(&self) -> [(&'static str, u64); 12] {
        [
            ("lost", self.lost),
            ("misplaced", self.misplaced),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("skipped", self.skipped),
            ("foreign", self.foreign),
            ("offsets not dense", self.gaps),
            ("not delivered", self.undelivered),
            ("wrongly delivered", self.misdelivered),
            ("changed", self.changed),
            ("replicas that differ", self.diverged),
            ("partitions not compared", self.uncompared),
        ]
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts().iter().map(|(_, count)| count).sum()
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// Holds the promises against the history.
pub fn check(history: &History) -> Faults {
    let mut faults = Faults::default();
    let places = contents(history, &mut faults);
    acknowledged(history, &places, &mut faults);
    for stream in &history.streams {
        delivered(history, stream, &mut faults);
    }
    glimpses(history, &mut faults);
    copies(history, &mut faults);
    faults
}

/// Density, repetition and order of what is stored; where each record is.
fn contents(history: &History, faults: &mut Faults) -> BTreeMap<(Key, Id), u64> {
    let mut places = BTreeMap::new();
    // A producer's numbers begin anew in each partition, so a record is its id and its partition.
    for (&key, stored) in &history.stored {
        let mut numbers: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (expected, &Seen { offset, id }) in (0u64..).zip(stored) {
            if offset != expected {
                faults.gaps += 1;
                faults.example(|| format!("{key}: offset {offset} where {expected} was to come"));
            }
            let Some(id) = id else {
                faults.foreign += 1;
                faults.example(|| format!("{key}: nobody published what is at offset {offset}"));
                continue;
            };
            let first = *places.entry((key, id)).or_insert(offset);
            if first != offset {
                faults.duplicated += 1;
                faults.example(|| format!("{key}: {id} is at {first} and at {offset}"));
                continue;
            }
            let (count, highest) = numbers.entry(id.producer).or_default();
            if *count > 0 && id.number < *highest {
                faults.reordered += 1;
                let highest = *highest;
                faults.example(|| format!("{key}: {id} at {offset} comes after number {highest}"));
            }
            (*count, *highest) = (*count + 1, id.number.max(*highest));
        }
        for (producer, (count, highest)) in numbers {
            let missing = (highest + 1).saturating_sub(count);
            if missing > 0 {
                faults.skipped += missing;
                faults.example(|| {
                    format!("{key}: {missing} of producer {producer} before {highest} are left out")
                });
            }
        }
    }
    places
}

/// Every acknowledged record is where it was acknowledged.
fn acknowledged(history: &History, places: &BTreeMap<(Key, Id), u64>, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    for acked in &history.acked {
        let (key, id, offset) = (acked.key, acked.id, acked.offset);
        match places.get(&(key, id)) {
            None => {
                faults.lost += 1;
                faults.example(|| format!("{key}: {id}, acknowledged at {offset}, is not there"));
            }
            Some(&at) if at != offset => {
                faults.misplaced += 1;
                faults.example(|| format!("{key}: {id}, acknowledged at {offset}, is at {at}"));
            }
            Some(_) => {}
        }
        if !taken.insert((key, offset)) {
            faults.misplaced += 1;
            faults.example(|| format!("{key}: {offset} was acknowledged twice, the second time for {id}"));
        }
    }
}

/// A subscription that began before everything delivers everything, in order and once.
fn delivered(history: &History, stream: &Stream, faults: &mut Faults) {
    for (&key, seen) in &stream.seen {
        let stored = history.stored.get(&key).map_or(&[][..], Vec::as_slice);
        let mut wrong = 0;
        for (at, seen) in seen.iter().enumerate() {
            if stored.get(at) != Some(seen) {
                wrong += 1;
                if wrong == 1 {
                    let offset = seen.offset;
                    faults.example(|| {
                        format!(
                            "{key}: {} delivered offset {offset} in place {at}, or something else there",
                            stream.name
                        )
                    });
                }
            }
        }
        faults.misdelivered += wrong;
        let missing = stored.len().saturating_sub(seen.len()) as u64;
        if missing > 0 {
            faults.undelivered += missing;
            faults.example(|| format!("{key}: {} did not deliver the last {missing}", stream.name));
        }
    }
}

/// What was once read stays.
fn glimpses(history: &History, faults: &mut Faults) {
    for (key, seen) in &history.glimpses {
        let stored = history.stored.get(key).map_or(&[][..], Vec::as_slice);
        let at = usize::try_from(seen.offset).ok().and_then(|offset| stored.get(offset));
        if at != Some(seen) {
            faults.changed += 1;
            faults.example(|| format!("{key}: offset {} is not what was once read there", seen.offset));
        }
    }
}

/// All replicas hold the same.
fn copies(history: &History, faults: &mut Faults) {
    for (key, whole) in &history.whole {
        let copies = history.copies.get(key).map_or(&[][..], Vec::as_slice);
        if copies.is_empty() {
            faults.uncompared += 1;
            faults.example(|| format!("{key}: no replica could be compared"));
        }
        for copy in
            copies.iter().filter(|copy| (copy.records, copy.checksum) != (whole.records, whole.checksum))
        {
            faults.diverged += 1;
            faults.example(|| {
                format!(
                    "{key}: {} holds {} records ({:016x}), not {} ({:016x})",
                    copy.label, copy.records, copy.checksum, whole.records, whole.checksum
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::history::{Acked, Copy};

    const KEY: Key = Key { topic: 0, partition: 1 };

    fn id(number: u64) -> Id {
        Id { producer: 1, number }
    }

    fn copy(label: &str, records: u64) -> Copy {
        Copy { label: label.into(), records, checksum: records * 31 }
    }

    /// Records in this order, all acknowledged where they are, delivered and copied.
    fn faultless(numbers: &[u64]) -> History {
        let seen: Vec<Seen> =
            (0..).zip(numbers).map(|(offset, number)| Seen { offset, id: Some(id(*number)) }).collect();
        let acked = (0..).zip(numbers).map(|(offset, number)| Acked { id: id(*number), key: KEY, offset });
        let records = seen.len() as u64;
        History {
            acked: acked.collect(),
            stored: BTreeMap::from([(KEY, seen.clone())]),
            whole: BTreeMap::from([(KEY, copy("any", records))]),
            streams: vec![Stream { name: "live".into(), seen: BTreeMap::from([(KEY, seen.clone())]) }],
            glimpses: seen.iter().map(|seen| (KEY, *seen)).collect(),
            copies: BTreeMap::from([(KEY, vec![copy("00", records), copy("01", records)])]),
        }
    }

    fn stored(history: &mut History) -> &mut Vec<Seen> {
        history.stored.get_mut(&KEY).unwrap()
    }

    #[track_caller]
    fn only(history: &History, name: &str, count: u64) {
        let faults = check(history);
        for (other, found) in faults.counts() {
            assert_eq!(found, if other == name { count } else { 0 }, "{other}: {faults:?}");
        }
        assert!(!faults.examples.is_empty());
    }

    #[test]
    fn a_faultless_history_may_hold_what_was_not_acknowledged() {
        let mut history = faultless(&[0, 1, 2, 3]);
        history.acked.remove(2);
        let faults = check(&history);
        assert_eq!((faults.total(), faults.examples.len()), (0, 0), "{faults:?}");
    }

    #[test]
    fn a_loss_at_the_end_is_found() {
        let mut history = faultless(&[0, 1, 2]);
        history.acked.push(Acked { id: id(3), key: KEY, offset: 3 });
        only(&history, "lost", 1);
    }

    #[test]
    fn a_loss_in_the_middle_is_found_even_where_nothing_was_acknowledged() {
        let mut history = faultless(&[0, 1, 3, 4]);
        history.acked.clear();
        only(&history, "skipped", 1);
    }

    #[test]
    fn a_duplicate_is_found() {
        let mut history = faultless(&[0, 1, 2]);
        let again = Seen { offset: 3, id: Some(id(1)) };
        stored(&mut history).push(again);
        history.streams[0].seen.get_mut(&KEY).unwrap().push(again);
        only(&history, "duplicated", 1);
    }

    #[test]
    fn another_order_is_found() {
        only(&faultless(&[0, 2, 1, 3]), "reordered", 1);
    }

    #[test]
    fn a_record_at_another_place_is_found() {
        let mut history = faultless(&[0, 1]);
        history.acked[1].offset = 5;
        only(&history, "misplaced", 1);
        history.acked[1].offset = 0;
        only(&history, "misplaced", 2);
    }

    #[test]
    fn a_hole_in_the_offsets_is_found() {
        let mut history = faultless(&[0, 1, 2]);
        stored(&mut history)[2].offset = 3;
        assert_eq!(check(&history).gaps, 1);
    }

    #[test]
    fn a_record_that_nobody_published_is_found() {
        let mut history = faultless(&[0, 1]);
        let foreign = Seen { offset: 2, id: None };
        stored(&mut history).push(foreign);
        history.streams[0].seen.get_mut(&KEY).unwrap().push(foreign);
        only(&history, "foreign", 1);
    }

    #[test]
    fn a_subscription_that_leaves_out_repeats_or_reorders_is_found() {
        let mut short = faultless(&[0, 1, 2]);
        short.streams[0].seen.get_mut(&KEY).unwrap().pop();
        only(&short, "not delivered", 1);
        let mut repeating = faultless(&[0, 1, 2]);
        let seen = repeating.streams[0].seen.get_mut(&KEY).unwrap();
        seen.insert(1, seen[0]);
        assert_eq!(check(&repeating).misdelivered, 3);
        let mut reordering = faultless(&[0, 1, 2]);
        reordering.streams[0].seen.get_mut(&KEY).unwrap().swap(0, 1);
        only(&reordering, "wrongly delivered", 2);
    }

    #[test]
    fn a_read_that_did_not_last_is_found() {
        let mut history = faultless(&[0, 1, 2]);
        history.glimpses.push((KEY, Seen { offset: 1, id: Some(id(9)) }));
        history.glimpses.push((KEY, Seen { offset: 7, id: Some(id(7)) }));
        only(&history, "changed", 2);
    }

    #[test]
    fn divergence_is_found() {
        let mut history = faultless(&[0, 1]);
        history.copies.get_mut(&KEY).unwrap()[1].checksum += 1;
        only(&history, "replicas that differ", 1);
        history.copies.clear();
        only(&history, "partitions not compared", 1);
    }

    #[test]
    fn the_same_number_of_another_partition_is_another_record() {
        let mut history = faultless(&[0, 1]);
        let other = Key { topic: 1, partition: 1 };
        history.stored.insert(other, history.stored[&KEY].clone());
        history.acked.extend(history.acked.clone().into_iter().map(|acked| Acked { key: other, ..acked }));
        assert_eq!(check(&history).total(), 0);
    }
}
