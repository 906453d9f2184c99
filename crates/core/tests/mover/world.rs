//! A hypercube's metadata with its mover, and what must hold after every change whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::{ClusterId, GroupId, Incarnation, NodeId, ReplicaId, TopicId, Vertex};
use hcube_core::meta::change::{ChangeRefusal, NewMember};
use hcube_core::meta::command::Refusal;
use hcube_core::meta::mover::{Limits, Mover, replication};
use hcube_core::meta::{Change, Command, Founder, Member, Meta, Topic, genesis};
use hcube_core::placement::Standing;
use hcube_core::topic::{Name, Retention, slots_of};

/// The metadata and whoever moves slots in it.
pub struct World {
    pub meta: Meta,
    pub mover: Mover,
    pub limits: Limits,
    next_incarnation: u128,
    /// Replicas that were retired once.
    retired: BTreeSet<(GroupId, ReplicaId)>,
    /// Where every replica that was ever listed is.
    known: BTreeMap<ReplicaId, (GroupId, NodeId)>,
}

const TOPICS: [(&str, u16); 2] = [("orders", 3), ("clicks", 40)];

fn name(topic: usize) -> Name {
    TOPICS[topic].0.parse().unwrap()
}

impl World {
    pub fn new(peers: u16, slots: u16, replication: u8) -> Self {
        let founder = |vertex: u16| Founder {
            incarnation: Incarnation(u128::from(vertex) + 1),
            vertex: Vertex(vertex),
            zone: String::new(),
            peer_address: format!("peer-{vertex}:1"),
            client_address: format!("client-{vertex}:1"),
        };
        let mut meta = genesis(ClusterId(1), (0..peers).map(founder).collect(), slots, replication).unwrap();
        for (id, topic) in (1..).zip(0..TOPICS.len()) {
            let (name, partitions) = (name(topic), TOPICS[topic].1);
            let topic = Topic { id: TopicId(id), name, partitions, retention: Retention::default() };
            meta.apply(Command::CreateTopic(topic)).unwrap();
        }
        let (mover, limits) = (Mover::default(), Limits::default());
        let (retired, known) = (BTreeSet::new(), BTreeMap::new());
        let mut world = Self { meta, mover, limits, next_incarnation: 1000, retired, known };
        world.check();
        world
    }

    /// Makes a change that may be refused. A refused one changes nothing.
    pub fn try_change(&mut self, change: Change) {
        let before = self.meta.clone();
        if self.meta.apply(Command::Change(change)).is_err() {
            assert_eq!(self.meta, before);
        }
        self.check();
    }

    /// Makes a change that must be possible.
    pub fn change(&mut self, change: Change) {
        self.meta.apply(Command::Change(change)).unwrap();
        self.check();
    }

    fn newcomer(&mut self, vertex: Vertex, replaces: Option<NodeId>) -> Change {
        self.next_incarnation += 1;
        Change::AddMember(NewMember {
            incarnation: Incarnation(self.next_incarnation),
            vertex,
            zone: String::new(),
            peer_address: format!("peer-{vertex}:2"),
            client_address: format!("client-{vertex}:2"),
            replaces,
        })
    }

    pub fn join(&mut self) {
        let next = Vertex(self.meta.cube().peers());
        if next.0 < 12 {
            let change = self.newcomer(next, None);
            self.try_change(change);
        }
    }

    fn at(&self, which: usize) -> Member {
        let vertex = which % self.meta.members.len();
        self.meta.member_at(Vertex(u16::try_from(vertex).unwrap())).unwrap().clone()
    }

    pub fn drain(&mut self) {
        let staying = self.meta.members.values().filter(|member| member.standing == Standing::Active);
        let node = staying.max_by_key(|member| member.vertex).unwrap().node;
        self.try_change(Change::Drain { node });
    }

    pub fn cancel(&mut self, which: usize) {
        let node = self.at(which).node;
        self.try_change(Change::CancelDrain { node });
    }

    pub fn remove(&mut self) {
        let node = self.at(self.meta.members.len() - 1).node;
        self.try_change(Change::RemoveMember { node });
    }

    pub fn replace(&mut self, which: usize) {
        let Member { node, vertex, .. } = self.at(which);
        let change = self.newcomer(vertex, Some(node));
        self.change(change);
    }

    pub fn read_replicas(&mut self, topic: usize, count: u8) {
        self.change(Change::SetReadReplicas { topic: name(topic), count });
    }

    pub fn wanted_readers(&self, topic: usize) -> u8 {
        self.meta.read_replicas_of(self.meta.topic(&name(topic)).unwrap().id)
    }

    /// How many readers each slot of a topic has.
    pub fn readers_of(&self, topic: usize) -> Vec<usize> {
        let slots = slots_of(&name(topic), TOPICS[topic].1, self.meta.slots);
        slots.map(|slot| self.meta.placement[usize::from(slot.0)].learners.len()).collect()
    }

    pub fn damage(&mut self, group: usize, replica: usize) {
        let (group, placement) = self.meta.groups().nth(group % (1 + self.meta.placement.len())).unwrap();
        let held: Vec<_> = placement.all().collect();
        let (length, replica) = (placement.replicas().count(), held[replica % held.len()].id);
        let change = Change::ReplaceReplica { group, replica };
        self.change(change.clone());
        assert_eq!(self.meta.placement_of(group).unwrap().replicas().count(), length);
        let once = self.meta.clone();
        self.change(change);
        assert_eq!(self.meta, once, "it was replaced already");
    }

    pub fn settle(&mut self, which: impl Fn(GroupId) -> bool) {
        let reports: Vec<_> =
            self.meta.groups().map(|(group, placement)| (group, placement.version)).collect();
        for (group, version) in reports.into_iter().filter(|(group, _)| which(*group)) {
            let report = |version| Command::Change(Change::Settled { group, version });
            self.meta.apply(report(version - 1)).unwrap();
            self.meta.apply(report(version)).unwrap();
            assert!(self.meta.placement_of(group).unwrap().settled);
        }
        self.check();
    }

    /// Gives up on what was lost, wherever that is more than a majority bears.
    pub fn recover_lost(&mut self) {
        let groups: Vec<_> =
            self.meta.groups().map(|(group, placement)| (group, placement.clone())).collect();
        for (group, placement) in groups {
            let lost = |node: &NodeId| self.meta.lost.contains_key(node);
            if group != GroupId::META
                && placement.voting_nodes().filter(lost).count() * 2 >= placement.voters.len()
            {
                let survivor = placement.voting_nodes().find(|node| !lost(node));
                self.change(Change::Recover { group, version: placement.version, survivor });
            }
        }
    }

    pub fn unsettled(&self) -> usize {
        self.meta.placement.iter().filter(|placement| !placement.settled).count()
    }

    /// A look of the mover's, and what it asks for being done.
    pub fn look(&mut self) -> Vec<Change> {
        let before = self.unsettled();
        let changes = self.mover.next(&self.meta, self.limits).unwrap();
        for change in &changes {
            let size = match change {
                Change::Place { group, voters, .. } if *group != GroupId::META => {
                    assert!(!self.meta.paused);
                    Some((*group, voters.len()))
                }
                _ => None,
            };
            self.meta.apply(Command::Change(change.clone())).unwrap();
            if let Some((group, size)) = size {
                assert_eq!(size, usize::from(replication(&self.meta)), "group {group}");
            }
        }
        self.check();
        let room = self.limits.slots_max * if self.meta.lost.is_empty() { 1 } else { 2 };
        assert!(self.unsettled() <= before.max(room), "too much under way");
        self.assert_done_once(&changes);
        changes
    }

    fn assert_done_once(&self, changes: &[Change]) {
        let mut again = self.meta.clone();
        for change in changes {
            match again.apply(Command::Change(change.clone())) {
                Err(Refusal::Change(ChangeRefusal::Stale { .. })) => {}
                Ok(_) => assert!(matches!(change, Change::Lead { .. }), "{change:?}"),
                Err(other) => panic!("{change:?}: {other}"),
            }
        }
        assert_eq!(again, self.meta, "what was done is done once");
    }

    /// What always holds.
    fn check(&mut self) {
        let meta = &self.meta;
        let named = |node: NodeId| meta.members.contains_key(&node) || meta.lost.contains_key(&node);
        let mut ids = BTreeSet::new();
        for (group, placement) in meta.groups() {
            assert!(placement.voters.len() % 2 == 1 && placement.votes(placement.leader), "{placement:?}");
            assert!(placement.version <= meta.epoch && (placement.settled <= placement.leaving.is_empty()));
            let mut nodes: Vec<NodeId> = placement.replicas().map(|replica| replica.node).collect();
            nodes.sort_unstable();
            assert!(nodes.is_sorted_by(|a, b| a < b), "one node twice: {placement:?}");
            if group == GroupId::META {
                assert!(nodes.iter().eq(meta.members.keys()), "every member follows the metadata");
            }
            for replica in placement.all() {
                // Who has left hears of it from the metadata group, which then lets it go.
                let left = group == GroupId::META && placement.leaving.contains(&replica);
                assert!(named(replica.node) || left, "{replica:?} is nobody's");
                assert!(replica.id.0 < meta.next_replica && ids.insert(replica.id), "{replica:?} twice");
                assert!(!self.retired.contains(&(group, replica.id)), "{replica:?} came back");
                let known = *self.known.entry(replica.id).or_insert((group, replica.node));
                assert_eq!(known, (group, replica.node), "a replica never moves");
            }
        }
        for (id, (group, _)) in &self.known {
            if !ids.contains(id) && self.retired.insert((*group, *id)) {
                assert!(meta.is_retired(*group, *id));
            }
        }
        assert!(meta.groups().all(|(group, p)| p.all().all(|replica| !meta.is_retired(group, replica.id))));
        let vertices: BTreeSet<u16> = meta.members.values().map(|member| member.vertex.0).collect();
        assert!(vertices.into_iter().eq(0..meta.cube().peers()), "the vertices have no gap");
        let staying = meta.members.values().filter(|member| member.standing == Standing::Active);
        let highest = staying.clone().map(|member| member.vertex).max().unwrap();
        assert_eq!(staying.count(), usize::from(highest.0) + 1, "who leaves is above who stays");
    }
}

/// How many slots each peer that stays votes on.
pub fn loads(meta: &Meta) -> BTreeMap<NodeId, usize> {
    let staying = meta.members.values().filter(|member| member.standing == Standing::Active);
    let votes = |node: NodeId| meta.placement.iter().filter(|placement| placement.votes(node)).count();
    staying.map(|member| (member.node, votes(member.node))).collect()
}

/// How many slots each peer that stays leads.
pub fn led(meta: &Meta) -> BTreeMap<NodeId, usize> {
    let staying = meta.members.values().filter(|member| member.standing == Standing::Active);
    let leads = |node: NodeId| meta.placement.iter().filter(|placement| placement.leader == node).count();
    staying.map(|member| (member.node, leads(member.node))).collect()
}

pub fn unevenness(loads: &BTreeMap<NodeId, usize>) -> usize {
    loads.values().max().unwrap() - loads.values().min().unwrap()
}

/// How many votes on slots each node has that it had not before.
pub fn arrivals(before: &Meta, after: &Meta) -> BTreeMap<NodeId, usize> {
    let mut arrivals = BTreeMap::new();
    for (was, is) in before.placement.iter().zip(&after.placement) {
        let new = is.voting_nodes().filter(|node| !was.votes(*node));
        new.for_each(|node| *arrivals.entry(node).or_default() += 1);
    }
    arrivals
}
