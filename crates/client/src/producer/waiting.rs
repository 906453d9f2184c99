//! What waits for a partition's next batches.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::builder::Settings;
use super::delivery::Entry;

/// What a producer asks of a partition's task.
#[derive(Debug)]
pub(super) enum Order {
    /// Publish a message.
    Send(Entry),
    /// Answer when everything before has its outcome.
    Flush(oneshot::Sender<()>),
}

/// Orders in the order in which they came, with their sums.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    orders: VecDeque<Order>,
    bytes: usize,
    flushes: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    pub(super) fn push(&mut self, order: Order) {
        match &order {
            Order::Send(entry) => self.bytes += entry.record.encoded_bytes(),
            Order::Flush(_) => self.flushes += 1,
        }
        self.orders.push_back(order);
    }

    /// Whether there is a whole batch, or somebody who waits for less.
    pub(super) fn is_due(&self, settings: &Settings) -> bool {
        self.flushes > 0 || self.has_whole_batch(settings)
    }

    /// Whether a batch is full, before anybody waits for less.
    pub(super) fn has_whole_batch(&self, settings: &Settings) -> bool {
        let is_full = self.bytes >= settings.batch_bytes || self.orders.len() >= settings.batch_records;
        is_full && self.flushes == 0
    }

    /// Answers the flushes that nothing stands before.
    pub(super) fn answer_flushes(&mut self) {
        while let Some(Order::Flush(flushed)) =
            self.orders.pop_front_if(|order| matches!(order, Order::Flush(_)))
        {
            self.flushes -= 1;
            // Whoever has stopped waiting needs no answer.
            let _ = flushed.send(());
        }
    }

    /// The messages of the next batch: at least one, where the first order is one.
    pub(super) fn take_batch(&mut self, settings: &Settings) -> Vec<Entry> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let fits = |order: &mut Order, entries: &Vec<Entry>, bytes: usize| match order {
            Order::Send(entry) => {
                let fits = bytes + entry.record.encoded_bytes() <= settings.batch_bytes;
                entries.is_empty() || (fits && entries.len() < settings.batch_records)
            }
            Order::Flush(_) => false,
        };
        while let Some(Order::Send(entry)) = self.orders.pop_front_if(|order| fits(order, &entries, bytes)) {
            bytes += entry.record.encoded_bytes();
            entries.push(entry);
        }
        self.bytes -= bytes;
        entries
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hcube_core::record::Record;
    use tokio::sync::Semaphore;

    use super::*;

    const MESSAGE_BYTES: usize = 12 + 8;

    fn settings(batch_bytes: usize, batch_records: usize) -> Settings {
        Settings {
            linger: Duration::ZERO,
            batch_bytes,
            batch_records,
            buffer_bytes: 1,
            batches_in_flight: 1,
            delivery_timeout: Duration::ZERO,
            message_bytes_max: 1,
        }
    }

    fn waiting(messages: usize) -> Waiting {
        let room = Arc::new(Semaphore::new(messages));
        let mut waiting = Waiting::default();
        for _ in 0..messages {
            let record = Record { value: vec![0; 8].into(), ..Record::default() };
            waiting.push(Order::Send(Entry::new(record, room.clone().try_acquire_owned().unwrap()).0));
        }
        waiting
    }

    #[test]
    fn batches_end_at_either_limit() {
        let by_records = settings(1000, 3);
        let mut five = waiting(5);
        assert!(five.is_due(&by_records));
        assert_eq!(five.take_batch(&by_records).len(), 3);
        assert!(!five.is_due(&by_records));
        assert_eq!(five.take_batch(&by_records).len(), 2);
        assert!(five.is_empty());
        assert_eq!(waiting(5).take_batch(&settings(MESSAGE_BYTES * 2 + 1, 10)).len(), 2);
        assert_eq!(waiting(5).take_batch(&settings(1, 10)).len(), 1, "a large message goes by itself");
    }

    #[test]
    fn a_flush_is_answered_after_what_is_before_it() {
        let settings = settings(1000, 10);
        let mut two = waiting(2);
        let (sender, mut flushed) = oneshot::channel();
        two.push(Order::Flush(sender));
        assert!(two.is_due(&settings));
        two.answer_flushes();
        assert!(flushed.try_recv().is_err());
        assert_eq!(two.take_batch(&settings).len(), 2);
        two.answer_flushes();
        assert!(flushed.try_recv().is_ok() && two.is_empty() && !two.is_due(&settings));
    }
}
