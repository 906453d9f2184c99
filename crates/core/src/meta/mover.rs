//! What the metadata's leader does about the difference between what is placed and what should be: a few moves at
//! a time, each a [`Change`] that holds only if nothing has changed meanwhile.

use std::collections::BTreeMap;

use super::{Change, Member, Meta, Placement};
use crate::ids::{GroupId, NodeId, Slot, Vertex};
use crate::placement::{
    Assignment, Candidate, Move, PlanError, Standing, diff, effective_replication, metadata_voters, plan,
    readers,
};
use crate::topic::slots_of;

/// How much may move at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Slots whose replicas are under way; as many again may make up for a lost peer, so that what cannot come to an
    /// end does not hold that up.
    pub slots_max: usize,
    /// Changes asked for in one go.
    pub changes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { slots_max: 8, changes_max: 256 }
    }
}

/// Where everything should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who should vote on each slot, and lead it.
    pub slots: Vec<Assignment>,
    /// Who should follow each slot, to read.
    pub readers: Vec<Vec<NodeId>>,
    /// Who should vote on the metadata.
    pub metadata: Vec<NodeId>,
}

/// What a target follows from, beside what is placed already.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wishes {
    candidates: Vec<Candidate>,
    replication: u8,
    /// Read replicas of each slot.
    readers: Vec<u8>,
}

impl Wishes {
    fn of(meta: &Meta) -> Self {
        let mut readers = vec![0; usize::from(meta.slots)];
        for (topic, count) in &meta.read_replicas {
            let Some(topic) = meta.topic_by_id(*topic) else { continue };
            for slot in slots_of(&topic.name, topic.partitions, meta.slots) {
                let wanted = &mut readers[usize::from(slot.0)];
                *wanted = (*wanted).max(*count);
            }
        }
        // Another peer stands where one was lost, which for a plan is gone then. Were it listed, the plan would be
        // made anew once the last placement has let it go.
        let candidates = meta.members.values().map(Member::candidate).collect();
        Self { candidates, replication: meta.replication, readers }
    }

    fn target(&self, meta: &Meta) -> Result<Target, PlanError> {
        let current = assignments(meta);
        let slots = plan(&self.candidates, meta.slots, self.replication, &current)?;
        let held: Vec<Vec<NodeId>> = meta
            .placement
            .iter()
            .map(|placement| placement.learners.iter().map(|learner| learner.node).collect())
            .collect();
        let readers = readers(&self.candidates, &slots, &self.readers, &held);
        let voting: Vec<NodeId> = meta.metadata.voting_nodes().collect();
        let metadata = metadata_voters(&self.candidates, &voting);
        Ok(Target { slots, readers, metadata })
    }
}

/// What is placed now, as the planner sees it.
fn assignments(meta: &Meta) -> Vec<Assignment> {
    let of = |placement: &Placement| Assignment {
        replicas: placement.voting_nodes().collect(),
        leader: placement.leader,
    };
    meta.placement.iter().map(of).collect()
}

/// Where everything should be, from where it is now.
///
/// # Errors
/// When no peer can hold a slot.
pub fn target(meta: &Meta) -> Result<Target, PlanError> {
    Wishes::of(meta).target(meta)
}

/// Decides what moves next. Remembers its target as long as nothing else is wished for, because slots under way
/// would be a moving ground for a new plan, and because a plan for a large hypercube takes a while.
///
/// Whoever comes to lead the metadata begins with a new one: another leader may have moved slots to another target,
/// from where an old one would move them back.
#[derive(Debug, Default)]
pub struct Mover {
    goal: Option<(Wishes, Target)>,
    /// The epoch in which there was nothing to ask for, within which limits.
    quiet: Option<(u64, Limits)>,
}

impl Mover {
    /// The changes to ask for now; none when everything is where it should be, or on its way.
    ///
    /// # Errors
    /// When no peer can hold a slot.
    pub fn next(&mut self, meta: &Meta, limits: Limits) -> Result<Vec<Change>, PlanError> {
        // All that counts here changes with the epoch only.
        if self.quiet == Some((meta.epoch, limits)) {
            return Ok(Vec::new());
        }
        let wishes = Wishes::of(meta);
        if self.goal.as_ref().is_none_or(|(known, _)| *known != wishes) {
            let target = wishes.target(meta)?;
            self.goal = Some((wishes, target));
        }
        let Some((_, target)) = &self.goal else { return Ok(Vec::new()) };
        let mut changes = Vec::new();
        changes.extend(place_metadata(meta, target));
        changes.extend(leads(meta, target));
        changes.extend(moves(meta, target, limits.slots_max));
        changes.truncate(limits.changes_max);
        self.quiet = changes.is_empty().then_some((meta.epoch, limits));
        Ok(changes)
    }
}

/// Brings the votes on the metadata to where they should be, and its lead away from who leaves.
fn place_metadata(meta: &Meta, target: &Target) -> Option<Change> {
    let placement = &meta.metadata;
    let (group, version) = (GroupId::META, placement.version);
    let voting: Vec<NodeId> = placement.voting_nodes().collect();
    let fit = |node: &NodeId| stays(meta, *node);
    if voting != target.metadata && !target.metadata.is_empty() {
        let voters = target.metadata.clone();
        let leader = leader_meanwhile(meta, placement, &voters, placement.leader);
        return Some(Change::Place { group, version, voters, learners: Vec::new(), leader });
    }
    if fit(&placement.leader) {
        return None;
    }
    let leader = voting.into_iter().find(fit)?;
    Some(Change::Lead { group, version, leader })
}

/// Names the leaders that should lead where the replicas are in place; and leads away from peers that leave at
/// once, long before their replicas go.
fn leads(meta: &Meta, target: &Target) -> Vec<Change> {
    let mut changes = Vec::new();
    for ((group, placement), wish) in slots(meta).zip(&target.slots) {
        let leader = if placement.votes(wish.leader) && stays(meta, wish.leader) {
            wish.leader
        } else if stays(meta, placement.leader) {
            continue;
        } else {
            match placement.voting_nodes().find(|node| stays(meta, *node)) {
                Some(other) => other,
                None => continue,
            }
        };
        // While replicas are under way, the lead only leaves who leaves.
        let due = placement.settled || !stays(meta, placement.leader);
        if leader != placement.leader && due {
            changes.push(Change::Lead { group, version: placement.version, leader });
        }
    }
    changes
}

/// The next slots to move, the most urgent first.
fn moves(meta: &Meta, target: &Target, slots_max: usize) -> Vec<Change> {
    if meta.paused {
        return Vec::new();
    }
    let under_way = meta.placement.iter().filter(|placement| !placement.settled).count();
    let mut due: Vec<(Urgency, Change)> = Vec::new();
    let mut changes = Vec::new();
    for ((group, placement), (wish, readers)) in slots(meta).zip(target.slots.iter().zip(&target.readers)) {
        // One that is alone by force has to be so first, and one without a majority waits for somebody to say how
        // it goes on.
        let forced = !placement.settled && placement.forced == placement.version;
        if in_place(placement, wish, readers) || forced || lacks_majority(meta, placement) {
            continue;
        }
        let change = Change::Place {
            group,
            version: placement.version,
            voters: wish.replicas.clone(),
            learners: readers.clone(),
            leader: leader_meanwhile(meta, placement, &wish.replicas, wish.leader),
        };
        if placement.settled {
            due.push((urgency(meta, placement), change));
        } else {
            // What is under way to where it should not go any more turns round without waiting for its end.
            changes.push(change);
        }
    }
    due.sort_by_key(|(urgency, _)| *urgency);
    let room = |urgency| slots_max * if urgency == Urgency::Lost { 2 } else { 1 };
    let due = due.into_iter().zip(under_way..).take_while(|((urgency, _), busy)| *busy < room(*urgency));
    changes.extend(due.map(|((_, change), _)| change));
    changes
}

/// Whether a slot's replicas are meant to be where they should be.
fn in_place(placement: &Placement, wish: &Assignment, readers: &[NodeId]) -> bool {
    let following = placement.learners.iter().map(|learner| learner.node);
    placement.voting_nodes().eq(wish.replicas.iter().copied()) && following.eq(readers.iter().copied())
}

/// Whether so many of a group's voters are lost that it cannot even agree on others. While replicas are under way, this
/// is about those that voted before: they may not be needed any more, which only the group itself can tell.
#[must_use]
pub fn lacks_majority(meta: &Meta, placement: &Placement) -> bool {
    let voters = if placement.settled { &placement.voters } else { &placement.before };
    let lost = voters.iter().filter(|voter| meta.is_lost(voter.node)).count();
    lost > 0 && lost * 2 >= voters.len()
}

/// Who should lead a group while its replicas are under way to these voters: one that votes already, so that the
/// lead need not wait for a replica that is still empty.
fn leader_meanwhile(meta: &Meta, placement: &Placement, voters: &[NodeId], preferred: NodeId) -> NodeId {
    let stays = |node: &NodeId| voters.contains(node) && stays(meta, *node);
    let votes = |node: &NodeId| stays(node) && placement.votes(*node);
    let by_preference = || [preferred, placement.leader].into_iter().chain(voters.iter().copied());
    by_preference().find(votes).or_else(|| by_preference().find(stays)).unwrap_or(voters[0])
}

/// Why a slot is to move, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// A voter is lost.
    Lost,
    /// There are too few voters.
    Few,
    /// A peer leaves.
    Leaves,
    /// Peers are to be as loaded as others.
    Balance,
}

fn urgency(meta: &Meta, placement: &Placement) -> Urgency {
    if placement.voting_nodes().any(|node| meta.is_lost(node)) {
        Urgency::Lost
    } else if placement.voters.len() < usize::from(replication(meta)) {
        Urgency::Few
    } else if placement.replicas().any(|replica| !stays(meta, replica.node)) {
        Urgency::Leaves
    } else {
        Urgency::Balance
    }
}

fn slots(meta: &Meta) -> impl Iterator<Item = (GroupId, &Placement)> {
    meta.groups().filter(|(group, _)| *group != GroupId::META)
}

/// Whether a node is a member and is to stay one.
fn stays(meta: &Meta, node: NodeId) -> bool {
    meta.members.get(&node).is_some_and(|member| member.standing == Standing::Active)
}

/// The replicas that each slot should really have.
#[must_use]
pub fn replication(meta: &Meta) -> u8 {
    effective_replication(meta.replication, meta.members.len())
}

/// How far the hypercube is from where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Slots whose replicas are under way.
    pub moving: usize,
    /// Slots that still have to move.
    pub waiting: usize,
    /// Slots with fewer replicas than they should have, lost ones not counted.
    pub under_replicated: usize,
    /// Slots whose majority is lost, which wait for somebody to say how they go on.
    pub without_majority: usize,
}

/// How far the hypercube is from a target.
#[must_use]
pub fn progress(meta: &Meta, target: &Target) -> Progress {
    let want = usize::from(replication(meta));
    let mut progress = Progress::default();
    for ((_, placement), (wish, readers)) in slots(meta).zip(target.slots.iter().zip(&target.readers)) {
        progress.moving += usize::from(!placement.settled);
        progress.waiting += usize::from(placement.settled && !in_place(placement, wish, readers));
        progress.without_majority += usize::from(lacks_majority(meta, placement));
        let held = placement.voting_nodes().filter(|node| !meta.is_lost(*node)).count();
        progress.under_replicated += usize::from(held < want);
    }
    progress
}

/// A plan that nobody has asked to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The peers that there would be, by vertex; those that do not exist yet have the ids that they would get.
    pub members: Vec<Member>,
    /// What would move.
    pub moves: Vec<Move>,
    /// Where everything would be.
    pub target: Target,
}

/// What would move if the hypercube had `peers` peers and `replication` replicas; as it is, where none is given.
///
/// # Errors
/// When no peer could hold a slot.
pub fn preview(meta: &Meta, peers: Option<u16>, replication: Option<u8>) -> Result<Preview, PlanError> {
    let mut then = meta.clone();
    then.replication = replication.unwrap_or(meta.replication);
    let now = meta.cube().peers();
    let peers = peers.unwrap_or(now);
    for vertex in now..peers {
        let node = NodeId(then.next_node);
        then.next_node += 1;
        let member = Member {
            node,
            incarnation: crate::ids::Incarnation(0),
            vertex: Vertex(vertex),
            zone: smallest_zone(&then.members),
            peer_address: String::new(),
            client_address: String::new(),
            standing: Standing::Active,
        };
        then.members.insert(node, member);
    }
    for member in then.members.values_mut().filter(|member| member.vertex.0 >= peers) {
        member.standing = Standing::Draining;
    }
    let target = target(&then)?;
    let moves = diff(&assignments(meta), &target.slots);
    let mut members: Vec<Member> = then.members.into_values().collect();
    members.sort_by_key(|member| member.vertex);
    Ok(Preview { members, moves, target })
}

/// The zone with the fewest peers, where the next one is most likely to come.
fn smallest_zone(members: &BTreeMap<NodeId, Member>) -> String {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    members.values().for_each(|member| *sizes.entry(&member.zone).or_default() += 1);
    sizes.into_iter().min_by_key(|(_, size)| *size).map_or_else(String::new, |(zone, _)| zone.to_owned())
}

/// The slots that a move is about, for whoever counts bytes.
#[must_use]
pub fn moved_slots(moves: &[Move]) -> Vec<Slot> {
    moves.iter().filter(|step| !step.add.is_empty()).map(|step| step.slot).collect()
}
