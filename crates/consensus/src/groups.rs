//! All groups of a node, behind one write at a time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_log::{Base, HardState, Op, Position, RecoveredGroup};

use crate::conf::ConfStep;
use crate::group::{Forced, Group, Start, Turn};
use crate::restore::{Replayed, RestoreError};
use crate::storage::{Located, SnapshotData, Store};
use crate::{Config, Envelope, Follower, Outgoing, ProposeError, Proposed, Ready, Rng, Role, Write};

/// The Raft groups of one node.
pub struct Groups {
    config: Config,
    groups: BTreeMap<GroupId, Group>,
    /// Groups that may have something to report.
    touched: BTreeSet<GroupId>,
    /// Operations of groups that were made since the last write.
    created: Vec<Op>,
    /// For each write under way, which entries' positions come back for whom.
    order: BTreeMap<u64, Vec<(GroupId, usize)>>,
    next_write: u64,
    last_token: u64,
    /// Groups whose followers do not know yet what is committed.
    untold: BTreeSet<GroupId>,
    rng: Rng,
}

impl Groups {
    /// No groups yet. Elections depend on `seed` and on what happens, on nothing else.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            touched: BTreeSet::new(),
            created: Vec::new(),
            order: BTreeMap::new(),
            next_write: 1,
            last_token: 0,
            untold: BTreeSet::new(),
            rng: Rng::new(seed),
        }
    }

    /// Takes up a replica found in the log.
    ///
    /// # Errors
    /// When the log holds an entry that this version does not know. The replica is not taken up then.
    ///
    /// # Panics
    /// When `replayed` does not fit the log, or the group has a replica here already.
    pub fn restore(
        &mut self,
        group: GroupId,
        recovered: &RecoveredGroup,
        replayed: Replayed,
        nodes: BTreeMap<ReplicaId, NodeId>,
    ) -> Result<(), RestoreError> {
        let start = replayed.start(recovered, nodes, self.config.cache_bytes)?;
        self.insert(group, recovered.replica, start);
        Ok(())
    }

    /// Begins a replica that committed placement puts on this node. With the default base it holds nothing and
    /// knows of no voters: it waits for a leader's snapshot.
    ///
    /// # Panics
    /// When the group has a replica here already.
    pub fn create(
        &mut self,
        group: GroupId,
        replica: ReplicaId,
        base: Base,
        nodes: BTreeMap<ReplicaId, NodeId>,
    ) {
        let hard_state = HardState { term: base.term, vote: 0, commit: base.index };
        let store = Store::new(hard_state, &base, &[], Vec::new(), self.config.cache_bytes);
        let (applied, conf) = (base.index, base.conf.clone());
        self.created.push(Op::Base { group, replica, base });
        self.created.push(Op::HardState { group, hard_state });
        self.insert(group, replica, Start { store, applied, conf, changes: Vec::new(), nodes });
    }

    fn insert(&mut self, id: GroupId, replica: ReplicaId, start: Start) {
        let mut group = Group::new(id, replica, start, &self.config);
        group.settle_timeout(&mut self.rng, &self.config);
        let before = self.groups.insert(id, group);
        assert!(before.is_none(), "a node holds one replica of a group at a time");
        self.touched.insert(id);
    }

    /// Gives up the replica here; the next write leaves its tombstone. Returns which one it was.
    ///
    /// Another replica of the group may be created at once: the log sees both in this order.
    pub fn destroy(&mut self, group: GroupId) -> Option<ReplicaId> {
        let replica = self.groups.remove(&group)?.replica;
        self.bury(group, replica);
        Some(replica)
    }

    /// Leaves the tombstone of a replica that was not taken up, because the log holds it damaged or not at all.
    pub fn bury(&mut self, group: GroupId, replica: ReplicaId) {
        self.created.push(Op::Destroy { group, replica });
    }

    /// The groups that have a replica here.
    pub fn ids(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    /// Time passed. One tick for every group.
    pub fn tick(&mut self) {
        let ids: Vec<_> = self.groups.keys().copied().collect();
        for id in ids {
            self.with(id, |group, config| group.tick(config));
        }
    }

    /// A message arrived from a node whose identity the caller has checked. One that is not for a replica
    /// here, or not from a replica of that node, is dropped.
    pub fn step(&mut self, from: NodeId, envelope: Envelope) {
        self.with(envelope.group, |group, _| group.step(from, envelope));
    }

    /// Whether a message is for a replica that is here.
    #[must_use]
    pub fn is_for_us(&self, envelope: &Envelope) -> bool {
        self.groups.get(&envelope.group).is_some_and(|group| group.replica == envelope.to)
    }

    /// Adds to a group's log, if this node leads it.
    ///
    /// # Errors
    /// The entry is certainly not in the log then.
    pub fn propose(&mut self, group: GroupId, data: Bytes) -> Result<Proposed, ProposeError> {
        self.with(group, |group, _| group.propose(data)).unwrap_or(Err(ProposeError::NoReplica))
    }

    /// Proposes a step of the group's configuration, if this node leads it. `version` is the caller's and comes
    /// back with the committed entry. One change is under way at a time.
    ///
    /// # Errors
    /// The change is certainly not in the log then.
    pub fn propose_conf(
        &mut self,
        group: GroupId,
        step: &ConfStep,
        version: u64,
    ) -> Result<Proposed, ProposeError> {
        self.with(group, |group, _| group.propose_conf(step, version)).unwrap_or(Err(ProposeError::NoReplica))
    }

    /// Whether, as the leader here knows, a change of configuration may be in the log that is not applied yet.
    #[must_use]
    pub fn conf_pending(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(Group::conf_pending)
    }

    /// The replica of a group that is here.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<ReplicaId> {
        self.groups.get(&group).map(|group| group.replica)
    }

    /// The group's configuration as the replica here has applied it.
    #[must_use]
    pub fn conf(&self, group: GroupId) -> Option<&ConfState> {
        self.groups.get(&group).map(Group::conf)
    }

    /// The index applied last, its term, and the configuration there.
    #[must_use]
    pub fn snapshot_point(&self, group: GroupId) -> Option<(u64, u64, ConfState)> {
        self.groups.get(&group).map(Group::snapshot_point)
    }

    /// Where the group's replicas are. Messages from and to all others are dropped.
    pub fn set_nodes(&mut self, group: GroupId, nodes: BTreeMap<ReplicaId, NodeId>) {
        self.with(group, |group, _| group.set_nodes(nodes));
    }

    /// Where a replica is that [`Groups::set_nodes`] does not name yet. Holds until that is called again.
    pub fn add_node(&mut self, group: GroupId, replica: ReplicaId, node: NodeId) {
        self.with(group, |group, _| group.add_node(replica, node));
    }

    /// Makes the replica here all of its group's configuration, without asking anybody: for a group whose
    /// majority is lost for good. Everything in the log here counts as committed from then on, and what is not in
    /// it never was. The other replicas must never take part again, nor any of them be forced as well.
    ///
    /// It takes effect with the next write, and comes out as a committed change with this version.
    ///
    /// # Errors
    /// When there is no replica here, or one that is not part of the group; `Dropped` while it is being done.
    pub fn force_sole(&mut self, group: GroupId, version: u64) -> Result<(), ProposeError> {
        let forced = Forced { version, entry: None };
        self.with(group, |group, _| group.force_sole(forced)).unwrap_or(Err(ProposeError::NoReplica))
    }

    /// As [`Groups::force_sole`], with an entry behind it: both are committed together, or neither is. Returns where
    /// that entry will be.
    ///
    /// # Errors
    /// When there is no replica here, or one that is not part of the group; `Dropped` while it is being done.
    pub fn force_sole_with(
        &mut self,
        group: GroupId,
        version: u64,
        entry: Bytes,
    ) -> Result<Proposed, ProposeError> {
        let forced = Forced { version, entry: Some(entry) };
        let force = |group: &mut Group, _: &Config| {
            group.force_sole(forced)?;
            Ok(Proposed { term: group.role().term + 1, index: group.last() + 2 })
        };
        self.with(group, force).unwrap_or(Err(ProposeError::NoReplica))
    }

    /// Asks for the index up to which everything acknowledged so far is committed; the answer is a
    /// [`crate::ReadIndex`] with this token, or none when leadership is lost meanwhile.
    ///
    /// # Errors
    /// When this node does not lead the group, or not for long enough to know.
    pub fn read_index(&mut self, group: GroupId, token: u64) -> Result<(), ProposeError> {
        self.with(group, |group, _| group.read_index(token)).unwrap_or(Err(ProposeError::NoReplica))
    }

    /// The link to a node broke: replicas that follow a leader there, and have not heard from it for `silent`
    /// ticks, elect another before the election timeout is over.
    pub fn doubt(&mut self, node: NodeId, silent: usize) {
        let ids: Vec<_> = self.groups.keys().copied().collect();
        for id in ids {
            self.with(id, |group, _| group.doubt_leader(node, silent));
        }
    }

    /// Stands for election now.
    pub fn campaign(&mut self, group: GroupId) {
        self.with(group, |group, _| group.campaign());
    }

    /// Hands leadership to another replica.
    pub fn transfer(&mut self, group: GroupId, to: ReplicaId) {
        self.with(group, |group, _| group.transfer(to));
    }

    /// Whether leadership of the group is being handed over.
    #[must_use]
    pub fn transferring(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(Group::transferring)
    }

    /// Whom the replica here follows.
    #[must_use]
    pub fn role(&self, group: GroupId) -> Option<Role> {
        self.groups.get(&group).map(Group::role)
    }

    /// How far each replica is, as the leader here knows; the leader itself included.
    #[must_use]
    pub fn followers(&self, group: GroupId) -> Vec<Follower> {
        self.groups.get(&group).map(Group::followers).unwrap_or_default()
    }

    /// The replica here: last, committed, applied and base index.
    #[must_use]
    pub fn indexes(&self, group: GroupId) -> Option<Indexes> {
        let group = self.groups.get(&group)?;
        Some(Indexes {
            last: group.last(),
            commit: group.commit(),
            applied: group.applied(),
            base: group.base_index(),
        })
    }

    /// The term of the newest entry; of the base, where there is none.
    #[must_use]
    pub fn last_term(&self, group: GroupId) -> Option<u64> {
        Some(self.groups.get(&group)?.last_term())
    }

    /// Where an entry lies in the log, once it is written there.
    #[must_use]
    pub fn position(&self, group: GroupId, index: u64) -> Option<Position> {
        self.groups.get(&group)?.position(index)
    }

    /// Where an entry's data is.
    #[must_use]
    pub fn locate(&self, group: GroupId, index: u64) -> Option<Located> {
        self.groups.get(&group)?.locate(index)
    }

    /// Forgets entries up to an applied index: `data` is the state at exactly that index.
    pub fn compact(&mut self, group: GroupId, index: u64, data: SnapshotData) {
        self.with(group, |group, _| group.compact(index, data));
    }

    /// Answers a [`crate::Fetch`]; none when the entries could not be read.
    pub fn fetched(&mut self, group: GroupId, token: u64, entries: Option<Vec<Bytes>>) {
        self.with(group, |group, _| group.fetched(token, entries));
    }

    /// A follower is still fetching the files of the snapshot it was sent.
    pub fn snapshot_progress(&mut self, group: GroupId, replica: ReplicaId) {
        self.with(group, |group, _| group.snapshot_progress(replica));
    }

    /// A write is durable. `positions` are those of its entries, in order. Writes are reported in order.
    pub fn persisted(&mut self, write: u64, positions: Vec<Position>) -> Vec<Outgoing> {
        let mut positions = positions.into_iter();
        let mut out = Vec::new();
        for (id, entries) in self.order.remove(&write).unwrap_or_default() {
            let mut own = positions.by_ref().take(entries).collect::<Vec<_>>().into_iter();
            // A replica that has taken a destroyed one's place waits for later writes only.
            let messages = self.with(id, |group, _| group.persisted(write, &mut own));
            out.extend(messages.unwrap_or_default());
        }
        out
    }

    /// Everything to be done since the last call.
    pub fn ready(&mut self) -> Ready {
        let mut out = Ready::default();
        let write = self.next_write;
        let mut ops = std::mem::take(&mut self.created);
        let mut sync = !ops.is_empty();
        let mut order = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let before = ops.len();
            let mut turn = Turn { write, ops: &mut ops, out: &mut out, last_token: &mut self.last_token };
            sync |= group.ready(&mut turn, &self.config);
            // A change of configuration may have ended a leadership.
            group.settle_timeout(&mut self.rng, &self.config);
            if group.has_untold() {
                self.untold.insert(id);
            } else {
                self.untold.remove(&id);
            }
            if ops.len() > before {
                order.push((id, ops[before..].iter().map(appended).sum()));
            }
        }
        if !ops.is_empty() {
            self.next_write += 1;
            self.order.insert(write, order);
            out.write = Some(Write { number: write, ops, sync });
        }
        out
    }

    /// Whether followers wait to be told of what is committed, as far as the last [`Groups::ready`] knows.
    #[must_use]
    pub fn has_untold_commits(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Tells followers what is committed, where no append has done so since.
    pub fn tell_commits(&mut self) {
        for id in std::mem::take(&mut self.untold) {
            self.with(id, |group, _| group.tell_commit());
        }
    }

    fn with<T>(&mut self, id: GroupId, act: impl FnOnce(&mut Group, &Config) -> T) -> Option<T> {
        let group = self.groups.get_mut(&id)?;
        let result = act(group, &self.config);
        group.settle_timeout(&mut self.rng, &self.config);
        self.touched.insert(id);
        Some(result)
    }
}

fn appended(op: &Op) -> usize {
    match op {
        Op::Append { entries, .. } => entries.len(),
        _ => 0,
    }
}

/// How far one replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexes {
    /// The newest entry.
    pub last: u64,
    /// The newest entry known to be committed.
    pub commit: u64,
    /// The newest entry handed out to be applied.
    pub applied: u64,
    /// The last entry that was compacted away.
    pub base: u64,
}
