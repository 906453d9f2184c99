//! Where messages without a key go: one partition until its batch is full or leaves, then the next.

use std::sync::{Mutex, MutexGuard};

/// The partition that keyless messages go to.
#[derive(Debug)]
pub(super) struct Spread {
    partitions: u16,
    batch_bytes: usize,
    batch_records: usize,
    filling: Mutex<Filling>,
}

#[derive(Debug)]
struct Filling {
    partition: u16,
    bytes: usize,
    records: usize,
}

impl Spread {
    /// Begins at a partition by chance, so that many producers of few messages load all of them alike.
    pub(super) fn new(partitions: u16, batch_bytes: usize, batch_records: usize) -> Self {
        let partition = rand::random_range(0..partitions);
        let filling = Mutex::new(Filling { partition, bytes: 0, records: 0 });
        Self { partitions, batch_bytes, batch_records, filling }
    }

    /// The partition for one more message of so many bytes; one that failed only where all of them did.
    pub(super) fn choose(&self, bytes: usize, failed: impl Fn(u16) -> bool) -> u16 {
        let mut filling = self.filling();
        if filling.bytes + bytes > self.batch_bytes || filling.records == self.batch_records {
            self.turn(&mut filling);
        }
        for _ in 0..self.partitions {
            if !failed(filling.partition) {
                break;
            }
            self.turn(&mut filling);
        }
        filling.bytes += bytes;
        filling.records += 1;
        filling.partition
    }

    /// A batch of the partition is leaving: what comes now would wait for it.
    pub(super) fn leaves(&self, partition: u16) {
        let mut filling = self.filling();
        if filling.partition == partition {
            self.turn(&mut filling);
        }
    }

    fn turn(&self, filling: &mut Filling) {
        *filling = Filling { partition: (filling.partition + 1) % self.partitions, bytes: 0, records: 0 };
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().expect("nobody panics while choosing a partition")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_filled_before_the_next() {
        let spread = Spread::new(3, 100, 2);
        let all: Vec<u16> = (0..6).map(|_| spread.choose(1, |_| false)).collect();
        let first = all[0];
        assert_eq!(all, [0, 0, 1, 1, 2, 2].map(|step| (first + step) % 3));
        let large = spread.choose(99, |_| false);
        assert_ne!(spread.choose(2, |_| false), large);
    }

    #[test]
    fn a_batch_that_leaves_turns_to_the_next_partition() {
        let spread = Spread::new(2, 100, 10);
        let first = spread.choose(1, |_| false);
        spread.leaves(1 - first);
        assert_eq!(spread.choose(1, |_| false), first);
        spread.leaves(first);
        assert_eq!(spread.choose(1, |_| false), 1 - first);
    }

    #[test]
    fn failed_partitions_are_passed_over() {
        let spread = Spread::new(3, 100, 1);
        assert!((0..5).all(|_| spread.choose(1, |partition| partition != 2) == 2));
        let _ = spread.choose(1, |_| true);
    }
}
