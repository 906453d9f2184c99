//! What a member sends a peer that has become one without knowing it: who it is, and the metadata to begin with.

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::conf::ConfState;
use hcube_core::ids::{ClusterId, GroupId, NodeId, ReplicaId};
use hcube_core::meta::Meta;
use hcube_log::{Base, HardState, Op};

/// Version of the encoding.
const FORMAT: u8 = 1;

/// A peer's place in a hypercube that exists, and the state of the metadata group from which it follows on. Its slots
/// come by that metadata, each with a snapshot of its own.
///
/// Encoded little-endian: format `u8`, cluster `u128`, node `u64`, replica `u64`, then of the base: index `u64`, term
/// `u64`, voters, learners, outgoing voters, next learners (each a `u32` count and `u64` ids), auto-leave `u8`, and the
/// state to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The hypercube.
    pub cluster: ClusterId,
    /// The id that is bound to the peer's disk from now on.
    pub node: NodeId,
    /// Its replica of the metadata group.
    pub replica: ReplicaId,
    /// The metadata group as its sender has applied it.
    pub base: Base,
}

impl Invitation {
    /// The invitation's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(256 + self.base.state.len());
        out.u8(FORMAT);
        out.u128(self.cluster.0);
        out.u64(self.node.0);
        out.u64(self.replica.0);
        out.u64(self.base.index);
        out.u64(self.base.term);
        let conf = &self.base.conf;
        for replicas in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
            out.list(replicas.iter(), |out, replica| out.u64(replica.0));
        }
        out.flag(conf.auto_leave);
        out.extend_from_slice(&self.base.state);
        out.into()
    }

    /// The invitation in these bytes, which names its receiver as a member.
    ///
    /// # Errors
    /// When they are something else.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("invitation format")? {
            FORMAT => {}
            other => return Err(DecodeError::Unknown { what: "invitation format", value: other.into() }),
        }
        let cluster = ClusterId(reader.u128("cluster")?);
        let node = NodeId(reader.u64("node")?);
        let replica = ReplicaId(reader.u64("replica")?);
        let (index, term) = (reader.u64("index")?, reader.u64("term")?);
        let mut replicas = |what| reader.list(what, |reader| reader.u64("replica").map(ReplicaId));
        let (voters, learners) = (replicas("voters")?, replicas("learners")?);
        let (voters_outgoing, learners_next) = (replicas("outgoing voters")?, replicas("next learners")?);
        let auto_leave = reader.flag("auto-leave")?;
        let conf = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave };
        let base = Base { index, term, conf, state: reader.rest(), files: Vec::new(), keep_tail: false };
        let invitation = Self { cluster, node, replica, base };
        let meta = invitation.meta()?;
        let named = meta.cluster == cluster
            && meta.members.contains_key(&node)
            && meta.metadata.replica_on(node) == Some(replica);
        if named { Ok(invitation) } else { Err(DecodeError::Invalid("invitation")) }
    }

    /// The metadata inside.
    ///
    /// # Errors
    /// When the state is something else.
    pub fn meta(&self) -> Result<Meta, DecodeError> {
        Meta::decode(self.base.state.clone())
    }

    /// What the peer's log must hold before it takes part.
    #[must_use]
    pub fn ops(&self) -> Vec<Op> {
        let (group, replica, base) = (GroupId::META, self.replica, self.base.clone());
        // No vote was ever given as this replica, which is new.
        let hard_state = HardState { term: base.term, vote: 0, commit: base.index };
        vec![Op::Base { group, replica, base }, Op::HardState { group, hard_state }]
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::{Incarnation, Vertex};
    use hcube_core::meta::{Founder, genesis};
    use proptest::prelude::*;

    use super::*;

    fn invitation() -> Invitation {
        let founder = Founder {
            incarnation: Incarnation(7),
            vertex: Vertex(0),
            zone: String::new(),
            peer_address: "a:1".into(),
            client_address: "a:2".into(),
        };
        let meta = genesis(ClusterId(3), vec![founder], 4, 1).unwrap();
        let replica = meta.metadata.replica_on(NodeId(1)).unwrap();
        let conf = ConfState::simple(vec![replica], vec![]);
        let base = Base { index: 9, term: 2, conf, state: meta.encode(), ..Base::default() };
        Invitation { cluster: ClusterId(3), node: NodeId(1), replica, base }
    }

    #[test]
    fn invitations_round_trip_and_name_their_receiver() {
        let ours = invitation();
        assert_eq!(Invitation::decode(ours.encode()).unwrap(), ours);
        let stranger = Invitation { node: NodeId(2), ..ours.clone() };
        assert!(Invitation::decode(stranger.encode()).is_err());
        let other = Invitation { cluster: ClusterId(4), ..ours };
        assert!(Invitation::decode(other.encode()).is_err());
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = invitation().encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(cut.index(bytes.len()));
            let _ = Invitation::decode(bytes.into());
        }
    }
}
