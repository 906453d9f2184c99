//! Every member as this peer sees it: what it holds, whether it answers, and what stands in the way of its leaving.

mod obstacle;

use std::collections::{BTreeMap, BTreeSet};

use hcube_api::admin::{LostMember, MemberStatus};
use hcube_api::cluster::MemberState;
use hcube_core::ids::NodeId;
use hcube_core::meta::{Member, Placement};
use hcube_core::placement::Standing;

use super::outlook::Outlook;
use super::peer::View;
use crate::wanted;

/// What a node has to do with slots.
#[derive(Debug, Clone, Copy, Default)]
struct Holding {
    /// Slots that it is meant to hold.
    replicas: u32,
    /// Those of them that are not reported to be in place.
    arriving: u32,
    /// Slots that it leads, as far as this peer knows.
    leads: u32,
}

/// The members at one moment.
#[derive(Debug)]
pub(super) struct Survey<'v> {
    view: &'v View,
    /// Nodes to which this peer keeps links.
    linked: BTreeSet<NodeId>,
    holdings: BTreeMap<NodeId, Holding>,
}

impl<'v> Survey<'v> {
    pub fn new(view: &'v View) -> Self {
        let mut holdings = BTreeMap::<NodeId, Holding>::new();
        for (group, placement) in view.slots() {
            for replica in placement.replicas() {
                let holding = holdings.entry(replica.node).or_default();
                holding.replicas += 1;
                holding.arriving += u32::from(!placement.settled);
            }
            if let Some(leader) = view.leader(group) {
                holdings.entry(leader).or_default().leads += 1;
            }
        }
        let linked = wanted(&view.meta, view.status.node).into_keys().collect();
        Self { view, linked, holdings }
    }

    /// The members by vertex.
    pub fn members(&self) -> Vec<&'v Member> {
        let mut members: Vec<&Member> = self.view.meta.members.values().collect();
        members.sort_by_key(|member| member.vertex);
        members
    }

    /// Whether a member answers, joins or leaves.
    pub fn state(&self, member: &Member) -> MemberState {
        let holding = self.holding(member.node);
        let takes_its_first = holding.arriving > 0 && holding.arriving == holding.replicas;
        match self.answers(member.node) {
            _ if member.standing == Standing::Draining => MemberState::Leaving,
            Some(false) => MemberState::Down,
            _ if takes_its_first => MemberState::Joining,
            Some(true) => MemberState::Up,
            None => MemberState::Unknown,
        }
    }

    /// How a member stands.
    pub fn status(&self, member: &Member, outlook: &Outlook) -> MemberStatus {
        let Holding { replicas, arriving, leads } = self.holding(member.node);
        let leaves = member.standing == Standing::Draining;
        MemberStatus {
            vertex: member.vertex,
            label: self.view.label(member.vertex),
            node_id: member.node,
            incarnation: member.incarnation,
            zone: member.zone.clone(),
            peer_address: member.peer_address.clone(),
            client_address: member.client_address.clone(),
            state: self.state(member),
            replicas,
            leads,
            arriving,
            held: self.view.meta.replicas_held(member.node),
            obstacle: if leaves { self.obstacle(member.node, outlook) } else { None },
        }
    }

    /// Nodes that were replaced and are still counted on.
    pub fn lost(&self) -> Vec<LostMember> {
        let lost = self.view.meta.lost.values().map(|member| LostMember {
            vertex: member.vertex,
            label: self.view.label(member.vertex),
            node_id: member.node,
            incarnation: member.incarnation,
            replicas: self.holding(member.node).replicas,
        });
        lost.collect()
    }

    /// Whether a node answers, as far as this peer can tell.
    fn answers(&self, node: NodeId) -> Option<bool> {
        let status = &self.view.status;
        if node == status.node || status.links.contains(&node) {
            Some(true)
        } else if self.linked.contains(&node) || self.view.meta.is_lost(node) {
            Some(false)
        } else {
            None
        }
    }

    fn holding(&self, node: NodeId) -> Holding {
        self.holdings.get(&node).copied().unwrap_or_default()
    }

    /// Whether a node holds anything of a group, or is still counted on there.
    fn counts_on(placement: &Placement, node: NodeId) -> bool {
        placement.all().any(|replica| replica.node == node)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcube_broker::Status;
    use hcube_core::ids::{ClusterId, GroupId, Incarnation, Vertex};
    use hcube_core::meta::change::NewMember;
    use hcube_core::meta::mover::{Limits, Mover};
    use hcube_core::meta::{Change, Command, Founder, Meta, genesis};

    use super::*;

    fn founded(peers: u16, replication: u8) -> Meta {
        let founder = |vertex: u16| Founder {
            incarnation: Incarnation(u128::from(vertex) + 1),
            vertex: Vertex(vertex),
            zone: String::new(),
            peer_address: format!("peer-{vertex}:9000"),
            client_address: format!("peer-{vertex}:8000"),
        };
        genesis(ClusterId(1), (0..peers).map(founder).collect(), 4, replication).unwrap()
    }

    fn apply(meta: &mut Meta, change: Change) {
        meta.apply(Command::Change(change)).unwrap();
    }

    /// Begins every move that is due.
    fn begin_moves(meta: &mut Meta) {
        let limits = Limits { slots_max: 100, changes_max: 100 };
        for change in Mover::default().next(meta, limits).unwrap() {
            apply(meta, change);
        }
    }

    /// The hypercube as node 1 sees it, which knows of nobody to be arriving at the slots that it holds.
    fn view(meta: &Meta, links: &[u64]) -> View {
        let meta = Arc::new(meta.clone());
        let held = meta.groups().filter(|(_, placement)| placement.replica_on(NodeId(1)).is_some());
        let status = Status {
            node: NodeId(1),
            vertex: Vertex(0),
            meta: Arc::clone(&meta),
            groups: BTreeMap::new(),
            hints: BTreeMap::from([(GroupId(1), NodeId(2))]),
            links: links.iter().copied().map(NodeId).collect(),
            calls: 0,
            polls_shared: 0,
            disk_full: false,
            clock_is_sane: true,
            restoring: Vec::new(),
            arriving: held.map(|(group, _)| (group, Vec::new())).collect(),
            removed: false,
            leads: 0,
        };
        View { status: Arc::new(status), meta, dimension: 2 }
    }

    async fn status(view: &View, node: u64) -> MemberStatus {
        let outlook = crate::http::outlook::Planner::default().outlook(&view.meta).await.unwrap();
        Survey::new(view).status(&view.meta.members[&NodeId(node)], &outlook)
    }

    #[tokio::test]
    async fn members_are_up_down_or_unknown_as_links_tell() {
        let seen = view(&founded(3, 3), &[2]);
        let states = [status(&seen, 1).await, status(&seen, 2).await, status(&seen, 3).await];
        assert_eq!(states.clone().map(|s| s.state), [MemberState::Up, MemberState::Up, MemberState::Down]);
        assert_eq!(states.clone().map(|s| s.replicas), [4, 4, 4]);
        assert_eq!(states.map(|s| s.leads), [0, 1, 0]);
    }

    #[tokio::test]
    async fn a_new_member_joins_until_a_slot_is_in_place() {
        let mut meta = founded(3, 3);
        let new = NewMember {
            incarnation: Incarnation(9),
            vertex: Vertex(3),
            zone: String::new(),
            peer_address: "peer-3:9000".into(),
            client_address: "peer-3:8000".into(),
            replaces: None,
        };
        apply(&mut meta, Change::AddMember(new));
        begin_moves(&mut meta);
        let joining = status(&view(&meta, &[2, 3, 4]), 4).await;
        assert_eq!((joining.state, joining.arriving), (MemberState::Joining, joining.replicas));
        assert!(joining.replicas > 0);
        assert_eq!(status(&view(&meta, &[2, 3]), 4).await.state, MemberState::Down);
        let holds = |placement: &Placement| placement.votes(NodeId(4));
        let first = meta.groups().skip(1).find(|(_, placement)| holds(placement)).unwrap();
        let settled = Change::Settled { group: first.0, version: first.1.version };
        apply(&mut meta, settled);
        let up = status(&view(&meta, &[2, 3, 4]), 4).await;
        assert_eq!((up.state, up.arriving), (MemberState::Up, joining.arriving - 1));
    }

    #[tokio::test]
    async fn a_drain_says_what_stands_in_its_way() {
        let mut meta = founded(4, 3);
        apply(&mut meta, Change::Drain { node: NodeId(4) });
        let all = [2, 3, 4];
        let free = status(&view(&meta, &all), 4).await;
        assert_eq!((free.state, free.obstacle), (MemberState::Leaving, None));
        assert!(free.held > 0);
        assert_eq!(status(&view(&meta, &all), 3).await.obstacle, None);

        let mut paused = meta.clone();
        apply(&mut paused, Change::SetPaused { paused: true });
        let obstacle = status(&view(&paused, &all), 4).await.obstacle.unwrap();
        assert!(obstacle.contains("paused"), "{obstacle}");

        // Two peers stay, which cannot hold three replicas. No change leads there; were it so, it would be told.
        let mut crowded = founded(4, 1);
        apply(&mut crowded, Change::Drain { node: NodeId(4) });
        apply(&mut crowded, Change::Drain { node: NodeId(3) });
        crowded.replication = 3;
        let obstacle = status(&view(&crowded, &all), 4).await.obstacle.unwrap();
        assert!(
            obstacle.contains("can go nowhere") && obstacle.contains("lower the replication"),
            "{obstacle}"
        );
    }

    #[tokio::test]
    async fn a_drain_names_the_peers_that_it_waits_for() {
        let mut meta = founded(4, 3);
        apply(&mut meta, Change::Drain { node: NodeId(4) });
        begin_moves(&mut meta);
        let mut seen = view(&meta, &[3, 4]);
        assert_eq!(status(&seen, 4).await.obstacle, None, "node 2 votes already, and the others are enough");
        let coming = |(group, placement): (GroupId, &Placement)| {
            let late = !placement.settled && placement.votes(NodeId(2)) && group != GroupId::META;
            late.then_some((group, vec![NodeId(2)]))
        };
        let arriving: BTreeMap<GroupId, Vec<NodeId>> = meta.groups().filter_map(coming).collect();
        assert!(!arriving.is_empty());
        Arc::get_mut(&mut seen.status).unwrap().arriving.extend(arriving);
        let obstacle = status(&seen, 4).await.obstacle.unwrap();
        assert!(obstacle.contains("waiting for 01 (node 2) to answer"), "{obstacle}");
        let alone = status(&view(&meta, &[]), 4).await.obstacle.unwrap();
        assert!(alone.contains("01 (node 2), 10 (node 3)"), "{alone}");
    }
}
