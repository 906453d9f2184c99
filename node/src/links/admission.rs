//! Whether a side that knows the cluster secret is who it says it is.

use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_core::meta::Meta;
use hcube_log::identity::Membership;

use super::hello::Hello;
use crate::founding::node_of;

/// What a link to the other side is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is this member: frames flow.
    Member(NodeId),
    /// It is a founder that does not know it yet: it gets the genesis.
    Founder(NodeId),
}

/// Why a link is closed again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The link leads back to this node.
    #[error("the address leads to this node itself")]
    Oneself,
    /// Another hypercube with the same secret.
    #[error("it belongs to the cluster {theirs}, this node to {ours}")]
    OtherCluster {
        /// This node's.
        ours: ClusterId,
        /// The other side's.
        theirs: ClusterId,
    },
    /// Not in the metadata, as far as this node has applied it.
    #[error("node {0} is not a member")]
    NotMember(NodeId),
    /// A node id bound to another disk: one that was copied, restored or exchanged.
    #[error("node {node} is bound to the incarnation {bound}, not to {shown}")]
    OtherIncarnation {
        /// The node id.
        node: NodeId,
        /// The disk it is bound to.
        bound: Incarnation,
        /// The disk it came from.
        shown: Incarnation,
    },
    /// It belongs to no hypercube, and this one does not wait for it.
    #[error("the incarnation {0} belongs to no cluster and is not a founder of this one")]
    Stranger(Incarnation),
    /// It would not understand what this hypercube writes.
    #[error("it knows feature level {theirs}, this cluster is at {ours}")]
    FeatureLevel {
        /// The cluster's.
        ours: u32,
        /// The newest that the other side knows.
        theirs: u32,
    },
    /// The address of one member led to another.
    #[error("node {0} answers where another was dialled")]
    Elsewhere(NodeId),
}

/// Judges a hello by the metadata of this node.
pub(super) fn admit(
    meta: &Meta,
    ours: Membership,
    incarnation: Incarnation,
    hello: &Hello,
) -> Result<Admission, Refusal> {
    if hello.incarnation == incarnation {
        return Err(Refusal::Oneself);
    }
    if hello.feature_level < meta.feature_level {
        return Err(Refusal::FeatureLevel { ours: meta.feature_level, theirs: hello.feature_level });
    }
    let Some(theirs) = hello.member else {
        let node = node_of(meta, hello.incarnation).ok_or(Refusal::Stranger(hello.incarnation))?;
        return Ok(Admission::Founder(node));
    };
    if theirs.cluster != ours.cluster {
        return Err(Refusal::OtherCluster { ours: ours.cluster, theirs: theirs.cluster });
    }
    let node = theirs.node;
    let member = meta.members.get(&node).ok_or(Refusal::NotMember(node))?;
    if member.incarnation != hello.incarnation {
        let (bound, shown) = (member.incarnation, hello.incarnation);
        return Err(Refusal::OtherIncarnation { node, bound, shown });
    }
    Ok(Admission::Member(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::wanted::tests::meta;

    fn judge(incarnation: u128, member: Option<(u128, u64)>) -> Result<Admission, Refusal> {
        let meta = meta(3, 8);
        let place =
            |(cluster, node): (u128, u64)| Membership { cluster: ClusterId(cluster), node: NodeId(node) };
        let hello = Hello {
            feature_level: 1,
            incarnation: Incarnation(incarnation),
            member: member.map(place),
            address: String::new(),
        };
        admit(&meta, place((1, 1)), Incarnation(100), &hello)
    }

    #[test]
    fn members_prove_node_id_and_disk() {
        // The members are nodes 1, 2, 3 with incarnations 100, 101, 102.
        assert_eq!(judge(101, Some((1, 2))), Ok(Admission::Member(NodeId(2))));
        assert_eq!(judge(102, None), Ok(Admission::Founder(NodeId(3))));
        assert!(matches!(judge(101, Some((1, 3))), Err(Refusal::OtherIncarnation { .. })));
        assert!(matches!(judge(77, Some((1, 2))), Err(Refusal::OtherIncarnation { .. })));
        assert!(matches!(judge(101, Some((2, 2))), Err(Refusal::OtherCluster { .. })));
        assert_eq!(judge(101, Some((1, 9))), Err(Refusal::NotMember(NodeId(9))));
        assert_eq!(judge(77, None), Err(Refusal::Stranger(Incarnation(77))));
        assert_eq!(judge(100, Some((1, 1))), Err(Refusal::Oneself));
    }
}
