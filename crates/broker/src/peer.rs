//! One peer of the hypercube: its state, and the way of an event through it.

mod apply;
mod call;
mod compaction;
mod conf_step;
mod fanout;
mod forward;
mod last_resort;
mod lead;
mod membership;
mod read;
mod replica;
mod restart;
mod slow;
mod staging;
mod status;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hcube_consensus::{Groups, Outgoing, Ready, Rng};
use hcube_core::ids::{GroupId, NodeId, Vertex};
use hcube_core::meta::{Change, Meta};
use hcube_core::planted::{self, Bug};

use crate::command::PartitionId;
use crate::{Action, Config, Event, Frame, Now, RequestId};

use call::{Call, CallId, Calls, Origin};
use compaction::Compacting;
use fanout::Fanout;
pub use last_resort::given_up;
use membership::Membership;
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
    /// Long polls that are served elsewhere.
    fanout: Fanout,
    /// Who answered as leader last.
    hints: BTreeMap<GroupId, NodeId>,
    /// Whom frames reach, and the newest feature level that each knows.
    links: BTreeMap<NodeId, u32>,
    /// Nodes whose link broke lately, and at which tick.
    broken_links: BTreeMap<NodeId, u64>,
    compacting: Compacting,
    staging: BTreeMap<GroupId, Staging>,
    /// Bytes of snapshots' files that may still be asked for in this tick.
    staging_room_bytes: u64,
    membership: Membership,
    /// What was last reported to the metadata's leader about a group, and at which tick.
    reported: BTreeMap<GroupId, (Change, u64)>,
    /// Groups whose configuration has changed since the last look.
    conf_changed: BTreeSet<GroupId>,
    /// Lives of replicas so far, see [`SlotReplica::life`].
    lives: u64,
    disk_full: bool,
    /// When followers were told last of what is committed, without entries.
    commits_told_ms: u64,
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
    /// Takes one event; what follows from it is told by [`Peer::act`]. Events that come together share what follows:
    /// many publishes one write, one message to each follower, one answer of each.
    pub fn take(&mut self, now: Now, event: Event) {
        self.now = now;
        match event {
            Event::Tick => self.tick(),
            Event::Due => {}
            Event::Frame { from, frame } => self.frame(from, frame),
            Event::LinkUp { node, feature_level } => {
                self.links.insert(node, feature_level);
            }
            Event::LinkDown(node) => self.link_down(node),
            Event::Request { id, request, patience_ms } => self.request(id, request, patience_ms),
            Event::Cancel(id) => self.abandon(Origin::Client(id)),
            Event::HandOff => self.hand_off(),
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
    }

    /// Says what is to be done for every event since the last call.
    pub fn act(&mut self) -> Vec<Action> {
        self.pump();
        self.arrange_replicas();
        for group in std::mem::take(&mut self.conf_changed) {
            self.step_configuration(group);
        }
        self.pump();
        if self.due_ms().is_some_and(|due| self.now.mono_ms >= due) {
            self.commits_told_ms = self.now.mono_ms;
            self.groups.tell_commits();
            self.pump();
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Due`] is wanted, on the clock of [`Now::mono_ms`]: soon, so that followers hear what is committed
    /// although nothing more is published; at once, where they heard nothing for a while.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.groups.has_untold_commits().then(|| self.commits_told_ms + self.config.commits_ms)
    }

    /// Whom frames reach.
    fn linked(&self) -> impl Iterator<Item = NodeId> {
        self.links.keys().copied()
    }

    /// A number that no replica's life had before.
    fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
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
        self.hear_of(from, &envelope);
        let ticks = self.ticks;
        let leader = self.groups.role(envelope.group).and_then(|role| role.leader);
        if let Some(replica) = self.slots.get_mut(&envelope.group).filter(|_| leader == Some(from)) {
            replica.heard_tick = ticks;
        }
        if planted::is(Bug::StrayReplica) && self.groups.replica(envelope.group).is_none() {
            self.create_stray(&envelope);
        }
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
