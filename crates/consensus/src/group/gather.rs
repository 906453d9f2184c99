//! Entries that were proposed one by one go to a follower in one message.
//!
//! The crate `raft` makes a message for each proposal. What it offers against that (`batch_append`) may join an empty
//! message with entries that do not follow on it, and knows no limit of size.

use std::collections::BTreeMap;

use raft::eraftpb::{Message, MessageType};

/// Joins messages with entries for the same follower where one goes on where the one before it ends, up to about so
/// many bytes. What one receiver gets stays in order.
pub(super) fn gather(messages: Vec<Message>, bytes_max: u64) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    let mut last: BTreeMap<u64, Gathered> = BTreeMap::new();
    for message in messages {
        let bytes = entry_bytes(&message);
        if let Some(gathered) = last.get_mut(&message.to)
            && gathered.bytes + bytes <= bytes_max
            && goes_on(&out[gathered.at], &message)
        {
            let before = &mut out[gathered.at];
            before.commit = before.commit.max(message.commit);
            let mut entries = std::mem::take(&mut before.entries).into_vec();
            entries.append(&mut message.entries.into_vec());
            before.entries = entries.into();
            gathered.bytes += bytes;
            continue;
        }
        last.insert(message.to, Gathered { at: out.len(), bytes });
        out.push(message);
    }
    out
}

/// The last message of a receiver.
struct Gathered {
    at: usize,
    bytes: u64,
}

fn goes_on(before: &Message, next: &Message) -> bool {
    let appends = |message: &Message| message.msg_type == MessageType::MsgAppend;
    let end = before.entries.last().map_or((before.index, before.log_term), |last| (last.index, last.term));
    appends(before) && appends(next) && before.term == next.term && end == (next.index, next.log_term)
}

fn entry_bytes(message: &Message) -> u64 {
    message.entries.iter().map(|entry| entry.data.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    fn append(to: u64, previous: (u64, u64), entries: &[(u64, u64)], commit: u64) -> Message {
        let entry = |(index, term): &(u64, u64)| Entry {
            index: *index,
            term: *term,
            data: vec![7; 10].into(),
            ..Default::default()
        };
        Message {
            msg_type: MessageType::MsgAppend,
            to,
            term: 5,
            index: previous.0,
            log_term: previous.1,
            entries: entries.iter().map(entry).collect::<Vec<_>>().into(),
            commit,
            ..Default::default()
        }
    }

    #[test]
    fn what_follows_on_is_joined_for_each_receiver() {
        let all = vec![
            append(2, (6, 4), &[(7, 5)], 6),
            append(3, (6, 4), &[(7, 5)], 6),
            append(2, (7, 5), &[(8, 5), (9, 5)], 6),
            append(3, (7, 5), &[], 7),
            append(2, (9, 5), &[], 8),
        ];
        let joined = vec![append(2, (6, 4), &[(7, 5), (8, 5), (9, 5)], 8), append(3, (6, 4), &[(7, 5)], 7)];
        assert_eq!(gather(all, 1000), joined);
    }

    #[test]
    fn what_does_not_follow_on_is_not() {
        let gap = vec![append(2, (6, 4), &[], 6), append(2, (7, 5), &[(8, 5)], 6)];
        let other_term = vec![append(2, (6, 4), &[(7, 4)], 6), append(2, (7, 5), &[(8, 5)], 6)];
        let again = vec![append(2, (6, 4), &[(7, 5)], 6), append(2, (6, 4), &[(7, 5)], 6)];
        let mut heartbeat = append(2, (7, 5), &[], 6);
        heartbeat.msg_type = MessageType::MsgHeartbeat;
        let between = vec![append(2, (6, 4), &[(7, 5)], 6), heartbeat, append(2, (7, 5), &[(8, 5)], 6)];
        for messages in [gap, other_term, again, between] {
            assert_eq!(gather(messages.clone(), 1000), messages);
        }
    }

    #[test]
    fn no_message_grows_beyond_its_limit() {
        let all: Vec<_> = (0..9).map(|n| append(2, (n, 5), &[(n + 1, 5)], 0)).collect();
        let lengths: Vec<_> = gather(all, 40).iter().map(|message| message.entries.len()).collect();
        assert_eq!(lengths, [4, 4, 1]);
    }
}
