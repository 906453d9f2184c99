//! One replica's Raft state machine, and what it still waits for.

mod commits;
mod doubt;
mod force;
mod gather;
mod membership;
mod snapshots;
mod start;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_log::{Base, Entry, HardState, Op, Position};
use raft::eraftpb::{self, Message, MessageType};
use raft::{RawNode, StateRole};

use crate::conf::{ConfChange, History};
use crate::entry::kind_of;
use crate::storage::{Located, Store, Wanted};
use crate::wire::Envelope;
use crate::{
    Committed, CommittedEntry, Config, EntryKind, Follower, Outgoing, ProposeError, Proposed, ReadIndex,
    Ready, Rng, Role,
};
use commits::Commits;
use gather::gather;
use start::raw_node;

pub(crate) use force::Forced;
pub(crate) use start::Start;

/// A Ready whose write is under way, with the messages that may go out only after it.
struct Flight {
    write: u64,
    ready: u64,
    appended: Vec<(u64, u64)>,
    /// The index of a snapshot in it.
    snapshot: Option<u64>,
    messages: Vec<Message>,
    /// Whether the write makes this replica the sole voter.
    forces: bool,
    /// Whether the write carries a new term or vote.
    votes: bool,
}

/// Where a group puts what is to be done.
pub(crate) struct Turn<'a> {
    /// The number of the write that carries `ops`.
    pub write: u64,
    pub ops: &'a mut Vec<Op>,
    pub out: &'a mut Ready,
    /// The last token that a fetch was given.
    pub last_token: &'a mut u64,
}

pub(crate) struct Group {
    id: GroupId,
    pub replica: ReplicaId,
    raw: RawNode<Store>,
    nodes: BTreeMap<ReplicaId, NodeId>,
    applied: u64,
    confs: History,
    flights: VecDeque<Flight>,
    /// The base of a compaction that the next write carries.
    compaction: Option<Base>,
    /// With what the next write makes this replica the sole voter.
    forcing: Option<Forced>,
    reported: Option<(Role, StateRole)>,
    /// Term and role for which the election timeout was drawn.
    drawn_for: Option<(u64, StateRole)>,
    snapshot_since: BTreeMap<u64, u64>,
    fetching: BTreeMap<u64, Wanted>,
    commits: Commits,
    ticks: u64,
}

impl Group {
    pub fn new(id: GroupId, replica: ReplicaId, start: Start, config: &Config) -> Self {
        let Start { store, applied, conf, changes, nodes } = start;
        let mut group = Self {
            id,
            replica,
            raw: raw_node(id, replica, store, applied, config),
            nodes,
            applied,
            confs: History::new(conf),
            flights: VecDeque::new(),
            compaction: None,
            forcing: None,
            reported: None,
            drawn_for: None,
            snapshot_since: BTreeMap::new(),
            fetching: BTreeMap::new(),
            commits: Commits::default(),
            ticks: 0,
        };
        for (index, change) in changes {
            group.apply_conf(index, &change);
        }
        group
    }

    pub fn tick(&mut self, config: &Config) {
        self.ticks += 1;
        self.commits.hurry();
        if self.leads() || self.may_stand() {
            self.raw.tick();
        }
        self.fail_stuck_snapshots(config.snapshot_ticks);
    }

    pub fn step(&mut self, from: NodeId, envelope: Envelope) {
        let known = self.nodes.get(&envelope.from) == Some(&from);
        if !known || envelope.to != self.replica {
            return;
        }
        if envelope.message.msg_type == MessageType::MsgTimeoutNow && !self.may_stand() {
            return;
        }
        // A snapshot is only taken by `raft` if it is newer; an error here is a stale message, no more.
        let _stale = self.raw.step(envelope.message);
    }

    pub fn propose(&mut self, data: Bytes) -> Result<Proposed, ProposeError> {
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        self.raw.propose(Vec::new(), data.into()).map_err(|_| ProposeError::Dropped)?;
        Ok(Proposed { term: self.raw.raft.term, index: self.raw.raft.raft_log.last_index() })
    }

    pub fn read_index(&mut self, token: u64) -> Result<(), ProposeError> {
        // A leader that has not committed in its own term does not know what is committed.
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        if !self.raw.raft.commit_to_current_term() {
            return Err(ProposeError::Dropped);
        }
        self.raw.read_index(token.to_le_bytes().to_vec());
        Ok(())
    }

    pub fn campaign(&mut self) {
        // A replica without a vote would, while it knows of no voters at all, take itself for elected.
        if self.raw.raft.promotable() && self.may_stand() {
            // Refused only while a committed change of configuration is not applied; then all stays as it is.
            let _refused = self.raw.campaign();
        }
    }

    pub fn transfer(&mut self, to: ReplicaId) {
        self.raw.transfer_leader(to.0);
    }

    pub fn transferring(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub fn followers(&self) -> Vec<Follower> {
        let of = |(id, progress): (&u64, &raft::Progress)| Follower {
            replica: ReplicaId(*id),
            voter: self.confs.latest().is_voter(ReplicaId(*id)),
            matched: progress.matched,
            active: *id == self.replica.0 || progress.recent_active,
        };
        let mut all: Vec<_> = self.raw.raft.prs().iter().map(of).collect();
        all.sort_unstable_by_key(|follower| follower.replica);
        all
    }

    pub fn role(&self) -> Role {
        let leader = ReplicaId(self.raw.raft.leader_id);
        Role {
            group: self.id,
            term: self.raw.raft.term,
            leader: self.nodes.get(&leader).copied(),
            leads: self.leads(),
        }
    }

    pub fn last(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    pub fn last_term(&self) -> u64 {
        self.raw.raft.raft_log.last_term()
    }

    pub fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    pub fn set_nodes(&mut self, nodes: BTreeMap<ReplicaId, NodeId>) {
        self.nodes = nodes;
    }

    pub fn add_node(&mut self, replica: ReplicaId, node: NodeId) {
        self.nodes.entry(replica).or_insert(node);
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    pub fn base_index(&self) -> u64 {
        self.raw.store().base_index()
    }

    pub fn position(&self, index: u64) -> Option<Position> {
        self.raw.store().position(index)
    }

    pub fn locate(&self, index: u64) -> Option<Located> {
        self.raw.store().locate(index)
    }

    pub fn fetched(&mut self, token: u64, entries: Option<Vec<Bytes>>) {
        let Some(wanted) = self.fetching.remove(&token) else { return };
        let Some(entries) = entries else { return };
        self.raw.mut_store().set_fetched(Some((wanted.low, entries)));
        self.raw.on_entries_fetched(wanted.context);
        self.raw.mut_store().set_fetched(None);
    }

    /// Everything up to this write is durable: the messages that waited for it go out.
    pub fn persisted(&mut self, write: u64, positions: &mut impl Iterator<Item = Position>) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while self.flights.front().is_some_and(|flight| flight.write <= write) {
            let Some(flight) = self.flights.pop_front() else { break };
            for (index, term) in flight.appended {
                let position = positions.next().expect("the log gives a position for every entry");
                self.raw.mut_store().written(index, term, position);
            }
            self.raw.on_persist_ready(flight.ready);
            if let Some(index) = flight.snapshot {
                // To `raft`, a snapshot is not applied before it is durable.
                self.raw.advance_apply_to(index);
            }
            out.extend(self.outgoing(flight.messages));
        }
        self.raw.mut_store().trim(self.applied);
        out
    }

    /// Draws the election timeout from our own stream wherever `raft` drew one from the machine's.
    pub fn settle_timeout(&mut self, rng: &mut Rng, config: &Config) {
        // Whatever makes `raft` draw changes one of the two.
        let now = (self.raw.raft.term, self.raw.raft.state);
        if self.drawn_for != Some(now) {
            self.drawn_for = Some(now);
            let spread = rng.below(config.election_ticks as u64);
            let timeout = config.election_ticks + usize::try_from(spread).expect("below a usize");
            self.raw.raft.set_randomized_election_timeout(timeout);
        }
    }

    /// Moves what is due into the turn; returns whether the write must be synced.
    pub fn ready(&mut self, turn: &mut Turn<'_>, config: &Config) -> bool {
        let mut sync = false;
        // What a forced write commits is applied once that write is durable.
        while !self.being_forced() && self.raw.has_ready() {
            sync |= self.one_ready(turn, config);
        }
        if let Some(forced) = self.forcing.take() {
            self.force(forced, turn, config);
            sync = true;
        }
        // A base never stands before the commit that allowed it.
        if self.commits.must_be_written() || self.compaction.is_some() {
            self.write_commit(turn);
        }
        if let Some(base) = self.compaction.take() {
            turn.ops.push(Op::Base { group: self.id, replica: self.replica, base });
            sync = true;
        }
        for wanted in self.raw.store().take_wanted() {
            if self.fetching.values().all(|other| other.low != wanted.low) {
                *turn.last_token += 1;
                let (token, positions) = (*turn.last_token, wanted.positions.clone());
                self.fetching.insert(token, wanted);
                turn.out.fetches.push(crate::Fetch { group: self.id, token, positions });
            }
        }
        self.report_role(turn.out);
        sync
    }

    fn one_ready(&mut self, turn: &mut Turn<'_>, config: &Config) -> bool {
        let mut ready = self.raw.ready();
        let sync = ready.must_sync();
        let immediate = ready.take_messages();
        let mut messages = ready.take_persisted_messages();
        let before = turn.ops.len();
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().get_metadata().index);
        if snapshot.is_some() {
            self.restore(ready.snapshot(), turn);
        }
        let appended = self.append(&ready.take_entries(), turn.ops);
        let mut votes = false;
        if let Some(hs) = ready.hs() {
            // Last, so that wherever the write is torn, no commit index stands before the entries it speaks of.
            let hard_state = HardState { term: hs.term, vote: hs.vote, commit: hs.commit };
            votes = self.raw.mut_store().set_hard_state(hard_state);
            self.commits.changed();
            if self.id == GroupId::META {
                // Rare, and where replicas belong shall be known as soon as this node starts again.
                self.commits.hurry();
            }
        }
        if votes || turn.ops.len() > before {
            self.write_commit(turn);
        }
        self.commits.sent(&immediate, self.raw.raft.term);
        if votes || self.flights.iter().any(|flight| flight.votes) {
            // A sole voter elects itself at once. If its learners heard of a term that is then lost, they could
            // hear different entries of the same term after a restart.
            messages.extend(immediate);
        } else {
            turn.out.messages.extend(self.outgoing(gather(immediate, config.message_bytes)));
        }
        let changes = self.commit_entries(ready.take_committed_entries(), turn.out);
        turn.out.reads.extend(ready.take_read_states().into_iter().filter_map(|read| {
            let token = u64::from_le_bytes(read.request_ctx.try_into().ok()?);
            Some(ReadIndex { group: self.id, token, index: read.index })
        }));
        let number = ready.number();
        self.raw.advance_append_async(ready);
        // Answers to earlier entries wait for the same write as those entries; a Ready that writes nothing
        // follows whatever is still under way.
        let writes = turn.ops.len() > before;
        let waits = if writes { Some(turn.write) } else { self.flights.back().map(|last| last.write) };
        match waits {
            Some(write) => {
                let ready = number;
                let flight = Flight { write, ready, appended, snapshot, messages, votes, forces: false };
                self.flights.push_back(flight);
            }
            None => {
                self.raw.on_persist_ready(number);
                turn.out.messages.extend(self.outgoing(messages));
            }
        }
        if let Some(changes) = changes {
            if !changes.is_empty() {
                // Who votes is known as soon as this replica starts again.
                self.commits.hurry();
            }
            for (index, change) in changes {
                self.apply_conf(index, &change);
            }
            self.raw.advance_apply_to(self.applied);
        }
        sync
    }

    fn append(&mut self, entries: &[eraftpb::Entry], ops: &mut Vec<Op>) -> Vec<(u64, u64)> {
        if entries.is_empty() {
            return Vec::new();
        }
        let log = |entry: &eraftpb::Entry| Entry {
            index: entry.index,
            term: entry.term,
            kind: kind_of(entry.entry_type),
            data: entry.data.clone(),
        };
        let entries: Vec<_> = entries.iter().map(log).collect();
        self.raw.mut_store().append(&entries);
        let appended = entries.iter().map(|entry| (entry.index, entry.term)).collect();
        ops.push(Op::Append { group: self.id, entries });
        appended
    }

    /// Hands entries out to be applied. Returns the configuration changes among them, which `raft` must apply,
    /// or nothing when there are no entries.
    fn commit_entries(
        &mut self,
        entries: Vec<eraftpb::Entry>,
        out: &mut Ready,
    ) -> Option<Vec<(u64, ConfChange)>> {
        let (first, last) = (entries.first()?.index, entries.last()?.index);
        assert_eq!(first, self.applied + 1, "committed entries are applied in order, each once");
        self.applied = last;
        let mut changes = Vec::new();
        let mut handed = Vec::with_capacity(entries.len());
        for eraftpb::Entry { index, term, data, entry_type, .. } in entries {
            let mut kind = EntryKind::Normal;
            if entry_type == eraftpb::EntryType::EntryConfChangeV2 {
                let change = ConfChange::decode(&data).expect("checked before it entered the log");
                kind = EntryKind::Conf { version: change.version };
                changes.push((index, change));
            }
            handed.push(CommittedEntry { index, term, kind, data });
        }
        out.committed.push(Committed { group: self.id, entries: handed });
        Some(changes)
    }

    fn report_role(&mut self, out: &mut Ready) {
        let role = self.role();
        let now = (role, self.raw.raft.state);
        if self.reported != Some(now) {
            self.reported = Some(now);
            out.roles.push(role);
        }
    }

    fn outgoing(&self, messages: Vec<Message>) -> Vec<Outgoing> {
        let wrap = |message: Message| {
            debug_assert!(
                message.msg_type != MessageType::MsgPropose,
                "proposals are never forwarded by raft"
            );
            let to = *self.nodes.get(&ReplicaId(message.to))?;
            Some(Outgoing { to, envelope: Envelope::wrap(self.id, message)? })
        };
        messages.into_iter().filter_map(wrap).collect()
    }
}
