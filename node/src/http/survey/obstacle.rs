//! Why a drain cannot go on at the moment, as far as this peer can tell.

use std::collections::BTreeSet;

use hcube_core::ids::{GroupId, NodeId, Slot};
use hcube_core::meta::Placement;

use super::Survey;
use crate::http::outlook::Outlook;

/// Slots that are named; of more, only how many they are.
const SLOTS_NAMED_MAX: usize = 8;

impl Survey<'_> {
    /// What keeps a node from giving its replicas away; nothing while they go, or wait for their turn.
    pub(super) fn obstacle(&self, node: NodeId, outlook: &Outlook) -> Option<String> {
        let meta = &self.view.meta;
        let held = || self.view.slots().filter(|(_, placement)| Self::counts_on(placement, node));
        let stays = |placement: &Placement| placement.replicas().any(|replica| replica.node == node);
        if meta.paused && held().any(|(_, placement)| stays(placement)) {
            return Some("moves are paused: resume them".into());
        }
        let target = match &outlook.target {
            Ok(target) => target,
            Err(error) => return Some(format!("there is nowhere to go: {error}")),
        };
        let keeps = |group: GroupId| {
            let slot = group.slot().map_or(usize::MAX, |Slot(slot)| slot.into());
            target.slots.get(slot).is_some_and(|wish| wish.replicas.contains(&node))
        };
        let stuck: Vec<GroupId> = held().map(|(group, _)| group).filter(|group| keeps(*group)).collect();
        if !stuck.is_empty() {
            let (slots, replication) = (named(&stuck), meta.replication);
            return Some(format!(
                "{slots} can go nowhere, as too few peers stay for {replication} replicas: lower the replication"
            ));
        }
        self.waits(node)
    }

    /// The groups that wait for peers which do not answer, and these peers.
    fn waits(&self, node: NodeId) -> Option<String> {
        let meta = &self.view.meta;
        // Without the vote, the metadata has to be reported to do without it.
        let counts = |(group, placement): &(GroupId, &Placement)| match group.slot() {
            Some(_) => Self::counts_on(placement, node),
            None => placement.votes(node) || !placement.settled,
        };
        let (mut groups, mut absent) = (Vec::new(), BTreeSet::new());
        for (group, placement) in meta.groups().filter(counts) {
            let missing = self.missing(group, placement);
            if !missing.is_empty() {
                groups.push(group);
                absent.extend(missing);
            }
        }
        let name = |node: &NodeId| match self.view.label_of(*node) {
            Some(label) => format!("{label} (node {node})"),
            None => format!("node {node}"),
        };
        let peers: Vec<String> = absent.iter().map(name).collect();
        let waits = || format!("{}: waiting for {} to answer", named(&groups), peers.join(", "));
        (!groups.is_empty()).then(waits)
    }

    /// The peers that do not answer and without which a group cannot go on.
    fn missing(&self, group: GroupId, placement: &Placement) -> Vec<NodeId> {
        let absent = |node: &NodeId| self.answers(*node) == Some(false);
        let arriving = self.view.status.arriving.get(&group);
        // Those who decide now: a majority of them is needed for anything.
        let here = |node: &NodeId| arriving.is_none_or(|arriving| !arriving.contains(node));
        let leaving = placement.leaving.iter().map(|replica| replica.node);
        let now: BTreeSet<NodeId> = placement.voting_nodes().filter(here).chain(leaving).collect();
        let gone: Vec<NodeId> = now.iter().copied().filter(absent).collect();
        if !gone.is_empty() && gone.len() * 2 >= now.len() {
            return gone;
        }
        if placement.settled {
            return Vec::new();
        }
        // Those who are to decide are let in once they have everything.
        let needed = |node: &NodeId| arriving.is_none_or(|arriving| arriving.contains(node));
        placement.voting_nodes().filter(needed).filter(absent).collect()
    }
}

/// Groups in words: `slots 3, 5`, or `the metadata`.
fn named(groups: &[GroupId]) -> String {
    let slots: Vec<String> = groups.iter().filter_map(|group| Some(group.slot()?.to_string())).collect();
    let more = slots.len().saturating_sub(SLOTS_NAMED_MAX);
    let mut text = match slots.len() {
        0 => String::new(),
        1 => format!("slot {}", slots[0]),
        _ => format!("slots {}", slots[..slots.len() - more].join(", ")),
    };
    if more > 0 {
        text += &format!(" and {more} more");
    }
    match (groups.len() > slots.len(), slots.is_empty()) {
        (true, true) => "the metadata".into(),
        (true, false) => text + " and the metadata",
        (false, _) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_as_people_do() {
        let slots = |slots: &[u16]| slots.iter().map(|slot| Slot(*slot).into()).collect::<Vec<GroupId>>();
        assert_eq!(named(&slots(&[3])), "slot 3");
        assert_eq!(named(&slots(&[3, 5])), "slots 3, 5");
        assert_eq!(named(&slots(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])), "slots 0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(named(&[GroupId::META]), "the metadata");
        assert_eq!(named(&[slots(&[3]), vec![GroupId::META]].concat()), "slot 3 and the metadata");
    }
}
