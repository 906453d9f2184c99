//! Whom a node dials.

use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::NodeId;
use hcube_core::meta::{Meta, Placement};

/// The peers that a node keeps links to, with their addresses: those it shares a slot with, because replication
/// goes straight from leader to follower; whoever votes on the metadata, which everybody follows; and its
/// neighbours in the hypercube, over which requests are forwarded. Replicas count until they are gone. Wanting is
/// mutual; a node that has left wants nobody, and nobody wants a node whose disk is lost.
#[must_use]
pub fn wanted(meta: &Meta, node: NodeId) -> BTreeMap<NodeId, String> {
    let Some(own) = meta.members.get(&node) else { return BTreeMap::new() };
    let Placement { voters, leaving, .. } = &meta.metadata;
    let voters: BTreeSet<NodeId> = voters.iter().chain(leaving).map(|replica| replica.node).collect();
    let followers = meta.members.keys().copied().filter(|_| voters.contains(&node));
    let mates = meta
        .placement
        .iter()
        .filter(|placement| placement.replica_on(node).is_some())
        .flat_map(|placement| placement.all().map(|replica| replica.node));
    let neighbours = meta.cube().folded_neighbours(own.vertex).into_iter();
    let neighbours = neighbours.filter_map(|vertex| Some(meta.member_at(vertex)?.node));
    let peers: BTreeSet<NodeId> =
        voters.iter().copied().chain(followers).chain(mates).chain(neighbours).collect();
    let others = peers.into_iter().filter(|peer| *peer != node && !meta.is_lost(*peer));
    let addresses = others.filter_map(|peer| meta.members.get(&peer));
    addresses.map(|member| (member.node, member.peer_address.clone())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use hcube_core::ids::{ClusterId, Incarnation, ReplicaId, Vertex};
    use hcube_core::meta::{Founder, Member, Replica, genesis};

    use super::*;

    /// A hypercube of nodes 1 to `peers` at vertices from 0, with incarnations from 100.
    pub(in crate::links) fn meta(peers: u16, slots: u16) -> Meta {
        let founder = |vertex: u16| Founder {
            incarnation: Incarnation(100 + u128::from(vertex)),
            vertex: Vertex(vertex),
            zone: String::new(),
            peer_address: format!("10.0.0.{vertex}:8100"),
            client_address: format!("10.0.0.{vertex}:8000"),
        };
        genesis(ClusterId(1), (0..peers).map(founder).collect(), slots, 3).unwrap()
    }

    #[test]
    fn everybody_shares_a_slot_in_a_small_hypercube() {
        let wanted = wanted(&meta(5, 8), NodeId(2));
        assert_eq!(wanted.keys().map(|node| node.0).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(wanted[&NodeId(4)], "10.0.0.3:8100");
    }

    #[test]
    fn links_of_a_large_hypercube_are_few_and_mutual() {
        let meta = meta(100, 64);
        let all: BTreeMap<NodeId, _> =
            meta.members.keys().map(|node| (*node, wanted(&meta, *node))).collect();
        let voters: Vec<NodeId> = meta.metadata.voters.iter().map(|voter| voter.node).collect();
        for (node, peers) in &all {
            assert!(voters.contains(node) || peers.len() < 30, "{node} has {} links", peers.len());
            assert!(!peers.contains_key(node));
            let vertex = meta.members[node].vertex;
            for neighbour in meta.cube().folded_neighbours(vertex) {
                assert!(peers.contains_key(&meta.member_at(neighbour).unwrap().node));
            }
            assert!(peers.keys().all(|peer| all[peer].contains_key(node)), "links of {node} are mutual");
        }
    }

    #[test]
    fn a_node_that_is_no_member_wants_nobody() {
        assert!(wanted(&meta(3, 8), NodeId(9)).is_empty());
    }

    #[test]
    fn whoever_still_holds_a_replica_is_wanted_and_a_lost_disk_is_not() {
        let mut meta = meta(40, 16);
        let own = NodeId(40);
        let near = wanted(&meta, own);
        let far = |node: &&NodeId| **node != own && !near.contains_key(*node);
        let other = *meta.members.keys().find(far).unwrap();
        let replica = |node| Replica { id: ReplicaId(9000 + node), node: NodeId(node) };
        meta.placement[3].learners.push(replica(own.0));
        meta.placement[3].leaving.push(replica(other.0));
        assert!(wanted(&meta, own).contains_key(&other) && wanted(&meta, other).contains_key(&own));

        let third = NodeId(39);
        let before = wanted(&meta, third);
        meta.metadata.leaving.push(replica(own.0));
        assert!(
            wanted(&meta, third).contains_key(&own),
            "it may lead the metadata group until that does without"
        );
        assert_eq!(wanted(&meta, own).len(), 39);
        meta.metadata.leaving.clear();
        assert_eq!(wanted(&meta, third), before);

        let lost = meta.members.remove(&other).unwrap();
        meta.members.insert(NodeId(41), Member { node: NodeId(41), ..lost.clone() });
        meta.lost.insert(other, lost);
        assert!(!wanted(&meta, own).contains_key(&other) && wanted(&meta, other).is_empty());
    }
}
