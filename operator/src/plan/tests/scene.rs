//! Hypercubes made up for the tests of plans, and plans as short words.

use std::collections::BTreeSet;

use hcube_api::admin::{Identity, MemberStatus, Members};
use hcube_api::cluster::{Cluster, Group, MemberState, Rebalance, SlotPlacement, SlotState};
use hcube_api::label::Label;
use hcube_core::ids::{ClusterId, Incarnation, NodeId, Slot, Vertex};
use hcube_crd::hypercube::{MemberState as State, MemberStatus as Known};
use hcube_crd::{Amount, HypercubeSpec, HypercubeStatus};
use serde_json::{Value, json};

use crate::names::Names;
use crate::observed::{Answered, Claim, Cube, Observed, Pod, Set, Trouble};
use crate::plan::{Action, Facts, Gravity, Plan, plan};

/// The hypercube of all scenes.
pub const CLUSTER: ClusterId = ClusterId(0xc1);
/// Another one.
pub const OTHER: ClusterId = ClusterId(0x0b);

/// Everything that a plan is made from.
#[derive(Debug, Clone)]
pub struct Scene {
    names: Names,
    pub spec: HypercubeSpec,
    pub status: HypercubeStatus,
    pub observed: Observed,
}

/// The disk that first stood at a vertex.
pub fn disk(ordinal: u16) -> Incarnation {
    Incarnation(0xd000 + u128::from(ordinal))
}

/// The node that first stood at a vertex.
pub fn node(ordinal: u16) -> NodeId {
    NodeId(u64::from(ordinal) + 1)
}

impl Scene {
    /// A resource, and nothing else.
    pub fn new(spec: Value) -> Self {
        let mut whole = json!({"storage": {"size": "1Gi"}, "slots": 4});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        Self {
            names: Names { name: "demo".into(), namespace: "n".into(), domain: "cluster.local".into() },
            spec: serde_json::from_value(whole).unwrap(),
            status: HypercubeStatus::default(),
            observed: Observed::default(),
        }
    }

    /// A hypercube of so many peers that has all it wishes for.
    pub fn standing(peers: u16, spec: Value) -> Self {
        Self::new(spec).pods(0..peers).set(peers).founded().members(peers)
    }

    /// A StatefulSet.
    pub fn set(mut self, replicas: u16) -> Self {
        self.observed.set = Some(Set {
            uid: "set".into(),
            replicas,
            revision: Some("r1".into()),
            storage: Amount::from("1Gi"),
            secrets_mark: "0.Settled".into(),
            feature_level: None,
        });
        self
    }

    /// Pods that run with volumes and have not been asked who they are.
    pub fn pods(mut self, ordinals: std::ops::Range<u16>) -> Self {
        for ordinal in ordinals {
            let pod = Pod {
                uid: format!("pod-{ordinal}"),
                ip: Some(format!("10.0.0.{ordinal}")),
                ready: true,
                revision: Some("r1".into()),
                ..Pod::default()
            };
            self.observed.pods.insert(ordinal, pod);
            self = self.claim(ordinal);
        }
        self
    }

    /// A volume.
    pub fn claim(mut self, ordinal: u16) -> Self {
        let claim = Claim {
            uid: format!("claim-{ordinal}"),
            requested: Amount::from("1Gi"),
            capacity: Some(Amount::from("1Gi")),
            retired: None,
            terminating: false,
        };
        self.observed.claims.insert(ordinal, claim);
        self
    }

    /// A volume that is used up.
    pub fn retired(mut self, ordinal: u16) -> Self {
        self = self.claim(ordinal);
        self.observed.claims.get_mut(&ordinal).unwrap().retired = Some(node(ordinal));
        self
    }

    /// Without this pod.
    pub fn without_pod(mut self, ordinal: u16) -> Self {
        self.observed.pods.remove(&ordinal);
        self.observed.identities.remove(&ordinal);
        self
    }

    /// What a pod is like.
    pub fn pod(mut self, ordinal: u16, change: impl FnOnce(&mut Pod)) -> Self {
        change(self.observed.pods.get_mut(&ordinal).unwrap());
        self
    }

    /// A pod that cannot run.
    pub fn failing(mut self, ordinal: u16, reason: &str) -> Self {
        self.observed.identities.remove(&ordinal);
        self.pod(ordinal, |pod| {
            pod.ready = false;
            pod.trouble = Some(Trouble { reason: reason.into(), message: "why".into() });
        })
    }

    /// A name, and so many founders to be.
    pub fn named(mut self, founders: u16) -> Self {
        self.status.cluster_id = Some(CLUSTER.to_string());
        self.status.founders = Some(founders);
        self
    }

    /// Founded, whether or not a peer can tell.
    pub fn founded(mut self) -> Self {
        self = self.named(3);
        self.status.founded = true;
        self
    }

    /// Pods with empty disks.
    pub fn empty(mut self, ordinals: std::ops::Range<u16>) -> Self {
        for ordinal in ordinals {
            self = self.is(
                ordinal,
                Identity {
                    incarnation: Incarnation(0xe000 + u128::from(ordinal)),
                    cluster_id: None,
                    node_id: None,
                    vertex: None,
                },
            );
        }
        self
    }

    /// A pod that says this.
    pub fn is(mut self, ordinal: u16, identity: Identity) -> Self {
        self.observed.identities.insert(ordinal, Answered::Is(identity));
        self
    }

    /// A pod that belongs to a hypercube, at its own vertex.
    pub fn bound(self, ordinal: u16, cluster: ClusterId) -> Self {
        self.is(
            ordinal,
            Identity {
                incarnation: disk(ordinal),
                cluster_id: Some(cluster),
                node_id: Some(node(ordinal)),
                vertex: Some(Vertex(ordinal)),
            },
        )
    }

    /// A pod that does not answer.
    pub fn silent(mut self, ordinal: u16) -> Self {
        self.observed.identities.insert(ordinal, Answered::Silent("refused".into()));
        self.pod(ordinal, |pod| pod.ready = false)
    }

    /// So many members, each at its pod, with four slots of which each has three replicas.
    pub fn members(mut self, peers: u16) -> Self {
        let dimension = u8::try_from(hcube_core::cube::Cube::new(peers).unwrap().dimension()).unwrap();
        let label = |vertex: u16| Label::new(Vertex(vertex), dimension);
        let member = |vertex: u16| MemberStatus {
            vertex: Vertex(vertex),
            label: label(vertex),
            node_id: node(vertex),
            incarnation: disk(vertex),
            zone: String::new(),
            peer_address: self.names.peer_address(vertex),
            client_address: self.names.client_address(vertex),
            state: MemberState::Up,
            replicas: 3,
            leads: 1,
            arriving: 0,
            held: 3,
            obstacle: None,
        };
        let replication = self.spec.replication_factor;
        let slot = |slot: u16| SlotPlacement {
            slot: Slot(slot),
            leader: Some(label(slot % peers)),
            replicas: (0..u16::from(replication))
                .map(|replica| label((slot + replica) % peers))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            state: SlotState::Settled,
            arriving: Vec::new(),
            leaving: Vec::new(),
            readers: Vec::new(),
            majority_lost: false,
        };
        self.observed.cube = Some(Cube {
            members: Members {
                cluster_id: CLUSTER,
                epoch: 1,
                paused: false,
                members: (0..peers).map(member).collect(),
                lost: Vec::new(),
            },
            cluster: Cluster {
                feature_level: 1,
                cluster_id: CLUSTER,
                answered_by: label(0),
                version: "0".into(),
                peers,
                dimension,
                replication,
                epoch: 1,
                members: Vec::new(),
                edges: Vec::new(),
                metadata: Group { leader: Some(label(0)), replicas: vec![label(0)] },
                slots: (0..self.spec.slots).map(slot).collect(),
                rebalance: Rebalance::default(),
                losses: Vec::new(),
            },
        });
        for vertex in 0..peers {
            if self.observed.pods.contains_key(&vertex) {
                self = self.bound(vertex, CLUSTER);
            }
        }
        self.remembers(peers)
    }

    /// So many members in the status.
    pub fn remembers(mut self, peers: u16) -> Self {
        let known = |vertex: u16| Known {
            label: format!("{vertex:b}"),
            vertex,
            node_id: node(vertex).0,
            pod: format!("demo-{vertex}"),
            zone: String::new(),
            state: State::Up,
            replicas: 3,
        };
        self.status.members = (0..peers).map(known).collect();
        self
    }

    /// How a member is.
    pub fn member(mut self, vertex: u16, change: impl FnOnce(&mut MemberStatus)) -> Self {
        let members = &mut self.observed.cube.as_mut().unwrap().members.members;
        change(members.iter_mut().find(|member| member.vertex.0 == vertex).unwrap());
        self
    }

    /// A member on its way out, with so much left to give away.
    pub fn leaving(self, vertex: u16, held: u32) -> Self {
        self.member(vertex, |member| {
            member.state = MemberState::Leaving;
            member.held = held;
        })
    }

    /// What a peer says of the placement.
    pub fn cluster(mut self, change: impl FnOnce(&mut Cluster)) -> Self {
        change(&mut self.observed.cube.as_mut().unwrap().cluster);
        self
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        plan(Facts { names: &self.names, spec: &self.spec, status: &self.status, observed: &self.observed })
    }

    /// The number of pods, then the actions, each in a word or two.
    pub fn steps(&self) -> String {
        let plan = self.plan();
        let mut words = vec![format!("{} pods", plan.replicas)];
        words.extend(plan.actions.iter().map(word));
        words.join(", ")
    }

    /// Reasons of the remarks of some gravity.
    pub fn reasons(&self, gravity: Gravity) -> Vec<&'static str> {
        let plan = self.plan();
        plan.remarks.iter().filter(|remark| remark.gravity == gravity).map(|remark| remark.reason).collect()
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Name { founders } => format!("name for {founders}"),
        Action::Adopt { cluster } if *cluster == CLUSTER => "adopt".into(),
        Action::Adopt { cluster } => format!("adopt {cluster}"),
        Action::Found { founders, .. } => format!("found with {}", founders.len()),
        Action::Founded => "founded".into(),
        Action::SetReplication { replication } => format!("replication {replication}"),
        Action::Add { ordinal, replaces: Some(node), .. } => format!("replace {ordinal} (node {node})"),
        Action::Add { ordinal, .. } => format!("add {ordinal}"),
        Action::Drain { ordinal, .. } => format!("drain {ordinal}"),
        Action::CancelDrain { ordinal, .. } => format!("cancel {ordinal}"),
        Action::Remove { ordinal, .. } => format!("remove {ordinal}"),
        Action::DeleteClaim { ordinal, .. } => format!("delete claim {ordinal}"),
        Action::Restart { ordinal, .. } => format!("restart {ordinal}"),
        Action::Expand { ordinal, size } => format!("expand {ordinal} to {size}"),
        Action::Orphan { .. } => "orphan".into(),
    }
}
