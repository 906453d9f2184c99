//! The nodes, and what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hcube_consensus::wire::Envelope;
use hcube_consensus::{
    Config, EntryKind, Groups, Outgoing, ProposeError, Proposed, Replayed, Rng, SnapshotData, Write,
};
use hcube_core::codec::{Reader, Writer};
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_log::{Base, Op};

use super::disk::Disk;

pub const GROUP: GroupId = GroupId(7);

/// One entry as the state machine saw it. The state is the list of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub index: u64,
    pub term: u64,
    pub conf: bool,
    pub data: Bytes,
}

pub fn encode_state(state: &[Applied]) -> Bytes {
    let mut out = Vec::new();
    out.list(state.iter(), |out, applied| {
        out.u64(applied.index);
        out.u64(applied.term);
        out.flag(applied.conf);
        out.bytes(&applied.data);
    });
    out.into()
}

pub fn decode_state(bytes: Bytes) -> Vec<Applied> {
    let read = |reader: &mut Reader| {
        Ok(Applied {
            index: reader.u64("index")?,
            term: reader.u64("term")?,
            conf: reader.flag("conf")?,
            data: reader.bytes("data")?,
        })
    };
    if bytes.is_empty() { Vec::new() } else { Reader::new(bytes).list("state", read).unwrap() }
}

/// A node; without `groups` it is down.
#[derive(Default)]
pub struct Node {
    pub groups: Option<Groups>,
    pub disk: Disk,
    pub state: Vec<Applied>,
    /// Writes that the disk has not finished.
    pub writes: VecDeque<Write>,
}

pub struct World {
    pub nodes: BTreeMap<u64, Node>,
    /// Messages under way, with their senders.
    pub network: VecDeque<(u64, Outgoing)>,
    pub homes: BTreeMap<ReplicaId, NodeId>,
    /// Pairs of nodes that cannot reach one another.
    pub cut: BTreeSet<(u64, u64)>,
    /// The configuration that the first replica to get there had at an index.
    confs: BTreeMap<u64, ConfState>,
    /// The entry that the first replica to get there applied at an index.
    pub entries: BTreeMap<u64, Applied>,
    /// Replicas that got a snapshot.
    filled: BTreeSet<ReplicaId>,
    pub reads: Vec<(u64, u64)>,
    pub config: Config,
    rng: Rng,
}

/// Ids as replicas; in these tests replica n begins its life on node n, unless a test says otherwise.
pub fn ids(ids: &[u64]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

impl World {
    /// Founds the group with these voters, one on each node of the same number.
    pub fn found(voters: &[u64], seed: u64) -> Self {
        let mut world = Self {
            nodes: BTreeMap::new(),
            network: VecDeque::new(),
            homes: BTreeMap::new(),
            cut: BTreeSet::new(),
            confs: BTreeMap::new(),
            entries: BTreeMap::new(),
            filled: BTreeSet::new(),
            reads: Vec::new(),
            config: Config { cache_bytes: 64, snapshot_ticks: 10, ..Config::default() },
            rng: Rng::new(seed),
        };
        let conf = ConfState::simple(ids(voters), Vec::new());
        let base = Base { index: 1, term: 1, conf, state: encode_state(&[]), ..Base::default() };
        for node in voters {
            world.create(*node, *node, base.clone());
        }
        world.settle();
        world
    }

    /// Puts a replica that holds nothing on a node.
    pub fn place(&mut self, node: u64, replica: u64) {
        self.create(node, replica, Base::default());
    }

    fn create(&mut self, node: u64, replica: u64, base: Base) {
        self.homes.insert(ReplicaId(replica), NodeId(node));
        let homes = self.homes.clone();
        let seed = self.rng.next_u64();
        let config = self.config.clone();
        let at = self.nodes.entry(node).or_default();
        let groups = at.groups.get_or_insert_with(|| Groups::new(config, seed));
        groups.create(GROUP, ReplicaId(replica), base, homes.clone());
        for node in self.nodes.values_mut() {
            if let Some(groups) = &mut node.groups {
                groups.set_nodes(GROUP, homes.clone());
            }
        }
    }

    pub fn groups(&mut self, node: u64) -> &mut Groups {
        self.nodes.get_mut(&node).unwrap().groups.as_mut().expect("the node is up")
    }

    pub fn is_up(&self, node: u64) -> bool {
        self.nodes[&node].groups.is_some()
    }

    pub fn up(&self) -> Vec<u64> {
        self.nodes.keys().copied().filter(|node| self.is_up(*node)).collect()
    }

    pub fn conf(&self, node: u64) -> ConfState {
        self.nodes[&node].groups.as_ref().unwrap().conf(GROUP).unwrap().clone()
    }

    /// The node whose replica leads, the newest term's if there are several.
    pub fn leader(&self) -> Option<u64> {
        let role = |node: &u64| self.nodes[node].groups.as_ref()?.role(GROUP);
        let leads = self.up().into_iter().filter(|node| role(node).is_some_and(|role| role.leads));
        leads.max_by_key(|node| role(node).map(|role| role.term))
    }

    /// The power fails at a node: of the first unfinished write some ops and entries may be on the disk.
    pub fn crash(&mut self, node: u64, ops: usize, entries: usize) {
        let at = self.nodes.get_mut(&node).unwrap();
        at.groups = None;
        at.state.clear();
        if let Some(write) = std::mem::take(&mut at.writes).pop_front() {
            for op in write.ops.iter().take(ops) {
                at.disk.write(op, usize::MAX);
            }
            if let Some(op @ Op::Append { .. }) = write.ops.get(ops) {
                at.disk.write(op, entries);
            }
        }
    }

    pub fn restart(&mut self, node: u64) {
        let seed = self.rng.next_u64();
        let mut groups = Groups::new(self.config.clone(), seed);
        let homes = self.homes.clone();
        let at = self.nodes.get_mut(&node).unwrap();
        at.state = at.disk.replay();
        if let Some(recovered) = at.disk.recover() {
            let commit = recovered.hard_state.commit.max(recovered.base.index);
            let mut replayed = Replayed { applied: commit, ..Replayed::default() };
            for entry in &recovered.entries {
                let data = at.disk.read(entry.position);
                let conf = EntryKind::of(entry.kind, &data).unwrap() != EntryKind::Normal;
                match entry.index <= commit {
                    true if conf => replayed.confs.push((entry.index, data)),
                    true => {}
                    false => replayed.tail.push(data),
                }
            }
            groups.restore(GROUP, &recovered, replayed, homes).unwrap();
        }
        at.groups = Some(groups);
    }

    pub fn propose(&mut self, node: u64, data: &'static [u8]) -> Result<Proposed, ProposeError> {
        self.groups(node).propose(GROUP, Bytes::from_static(data))
    }

    /// Makes the base of a node's replica what it has applied up to `index`.
    pub fn compact(&mut self, node: u64, index: u64) {
        let state: Vec<_> = self.nodes[&node].state.clone();
        let kept: Vec<_> = state.into_iter().filter(|applied| applied.index <= index).collect();
        let data = SnapshotData { state: encode_state(&kept), files: Vec::new() };
        self.groups(node).compact(GROUP, index, data);
    }

    pub fn applied(&self, node: u64) -> u64 {
        self.nodes[&node].groups.as_ref().unwrap().indexes(GROUP).unwrap().applied
    }

    /// Takes what a node wants done; returns whether there was anything.
    pub fn drain(&mut self, node: u64) -> bool {
        let Some(groups) = &mut self.nodes.get_mut(&node).unwrap().groups else { return false };
        let mut ready = groups.ready();
        if ready.is_empty() && groups.has_untold_commits() {
            groups.tell_commits();
            ready = groups.ready();
        }
        let something = !ready.is_empty();
        self.network.extend(ready.messages.into_iter().map(|message| (node, message)));
        self.reads.extend(ready.reads.iter().map(|read| (read.token, read.index)));
        let at = self.nodes.get_mut(&node).unwrap();
        at.writes.extend(ready.write);
        for restored in ready.restored {
            at.state = decode_state(restored.data.state);
            self.filled.extend(self.homes.iter().filter(|(_, home)| home.0 == node).map(|(id, _)| *id));
        }
        let mut handed = Vec::new();
        for entry in ready.committed.into_iter().flat_map(|committed| committed.entries) {
            let conf = entry.kind != EntryKind::Normal;
            handed.push(Applied { index: entry.index, term: entry.term, conf, data: entry.data });
        }
        at.state.extend(handed.iter().cloned());
        let dense = at.state.iter().zip(2..).all(|(applied, index)| applied.index == index);
        assert!(dense, "entries are applied in order, each once");
        let positions: Vec<_> = ready.fetches.into_iter().collect();
        for fetch in positions {
            let at = self.nodes.get_mut(&node).unwrap();
            let data = fetch.positions.iter().map(|position| at.disk.read(*position)).collect();
            at.groups.as_mut().unwrap().fetched(GROUP, fetch.token, Some(data));
        }
        self.check(node, &handed);
        something
    }

    /// All replicas apply the same entries, and have the same configuration after each of them.
    fn check(&mut self, node: u64, handed: &[Applied]) {
        for applied in handed {
            let first = self.entries.entry(applied.index).or_insert_with(|| applied.clone());
            assert_eq!(first, applied, "node {node} applied another entry");
        }
        let groups = self.nodes[&node].groups.as_ref().unwrap();
        let Some((applied, term, conf)) = groups.snapshot_point(GROUP) else { return };
        if applied == 0 {
            return;
        }
        assert!(applied == 1 || self.entries[&applied].term == term, "the term of what is applied");
        match self.confs.get(&applied) {
            None => {
                self.confs.insert(applied, conf);
            }
            Some(first) => {
                // A snapshot names its receiver, whom only later entries may add, and so may what it hands on.
                let all = |conf: &ConfState| ConfState {
                    learners: conf.learners.iter().copied().filter(|id| !self.filled.contains(id)).collect(),
                    ..conf.clone()
                };
                assert_eq!(all(first), all(&conf), "node {node} differs at index {applied}");
            }
        }
    }

    /// A node's disk finishes its oldest write; returns whether there was one.
    pub fn persist(&mut self, node: u64) -> bool {
        let at = self.nodes.get_mut(&node).unwrap();
        let Some(write) = at.writes.pop_front() else { return false };
        let positions = write.ops.iter().flat_map(|op| at.disk.write(op, usize::MAX)).collect();
        let messages = at.groups.as_mut().expect("a node that is down has no writes");
        let messages = messages.persisted(write.number, positions);
        self.network.extend(messages.into_iter().map(|message| (node, message)));
        true
    }

    /// Delivers one message, by its place in the queue, or loses it.
    pub fn deliver(&mut self, at: usize, lose: bool) {
        let Some((from, Outgoing { to, envelope })) = self.network.remove(at) else { return };
        let to = to.0;
        let cut = self.cut.contains(&(from, to)) || self.cut.contains(&(to, from));
        let Some(groups) = self.nodes.get_mut(&to).and_then(|node| node.groups.as_mut()) else { return };
        if !lose && !cut {
            let mut bytes = Vec::new();
            envelope.encode(&mut bytes);
            let envelope = Envelope::decode(&mut Reader::new(bytes.into())).unwrap();
            groups.step(NodeId(from), envelope);
        }
    }

    /// Delivers what is under way now.
    pub fn deliver_all(&mut self) {
        for _ in 0..self.network.len() {
            self.deliver(0, false);
        }
    }

    /// Lets everything happen that needs no time to pass.
    pub fn settle(&mut self) {
        loop {
            let mut something = !self.network.is_empty();
            for node in self.up() {
                something |= self.drain(node) | self.persist(node);
            }
            self.deliver_all();
            if !something {
                break;
            }
        }
    }

    pub fn tick(&mut self) {
        for node in self.up() {
            self.groups(node).tick();
        }
        self.settle();
    }

    pub fn ticks(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick();
        }
    }
}
