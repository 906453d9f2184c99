//! The bytes of a [`Change`]: its tag and its fields in order.

use super::{Change, NewMember};
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{GroupId, Incarnation, NodeId, ReplicaId, Vertex};
use crate::meta::command::read_name;

impl Change {
    /// Appends the change.
    pub(in crate::meta) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::AddMember(new) => {
                out.u8(1);
                out.u128(new.incarnation.0);
                out.u16(new.vertex.0);
                out.text(&new.zone);
                out.text(&new.peer_address);
                out.text(&new.client_address);
                out.option(new.replaces, |out, node| out.u64(node.0));
            }
            Self::Drain { node } => tagged(out, 2, node.0),
            Self::CancelDrain { node } => tagged(out, 3, node.0),
            Self::RemoveMember { node } => tagged(out, 4, node.0),
            Self::SetReplication { replication } => {
                out.u8(5);
                out.u8(*replication);
            }
            Self::SetPaused { paused } => {
                out.u8(6);
                out.flag(*paused);
            }
            Self::SetReadReplicas { topic, count } => {
                out.u8(7);
                out.text(topic.as_str());
                out.u8(*count);
            }
            Self::Place { group, version, voters, learners, leader } => {
                out.u8(8);
                out.u32(group.0);
                out.u64(*version);
                for nodes in [voters, learners] {
                    out.list(nodes.iter(), |out, node| out.u64(node.0));
                }
                out.u64(leader.0);
            }
            Self::Lead { group, version, leader } => {
                out.u8(9);
                out.u32(group.0);
                out.u64(*version);
                out.u64(leader.0);
            }
            Self::Settled { group, version } => {
                out.u8(10);
                out.u32(group.0);
                out.u64(*version);
            }
            Self::ReplaceReplica { group, replica } => {
                out.u8(11);
                out.u32(group.0);
                out.u64(replica.0);
            }
            Self::Recover { group, version, survivor } => {
                out.u8(12);
                out.u32(group.0);
                out.u64(*version);
                out.option(*survivor, |out, node| out.u64(node.0));
            }
            Self::RecoverMetadata { survivor, lost } => {
                tagged(out, 13, survivor.0);
                out.list(lost.iter(), |out, node| out.u64(node.0));
            }
            Self::RaiseLevel { level } => {
                out.u8(14);
                out.u32(*level);
            }
        }
    }

    /// Reads what [`Change::write`] wrote.
    pub(in crate::meta) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match reader.u8("change")? {
            1 => Self::AddMember(NewMember {
                incarnation: Incarnation(reader.u128("incarnation")?),
                vertex: Vertex(reader.u16("vertex")?),
                zone: reader.text("zone")?,
                peer_address: reader.text("peer address")?,
                client_address: reader.text("client address")?,
                replaces: reader.option("replaced node", node)?,
            }),
            2 => Self::Drain { node: node(reader)? },
            3 => Self::CancelDrain { node: node(reader)? },
            4 => Self::RemoveMember { node: node(reader)? },
            5 => Self::SetReplication { replication: reader.u8("replication")? },
            6 => Self::SetPaused { paused: reader.flag("paused")? },
            7 => Self::SetReadReplicas { topic: read_name(reader)?, count: reader.u8("read replicas")? },
            8 => Self::Place {
                group: group(reader)?,
                version: reader.u64("version")?,
                voters: reader.list("voters", node)?,
                learners: reader.list("learners", node)?,
                leader: node(reader)?,
            },
            9 => Self::Lead { group: group(reader)?, version: reader.u64("version")?, leader: node(reader)? },
            10 => Self::Settled { group: group(reader)?, version: reader.u64("version")? },
            11 => Self::ReplaceReplica { group: group(reader)?, replica: ReplicaId(reader.u64("replica")?) },
            12 => Self::Recover {
                group: group(reader)?,
                version: reader.u64("version")?,
                survivor: reader.option("survivor", node)?,
            },
            13 => Self::RecoverMetadata { survivor: node(reader)?, lost: reader.list("lost nodes", node)? },
            14 => Self::RaiseLevel { level: reader.u32("feature level")? },
            tag => return Err(DecodeError::Unknown { what: "change", value: tag.into() }),
        })
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.u8(tag);
    out.u64(value);
}

fn node(reader: &mut Reader) -> Result<NodeId, DecodeError> {
    reader.u64("node").map(NodeId)
}

fn group(reader: &mut Reader) -> Result<GroupId, DecodeError> {
    reader.u32("group").map(GroupId)
}
