//! The metadata as bytes: what a snapshot of the metadata group and a founding message carry.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{read_topic, write_topic};
use super::{Member, Meta, Placement, Replica, TopicMap};
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{ClusterId, Incarnation, NodeId, ReplicaId, Vertex};

/// Version of the encoding.
const FORMAT: u8 = 1;

impl Meta {
    /// The state's bytes: a format version and the fields in order.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.u8(FORMAT);
        out.u128(self.cluster.0);
        out.u16(self.slots);
        out.u8(self.replication);
        out.u32(self.feature_level);
        out.u64(self.epoch);
        out.u64(self.next_node);
        out.u64(self.next_replica);
        out.list(self.members.values(), write_member);
        write_placement(&mut out, &self.metadata);
        out.list(self.placement.iter(), write_placement);
        for topics in [self.topics.values().collect::<Vec<_>>(), self.deleted.values().collect()] {
            out.list(topics.into_iter(), |out, topic| write_topic(out, topic));
        }
        out.into()
    }

    /// The state in these bytes.
    ///
    /// # Errors
    /// When they are not one, or of a format that this version does not know.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("metadata format")? {
            FORMAT => {}
            other => return Err(DecodeError::Unknown { what: "metadata format", value: other.into() }),
        }
        let mut meta = Self {
            cluster: ClusterId(reader.u128("cluster")?),
            slots: reader.u16("slots")?,
            replication: reader.u8("replication")?,
            feature_level: reader.u32("feature level")?,
            epoch: reader.u64("epoch")?,
            next_node: reader.u64("next node")?,
            next_replica: reader.u64("next replica")?,
            members: reader
                .list("members", read_member)?
                .into_iter()
                .map(|member| (member.node, member))
                .collect(),
            metadata: read_placement(&mut reader)?,
            placement: reader.list("placement", read_placement)?,
            topics: TopicMap::new_sync(),
            by_id: TopicMap::new_sync(),
            deleted: TopicMap::new_sync(),
        };
        if meta.placement.len() != usize::from(meta.slots) || meta.members.is_empty() {
            return Err(DecodeError::Invalid("placement"));
        }
        for topic in reader.list("topics", read_topic)? {
            meta.insert_topic(topic);
        }
        for topic in reader.list("deleted topics", read_topic)? {
            meta.deleted.insert_mut(topic.id, Arc::new(topic));
        }
        reader.finish()?;
        Ok(meta)
    }
}

fn write_member(out: &mut Vec<u8>, member: &Member) {
    out.u64(member.node.0);
    out.u128(member.incarnation.0);
    out.u16(member.vertex.0);
    out.text(&member.zone);
    out.text(&member.peer_address);
    out.text(&member.client_address);
}

fn read_member(reader: &mut Reader) -> Result<Member, DecodeError> {
    Ok(Member {
        node: NodeId(reader.u64("node")?),
        incarnation: Incarnation(reader.u128("incarnation")?),
        vertex: Vertex(reader.u16("vertex")?),
        zone: reader.text("zone")?,
        peer_address: reader.text("peer address")?,
        client_address: reader.text("client address")?,
    })
}

fn write_placement(out: &mut Vec<u8>, placement: &Placement) {
    let replica = |out: &mut Vec<u8>, replica: &Replica| {
        out.u64(replica.id.0);
        out.u64(replica.node.0);
    };
    out.list(placement.voters.iter(), replica);
    out.list(placement.learners.iter(), replica);
    out.u64(placement.leader.0);
}

fn read_placement(reader: &mut Reader) -> Result<Placement, DecodeError> {
    let replica = |reader: &mut Reader| {
        Ok(Replica { id: ReplicaId(reader.u64("replica")?), node: NodeId(reader.u64("node")?) })
    };
    Ok(Placement {
        voters: reader.list("voters", replica)?,
        learners: reader.list("learners", replica)?,
        leader: NodeId(reader.u64("leader")?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Founder, genesis};
    use super::*;
    use crate::ids::TopicId;
    use crate::meta::command::{Command, Refusal};
    use crate::meta::{GenesisError, Topic};
    use crate::topic::Retention;

    fn founder(vertex: u16) -> Founder {
        Founder {
            incarnation: Incarnation(100 + u128::from(vertex)),
            vertex: Vertex(vertex),
            zone: String::new(),
            peer_address: format!("peer-{vertex}:1"),
            client_address: format!("client-{vertex}:1"),
        }
    }

    fn topic(id: u128, name: &str, partitions: u16) -> Topic {
        Topic { id: TopicId(id), name: name.parse().unwrap(), partitions, retention: Retention::default() }
    }

    #[test]
    fn genesis_places_every_slot_and_repeats_exactly() {
        let make = || genesis(ClusterId(1), (0..8).map(founder).collect(), 64, 3).unwrap();
        let meta = make();
        assert_eq!(meta, make());
        assert!(meta.placement.iter().all(|placement| placement.voters.len() == 3));
        assert_eq!((meta.metadata.voters.len(), meta.metadata.learners.len()), (5, 3));
        let mut ids: Vec<_> =
            meta.groups().flat_map(|(_, placement)| placement.replicas()).map(|r| r.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 64 * 3 + 8);
        assert!(ids.iter().all(|id| id.0 < meta.next_replica));
    }

    #[test]
    fn impossible_foundings_are_refused() {
        let found = |founders, slots, replication| genesis(ClusterId(1), founders, slots, replication);
        assert_eq!(found(vec![], 64, 3), Err(GenesisError::Peers(0)));
        assert_eq!(found(vec![founder(1)], 64, 3), Err(GenesisError::Vertices(1)));
        assert_eq!(found(vec![founder(0)], 63, 3), Err(GenesisError::Slots(63)));
        assert_eq!(found(vec![founder(0)], 64, 2), Err(GenesisError::Replication(2)));
        let twin = Founder { incarnation: Incarnation(100), ..founder(1) };
        assert_eq!(found(vec![founder(0), twin], 64, 3), Err(GenesisError::Incarnation(Incarnation(100))));
    }

    #[test]
    fn a_deleted_life_never_returns_and_a_recreated_name_is_another_topic() {
        let mut meta = genesis(ClusterId(1), vec![founder(0)], 4, 1).unwrap();
        let name = "orders";
        meta.apply(Command::CreateTopic(topic(1, name, 2))).unwrap();
        assert_eq!(meta.apply(Command::CreateTopic(topic(9, name, 2))).unwrap().id, TopicId(1));
        assert!(matches!(meta.apply(Command::CreateTopic(topic(9, name, 3))), Err(Refusal::Exists(_))));
        let delete = |id| Command::DeleteTopic { name: name.parse().unwrap(), id };
        assert_eq!(meta.apply(delete(Some(TopicId(7)))), Err(Refusal::Unknown));
        meta.apply(delete(None)).unwrap();
        assert!(meta.apply(Command::CreateTopic(topic(1, name, 2))).is_err());
        assert_eq!(meta.apply(Command::CreateTopic(topic(2, name, 2))).unwrap().id, TopicId(2));
        assert_eq!(Meta::decode(meta.encode()).unwrap(), meta);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut input in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400, at: prop::sample::Index) {
            let _ = Meta::decode(input.clone().into());
            let _ = Command::decode(input.clone().into());
            let mut real = genesis(ClusterId(1), (0..4).map(founder).collect(), 4, 3).unwrap().encode().to_vec();
            let position = at.index(real.len());
            real[position] = input.pop().unwrap_or(0);
            real.truncate(real.len().saturating_sub(cut));
            let _ = Meta::decode(real.into());
        }

        #[test]
        fn commands_round_trip(id: u128, partitions in 1u16..=1024, age: Option<u64>, bytes: Option<u64>) {
            let retention = Retention { age_ms: age, bytes };
            let name: crate::topic::Name = "a".parse().unwrap();
            for command in [
                Command::CreateTopic(Topic { id: TopicId(id), name: name.clone(), partitions, retention }),
                Command::AlterTopic { name: name.clone(), retention },
                Command::DeleteTopic { name, id: age.map(|_| TopicId(id)) },
            ] {
                prop_assert_eq!(Command::decode(command.encode()).unwrap(), command);
            }
        }
    }
}
