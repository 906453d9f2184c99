//! One peer of the hypercube: its state, and the way of an event through it.

mod apply;
mod call;
mod compaction;
mod forward;
mod lead;
mod read;
mod replica;
mod staging;
mod status;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use hcube_consensus::{Groups, Outgoing, Ready, Rng};
use hcube_core::ids::{GroupId, NodeId, Vertex};
use hcube_core::meta::{Command as MetaCommand, Meta};
use hcube_log::{Position, Recovery};

use crate::command::{Command, PartitionId};
use crate::slot::Slot;
use crate::start::{self, StartError};
use crate::{Action, Config, Event, Frame, Now, RequestId};

use call::{Call, CallId, Calls, Origin};
use compaction::Compacting;
use replica::{Leading, SlotReplica};
use staging::Staging;
pub use status::Status;

/// One peer. Owned by one loop that hands it every [`Event`] and carries out every [`Action`].
pub struct Peer {
    config: Config,
    node: NodeId,
    vertex: Vertex,
    now: Now,
    ticks: u64,
    meta: Arc<Meta>,
    /// Where the metadata group stands when this peer leads it.
    metadata: Leading,
    slots: BTreeMap<GroupId, SlotReplica>,
    groups: Groups,
    calls: Calls,
    /// Calls that wait for an entry of a group to be applied, by its index.
    commits: BTreeMap<GroupId, BTreeMap<u64, Vec<Commit>>>,
    /// Calls that wait until an index of a group is applied, confirmed by its leader.
    confirmed: BTreeMap<GroupId, Vec<(u64, CallId)>>,
    /// Long polls, by the partition whose next record they wait for.
    polls: BTreeMap<PartitionId, BTreeSet<CallId>>,
    /// Who answered as leader last.
    hints: BTreeMap<GroupId, NodeId>,
    links: BTreeSet<NodeId>,
    compacting: Compacting,
    staging: BTreeMap<GroupId, Staging>,
    disk_full: bool,
    /// `wall - mono` when the peer began, to notice a clock that jumps.
    clock_offset_ms: i128,
    rng: Rng,
    actions: Vec<Action>,
}

/// A call whose entry is in a log.
struct Commit {
    term: u64,
    call: CallId,
    /// The answer, where it does not depend on what applying the entry finds.
    answer: Option<crate::Answer>,
}

impl Peer {
    /// Takes up what a log holds. `read` gives an entry's data; `seed` makes elections and names.
    ///
    /// # Errors
    /// When the log is damaged, or is not one of a member: nothing has been done then.
    pub fn start(
        config: Config,
        node: NodeId,
        recovery: &Recovery,
        read: impl Fn(Position) -> std::io::Result<Bytes>,
        now: Now,
        seed: u64,
    ) -> Result<Self, StartError> {
        start::check_damage(recovery)?;
        let mut rng = Rng::new(seed);
        let mut groups = Groups::new(config.consensus.clone(), rng.next_u64());
        let meta = restore_metadata(recovery, &read)?;
        let vertex = meta.members.get(&node).ok_or(StartError::NotMember)?.vertex;
        check_replicas(&meta, node, recovery)?;
        let mut slots = BTreeMap::new();
        for (&group, recovered) in &recovery.groups {
            let Some(placement) = meta.placement_of(group) else { continue };
            let replay = start::replay(group, recovered, &read)?;
            let applied = recovered.base.index + replay.committed.len() as u64;
            if group != GroupId::META {
                let mut slot = Slot::decode(&recovered.base.state)
                    .map_err(|source| StartError::State { group, source })?;
                for (index, _, data) in replay.committed {
                    if !data.is_empty() {
                        let command = Command::decode(data).map_err(|source| StartError::Entry {
                            group,
                            index,
                            source,
                        })?;
                        slot.apply(index, &command);
                    }
                }
                slots.insert(group, SlotReplica::new(recovered.replica, slot, &recovered.base.files));
            }
            groups.restore(group, recovered, applied, replay.tail, placement);
        }
        Ok(Self {
            config,
            node,
            vertex,
            now,
            ticks: 0,
            meta: Arc::new(meta),
            metadata: Leading::default(),
            slots,
            groups,
            calls: Calls::new(&mut rng),
            commits: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            polls: BTreeMap::new(),
            hints: BTreeMap::new(),
            links: BTreeSet::new(),
            compacting: Compacting::default(),
            staging: BTreeMap::new(),
            disk_full: false,
            clock_offset_ms: i128::from(now.wall_ms) - i128::from(now.mono_ms),
            rng,
            actions: Vec::new(),
        })
    }

    /// Takes one event and says what is to be done.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Tick => self.tick(),
            Event::Frame { from, frame } => self.frame(from, frame),
            Event::LinkUp(node) => {
                self.links.insert(node);
            }
            Event::LinkDown(node) => self.link_down(node),
            Event::Request { id, request, patience_ms } => self.request(id, request, patience_ms),
            Event::Cancel(id) => self.abandon(Origin::Client(id)),
            Event::Written { number, positions } => {
                let messages = self.groups.persisted(number, positions);
                self.send_raft(messages);
                self.written(number);
            }
            Event::Disk { pressure, full } => {
                self.disk_full = full;
                self.compacting.want(pressure);
                self.compact_next();
            }
            Event::Fetched { group, token, entries } => self.groups.fetched(group, token, entries),
            Event::ReadDone { token, result } => self.read_done(token, result),
            Event::FileRead { token, result } => self.file_read(token, result),
            Event::Compacted { group, result } => self.compacted(group, result),
            Event::Staged { group, file, at, result } => self.staged(group, file, at, result),
        }
        self.pump();
        std::mem::take(&mut self.actions)
    }

    /// Carries out what the groups want, until they want nothing more.
    fn pump(&mut self) {
        loop {
            let ready = self.groups.ready();
            if ready.is_empty() {
                break;
            }
            self.carry_out(ready);
        }
    }

    fn carry_out(&mut self, ready: Ready) {
        self.send_raft(ready.messages);
        if let Some(write) = ready.write {
            self.compacting.carried_by(write.number);
            self.actions.push(Action::Write(write));
        }
        for restored in ready.restored {
            self.restored(restored);
        }
        for committed in ready.committed {
            self.apply(committed);
        }
        for role in ready.roles {
            self.role_changed(role);
        }
        for read in ready.reads {
            self.read_confirmed(read);
        }
        self.actions.extend(ready.fetches.into_iter().map(Action::Fetch));
    }

    fn frame(&mut self, from: NodeId, frame: Frame) {
        match frame {
            Frame::Raft(envelopes) => {
                for envelope in envelopes {
                    self.raft_message(from, envelope);
                }
            }
            Frame::Request(request) => self.forwarded(from, request),
            Frame::Response(answer) => self.answered(from, answer),
            Frame::Cancel(id) => self.abandon(Origin::Peer(from, id)),
        }
    }

    fn raft_message(&mut self, from: NodeId, envelope: hcube_consensus::Envelope) {
        if envelope.snapshot().is_some() {
            self.snapshot_offered(from, envelope);
        } else {
            self.groups.step(from, envelope);
        }
    }

    /// One frame for each receiver, whatever the number of groups.
    fn send_raft(&mut self, messages: Vec<Outgoing>) {
        let mut by_node: BTreeMap<NodeId, Vec<_>> = BTreeMap::new();
        for message in messages {
            by_node.entry(message.to).or_default().push(message.envelope);
        }
        for (to, envelopes) in by_node {
            self.actions.push(Action::Send { to, frame: Frame::Raft(envelopes) });
        }
    }

    fn request(&mut self, id: RequestId, request: crate::Request, patience_ms: u32) {
        let deadline_ms = self.now.mono_ms + u64::from(patience_ms);
        let call = Call::local(id, request, deadline_ms, self.vertex);
        self.begin(call);
    }
}

/// Every replica that placement puts on this node must be in its log: one that is missing would be a disk that
/// forgot, and must not vote again as if it had not.
fn check_replicas(meta: &Meta, node: NodeId, recovery: &Recovery) -> Result<(), StartError> {
    for (group, placement) in meta.groups() {
        let Some(replica) = placement.replica_on(node) else { continue };
        let found = recovery.groups.get(&group).map(|recovered| recovered.replica);
        if found != Some(replica) {
            return Err(StartError::Replica { group, replica, found });
        }
    }
    Ok(())
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
    for (index, _, data) in start::replay(group, recovered, read)?.committed {
        if !data.is_empty() {
            let command =
                MetaCommand::decode(data).map_err(|source| StartError::Entry { group, index, source })?;
            // Refused commands are in the log too; they change nothing, now as then.
            let _refused = meta.apply(command);
        }
    }
    Ok(meta)
}
