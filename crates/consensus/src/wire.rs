//! Raft messages as hcube sends them: its own codec instead of protobuf's, whose old parser would otherwise
//! see bytes from the network.
//!
//! ```text
//! u32 group, u64 from replica, u64 to replica, u8 kind, u64 term, then by kind (see `Body`)
//! ```

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, ReplicaId};
use raft::eraftpb::{Entry, Message, MessageType};

use crate::conf::{self, ConfChange};
use crate::entry::{CONF, entry_type, kind_of};

/// A Raft message between two replicas of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The group.
    pub group: GroupId,
    /// The sending replica.
    pub from: ReplicaId,
    /// The receiving replica.
    pub to: ReplicaId,
    pub(crate) message: Message,
}

/// The kinds that travel. All others are local to `raft`, or forwarding that hcube does itself.
const KINDS: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTimeoutNow),
    (9, MessageType::MsgRequestPreVote),
    (10, MessageType::MsgRequestPreVoteResponse),
];

/// Bytes of an envelope, but for what varies, or a few more.
const ENVELOPE_BYTES: usize = 160;
/// Bytes of an entry besides its data, or a few more.
const ENTRY_BYTES: usize = 24;

impl Envelope {
    /// Wraps a message, unless its kind is one that does not travel.
    pub(crate) fn wrap(group: GroupId, message: Message) -> Option<Self> {
        KINDS.iter().find(|(_, kind)| *kind == message.msg_type)?;
        Some(Self { group, from: ReplicaId(message.from), to: ReplicaId(message.to), message })
    }

    /// Whether this is a heartbeat or its answer.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        matches!(self.message.msg_type, MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse)
    }

    /// The sender's term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.message.term
    }

    /// The vote that this message tells of, its sender's own where it stands for election: the term and for whom.
    #[must_use]
    pub fn vote(&self) -> Option<(u64, ReplicaId)> {
        match self.message.msg_type {
            MessageType::MsgRequestVote => Some((self.message.term, self.from)),
            MessageType::MsgRequestVoteResponse if !self.message.reject => Some((self.message.term, self.to)),
            _ => None,
        }
    }

    /// What a snapshot carries, if this is one.
    #[must_use]
    pub fn snapshot(&self) -> Option<(u64, &Bytes)> {
        let carries = self.message.msg_type == MessageType::MsgSnapshot;
        carries.then(|| (self.message.get_snapshot().get_metadata().index, &self.message.get_snapshot().data))
    }

    /// The same snapshot with other data: the receiver puts its own copies of the files in.
    #[must_use]
    pub fn with_snapshot_data(mut self, data: Bytes) -> Self {
        self.message.mut_snapshot().data = data;
        self
    }

    /// Bytes of entries inside, near enough for accounting.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.message.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// The data of the entries inside.
    pub fn entries(&self) -> impl Iterator<Item = &Bytes> {
        self.message.entries.iter().map(|entry| &entry.data)
    }

    /// Bytes that [`Envelope::encode`] appends, or a few more.
    #[must_use]
    pub fn encoded_bytes_at_most(&self) -> usize {
        let snapshot = self.message.get_snapshot();
        let conf = snapshot.get_metadata().get_conf_state();
        let replicas = conf.voters.len() + conf.voters_outgoing.len() + conf.learners.len();
        let snapshot_bytes = snapshot.data.len() + 16 * replicas;
        let entries = self.message.entries.len() * ENTRY_BYTES;
        ENVELOPE_BYTES + self.message.context.len() + entries + self.payload_bytes() + snapshot_bytes
    }

    /// Appends the envelope to a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let message = &self.message;
        let kind = KINDS.iter().find(|(_, kind)| *kind == message.msg_type).expect("checked by `wrap`").0;
        out.u32(self.group.0);
        out.u64(self.from.0);
        out.u64(self.to.0);
        out.u8(kind);
        out.u64(message.term);
        out.u64(message.log_term);
        out.u64(message.index);
        out.u64(message.commit);
        out.u64(message.commit_term);
        out.u64(message.request_snapshot);
        out.u64(message.reject_hint);
        out.flag(message.reject);
        out.u64(message.priority.cast_unsigned());
        out.bytes(&message.context);
        out.list(message.entries.iter(), |out, entry| {
            out.u64(entry.index);
            out.u64(entry.term);
            out.u8(kind_of(entry.entry_type));
            out.bytes(&entry.data);
        });
        let carries = message.msg_type == MessageType::MsgSnapshot;
        out.option(carries.then(|| message.get_snapshot()), |out, snapshot| {
            let metadata = snapshot.get_metadata();
            out.u64(metadata.index);
            out.u64(metadata.term);
            write_conf(out, &conf::from_raft(metadata.get_conf_state()));
            out.bytes(&snapshot.data);
        });
    }

    /// Reads one envelope.
    ///
    /// # Errors
    /// When the bytes are something else; nothing is assumed about their sender.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let group = GroupId(reader.u32("group")?);
        let from = ReplicaId(reader.u64("sending replica")?);
        let to = ReplicaId(reader.u64("receiving replica")?);
        let kind = reader.u8("message kind")?;
        let Some((_, msg_type)) = KINDS.iter().find(|(tag, _)| *tag == kind) else {
            return Err(DecodeError::Unknown { what: "message kind", value: kind.into() });
        };
        let mut message = Message {
            msg_type: *msg_type,
            from: from.0,
            to: to.0,
            term: reader.u64("term")?,
            log_term: reader.u64("log term")?,
            index: reader.u64("index")?,
            commit: reader.u64("commit")?,
            commit_term: reader.u64("commit term")?,
            request_snapshot: reader.u64("requested snapshot")?,
            reject_hint: reader.u64("reject hint")?,
            reject: reader.flag("reject")?,
            priority: reader.u64("priority")?.cast_signed(),
            context: reader.bytes("context")?,
            ..Default::default()
        };
        let entries = reader.list("entries", read_entry)?;
        if message.term == 0 {
            // To `raft`, a message without a term is its own.
            return Err(DecodeError::Invalid("term"));
        }
        check_entries(&message, &entries)?;
        message.set_entries(entries.into());
        if reader.flag("snapshot")? {
            if message.msg_type != MessageType::MsgSnapshot {
                return Err(DecodeError::Invalid("snapshot"));
            }
            let snapshot = message.mut_snapshot();
            let metadata = snapshot.mut_metadata();
            metadata.index = reader.u64("snapshot index")?;
            metadata.term = reader.u64("snapshot term")?;
            metadata.set_conf_state(conf::to_raft(&read_conf(reader)?));
            snapshot.data = reader.bytes("snapshot data")?;
        } else if message.msg_type == MessageType::MsgSnapshot {
            return Err(DecodeError::Invalid("snapshot"));
        }
        Ok(Self { group, from, to, message })
    }
}

fn read_entry(reader: &mut Reader) -> Result<Entry, DecodeError> {
    let (index, term) = (reader.u64("entry index")?, reader.u64("entry term")?);
    let kind = reader.u8("entry kind")?;
    let (entry_type, data) = (entry_type(kind)?, reader.bytes("entry data")?);
    if kind == CONF {
        // Once committed it must take effect, so what is none must not get into the log.
        ConfChange::decode(&data)?;
    }
    Ok(Entry { index, term, entry_type, data, ..Default::default() })
}

/// `raft` trusts that entries follow one another and that their terms do not fall.
fn check_entries(message: &Message, entries: &[Entry]) -> Result<(), DecodeError> {
    if !entries.is_empty() && message.msg_type != MessageType::MsgAppend {
        return Err(DecodeError::Invalid("entries"));
    }
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in entries {
        if entry.index != index.wrapping_add(1) || entry.term < term || entry.term > message.term {
            return Err(DecodeError::Invalid("entries"));
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

fn write_conf(out: &mut Vec<u8>, conf: &ConfState) {
    for replicas in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        out.list(replicas.iter(), |out, replica| out.u64(replica.0));
    }
    out.flag(conf.auto_leave);
}

fn read_conf(reader: &mut Reader) -> Result<ConfState, DecodeError> {
    let mut replicas = || reader.list("replicas", |reader| reader.u64("replica").map(ReplicaId));
    let conf = ConfState {
        voters: replicas()?,
        learners: replicas()?,
        voters_outgoing: replicas()?,
        learners_next: replicas()?,
        auto_leave: reader.flag("auto leave")?,
    };
    if conf::is_valid(&conf) { Ok(conf) } else { Err(DecodeError::Invalid("configuration")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::eraftpb::EntryType;

    use super::*;
    use crate::conf::ConfStep;

    fn conf_change() -> Bytes {
        let conf = ConfState::simple(vec![ReplicaId(1)], Vec::new());
        ConfStep::AddLearner(ReplicaId(300)).change(&conf, 9).unwrap().encode()
    }

    fn envelope(kind: usize, numbers: [u64; 4], data: Vec<Vec<u8>>, reject: bool) -> Envelope {
        let msg_type = KINDS[kind % KINDS.len()].1;
        let [term, index, commit, hint] = numbers.map(|number| (number >> 1).max(1));
        let mut message =
            Message { msg_type, from: 3, to: 4, term, index, commit, reject, ..Default::default() };
        message.reject_hint = hint;
        message.context = Bytes::from_static(b"context");
        if msg_type == MessageType::MsgAppend {
            let normal = |data: Vec<u8>| (EntryType::EntryNormal, Bytes::from(data));
            let content = std::iter::once((EntryType::EntryConfChangeV2, conf_change()));
            let content = content.chain(data.into_iter().map(normal));
            let entry =
                |(index, (entry_type, data))| Entry { index, term, entry_type, data, ..Default::default() };
            let entries: Vec<_> = (index + 1..).zip(content).map(entry).collect();
            message.set_entries(entries.into());
        }
        if msg_type == MessageType::MsgSnapshot {
            message.mut_snapshot().data = Bytes::from_static(b"state");
            let metadata = message.mut_snapshot().mut_metadata();
            metadata.index = index;
            metadata
                .set_conf_state(conf::to_raft(&ConfState::simple(vec![ReplicaId(1)], vec![ReplicaId(9)])));
        }
        Envelope::wrap(GroupId(7), message).unwrap()
    }

    proptest! {
        #[test]
        fn envelopes_round_trip(kind: usize, numbers: [u64; 4], data: Vec<Vec<u8>>, reject: bool) {
            let sent = envelope(kind, numbers, data, reject);
            let mut out = Vec::new();
            sent.encode(&mut out);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(Envelope::decode(&mut reader).unwrap(), sent);
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn changed_bytes_never_panic(kind: usize, numbers: [u64; 4], data: Vec<Vec<u8>>, at: prop::sample::Index, to: u8, random: Vec<u8>) {
            let mut out = Vec::new();
            envelope(kind, numbers, data, false).encode(&mut out);
            let at = at.index(out.len());
            out[at] = to;
            let _ = Envelope::decode(&mut Reader::new(out.into()));
            let _ = Envelope::decode(&mut Reader::new(random.into()));
        }
    }
    #[test]
    fn entries_of_unknown_kinds_and_changes_that_are_none_are_refused() {
        let entry = |kind: u8, data: &[u8]| {
            let mut out = Vec::new();
            out.u64(1);
            out.u64(1);
            out.u8(kind);
            out.bytes(data);
            read_entry(&mut Reader::new(out.into()))
        };
        assert!(entry(0, b"").is_ok());
        assert_eq!(entry(1, &conf_change()).unwrap().entry_type, EntryType::EntryConfChangeV2);
        assert!(matches!(entry(2, b""), Err(DecodeError::Unknown { what: "entry kind", value: 2 })));
        assert!(entry(1, b"").is_err());
    }

    #[test]
    fn snapshots_with_impossible_configurations_are_refused() {
        let mut out = Vec::new();
        write_conf(&mut out, &ConfState::simple(vec![ReplicaId(1)], vec![ReplicaId(1)]));
        assert!(read_conf(&mut Reader::new(out.into())).is_err());
    }
}
