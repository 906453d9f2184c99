//! How long publishing stood still, from the times of the acknowledgements.

use std::collections::BTreeMap;

use super::history::Key;

/// When each partition's acknowledgements came, in milliseconds from the beginning of the run, in order.
pub type Acks = BTreeMap<Key, Vec<u64>>;

/// A time without acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// How long.
    pub ms: u64,
    /// Where.
    pub key: Key,
}

/// The longest time that any partition waited for an acknowledgement between `from` and `until`. A wait that began
/// before counts from `from` on, and one that begins within counts to its end, at the latest that of publishing.
pub fn longest(acks: &Acks, from: u64, until: u64, end: u64) -> Option<Outage> {
    let gap = |key: Key, times: &[u64]| {
        // Those that came before `from` tell nothing but that the partition was alive.
        let first = times.partition_point(|time| *time < from);
        let mut at = from;
        let mut longest = 0;
        for &time in times[first..].iter().chain([&end]) {
            if at >= until {
                break;
            }
            longest = longest.max(time.saturating_sub(at));
            at = time.max(at);
        }
        Outage { ms: longest, key }
    };
    acks.iter().map(|(key, times)| gap(*key, times)).max_by_key(|outage| outage.ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key { topic: 0, partition: 0 };
    const B: Key = Key { topic: 0, partition: 1 };

    fn acks() -> Acks {
        let steady = (0..100).map(|at| at * 10).collect();
        let stalled = (0..100).map(|at| at * 10).filter(|at| !(300..700).contains(at)).collect();
        Acks::from([(A, steady), (B, stalled)])
    }

    fn ms(from: u64, until: u64) -> u64 {
        longest(&acks(), from, until, 1000).unwrap().ms
    }

    #[test]
    fn the_longest_wait_of_any_partition_is_told() {
        assert_eq!(longest(&acks(), 200, 800, 1000), Some(Outage { ms: 410, key: B }));
        assert_eq!(ms(0, 200), 10);
        assert_eq!(ms(800, 990), 10);
    }

    #[test]
    fn a_wait_counts_from_its_event_and_to_its_end() {
        assert_eq!(ms(400, 500), 300, "it began before, and ends after");
        assert_eq!(ms(280, 310), 410, "it begins within");
    }

    #[test]
    fn publishing_that_never_comes_back_counts_to_the_end() {
        let dead = Acks::from([(A, vec![0, 10, 20])]);
        assert_eq!(longest(&dead, 10, 100, 1000).unwrap().ms, 980);
        assert_eq!(longest(&Acks::new(), 0, 10, 10), None);
    }
}
