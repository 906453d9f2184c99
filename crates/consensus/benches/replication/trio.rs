//! Three nodes with a replica of each group, of which the first leads them all. Disks and network do nothing: writes are
//! durable at once, messages arrive at once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hcube_consensus::{Config, Groups, Outgoing, Write};
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use hcube_log::{Base, Op, Position};

const NODES: u64 = 3;

/// The nodes, and messages that are under way.
pub struct Trio {
    nodes: Vec<Groups>,
    network: VecDeque<(NodeId, Outgoing)>,
    /// Entries that the nodes have applied, all together.
    applied: usize,
}

impl Trio {
    /// So many groups, led by the first node.
    pub fn new(groups: u32) -> Self {
        let nodes = (1..=NODES).map(|seed| Groups::new(Config::default(), seed)).collect();
        let mut trio = Self { nodes, network: VecDeque::new(), applied: 0 };
        let replicas: Vec<ReplicaId> = (1..=NODES).map(ReplicaId).collect();
        let places: BTreeMap<ReplicaId, NodeId> = (1..=NODES).map(|n| (ReplicaId(n), NodeId(n))).collect();
        let conf = ConfState::simple(replicas.clone(), Vec::new());
        let base = Base { index: 1, term: 1, conf, ..Base::default() };
        for group in (0..groups).map(GroupId) {
            for (node, replica) in trio.nodes.iter_mut().zip(&replicas) {
                node.create(group, *replica, base.clone(), places.clone());
            }
        }
        trio.settle();
        for group in (0..groups).map(GroupId) {
            trio.nodes[0].campaign(group);
        }
        trio.settle();
        let leads = |group| trio.nodes[0].role(GroupId(group)).is_some_and(|role| role.leads);
        assert!((0..groups).all(leads), "whoever stands alone is elected");
        trio
    }

    /// The node that leads.
    pub fn leader(&mut self) -> &mut Groups {
        &mut self.nodes[0]
    }

    /// What the leader wants sent now, with nothing done about it.
    #[allow(dead_code, reason = "one of the programs that share this has no use for it")]
    pub fn leaders_messages(&mut self) -> Vec<Outgoing> {
        let ready = self.nodes[0].ready();
        ready.messages
    }

    /// Lets everything happen that is to happen; how many entries were applied, on all nodes together.
    pub fn settle(&mut self) -> usize {
        let before = self.applied;
        loop {
            let mut quiet = true;
            for at in 0..self.nodes.len() {
                quiet &= !self.turn(at);
            }
            if quiet {
                return self.applied - before;
            }
        }
    }

    /// A node does what it wants done, then takes what has arrived; whether there was anything.
    fn turn(&mut self, at: usize) -> bool {
        let ready = self.nodes[at].ready();
        let mut busy = !ready.is_empty();
        let from = NodeId(at as u64 + 1);
        self.network.extend(ready.messages.into_iter().map(|message| (from, message)));
        self.applied += ready.committed.iter().map(|committed| committed.entries.len()).sum::<usize>();
        if let Some(write) = ready.write {
            let messages = self.nodes[at].persisted(write.number, positions(&write));
            self.network.extend(messages.into_iter().map(|message| (from, message)));
        }
        while let Some((from, message)) = self.network.pop_front() {
            busy = true;
            self.nodes[message.to.0 as usize - 1].step(from, message.envelope);
        }
        busy
    }
}

/// A place for each entry; nobody reads there.
fn positions(write: &Write) -> Vec<Position> {
    let appended = write.ops.iter().filter_map(|op| match op {
        Op::Append { entries, .. } => Some(entries),
        _ => None,
    });
    let place = |data: &Bytes| Position { segment: 1, offset: 64, length: data.len() as u32 };
    appended.flatten().map(|entry| place(&entry.data)).collect()
}
