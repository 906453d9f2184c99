//! Chooses what of several partitions goes into one answer: the oldest first, so that no partition starves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Something that takes room in an answer.
pub(super) trait Item {
    /// When it was stamped, milliseconds since 1970.
    fn stamp_ms(&self) -> u64;
    /// Messages that it counts as.
    fn messages(&self) -> u64;
    /// Bytes that it counts as.
    fn bytes(&self) -> u64;
}

/// Takes items from the queues, each of which is in order, until one more would exceed a limit. The first is
/// taken however large it is.
pub(super) fn merge<T: Item>(queues: Vec<VecDeque<T>>, messages_max: u64, bytes_max: u64) -> Vec<T> {
    let mut queues = queues;
    let mut heads: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for (at, queue) in queues.iter().enumerate() {
        heads.extend(queue.front().map(|head| Reverse((head.stamp_ms(), at))));
    }
    let (mut taken, mut messages, mut bytes) = (Vec::new(), 0, 0);
    while let Some(Reverse((_, at))) = heads.pop() {
        let Some(head) = queues[at].front() else { continue };
        let full = messages >= messages_max || bytes + head.bytes() > bytes_max;
        if full && !taken.is_empty() {
            break;
        }
        messages += head.messages();
        bytes += head.bytes();
        taken.extend(queues[at].pop_front());
        heads.extend(queues[at].front().map(|head| Reverse((head.stamp_ms(), at))));
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Thing {
        queue: usize,
        at: usize,
        stamp_ms: u64,
        bytes: u64,
    }

    impl Item for Thing {
        fn stamp_ms(&self) -> u64 {
            self.stamp_ms
        }

        fn messages(&self) -> u64 {
            1
        }

        fn bytes(&self) -> u64 {
            self.bytes
        }
    }

    fn queues() -> impl Strategy<Value = Vec<VecDeque<Thing>>> {
        let queue = prop::collection::vec((0..20u64, 0..50u64), 0..10);
        prop::collection::vec(queue, 0..5).prop_map(|queues| {
            let queue = |(queue, mut items): (usize, Vec<(u64, u64)>)| {
                items.sort_unstable();
                let thing = |(at, (stamp_ms, bytes))| Thing { queue, at, stamp_ms, bytes };
                items.into_iter().enumerate().map(thing).collect()
            };
            queues.into_iter().enumerate().map(queue).collect()
        })
    }

    proptest! {
        #[test]
        fn answers_keep_order_and_limits(queues in queues(), messages in 1..20u64, bytes in 1..200u64) {
            let all: usize = queues.iter().map(VecDeque::len).sum();
            let heads = queues.len();
            let taken = merge(queues, messages, bytes);
            prop_assert!(taken.len() as u64 <= messages);
            prop_assert_eq!(taken.is_empty(), all == 0);
            prop_assert!(taken.len() <= 1 || taken.iter().map(|thing| thing.bytes).sum::<u64>() <= bytes);
            prop_assert!(taken.windows(2).all(|pair| pair[0].stamp_ms <= pair[1].stamp_ms));
            for queue in 0..heads {
                let places: Vec<usize> = taken.iter().filter(|one| one.queue == queue).map(|one| one.at).collect();
                prop_assert!(places.iter().copied().eq(0..places.len()), "nothing is skipped");
            }
        }
    }
}
