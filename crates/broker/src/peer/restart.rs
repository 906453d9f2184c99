//! Taking up what a log holds: the state of every group, and which replicas are to be had anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use hcube_consensus::{Groups, Rng};
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_core::meta::{Command as MetaCommand, Meta};
use hcube_log::{Position, RecoveredGroup, Recovery};

use super::Peer;
use super::call::Calls;
use super::compaction::Compacting;
use super::fanout::Fanout;
use super::membership::Membership;
use super::replica::{Leading, SlotReplica};
use crate::command::Command;
use crate::slot::Slot;
use crate::start::{self, Replay, StartError};
use crate::{Config, Now};

impl Peer {
    /// Takes up what a log holds. `read` gives an entry's data; `seed` makes elections and names.
    ///
    /// Replicas of slots whose part of the log is damaged are destroyed, and others asked for in their place.
    ///
    /// # Errors
    /// When the metadata's part of the log is damaged, or the log is not one of a member: nothing has been done then.
    pub fn start(
        config: Config,
        node: NodeId,
        recovery: &Recovery,
        read: impl Fn(Position) -> std::io::Result<Bytes>,
        now: Now,
        seed: u64,
    ) -> Result<Self, StartError> {
        let damaged = start::damaged_slots(recovery)?;
        let mut rng = Rng::new(seed);
        let mut groups = Groups::new(config.consensus.clone(), rng.next_u64());
        let meta = restore_metadata(recovery, &read)?;
        if meta.feature_level > config.feature_level {
            let (level, known) = (meta.feature_level, config.feature_level);
            return Err(StartError::FeatureLevel { level, known });
        }
        let vertex = meta.members.get(&node).ok_or(StartError::NotMember)?.vertex;
        let broken = check_replicas(&meta, node, recovery, &damaged)?;
        let mut compacting = Compacting::default();
        for (group, replica) in broken.iter().filter(|(group, _)| damaged.contains(group)) {
            groups.bury(*group, *replica);
        }
        let mut slots = BTreeMap::new();
        for (&group, recovered) in &recovery.groups {
            let Some(placement) = meta.placement_of(group) else { continue };
            if damaged.contains(&group) {
                groups.bury(group, recovered.replica);
                compacting.doom(recovered.base.files.iter().map(|file| file.id).collect());
                continue;
            }
            let replay = start::replay(group, recovered, &read)?;
            if group != GroupId::META {
                let slot = restore_slot(group, recovered, &replay)?;
                let life = slots.len() as u64;
                let replica = SlotReplica::new(recovered.replica, slot, &recovered.base.files, life);
                slots.insert(group, replica);
            }
            groups
                .restore(group, recovered, replay.replayed(recovered.base.index), placement.nodes())
                .map_err(|error| StartError::Entry { group, index: error.index, source: error.source })?;
        }
        let mut peer = Self {
            config,
            node,
            vertex,
            now,
            ticks: 0,
            meta: Arc::new(meta),
            metadata: Leading::default(),
            lives: slots.len() as u64,
            slots,
            groups,
            calls: Calls::new(&mut rng),
            commits: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            polls: BTreeMap::new(),
            fanout: Fanout::default(),
            hints: BTreeMap::new(),
            links: BTreeMap::new(),
            broken_links: BTreeMap::new(),
            compacting,
            staging: BTreeMap::new(),
            staging_room_bytes: 0,
            membership: Membership::new(broken),
            reported: BTreeMap::new(),
            conf_changed: BTreeSet::new(),
            disk_full: false,
            commits_told_ms: 0,
            clock_offset_ms: i128::from(now.wall_ms) - i128::from(now.mono_ms),
            rng,
            actions: Vec::new(),
        };
        // What was committed just before the end may not have been carried out here.
        peer.arrange_replicas();
        Ok(peer)
    }
}

/// Compares the replicas that placement puts on this node with those in its log. Returns those that it had and must
/// not use again.
///
/// A replica that is merely missing has not been created yet: whatever was created was durable before it voted. But one
/// that its group is known to count on was there, and a disk that forgot it may have forgotten its votes.
fn check_replicas(
    meta: &Meta,
    node: NodeId,
    recovery: &Recovery,
    damaged: &BTreeSet<GroupId>,
) -> Result<Vec<(GroupId, ReplicaId)>, StartError> {
    let mut broken = Vec::new();
    for (group, placement) in meta.groups() {
        let Some(replica) = placement.replica_on(node) else { continue };
        let found = recovery.groups.get(&group).map(|recovered| recovered.replica);
        let destroyed = recovery.tombstones.contains(&(group, replica));
        // Of a damaged replica the log may not even know any more that it was there.
        if destroyed || damaged.contains(&group) {
            broken.push((group, replica));
            continue;
        }
        if found == Some(replica) {
            continue;
        }
        // One that is newer than the metadata here may have taken its place; it is heard of soon.
        let newer = found.is_some_and(|found| found > replica);
        let counted_on = placement.settled && placement.votes(node);
        if group == GroupId::META || (counted_on && !newer) {
            return Err(StartError::Replica { group, replica, found });
        }
    }
    Ok(broken)
}

/// The metadata as the log has it.
fn restore_metadata(
    recovery: &Recovery,
    read: &impl Fn(Position) -> std::io::Result<Bytes>,
) -> Result<Meta, StartError> {
    let group = GroupId::META;
    let recovered = recovery.groups.get(&group).ok_or(StartError::NoMetadata)?;
    let mut meta =
        Meta::decode(recovered.base.state.clone()).map_err(|source| StartError::State { group, source })?;
    for (index, data) in start::replay(group, recovered, read)?.commands() {
        let command =
            MetaCommand::decode(data).map_err(|source| StartError::Entry { group, index, source })?;
        // Refused commands are in the log too; they change nothing, now as then.
        let _refused = meta.apply(command);
    }
    Ok(meta)
}

/// A slot's state as the log has it.
fn restore_slot(group: GroupId, recovered: &RecoveredGroup, replay: &Replay) -> Result<Slot, StartError> {
    let mut slot =
        Slot::decode(&recovered.base.state).map_err(|source| StartError::State { group, source })?;
    for (index, data) in replay.commands() {
        let command = Command::decode(data).map_err(|source| StartError::Entry { group, index, source })?;
        slot.apply(index, &command);
    }
    for version in replay.conf_versions() {
        slot.apply_conf(version);
    }
    Ok(slot)
}
