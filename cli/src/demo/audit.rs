//! Compares what was acknowledged with what can be read.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_api::messages::{Incoming, Message};

/// Where an event is, by its acknowledgement.
pub type Place = (u16, u64);

/// What a reader found wrong. Nothing is the only acceptable answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// Events that were acknowledged, and are not where the acknowledgement says.
    pub missing: usize,
    /// Messages that are there a second time.
    pub repeated: usize,
    /// Messages that nobody published.
    pub foreign: usize,
    /// Events of one region that changed their order.
    pub disordered: usize,
}

impl Faults {
    /// In words.
    pub fn describe(&self) -> String {
        let Self { missing, repeated, foreign, disordered } = self;
        format!("{missing} missing, {repeated} repeated, {foreign} foreign, {disordered} out of order")
    }
}

/// Holds what was read against the feed and its acknowledgements (`places[i]` is that of `events[i]`, none
/// where it was not acknowledged).
pub fn audit(events: &[Incoming], places: &[Option<Place>], read: &[Message]) -> Faults {
    let mut faults = Faults::default();
    let index: BTreeMap<&Bytes, usize> =
        events.iter().enumerate().map(|(at, event)| (&event.record.value, at)).collect();
    let mut seen = vec![0usize; events.len()];
    let mut found: BTreeMap<Place, usize> = BTreeMap::new();
    let mut last_of_key: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for message in read {
        let event = index.get(&message.record.value).copied();
        let Some(at) = event.filter(|at| events[*at].record == message.record) else {
            faults.foreign += 1;
            continue;
        };
        seen[at] += 1;
        if seen[at] > 1 {
            faults.repeated += 1;
            continue;
        }
        found.insert((message.partition, message.offset), at);
        if let Some(key) = &events[at].record.key
            && last_of_key.insert(key, at).is_some_and(|before| before > at)
        {
            faults.disordered += 1;
        }
    }
    let acknowledged = places.iter().enumerate().filter_map(|(at, place)| place.map(|place| (at, place)));
    faults.missing = acknowledged.filter(|(at, place)| found.get(place) != Some(at)).count();
    faults
}

#[cfg(test)]
mod tests {
    use hcube_core::record::Record;

    use super::*;

    fn event(key: &'static str, value: &'static str) -> Incoming {
        let record = Record { key: Some(key.into()), headers: Vec::new(), value: value.into() };
        Incoming { line: 1, partition: None, record }
    }

    fn message(offset: u64, event: &Incoming) -> Message {
        Message { partition: 0, offset, timestamp_ms: 0, record: event.record.clone() }
    }

    #[test]
    fn a_faithful_copy_has_no_faults() {
        let events = [event("a", "1"), event("b", "2"), event("a", "3")];
        let read: Vec<_> = (0..).zip(&events).map(|(offset, event)| message(offset, event)).collect();
        let places = [Some((0, 0)), Some((0, 1)), Some((0, 2))];
        assert_eq!(audit(&events, &places, &read), Faults::default());
    }

    #[test]
    fn every_kind_of_fault_is_counted() {
        let events = [event("a", "1"), event("b", "2"), event("a", "3")];
        let places = [Some((0, 0)), None, Some((0, 2))];
        assert_eq!(audit(&events, &places, &[message(0, &events[0])]).missing, 1, "the third is not there");
        let moved = [message(0, &events[0]), message(1, &events[2])];
        assert_eq!(audit(&events, &places, &moved).missing, 1, "the third is elsewhere");
        let twice = [message(0, &events[0]), message(2, &events[2]), message(3, &events[2])];
        assert_eq!(audit(&events, &places, &twice), Faults { repeated: 1, ..Faults::default() });
        let foreign = [message(0, &events[0]), message(1, &event("a", "9")), message(2, &events[2])];
        assert_eq!(audit(&events, &places, &foreign), Faults { foreign: 1, ..Faults::default() });
        let turned = [message(0, &events[2]), message(1, &events[0])];
        assert_eq!(
            audit(&events, &[None, None, None], &turned),
            Faults { disordered: 1, ..Faults::default() }
        );
    }
}
