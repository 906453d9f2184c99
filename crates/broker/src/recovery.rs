//! The last resort of the metadata group: who goes on alone when most of its voters' disks are lost.
//!
//! A pure function of what every peer that is left says of itself. Nobody can agree on anything any more, so that all
//! of them have to be asked: the one with the farthest log has every entry that was ever committed and is left at all
//! (Raft, 5.4.1), and a log that nobody looked at might be farther.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::{NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

/// How a node's replica of the metadata stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataStatus {
    /// The replica.
    pub replica: ReplicaId,
    /// The epoch of what it has applied: of several, the greatest knows best who the members are.
    pub epoch: u64,
    /// Who leads, itself included, as far as it has heard.
    pub leader: Option<NodeId>,
    /// Whether it takes part in the configuration that it has applied.
    pub takes_part: bool,
    /// The voters of that configuration: those that shall vote, and, while votes change, those that did before.
    pub voters: [Vec<ReplicaId>; 2],
    /// Term and index of the last entry in its log.
    pub last: (u64, u64),
    /// The members whose disks are not lost, as it knows them.
    pub members: Vec<NodeId>,
    /// Nodes to which it has links.
    pub links: Vec<NodeId>,
    /// Those among them that it has not heard of as members yet.
    pub unheard: Vec<NodeId>,
}

/// What each node said that was asked; none where it did not answer.
pub type Told = BTreeMap<NodeId, Option<MetadataStatus>>;

/// Why the metadata is not made to go on with one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A node that is said to be lost answers somebody.
    #[error("node {node} has a link to node {by}: it is not lost")]
    Alive {
        /// Which.
        node: NodeId,
        /// Whom it answers.
        by: NodeId,
    },
    /// The metadata goes on as it is.
    #[error("node {by} hears node {leader} lead the metadata")]
    Led {
        /// Who does.
        leader: NodeId,
        /// Who says so.
        by: NodeId,
    },
    /// The metadata will go on as it is.
    #[error("node {0} can be elected to lead the metadata without the nodes that are said to be lost")]
    Electable(NodeId),
    /// One that is left did not answer, and its log may be the farthest.
    #[error("node {0} does not answer, and may have the best copy of the metadata that is left")]
    Silent(NodeId),
    /// One that is not part of the group yet has more than all that are.
    #[error(
        "node {0} has the newest metadata and is no part of the group yet: where it joined a moment ago, end it and name \
         it as lost as well"
    )]
    Outside(NodeId),
    /// There is nothing to go on with.
    #[error("no peer is left that is part of the metadata group")]
    Nobody,
}

/// Whose replica is to go on alone, if the disks of `lost` are gone for good.
///
/// # Errors
/// When that is not needed, or not known well enough.
pub fn survivor(lost: &BTreeSet<NodeId>, told: &Told) -> Result<NodeId, Refusal> {
    let heard: BTreeMap<NodeId, &MetadataStatus> =
        told.iter().filter_map(|(node, status)| Some((*node, status.as_ref()?))).collect();
    for (by, status) in &heard {
        if let Some(node) = status.links.iter().chain([by]).find(|node| lost.contains(node)) {
            return Err(Refusal::Alive { node: *node, by: *by });
        }
    }
    if let Some((by, leader)) = heard.iter().find_map(|(by, status)| Some((*by, status.leader?))) {
        return Err(Refusal::Led { leader, by });
    }
    let newest = heard.values().max_by_key(|status| status.epoch);
    let members = newest.map_or(&[][..], |status| &status.members);
    let unheard = heard.values().flat_map(|status| &status.unheard);
    // Whoever was asked and is not named may be there, whatever others say of who the members are.
    let mut left = members.iter().chain(unheard).chain(told.keys()).filter(|node| !lost.contains(node));
    if let Some(silent) = left.find(|node| !heard.contains_key(node)) {
        return Err(Refusal::Silent(*silent));
    }
    if let Some((node, _)) = heard.iter().find(|(_, status)| is_electable(status, &heard)) {
        return Err(Refusal::Electable(*node));
    }
    let farthest = |takes_part: bool| {
        let those = heard.iter().filter(|(_, status)| status.takes_part == takes_part);
        those.map(|(node, status)| (status.last, Reverse(*node))).max()
    };
    let (best, outside) = (farthest(true).ok_or(Refusal::Nobody)?, farthest(false));
    match outside {
        Some((last, Reverse(node))) if last > best.0 => Err(Refusal::Outside(node)),
        _ => Ok(best.1.0),
    }
}

/// Whether those that are left could elect this replica.
fn is_electable(status: &MetadataStatus, heard: &BTreeMap<NodeId, &MetadataStatus>) -> bool {
    let votes = |voter: &&ReplicaId| {
        heard.values().any(|other| other.replica == **voter && other.last <= status.last)
    };
    let elects = |half: &Vec<ReplicaId>| half.iter().filter(votes).count() * 2 > half.len();
    let [voters, outgoing] = &status.voters;
    let votes_itself = voters.contains(&status.replica) || outgoing.contains(&status.replica);
    votes_itself && elects(voters) && (outgoing.is_empty() || elects(outgoing))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node n, with replica n, among the voters 1 to 5 of six members; all are alike.
    fn status(node: u64) -> MetadataStatus {
        MetadataStatus {
            replica: ReplicaId(node),
            epoch: 7,
            leader: None,
            takes_part: true,
            voters: [(1..=5).map(ReplicaId).collect(), Vec::new()],
            last: (3, 40),
            members: (1..=6).map(NodeId).collect(),
            links: Vec::new(),
            unheard: Vec::new(),
        }
    }

    fn told(nodes: &[u64]) -> Told {
        nodes.iter().map(|node| (NodeId(*node), Some(status(*node)))).collect()
    }

    fn of(told: &mut Told, node: u64) -> &mut MetadataStatus {
        told.get_mut(&NodeId(node)).unwrap().as_mut().unwrap()
    }

    fn decide(lost: &[u64], told: &Told) -> Result<NodeId, Refusal> {
        survivor(&lost.iter().copied().map(NodeId).collect(), told)
    }

    #[test]
    fn the_farthest_log_goes_on_and_of_equals_the_lowest_node() {
        let mut all = told(&[4, 5, 6]);
        assert_eq!(decide(&[1, 2, 3], &all), Ok(NodeId(4)));
        of(&mut all, 5).last = (3, 41);
        assert_eq!(decide(&[1, 2, 3], &all), Ok(NodeId(5)));
        of(&mut all, 6).last = (4, 30);
        assert_eq!(decide(&[1, 2, 3], &all), Ok(NodeId(6)), "one without a vote may have more");
        of(&mut all, 6).takes_part = false;
        assert_eq!(decide(&[1, 2, 3], &all), Err(Refusal::Outside(NodeId(6))));
        of(&mut all, 6).last = (2, 90);
        assert_eq!(decide(&[1, 2, 3], &all), Ok(NodeId(5)));
    }

    #[test]
    fn whoever_answers_is_not_lost_and_whoever_is_left_has_to_answer() {
        let mut all = told(&[4, 5, 6]);
        of(&mut all, 6).links = vec![NodeId(4), NodeId(2)];
        let alive = |node, by| Err(Refusal::Alive { node: NodeId(node), by: NodeId(by) });
        assert_eq!(decide(&[1, 2, 3], &all), alive(2, 6));
        assert_eq!(decide(&[1, 2, 3], &told(&[3, 4, 5, 6])), alive(3, 3));
        let mut silent = told(&[4, 5]);
        assert_eq!(decide(&[1, 2, 3], &silent), Err(Refusal::Silent(NodeId(6))));
        silent.insert(NodeId(6), None);
        assert_eq!(decide(&[1, 2, 3], &silent), Err(Refusal::Silent(NodeId(6))));
        assert_eq!(decide(&[1, 2, 3, 6], &silent), Ok(NodeId(4)));
        // Of members that only one of them has heard of as yet.
        let mut newer = told(&[4, 5, 6]);
        of(&mut newer, 5).epoch = 8;
        of(&mut newer, 5).members.push(NodeId(7));
        assert_eq!(decide(&[1, 2, 3], &newer), Err(Refusal::Silent(NodeId(7))));
        let mut linked = told(&[4, 5, 6]);
        of(&mut linked, 4).unheard = vec![NodeId(8)];
        assert_eq!(decide(&[1, 2, 3], &linked), Err(Refusal::Silent(NodeId(8))));
        assert_eq!(decide(&[1, 2, 3], &Told::new()), Err(Refusal::Nobody));
    }

    #[test]
    fn a_group_that_leads_or_could_is_left_alone() {
        let mut all = told(&[4, 5, 6]);
        of(&mut all, 5).leader = Some(NodeId(1));
        let led = Refusal::Led { leader: NodeId(1), by: NodeId(5) };
        assert_eq!(decide(&[1, 2, 3], &all), Err(led));
        let most = told(&[3, 4, 5, 6]);
        assert_eq!(decide(&[1, 2], &most), Err(Refusal::Electable(NodeId(3))));
        // Votes are under way to those that are left, and those that had them are not.
        let mut joint = told(&[4, 5, 6]);
        let ids = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect::<Vec<_>>();
        for node in [4, 5, 6] {
            of(&mut joint, node).voters = [ids(&[4, 5, 6]), ids(&[1, 2, 4])];
        }
        assert_eq!(decide(&[1, 2, 3], &joint), Ok(NodeId(4)));
        of(&mut joint, 5).voters = [ids(&[4, 5, 6]), Vec::new()];
        assert_eq!(decide(&[1, 2, 3], &joint), Err(Refusal::Electable(NodeId(5))));
        // It was left behind long ago: nobody that has more elects it.
        of(&mut joint, 5).last = (1, 9);
        assert_eq!(decide(&[1, 2, 3], &joint), Ok(NodeId(4)));
    }
}
