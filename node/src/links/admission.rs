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
    /// It is this member and does not know it yet: it gets the genesis, or an invitation.
    Unbound(NodeId),
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
    #[error("the incarnation {0} belongs to no cluster and is not a member of this one")]
    Stranger(Incarnation),
    /// Groups count on its replicas since the founding, and an invitation would not give it those.
    #[error("node {0} is a founder: only one that was there at the founding can tell it so")]
    Founder(NodeId),
    /// This node itself is none any more.
    #[error("this node has left the hypercube")]
    Left,
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
    if !meta.members.contains_key(&ours.node) {
        return Err(Refusal::Left);
    }
    let Some(theirs) = hello.member else {
        let node = node_of(meta, hello.incarnation).filter(|node| !meta.is_lost(*node));
        let node = node.ok_or(Refusal::Stranger(hello.incarnation))?;
        return Ok(Admission::Unbound(node));
    };
    if theirs.cluster != ours.cluster {
        return Err(Refusal::OtherCluster { ours: ours.cluster, theirs: theirs.cluster });
    }
    let node = theirs.node;
    // It joined while this node was away; from it this node may have to hear that it did.
    let news = meta.is_unheard(node) && !is_known_disk(meta, hello.incarnation);
    let bound = disk_of(meta, node).or(news.then_some(hello.incarnation)).ok_or(Refusal::NotMember(node))?;
    if bound != hello.incarnation {
        return Err(Refusal::OtherIncarnation { node, bound, shown: hello.incarnation });
    }
    Ok(Admission::Member(node))
}

/// The disk that a node with links to others is bound to.
fn disk_of(meta: &Meta, node: NodeId) -> Option<Incarnation> {
    let parting = || {
        let mut retired = meta.retired.iter().filter(|_| is_parting(meta, node));
        retired.find(|(_, retired)| **retired == node).map(|(incarnation, _)| *incarnation)
    };
    let member = meta.members.get(&node).filter(|_| !meta.is_lost(node));
    member.map(|member| member.incarnation).or_else(parting)
}

/// Whether a disk is or was bound to another node than one that is not heard of.
fn is_known_disk(meta: &Meta, incarnation: Incarnation) -> bool {
    let known = node_of(meta, incarnation).is_some();
    known || meta.retired.contains_key(&incarnation)
}

/// Whether this node and another, with this disk, may have a link.
pub(super) fn may_link(meta: &Meta, ours: NodeId, node: NodeId, disk: Incarnation) -> bool {
    let theirs = disk_of(meta, node).map_or(meta.is_unheard(node), |bound| bound == disk);
    meta.members.contains_key(&ours) && theirs
}

/// Whether a node that was removed has yet to hear of it: until the metadata group does without it. One that was
/// replaced hears nothing more.
pub(super) fn is_parting(meta: &Meta, node: NodeId) -> bool {
    let known = meta.members.contains_key(&node) || meta.lost.contains_key(&node);
    !known && meta.metadata.leaving.iter().any(|replica| replica.node == node)
}

/// Whether groups count on replicas that the node got with the genesis: a member that joined later gets its replicas
/// when it is there, and nobody counts on them before.
pub(super) fn is_counted_on(meta: &Meta, node: NodeId) -> bool {
    meta.placement.iter().any(|placement| placement.settled && placement.votes(node))
}

#[cfg(test)]
mod tests {
    use hcube_core::feature;
    use hcube_core::ids::ReplicaId;
    use hcube_core::meta::Replica;
    use hcube_core::placement::Standing;

    use super::*;
    use crate::links::wanted::tests::meta;

    fn judge_by(meta: &Meta, incarnation: u128, member: Option<(u128, u64)>) -> Result<Admission, Refusal> {
        let place =
            |(cluster, node): (u128, u64)| Membership { cluster: ClusterId(cluster), node: NodeId(node) };
        let hello = Hello {
            feature_level: feature::NEWEST,
            incarnation: Incarnation(incarnation),
            member: member.map(place),
            address: String::new(),
        };
        admit(meta, place((1, 1)), Incarnation(100), &hello)
    }

    fn judge(incarnation: u128, member: Option<(u128, u64)>) -> Result<Admission, Refusal> {
        judge_by(&meta(3, 8), incarnation, member)
    }

    #[test]
    fn members_prove_node_id_and_disk() {
        // The members are nodes 1, 2, 3 with incarnations 100, 101, 102.
        assert_eq!(judge(101, Some((1, 2))), Ok(Admission::Member(NodeId(2))));
        assert_eq!(judge(102, None), Ok(Admission::Unbound(NodeId(3))));
        assert!(matches!(judge(101, Some((1, 3))), Err(Refusal::OtherIncarnation { .. })));
        assert!(matches!(judge(77, Some((1, 2))), Err(Refusal::OtherIncarnation { .. })));
        assert!(matches!(judge(101, Some((2, 2))), Err(Refusal::OtherCluster { .. })));
        assert_eq!(judge(77, None), Err(Refusal::Stranger(Incarnation(77))));
        assert_eq!(judge(100, Some((1, 1))), Err(Refusal::Oneself));
    }

    #[test]
    fn a_node_that_joined_meanwhile_is_met_with_a_disk_of_its_own() {
        // Node 4 is the next that will be handed out, as far as this metadata goes.
        let mut meta = meta(3, 8);
        let (us, news) = (NodeId(1), NodeId(4));
        assert_eq!(judge_by(&meta, 77, Some((1, 4))), Ok(Admission::Member(news)));
        assert!(may_link(&meta, us, news, Incarnation(77)));
        assert_eq!(judge_by(&meta, 101, Some((1, 4))), Err(Refusal::NotMember(news)));
        // Now this node has heard of it, and of which disk it is.
        let mut member = meta.members[&NodeId(3)].clone();
        (member.node, member.incarnation) = (news, Incarnation(78));
        meta.members.insert(news, member);
        meta.next_node = 5;
        assert!(matches!(judge_by(&meta, 77, Some((1, 4))), Err(Refusal::OtherIncarnation { .. })));
        assert!(!may_link(&meta, us, news, Incarnation(77)) && may_link(&meta, us, news, Incarnation(78)));
        meta.members.remove(&news);
        assert_eq!(judge_by(&meta, 78, Some((1, 4))), Err(Refusal::NotMember(news)));
    }

    #[test]
    fn a_removed_node_is_met_until_it_has_heard_of_it() {
        let mut meta = meta(4, 8);
        let node = NodeId(4);
        let member = meta.members.remove(&node).unwrap();
        meta.retired.insert(member.incarnation, node);
        meta.metadata.leaving = vec![Replica { id: ReplicaId(99), node }];
        assert_eq!(judge_by(&meta, 103, Some((1, 4))), Ok(Admission::Member(node)));
        assert!(may_link(&meta, NodeId(1), node, Incarnation(103)));
        assert!(matches!(judge_by(&meta, 77, Some((1, 4))), Err(Refusal::OtherIncarnation { .. })));
        assert_eq!(judge_by(&meta, 103, None), Err(Refusal::Stranger(Incarnation(103))));
        meta.metadata.leaving.clear();
        assert_eq!(judge_by(&meta, 103, Some((1, 4))), Err(Refusal::NotMember(node)));
        assert!(!may_link(&meta, NodeId(1), node, Incarnation(103)));
    }

    #[test]
    fn a_node_whose_disk_is_lost_is_refused_and_so_is_everybody_by_a_node_that_has_left() {
        let mut meta = meta(4, 8);
        let member = meta.members.remove(&NodeId(4)).unwrap();
        meta.retired.insert(member.incarnation, NodeId(4));
        meta.lost.insert(NodeId(4), member);
        meta.metadata.leaving = vec![Replica { id: ReplicaId(99), node: NodeId(4) }];
        assert_eq!(judge_by(&meta, 103, Some((1, 4))), Err(Refusal::NotMember(NodeId(4))));
        // One that was given up and whose vertex waits for another.
        meta.members.get_mut(&NodeId(3)).unwrap().standing = Standing::Dead;
        assert_eq!(judge_by(&meta, 102, Some((1, 3))), Err(Refusal::NotMember(NodeId(3))));
        assert_eq!(judge_by(&meta, 102, None), Err(Refusal::Stranger(Incarnation(102))));
        assert!(!may_link(&meta, NodeId(1), NodeId(3), Incarnation(102)));
        meta.members.remove(&NodeId(1));
        assert_eq!(judge_by(&meta, 101, Some((1, 2))), Err(Refusal::Left));
    }

    #[test]
    fn founders_are_counted_on_and_members_that_have_not_come_yet_are_not() {
        let mut meta = meta(3, 8);
        assert!(is_counted_on(&meta, NodeId(3)));
        let joined = Replica { id: ReplicaId(99), node: NodeId(4) };
        meta.placement[0].learners.push(joined);
        meta.placement[1].voters.push(joined);
        meta.placement[1].settled = false;
        assert!(!is_counted_on(&meta, NodeId(4)));
    }
}
