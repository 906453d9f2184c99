//! One replica's Raft state machine, and what it still waits for.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_log::{Base, Entry, HardState, Op, Position};
use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, RawNode, SnapshotStatus, StateRole};
use slog::Logger;

use crate::storage::{Located, SnapshotData, Store, Wanted, conf_from_raft};
use crate::wire::Envelope;
use crate::{
    Committed, CommittedEntry, Config, Follower, Outgoing, ProposeError, Proposed, ReadIndex, Ready,
    Restored, Rng, Role,
};

/// A Ready whose write is under way, with the messages that may go out only after it.
struct Flight {
    write: u64,
    ready: u64,
    appended: Vec<(u64, u64)>,
    /// The index of a snapshot in it.
    snapshot: Option<u64>,
    messages: Vec<Message>,
}

pub(crate) struct Group {
    id: GroupId,
    pub replica: ReplicaId,
    raw: RawNode<Store>,
    nodes: BTreeMap<ReplicaId, NodeId>,
    applied: u64,
    flights: VecDeque<Flight>,
    /// Index, term and base of a compaction that the next write carries.
    compaction: Option<Base>,
    reported: Option<(u64, u64, StateRole)>,
    /// Term and role for which the election timeout was drawn.
    drawn_for: Option<(u64, StateRole)>,
    snapshot_since: BTreeMap<u64, u64>,
    fetching: BTreeMap<u64, Wanted>,
    ticks: u64,
}

impl Group {
    pub fn new(
        id: GroupId,
        replica: ReplicaId,
        store: Store,
        applied: u64,
        nodes: BTreeMap<ReplicaId, NodeId>,
        config: &Config,
    ) -> Self {
        let raft = raft::Config {
            id: replica.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied,
            max_size_per_msg: config.message_bytes,
            max_inflight_msgs: config.inflight_messages,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: config.uncommitted_bytes,
            max_committed_size_per_ready: config.committed_bytes,
            ..Default::default()
        };
        // What a group does is reported as roles and metrics; the crate's own log would name it a second time.
        let silent = Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft, store, &silent).expect("a recovered log is a valid start");
        Self {
            id,
            replica,
            raw,
            nodes,
            applied,
            flights: VecDeque::new(),
            compaction: None,
            reported: None,
            drawn_for: None,
            snapshot_since: BTreeMap::new(),
            fetching: BTreeMap::new(),
            ticks: 0,
        }
    }

    pub fn tick(&mut self, config: &Config) {
        self.ticks += 1;
        if !self.snapshot_under_way() {
            self.raw.tick();
        }
        self.fail_stuck_snapshots(config.snapshot_ticks);
    }

    /// A snapshot message may be lost, and `raft` waits for its report for ever.
    fn fail_stuck_snapshots(&mut self, limit: u64) {
        let now = self.ticks;
        let waiting: Vec<u64> = match self.raw.raft.state {
            StateRole::Leader => {
                let progress = self.raw.raft.prs().iter();
                progress.filter(|(_, p)| p.state == ProgressState::Snapshot).map(|(id, _)| *id).collect()
            }
            _ => Vec::new(),
        };
        self.snapshot_since.retain(|id, _| waiting.contains(id));
        for id in waiting {
            if now - *self.snapshot_since.entry(id).or_insert(now) >= limit {
                self.snapshot_since.remove(&id);
                self.raw.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }

    /// The receiver of a snapshot is still fetching its files.
    pub fn snapshot_progress(&mut self, replica: ReplicaId) {
        if let Some(since) = self.snapshot_since.get_mut(&replica.0) {
            *since = self.ticks;
        }
    }

    pub fn step(&mut self, from: NodeId, envelope: Envelope) {
        let known = self.nodes.get(&envelope.from) == Some(&from);
        if !known || envelope.to != self.replica {
            return;
        }
        if envelope.message.msg_type == MessageType::MsgTimeoutNow && self.snapshot_under_way() {
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

    /// Until a snapshot is durable, `raft` would look for unapplied entries below it if it stood for election.
    fn snapshot_under_way(&self) -> bool {
        self.flights.iter().any(|flight| flight.snapshot.is_some())
    }

    pub fn campaign(&mut self) {
        if self.snapshot_under_way() {
            return;
        }
        // Refused only for a replica that cannot be elected, which then stays as it is.
        let _refused = self.raw.campaign();
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

    pub fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    pub fn base_index(&self) -> u64 {
        self.raw.store().base_index()
    }

    pub fn locate(&self, index: u64) -> Option<Located> {
        self.raw.store().locate(index)
    }

    /// Moves the base to an applied index; the next write tells the log.
    pub fn compact(&mut self, index: u64, data: SnapshotData) {
        use raft::Storage;
        assert!(index <= self.applied, "only applied entries are compacted");
        if index < self.base_index() {
            return;
        }
        let term = self.raw.store().term(index).expect("an applied entry above the base has a term");
        let conf = self.raw.store().conf().clone();
        let base = Base {
            index,
            term,
            conf: conf.clone(),
            state: data.state.clone(),
            files: data.files.clone(),
            keep_tail: true,
        };
        self.raw.mut_store().compact(index, term, conf, data);
        self.compaction = Some(base);
    }

    pub fn fetched(&mut self, low: u64, entries: Option<Vec<Bytes>>) {
        let Some(wanted) = self.fetching.remove(&low) else { return };
        let Some(entries) = entries else { return };
        self.raw.mut_store().set_fetched(Some((low, entries)));
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

    /// Moves what is due into `out`; returns whether the write must be synced.
    pub fn ready(&mut self, write: u64, ops: &mut Vec<Op>, out: &mut Ready) -> bool {
        let mut sync = false;
        while self.raw.has_ready() {
            sync |= self.one_ready(write, ops, out);
        }
        if let Some(base) = self.compaction.take() {
            ops.push(Op::Base { group: self.id, replica: self.replica, base });
            sync = true;
        }
        for wanted in self.raw.store().take_wanted() {
            let low = wanted.low;
            if let std::collections::btree_map::Entry::Vacant(slot) = self.fetching.entry(low) {
                let positions = wanted.positions.clone();
                slot.insert(wanted);
                out.fetches.push(crate::Fetch { group: self.id, token: low, positions });
            }
        }
        self.report_role(out);
        sync
    }

    fn one_ready(&mut self, write: u64, ops: &mut Vec<Op>, out: &mut Ready) -> bool {
        let mut ready = self.raw.ready();
        let sync = ready.must_sync();
        out.messages.extend(self.outgoing(ready.take_messages()));
        let held = ready.take_persisted_messages();
        let before = ops.len();
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().get_metadata().index);
        if snapshot.is_some() {
            self.restore(ready.snapshot().clone(), ops, out);
        }
        let entries = ready.take_entries();
        let appended = self.append(&entries, ops);
        if let Some(hs) = ready.hs() {
            // Last, so that wherever the write is torn, no commit index stands before the entries it speaks of.
            let hard_state = HardState { term: hs.term, vote: hs.vote, commit: hs.commit };
            self.raw.mut_store().set_hard_state(hard_state);
            ops.push(Op::HardState { group: self.id, hard_state });
        }
        let committed = ready.take_committed_entries();
        let applies = !committed.is_empty();
        self.commit_entries(committed, out);
        out.reads.extend(ready.take_read_states().into_iter().filter_map(|read| {
            let token = u64::from_le_bytes(read.request_ctx.try_into().ok()?);
            Some(ReadIndex { group: self.id, token, index: read.index })
        }));
        let number = ready.number();
        self.raw.advance_append_async(ready);
        // Answers to earlier entries wait for the same write as those entries; a Ready that writes nothing
        // follows whatever is still under way.
        let waits = if ops.len() > before { Some(write) } else { self.flights.back().map(|last| last.write) };
        match waits {
            Some(write) => {
                self.flights.push_back(Flight { write, ready: number, appended, snapshot, messages: held });
            }
            None => {
                self.raw.on_persist_ready(number);
                out.messages.extend(self.outgoing(held));
            }
        }
        if applies {
            self.raw.advance_apply_to(self.applied);
        }
        sync
    }

    fn restore(&mut self, snapshot: raft::eraftpb::Snapshot, ops: &mut Vec<Op>, out: &mut Ready) {
        let metadata = snapshot.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        let conf = conf_from_raft(metadata.get_conf_state());
        let data = SnapshotData::decode(snapshot.data.clone()).expect("checked before it was stepped");
        let (state, files) = (data.state.clone(), data.files.clone());
        let base = Base { index, term, conf: conf.clone(), state, files, keep_tail: false };
        ops.push(Op::Base { group: self.id, replica: self.replica, base });
        self.compaction = None;
        self.raw.mut_store().restore(index, term, conf, data.clone());
        self.applied = index;
        out.restored.push(Restored { group: self.id, index, term, data });
    }

    fn append(&mut self, entries: &[raft::eraftpb::Entry], ops: &mut Vec<Op>) -> Vec<(u64, u64)> {
        let Some(first) = entries.first().map(|entry| entry.index) else { return Vec::new() };
        let shared = entries.iter().map(|entry| (entry.term, entry.data.clone()));
        self.raw.mut_store().append(first, shared);
        let log = |entry: &raft::eraftpb::Entry| Entry {
            index: entry.index,
            term: entry.term,
            kind: 0,
            data: entry.data.clone(),
        };
        ops.push(Op::Append { group: self.id, entries: entries.iter().map(log).collect() });
        entries.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    fn commit_entries(&mut self, entries: Vec<raft::eraftpb::Entry>, out: &mut Ready) {
        let Some(last) = entries.last() else { return };
        assert_eq!(entries[0].index, self.applied + 1, "committed entries are applied in order, each once");
        self.applied = last.index;
        let entry = |e: raft::eraftpb::Entry| CommittedEntry { index: e.index, term: e.term, data: e.data };
        out.committed.push(Committed { group: self.id, entries: entries.into_iter().map(entry).collect() });
    }

    fn report_role(&mut self, out: &mut Ready) {
        let now = (self.raw.raft.term, self.raw.raft.leader_id, self.raw.raft.state);
        if self.reported != Some(now) {
            self.reported = Some(now);
            out.roles.push(self.role());
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
