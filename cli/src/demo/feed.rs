//! The event feed that the demonstration publishes.

use hcube_api::messages::{Incoming, PublishLimits, parse_lines};

/// Earthquakes of a week, as the USGS reported them (demo/README.md).
const FEED: &str = include_str!("../../../demo/earthquakes.ndjson");

/// The events in the order in which they happened.
pub fn events() -> Vec<Incoming> {
    parse_lines(FEED.as_bytes(), PublishLimits::default()).expect("the feed in this program is well formed")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_event_is_there_once_and_has_a_key() {
        let events = events();
        assert_eq!(events.len(), 1707);
        assert!(events.iter().all(|event| event.record.key.is_some()));
        let values: BTreeSet<_> = events.iter().map(|event| event.record.value.clone()).collect();
        assert_eq!(values.len(), events.len());
    }
}
