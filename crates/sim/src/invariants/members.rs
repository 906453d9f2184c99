//! A node id is bound to one disk for ever, and a disk to one node id.

use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::{Incarnation, NodeId, Vertex};
use hcube_core::meta::Meta;

use super::hold;

/// Every bond that was seen.
#[derive(Default)]
pub(crate) struct Members {
    disks: BTreeMap<NodeId, Incarnation>,
    nodes: BTreeMap<Incarnation, NodeId>,
    places: BTreeSet<(Incarnation, Vertex)>,
}

impl Members {
    pub fn saw(&mut self, meta: &Meta) {
        let members = meta.members.values().chain(meta.lost.values());
        self.places.extend(members.clone().map(|member| (member.incarnation, member.vertex)));
        let bonds = members.map(|member| (member.node, member.incarnation));
        for (node, disk) in bonds.chain(meta.retired.iter().map(|(disk, node)| (*node, *disk))) {
            let (first, other) =
                (*self.disks.entry(node).or_insert(disk), *self.nodes.entry(disk).or_insert(node));
            hold!(
                "a node id is one disk",
                first == disk && other == node,
                "node {node} is disk {disk} and was {first}; that disk was node {other}"
            );
        }
    }

    /// The disk that a node id is bound to.
    pub fn disk(&self, node: NodeId) -> Option<Incarnation> {
        self.disks.get(&node).copied()
    }

    /// The disks that ever stood at a vertex.
    pub fn at(&self, vertex: Vertex) -> Vec<Incarnation> {
        let there = self.places.iter().filter(|(_, place)| *place == vertex);
        there.map(|(disk, _)| *disk).collect()
    }
}
