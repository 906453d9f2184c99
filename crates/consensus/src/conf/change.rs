//! The content of a conf-change entry.
//!
//! The leader's `raft` reads the bytes of what is proposed, so they are protobuf's for its `ConfChangeV2`. They are
//! written and read here all the same: nothing but the four shapes below is let in, each in its one encoding.
//!
//! ```text
//! 08 varint transition     left out when 0
//! 12 varint length, then   for each change
//!    08 varint type        left out when 0: 0 add a voter, 1 remove, 2 add a learner
//!    10 varint replica
//! 1a 08 u64 version        always
//! ```
//!
//! Transition 0 with one change is a simple change, 0 with none leaves a joint configuration, 2 enters one, and 1,
//! which `raft` never sees, makes one replica the sole voter.

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader};
use hcube_core::conf::ConfState;
use hcube_core::ids::ReplicaId;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

const TRANSITION: u8 = 0x08;
const CHANGE: u8 = 0x12;
const CONTEXT: u8 = 0x1a;
const TYPE: u8 = 0x08;
const REPLICA: u8 = 0x10;

/// What becomes of one replica.
pub(crate) type Single = (ConfChangeType, ReplicaId);

/// A change of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfChange {
    pub shape: Shape,
    /// The caller's, carried along.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One learner more or less.
    Simple(Single),
    /// Into a joint configuration.
    Joint(Vec<Single>),
    /// Out of it.
    Leave,
    /// Whatever the configuration was, this replica is all of it.
    Sole(ReplicaId),
}

impl ConfChange {
    pub fn encode(&self) -> Bytes {
        let (transition, singles): (u8, &[Single]) = match &self.shape {
            Shape::Simple(single) => (0, std::slice::from_ref(single)),
            Shape::Joint(singles) => (2, singles),
            Shape::Leave => (0, &[]),
            Shape::Sole(replica) => (1, &[(ConfChangeType::AddNode, *replica)]),
        };
        let mut out = Vec::new();
        if transition != 0 {
            out.extend([TRANSITION, transition]);
        }
        for (kind, replica) in singles {
            let mut single = Vec::new();
            if *kind != ConfChangeType::AddNode {
                single.extend([TYPE, *kind as u8]);
            }
            single.push(REPLICA);
            write_varint(&mut single, replica.0);
            out.push(CHANGE);
            write_varint(&mut out, single.len() as u64);
            out.append(&mut single);
        }
        out.extend([CONTEXT, 8]);
        out.extend(self.version.to_le_bytes());
        out.into()
    }

    pub fn decode(data: &Bytes) -> Result<Self, DecodeError> {
        const WHAT: &str = "conf change";
        let mut reader = Reader::new(data.clone());
        let (mut transition, mut singles, mut version) = (0, Vec::new(), 0);
        while reader.remaining() > 0 {
            match reader.u8(WHAT)? {
                TRANSITION => transition = read_varint(&mut reader)?,
                CHANGE => {
                    let length = usize::try_from(read_varint(&mut reader)?);
                    let length = length.map_err(|_| DecodeError::Invalid(WHAT))?;
                    singles.push(read_single(reader.take(length, WHAT)?)?);
                }
                CONTEXT => {
                    read_varint(&mut reader)?;
                    version = reader.u64("conf change version")?;
                }
                tag => return Err(DecodeError::Unknown { what: WHAT, value: tag.into() }),
            }
        }
        let shape = match (transition, &singles[..]) {
            (0, []) => Shape::Leave,
            (0, [single]) => Shape::Simple(*single),
            (2, [_, ..]) => Shape::Joint(singles),
            (1, [(ConfChangeType::AddNode, replica)]) => Shape::Sole(*replica),
            _ => return Err(DecodeError::Invalid(WHAT)),
        };
        let change = Self { shape, version };
        // Of the many encodings that protobuf allows, only ours is let in.
        if change.encode() == data { Ok(change) } else { Err(DecodeError::Invalid(WHAT)) }
    }

    /// What `raft` is to apply, one after the other, when this takes effect on `conf`.
    pub fn for_raft(&self, conf: &ConfState) -> Vec<ConfChangeV2> {
        match &self.shape {
            Shape::Simple(single) => vec![v2(ConfChangeTransition::Auto, &[*single])],
            Shape::Joint(singles) => vec![v2(ConfChangeTransition::Explicit, singles)],
            Shape::Leave => vec![leave()],
            Shape::Sole(replica) => {
                let mut singles = vec![(ConfChangeType::AddNode, *replica)];
                let all = [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next];
                let others = all.into_iter().flatten().filter(|other| *other != replica);
                singles.extend(others.map(|other| (ConfChangeType::RemoveNode, *other)));
                let joint = !conf.voters_outgoing.is_empty();
                let before = joint.then(leave);
                let change = [v2(ConfChangeTransition::Explicit, &singles), leave()];
                before.into_iter().chain(change).collect()
            }
        }
    }
}

fn leave() -> ConfChangeV2 {
    v2(ConfChangeTransition::Auto, &[])
}

fn v2(transition: ConfChangeTransition, singles: &[Single]) -> ConfChangeV2 {
    let single = |(change_type, replica): &Single| ConfChangeSingle {
        change_type: *change_type,
        node_id: replica.0,
        ..Default::default()
    };
    let changes = singles.iter().map(single).collect::<Vec<_>>().into();
    ConfChangeV2 { transition, changes, ..Default::default() }
}

fn read_single(data: Bytes) -> Result<Single, DecodeError> {
    const WHAT: &str = "conf change of one replica";
    let mut reader = Reader::new(data);
    let (mut kind, mut replica) = (ConfChangeType::AddNode, 0);
    while reader.remaining() > 0 {
        match reader.u8(WHAT)? {
            TYPE => {
                kind = match read_varint(&mut reader)? {
                    1 => ConfChangeType::RemoveNode,
                    2 => ConfChangeType::AddLearnerNode,
                    value => return Err(DecodeError::Unknown { what: WHAT, value }),
                }
            }
            REPLICA => replica = read_varint(&mut reader)?,
            tag => return Err(DecodeError::Unknown { what: WHAT, value: tag.into() }),
        }
    }
    // To `raft`, a change of replica 0 is none.
    if replica == 0 { Err(DecodeError::Invalid(WHAT)) } else { Ok((kind, ReplicaId(replica))) }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(reader: &mut Reader) -> Result<u64, DecodeError> {
    const WHAT: &str = "number in a conf change";
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = reader.u8(WHAT)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError::Invalid(WHAT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn singles(least: usize) -> impl Strategy<Value = Vec<Single>> {
        let kind = prop::sample::select(vec![
            ConfChangeType::AddNode,
            ConfChangeType::RemoveNode,
            ConfChangeType::AddLearnerNode,
        ]);
        prop::collection::vec((kind, (1..=u64::MAX).prop_map(ReplicaId)), least..5)
    }

    fn changes() -> impl Strategy<Value = ConfChange> {
        let shape = prop_oneof![
            singles(1).prop_map(|singles| Shape::Simple(singles[0])),
            singles(1).prop_map(Shape::Joint),
            Just(Shape::Leave),
            (1..=u64::MAX).prop_map(|replica| Shape::Sole(ReplicaId(replica))),
        ];
        (shape, any::<u64>()).prop_map(|(shape, version)| ConfChange { shape, version })
    }

    proptest! {
        #[test]
        fn changes_round_trip(change in changes()) {
            prop_assert_eq!(ConfChange::decode(&change.encode()), Ok(change));
        }

        #[test]
        fn whatever_decodes_has_one_encoding(change in changes(), at: prop::sample::Index, to: u8, random: Vec<u8>) {
            let mut changed = change.encode().to_vec();
            let at = at.index(changed.len());
            changed[at] = to;
            for data in [Bytes::from(changed), Bytes::from(random)] {
                if let Ok(change) = ConfChange::decode(&data) {
                    prop_assert_eq!(change.encode(), data);
                }
            }
        }
    }

    #[test]
    fn an_entry_without_data_is_no_change() {
        assert!(ConfChange::decode(&Bytes::new()).is_err());
        let leave = ConfChange { shape: Shape::Leave, version: 0 };
        assert_eq!(leave.encode(), [0x1a, 8, 0, 0, 0, 0, 0, 0, 0, 0][..]);
    }

    #[test]
    fn joint_changes_that_leave_by_themselves_are_not_let_in() {
        // Two changes under transition 0, and two under 1: `raft` would leave both by itself.
        let two = [0x12, 2, 0x10, 1, 0x12, 2, 0x10, 2, 0x1a, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(ConfChange::decode(&Bytes::copy_from_slice(&two)).is_err());
        let implicit = [&[0x08, 1][..], &two].concat();
        assert!(ConfChange::decode(&implicit.into()).is_err());
        let explicit = [&[0x08, 2][..], &two].concat();
        assert!(ConfChange::decode(&explicit.into()).is_ok());
    }
}
