//! The metadata as bytes: what a snapshot of the metadata group and a founding message carry.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{read_topic, write_topic};
use super::{Loss, Member, Meta, Placement, Replica, TopicMap};
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{ClusterId, GroupId, Incarnation, NodeId, ReplicaId, TopicId, Vertex};
use crate::placement::Standing;

/// Version of the encoding.
const FORMAT: u8 = 2;
/// The version before members and placement could change, which is still read.
const FORMAT_FIXED: u8 = 1;

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
        out.list(self.lost.values(), write_member);
        out.list(self.retired.iter(), |out, (incarnation, node)| {
            out.u128(incarnation.0);
            out.u64(node.0);
        });
        out.flag(self.paused);
        out.list(self.losses.iter(), |out, loss| {
            out.u32(loss.group.0);
            out.u64(loss.epoch);
            out.option(loss.survivor, |out, node| out.u64(node.0));
        });
        out.list(self.read_replicas.iter(), |out, (topic, count)| {
            out.u128(topic.0);
            out.u8(*count);
        });
        out.into()
    }

    /// The state in these bytes.
    ///
    /// # Errors
    /// When they are not one, or of a format that this version does not know.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = match reader.u8("metadata format")? {
            format @ (FORMAT | FORMAT_FIXED) => format,
            other => return Err(DecodeError::Unknown { what: "metadata format", value: other.into() }),
        };
        let mut meta = Self {
            cluster: ClusterId(reader.u128("cluster")?),
            slots: reader.u16("slots")?,
            replication: reader.u8("replication")?,
            feature_level: reader.u32("feature level")?,
            epoch: reader.u64("epoch")?,
            next_node: reader.u64("next node")?,
            next_replica: reader.u64("next replica")?,
            members: read_members(&mut reader, format)?,
            lost: BTreeMap::new(),
            retired: BTreeMap::new(),
            paused: false,
            losses: Vec::new(),
            read_replicas: BTreeMap::new(),
            metadata: read_placement(&mut reader, format)?,
            placement: reader.list("placement", |reader| read_placement(reader, format))?,
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
        if format != FORMAT_FIXED {
            meta.read_changes(&mut reader)?;
        }
        reader.finish()?;
        Ok(meta)
    }

    fn read_changes(&mut self, reader: &mut Reader) -> Result<(), DecodeError> {
        self.lost = read_members(reader, FORMAT)?;
        let retired = reader.list("retired disks", |reader| {
            Ok((Incarnation(reader.u128("incarnation")?), NodeId(reader.u64("node")?)))
        })?;
        self.retired = retired.into_iter().collect();
        self.paused = reader.flag("paused")?;
        self.losses = reader.list("losses", |reader| {
            Ok(Loss {
                group: GroupId(reader.u32("group")?),
                epoch: reader.u64("epoch")?,
                survivor: reader.option("survivor", |reader| reader.u64("node").map(NodeId))?,
            })
        })?;
        let read_replicas = reader.list("read replicas", |reader| {
            Ok((TopicId(reader.u128("topic")?), reader.u8("read replicas")?))
        })?;
        self.read_replicas = read_replicas.into_iter().collect();
        Ok(())
    }
}

fn write_member(out: &mut Vec<u8>, member: &Member) {
    out.u64(member.node.0);
    out.u128(member.incarnation.0);
    out.u16(member.vertex.0);
    out.text(&member.zone);
    out.text(&member.peer_address);
    out.text(&member.client_address);
    out.u8(match member.standing {
        Standing::Active => 0,
        Standing::Draining => 1,
        Standing::Dead => 2,
    });
}

fn read_members(reader: &mut Reader, format: u8) -> Result<BTreeMap<NodeId, Member>, DecodeError> {
    let members = reader.list("members", |reader| read_member(reader, format))?;
    Ok(members.into_iter().map(|member| (member.node, member)).collect())
}

fn read_member(reader: &mut Reader, format: u8) -> Result<Member, DecodeError> {
    Ok(Member {
        node: NodeId(reader.u64("node")?),
        incarnation: Incarnation(reader.u128("incarnation")?),
        vertex: Vertex(reader.u16("vertex")?),
        zone: reader.text("zone")?,
        peer_address: reader.text("peer address")?,
        client_address: reader.text("client address")?,
        standing: match if format == FORMAT_FIXED { 0 } else { reader.u8("standing")? } {
            0 => Standing::Active,
            1 => Standing::Draining,
            2 => Standing::Dead,
            value => return Err(DecodeError::Unknown { what: "standing", value: value.into() }),
        },
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
    out.list(placement.leaving.iter(), replica);
    out.u64(placement.version);
    out.flag(placement.settled);
    out.u64(placement.forced);
    out.list(placement.before.iter(), replica);
}

fn read_placement(reader: &mut Reader, format: u8) -> Result<Placement, DecodeError> {
    let replica = |reader: &mut Reader| {
        Ok(Replica { id: ReplicaId(reader.u64("replica")?), node: NodeId(reader.u64("node")?) })
    };
    let (voters, learners) = (reader.list("voters", replica)?, reader.list("learners", replica)?);
    let founding = Placement::founding(voters, learners, NodeId(reader.u64("leader")?));
    if format == FORMAT_FIXED {
        return Ok(founding);
    }
    Ok(Placement {
        leaving: reader.list("leaving", replica)?,
        version: reader.u64("version")?,
        settled: reader.flag("settled")?,
        forced: reader.u64("forced")?,
        before: reader.list("before", replica)?,
        ..founding
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Founder, genesis};
    use super::*;
    use crate::feature;
    use crate::ids::TopicId;
    use crate::meta::change::{Change, NewMember};
    use crate::meta::command::{Command, Effect, Outcome, Refusal};
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

    fn created(outcome: Outcome) -> TopicId {
        match outcome {
            Ok(Effect::Topic(topic)) => topic.id,
            other => panic!("not a topic: {other:?}"),
        }
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
        assert_eq!(created(meta.apply(Command::CreateTopic(topic(9, name, 2)))), TopicId(1));
        assert!(matches!(meta.apply(Command::CreateTopic(topic(9, name, 3))), Err(Refusal::Exists(_))));
        let delete = |id| Command::DeleteTopic { name: name.parse().unwrap(), id };
        assert_eq!(meta.apply(delete(Some(TopicId(7)))), Err(Refusal::Unknown));
        meta.apply(delete(None)).unwrap();
        assert!(meta.apply(Command::CreateTopic(topic(1, name, 2))).is_err());
        assert_eq!(created(meta.apply(Command::CreateTopic(topic(2, name, 2)))), TopicId(2));
        assert_eq!(Meta::decode(meta.encode()).unwrap(), meta);
    }

    #[test]
    fn a_state_full_of_changes_round_trips() {
        let mut meta = genesis(ClusterId(1), (0..4).map(founder).collect(), 4, 3).unwrap();
        meta.apply(Command::CreateTopic(topic(1, "orders", 2))).unwrap();
        let new = |incarnation, vertex, replaces| {
            let Founder { zone, peer_address, client_address, .. } = founder(vertex);
            let (incarnation, vertex) = (Incarnation(incarnation), Vertex(vertex));
            Change::AddMember(NewMember { incarnation, vertex, zone, peer_address, client_address, replaces })
        };
        let damaged = meta.placement[1].voters[0].id;
        let survivor = meta.placement[2].voters[1].node;
        for change in [
            new(900, 4, None),
            Change::Drain { node: NodeId(5) },
            new(901, 0, Some(NodeId(1))),
            Change::ReplaceReplica { group: GroupId(2), replica: damaged },
            Change::Recover { group: GroupId(3), version: 1, survivor: Some(survivor) },
            Change::Recover { group: GroupId(4), version: 1, survivor: None },
            Change::SetPaused { paused: true },
            Change::SetReadReplicas { topic: "orders".parse().unwrap(), count: 2 },
        ] {
            meta.apply(Command::Change(change)).unwrap();
        }
        let Meta { lost, retired, losses, .. } = &meta;
        assert_eq!((lost.len(), retired.len(), losses.len()), (1, 1, 2));
        assert!(meta.placement.iter().any(|placement| !placement.leaving.is_empty() && placement.forced > 0));
        assert_eq!(Meta::decode(meta.encode()).unwrap(), meta);
    }

    /// What the version before members could change wrote for one peer with one slot and one topic of each kind.
    fn fixed_format() -> Vec<u8> {
        let mut out = vec![1];
        out.extend(7_u128.to_le_bytes()); // cluster
        out.extend(1_u16.to_le_bytes()); // slots
        out.extend([3]); // replication
        out.extend(1_u32.to_le_bytes()); // feature level
        out.extend([1_u64, 2, 3].map(u64::to_le_bytes).as_flattened()); // epoch, next node, next replica
        out.extend(1_u32.to_le_bytes()); // members
        out.extend(1_u64.to_le_bytes());
        out.extend(100_u128.to_le_bytes()); // incarnation
        out.extend(0_u16.to_le_bytes()); // vertex
        for text in ["", "peer-0:1", "client-0:1"] {
            out.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            out.extend(text.as_bytes());
        }
        let placement = |replica: u64| {
            let mut out = Vec::new();
            out.extend(1_u32.to_le_bytes()); // voters: replica, node
            out.extend([replica, 1].map(u64::to_le_bytes).as_flattened());
            out.extend(0_u32.to_le_bytes()); // learners
            out.extend(1_u64.to_le_bytes()); // leader
            out
        };
        out.extend(placement(2)); // the metadata group's
        out.extend(1_u32.to_le_bytes());
        out.extend(placement(1)); // the slot's
        for (id, name) in [(1_u128, "alive"), (2, "ended")] {
            out.extend(1_u32.to_le_bytes());
            out.extend(id.to_le_bytes());
            out.extend(5_u32.to_le_bytes());
            out.extend(name.as_bytes());
            out.extend(2_u16.to_le_bytes()); // partitions
            out.extend([0, 0]); // retention: no age, no bytes
        }
        out
    }

    #[test]
    fn the_format_before_members_could_change_is_still_read() {
        let mut expected = genesis(ClusterId(7), vec![founder(0)], 1, 3).unwrap();
        expected.feature_level = feature::BASE;
        expected.apply(Command::CreateTopic(topic(2, "ended", 2))).unwrap();
        expected
            .apply(Command::DeleteTopic { name: "ended".parse().unwrap(), id: Some(TopicId(2)) })
            .unwrap();
        expected.apply(Command::CreateTopic(topic(1, "alive", 2))).unwrap();
        let read = Meta::decode(fixed_format().into()).unwrap();
        assert_eq!(read, expected);
        assert_eq!(Meta::decode(read.encode()).unwrap(), expected, "it is written in the present format");
        let unknown = [&[3][..], &fixed_format()[1..]].concat();
        let refusal = DecodeError::Unknown { what: "metadata format", value: 3 };
        assert_eq!(Meta::decode(unknown.into()), Err(refusal));
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
