//! Where a consumer is: so that a message is given out once, whatever the peers send.

use hcube_api::cursor::Cursor;
use hcube_api::messages::Message;

/// The next offset of each partition.
#[derive(Debug, Clone)]
pub(super) struct Place {
    cursor: Cursor,
}

/// A message is missing before one that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition} goes on at offset {got} instead of {due}")]
pub(super) struct Gap {
    partition: u16,
    due: u64,
    got: u64,
}

impl Place {
    pub(super) fn new(cursor: Cursor) -> Self {
        Self { cursor }
    }

    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The messages that are new, of these in their order; the place is after them then. After an error it is of no use.
    pub(super) fn advance(&mut self, mut messages: Vec<Message>) -> Result<Vec<Message>, Gap> {
        let mut gap = None;
        messages.retain(|message| {
            let Message { partition, offset, .. } = *message;
            // A partition that has no place yet starts with its first message.
            let due = self.cursor.get(partition).unwrap_or(offset);
            if offset > due {
                gap.get_or_insert(Gap { partition, due, got: offset });
            }
            if offset == due && gap.is_none() {
                self.cursor.set(partition, offset + 1);
            }
            offset == due
        });
        gap.map_or(Ok(messages), Err)
    }

    /// Takes over the places of partitions that had none. Of others the messages themselves tell.
    pub(super) fn complete(&mut self, answered: &Cursor) {
        for (partition, next) in answered.iter() {
            if self.cursor.get(partition).is_none() {
                self.cursor.set(partition, next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::TopicId;
    use hcube_core::record::Record;

    use super::*;

    fn message(partition: u16, offset: u64) -> Message {
        Message { partition, offset, timestamp_ms: 0, record: Record::default() }
    }

    fn place(next: &[(u16, u64)]) -> Place {
        let mut cursor = Cursor::new(TopicId(7));
        next.iter().for_each(|&(partition, offset)| cursor.set(partition, offset));
        Place::new(cursor)
    }

    #[test]
    fn what_was_given_out_is_left_out() {
        let mut place = place(&[(0, 5)]);
        let fresh = place.advance([3, 4, 5, 6].map(|offset| message(0, offset)).into()).unwrap();
        assert_eq!(fresh, [message(0, 5), message(0, 6)]);
        assert_eq!(place.cursor().get(0), Some(7));
        assert_eq!(place.advance(vec![message(0, 6)]), Ok(vec![]));
    }

    #[test]
    fn a_missing_message_is_noticed() {
        let mut place = place(&[(0, 5)]);
        let gap = Gap { partition: 0, due: 5, got: 6 };
        assert_eq!(place.advance(vec![message(0, 6)]), Err(gap));
    }

    #[test]
    fn partitions_without_a_place_start_where_their_messages_do() {
        let mut place = place(&[(0, 5)]);
        place.advance(vec![message(1, 3)]).unwrap();
        place.complete(&self::place(&[(0, 9), (1, 9), (2, 9)]).cursor);
        assert_eq!(place.cursor().iter().collect::<Vec<_>>(), [(0, 5), (1, 4), (2, 9)]);
    }
}
