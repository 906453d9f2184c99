//! Members and placement while they change: the metadata's leader asks for moves, leaders of groups carry them out,
//! every peer creates and destroys its replicas as committed placement says.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_consensus::{Envelope, Follower, ProposeError};
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, Incarnation, NodeId, ReplicaId};
use hcube_core::meta::mover::Mover;
use hcube_core::meta::{self, Change, ChangeRefusal, NewMember, Placement};
use hcube_core::planted::{self, Bug};
use hcube_log::Base;

use super::Peer;
use super::call::{Call, Origin, Waits};
use super::conf_step::{self, Step, View};
use super::replica::SlotReplica;
use crate::request::{Error, Request};
use crate::slot::Slot;
use crate::start::{GENESIS_INDEX, GENESIS_TERM, Invitation};

/// Ticks between repetitions of a report that the metadata does not show yet.
const REPORT_TICKS: u64 = 10;
/// Ticks after which followers have heard what is committed: heartbeats tell them.
const HEARD_TICKS: u64 = 3;
/// How long a report may take, in milliseconds.
const REPORT_PATIENCE_MS: u64 = 3_000;

/// What this peer does about members and placement.
#[derive(Debug, Default)]
pub(super) struct Membership {
    mover: Mover,
    /// The index of the last change that was asked for as the metadata's leader: the next look waits for it.
    asked: Option<u64>,
    /// The tick of the last look at what is to move.
    looked_tick: u64,
    /// The epoch for which the replicas here were looked at.
    epoch: u64,
    /// Whether replicas could not be created yet, because files of others are still to be removed.
    held_up: bool,
    /// Groups led here whose configuration is as wished: since which tick, for which version, and up to which index
    /// of the log their voters must have followed before that counts.
    done: BTreeMap<GroupId, Done>,
    /// Replicas that were damaged or lost here, until others are in their place.
    pub broken: Vec<(GroupId, ReplicaId)>,
    /// Whether this process is about to end, and leads nothing any more.
    pub retiring: bool,
}

#[derive(Debug, Clone, Copy)]
struct Done {
    version: u64,
    tick: u64,
    index: u64,
}

impl Membership {
    /// With replicas that this node had and must not use again.
    pub fn new(broken: Vec<(GroupId, ReplicaId)>) -> Self {
        Self { broken, ..Self::default() }
    }
}

impl Peer {
    /// What a peer needs to become the member that the metadata says it is.
    #[must_use]
    pub fn invitation(&self, incarnation: Incarnation) -> Option<Invitation> {
        let member = self.meta.members.values().find(|member| member.incarnation == incarnation)?;
        let replica = self.meta.metadata.replica_on(member.node)?;
        let (index, term, conf) = self.groups.snapshot_point(GroupId::META)?;
        let base = Base { index, term, conf, state: self.meta.encode(), ..Base::default() };
        Some(Invitation { cluster: self.meta.cluster, node: member.node, replica, base })
    }

    /// Whether the metadata says that this node has left the hypercube for ever.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        !self.meta.members.contains_key(&self.node)
    }

    /// Looks after members and placement; every tick.
    pub(super) fn tend_membership(&mut self) {
        if self.membership.retiring {
            self.lead_nothing();
        }
        self.step_configurations();
        self.report_broken();
        self.move_slots();
        self.raise_level();
        if self.membership.held_up {
            self.membership.epoch = 0;
        }
        self.arrange_replicas();
    }

    /// The process is about to end: others lead from now on.
    pub(super) fn hand_off(&mut self) {
        self.membership.retiring = true;
        self.lead_nothing();
    }

    fn lead_nothing(&mut self) {
        let led: Vec<GroupId> = self.groups.ids().filter(|group| self.leads(*group)).collect();
        for group in led {
            if let Some(best) = self.best_successor(group).filter(|_| !self.groups.transferring(group)) {
                self.groups.transfer(group, best);
            }
        }
    }

    pub(super) fn leads(&self, group: GroupId) -> bool {
        self.groups.role(group).is_some_and(|role| role.leads)
    }

    /// The voter that is farthest among those that can be reached.
    pub(super) fn best_successor(&self, group: GroupId) -> Option<ReplicaId> {
        let conf = self.groups.conf(group)?;
        let placement = self.meta.placement_of(group)?;
        let nodes = placement.nodes();
        let reachable = |follower: &Follower| {
            nodes.get(&follower.replica).is_some_and(|n| *n != self.node && self.links.contains_key(n))
        };
        let preferred = placement.replica_on(placement.leader);
        self.groups
            .followers(group)
            .into_iter()
            .filter(|follower| {
                conf.voters.contains(&follower.replica) && follower.active && reachable(follower)
            })
            .max_by_key(|follower| (follower.matched, Some(follower.replica) == preferred))
            .map(|follower| follower.replica)
    }

    /// Takes the next step of every group led here that is not as it should be.
    pub(super) fn step_configurations(&mut self) {
        let led: Vec<GroupId> = self.groups.ids().filter(|group| self.leading_ready(*group)).collect();
        self.membership.done.retain(|group, _| led.contains(group));
        for group in led {
            self.step_configuration(group);
        }
    }

    pub(super) fn step_configuration(&mut self, group: GroupId) {
        if !self.leading_ready(group) || self.groups.conf_pending(group) || self.groups.transferring(group) {
            return;
        }
        let Some(placement) = self.meta.placement_of(group) else { return };
        let Some(conf) = self.groups.conf(group) else { return };
        if placement.settled && *conf == placement.conf() {
            self.membership.done.remove(&group);
            return;
        }
        let version = placement.version;
        match self.conf_step(group, placement, conf) {
            Step::Done if !placement.settled => self.report_settled(group, version),
            Step::Done | Step::Wait => {}
            Step::Lead(replica) => self.groups.transfer(group, replica),
            Step::Propose(step) => {
                match self.groups.propose_conf(group, &step, version) {
                    // The next look comes with its being applied, or with the next tick.
                    Ok(_)
                    | Err(ProposeError::Dropped | ProposeError::NotLeader | ProposeError::NoReplica) => {}
                    Err(ProposeError::Invalid) => {
                        debug_assert!(false, "a step that follows from the configuration")
                    }
                }
            }
        }
    }

    fn conf_step(&self, group: GroupId, placement: &Placement, conf: &ConfState) -> Step {
        let Some(own) = self.own_replica(group) else { return Step::Wait };
        let placed = self.slots.get(&group).map_or(0, |replica| replica.slot.placed());
        let last = self.groups.indexes(group).map_or(0, |indexes| indexes.last);
        let followers = self.groups.followers(group);
        let farewell = group == GroupId::META;
        conf_step::next(&View { placement, placed, conf, own, followers: &followers, last, farewell })
    }

    fn own_replica(&self, group: GroupId) -> Option<ReplicaId> {
        self.groups.replica(group)
    }

    /// A peer that was away while others joined would never hear of them if one of these led the metadata by now, and
    /// were refused for not being heard of. What a replica that is newer than all this peer knows says of the metadata
    /// counts as in any Raft group, whose members need not know who leads or stands for election.
    pub(super) fn hear_of(&mut self, from: NodeId, envelope: &Envelope) {
        let newer = self.meta.is_unheard(from) && envelope.from.0 >= self.meta.next_replica;
        if envelope.group == GroupId::META && newer {
            self.groups.add_node(GroupId::META, envelope.from, from);
        }
    }

    /// Tells the metadata that a group is as wished, once every voter that is there has heard that it is, and most of
    /// them have it on disk.
    ///
    /// After the report the replicas that left are destroyed. A voter that did not know yet, or not any more after it
    /// lost power, that their votes are not needed could then not be elected without them. Therefore an empty entry is
    /// written behind the change: wherever it is durable, so is that everything before it is committed.
    fn report_settled(&mut self, group: GroupId, version: u64) {
        let known = self.membership.done.get(&group).copied().filter(|done| done.version == version);
        let Some(done) = known else {
            self.membership.done.remove(&group);
            // Refused, it is tried again at the next tick.
            if let Ok(proposed) = self.groups.propose(group, Bytes::new()) {
                let done = Done { version, tick: self.ticks, index: proposed.index };
                self.membership.done.insert(group, done);
            }
            return;
        };
        if self.groups.indexes(group).is_none_or(|indexes| indexes.applied < done.index) {
            return;
        }
        let followers = self.groups.followers(group);
        let voters = self.groups.conf(group).map_or(&[][..], |conf| &conf.voters);
        let votes = |follower: &&Follower| voters.contains(&follower.replica);
        let behind = followers.iter().filter(votes).any(|f| f.active && f.matched < done.index);
        if !behind && self.ticks >= done.tick + HEARD_TICKS {
            self.report(group, Change::Settled { group, version });
        }
    }

    /// Replicas that were lost here are to be replaced, by others on this same node.
    fn report_broken(&mut self) {
        let mut broken = std::mem::take(&mut self.membership.broken);
        // One that is to go may be wished back as long as it is listed at all, and must not be created again then.
        broken.retain(|(group, replica)| !self.meta.is_retired(*group, *replica));
        for (group, replica) in &broken {
            let placement = self.meta.placement_of(*group);
            if placement.is_some_and(|placement| placement.replicas().any(|other| other.id == *replica)) {
                self.report(*group, Change::ReplaceReplica { group: *group, replica: *replica });
            }
        }
        self.membership.broken = broken;
    }

    /// Asks the metadata's leader for a change, once at a time for each group and not too often.
    fn report(&mut self, group: GroupId, change: Change) {
        let waiting = self.calls.by_origin(Origin::Report(group)).is_some();
        let lately = self
            .reported
            .get(&group)
            .is_some_and(|(said, tick)| *said == change && self.ticks < tick + REPORT_TICKS);
        if waiting || lately {
            return;
        }
        self.reported.insert(group, (change.clone(), self.ticks));
        let deadline_ms = self.now.mono_ms + REPORT_PATIENCE_MS;
        let call = Call::new(Origin::Report(group), Request::Change(change), deadline_ms, vec![self.vertex]);
        self.begin(call);
    }

    /// As the metadata's leader, asks for what is to move next.
    fn move_slots(&mut self) {
        if !self.leading_ready(GroupId::META) {
            self.membership.asked = None;
            // What another leader has done meanwhile is not to be undone for an older target.
            self.membership.mover = Mover::default();
            return;
        }
        let applied = self.groups.indexes(GroupId::META).map_or(0, |indexes| indexes.applied);
        let busy = self.membership.asked.is_some_and(|index| index > applied);
        if busy || self.ticks < self.membership.looked_tick + self.config.mover_ticks {
            return;
        }
        self.membership.looked_tick = self.ticks;
        // Without a plan nothing moves; whoever asks for the state of a drain is told why.
        let Ok(changes) = self.membership.mover.next(&self.meta, self.config.moves) else { return };
        for change in changes {
            let command = meta::Command::Change(change);
            if let Ok(proposed) = self.groups.propose(GroupId::META, command.encode()) {
                self.membership.asked = Some(proposed.index);
            }
        }
    }

    /// As the metadata's leader, raises the feature level once every member can be reached and knows a newer one: one that
    /// cannot be reached may not know it.
    fn raise_level(&mut self) {
        if !self.leading_ready(GroupId::META) {
            return;
        }
        let known = |node| {
            if node == self.node { Some(self.config.feature_level) } else { self.links.get(&node).copied() }
        };
        let level = self.meta.present().map(|member| known(member.node)).min().flatten();
        if let Some(level) = level.filter(|level| *level > self.meta.feature_level) {
            self.report(GroupId::META, Change::RaiseLevel { level });
        }
    }

    /// Refuses what only this peer, as the metadata's leader, can tell to be wrong.
    pub(super) fn check_change(&self, change: &Change) -> Result<(), Error> {
        match change {
            Change::AddMember(NewMember { replaces: Some(node), incarnation, .. })
                if self.is_alive(*node) && !self.is_member_disk(*incarnation) =>
            {
                Err(Error::Change(ChangeRefusal::Alive(*node)))
            }
            // That is decided where nobody leads.
            Change::RecoverMetadata { .. } => Err(Error::Change(ChangeRefusal::Placement(GroupId::META))),
            _ => Ok(()),
        }
    }

    fn is_alive(&self, node: NodeId) -> bool {
        node == self.node || self.links.contains_key(&node)
    }

    fn is_member_disk(&self, incarnation: Incarnation) -> bool {
        self.meta.members.values().any(|member| member.incarnation == incarnation)
    }

    /// Brings the replicas here to what committed placement says, once for each epoch.
    pub(super) fn arrange_replicas(&mut self) {
        if self.membership.epoch == self.meta.epoch {
            return;
        }
        self.membership.epoch = self.meta.epoch;
        self.membership.held_up = false;
        let meta = self.meta.clone();
        for (group, placement) in meta.groups() {
            self.groups.set_nodes(group, placement.nodes());
            if group == GroupId::META {
                continue;
            }
            self.arrange_replica(group, placement);
        }
        self.reported.retain(|group, _| meta.placement_of(*group).is_some_and(|p| !p.settled));
    }

    fn arrange_replica(&mut self, group: GroupId, placement: &Placement) {
        let held = self.own_replica(group);
        // A committed placement has let it go. One that this metadata has not heard of yet stays.
        let retired = held.is_some_and(|replica| self.meta.is_retired(group, replica));
        let absent = held.is_some_and(|held| placement.replicas().all(|replica| replica.id != held));
        let goes = retired && !planted::is(Bug::RetiredReplicaStays);
        if goes || (absent && planted::is(Bug::DeletedByAbsence)) {
            self.destroy_replica(group);
        }
        let Some(wanted) = placement.replica_on(self.node) else { return };
        match self.own_replica(group) {
            Some(held) if held == wanted => self.force_if_sole(group, placement, held),
            // The one in its place was damaged and is on its way out, though its group still counts it.
            Some(held) if held < wanted => {
                self.destroy_replica(group);
                self.create_replica(group, placement, wanted);
            }
            Some(_) => {}
            None if self.membership.broken.contains(&(group, wanted)) => {}
            None => self.create_replica(group, placement, wanted),
        }
    }

    /// A replica begins with nothing: its group's leader sends it a snapshot. Only where a group begins anew does it
    /// begin as its only voter.
    fn create_replica(&mut self, group: GroupId, placement: &Placement, replica: ReplicaId) {
        if self.compacting.has_doomed(group) {
            // Files of the one before may have the names of those that a snapshot brings.
            self.membership.held_up = true;
            return;
        }
        let founds = placement.forced == placement.version
            && placement.voters.iter().map(|voter| voter.id).eq([replica])
            && self.founds_anew(group, placement.forced);
        let state = Slot::default().encode();
        let base = if founds {
            let conf = ConfState::simple(vec![replica], Vec::new());
            Base { index: GENESIS_INDEX, term: GENESIS_TERM, conf, state, ..Base::default() }
        } else {
            Base { state, ..Base::default() }
        };
        self.groups.create(group, replica, base, placement.nodes());
        let life = self.next_life();
        self.slots.insert(group, SlotReplica::new(replica, Slot::default(), &[], life));
    }

    /// A planted mistake: a message is enough to make a replica.
    pub(super) fn create_stray(&mut self, envelope: &Envelope) {
        let meta = self.meta.clone();
        if let Some(placement) = meta.placement_of(envelope.group) {
            self.create_replica(envelope.group, placement, envelope.to);
        }
    }

    /// Whether nothing was left of the group when it was given up.
    fn founds_anew(&self, group: GroupId, epoch: u64) -> bool {
        let nothing = |loss: &meta::Loss| (loss.group, loss.epoch, loss.survivor) == (group, epoch, None);
        self.meta.losses.iter().any(nothing)
    }

    /// The last replica of a group that lost its majority goes on alone, as somebody has decided.
    fn force_if_sole(&mut self, group: GroupId, placement: &Placement, replica: ReplicaId) {
        let sole = placement.voters.iter().map(|voter| voter.id).eq([replica]);
        if placement.forced == 0 || placement.forced != placement.version || !sole {
            return;
        }
        let alone = |conf: &ConfState| *conf == ConfState::simple(vec![replica], Vec::new());
        if !self.groups.conf(group).is_some_and(alone) {
            // A replica that was never part of its group cannot: whoever decided has to decide for another.
            let _never_part = self.groups.force_sole(group, placement.forced);
        }
    }

    /// Lets a replica go for ever, with its files.
    fn destroy_replica(&mut self, group: GroupId) {
        self.groups.destroy(group);
        let Some(replica) = self.slots.remove(&group) else { return };
        self.end_staging(group);
        self.compacting.doom(replica.files.into_keys().collect());
        for commit in self.commits.remove(&group).unwrap_or_default().into_values().flatten() {
            // What was proposed here may have been committed by others.
            self.finish(commit.call, Err(Error::Unknown));
        }
        self.confirmed.remove(&group);
        let meta = self.meta.clone();
        let waiting = self.calls.where_waits(|call| {
            matches!(call.waits, Waits::Record | Waits::Confirmation) && call.request.group(&meta) == group
        });
        for id in waiting {
            self.forget_poll(id);
            self.park(id);
        }
        self.retry_parked(Some(group));
    }
}
