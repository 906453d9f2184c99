//! The peer as handlers see it: asks it, finds topics, and knows who stands where.

use std::sync::Arc;
use std::time::Duration;

use hcube_api::label::Label;
use hcube_api::{Code, Problem};
use hcube_broker::request::TopicRef;
use hcube_broker::{Answer, Request, Status};
use hcube_core::ids::{GroupId, NodeId, Vertex};
use hcube_core::meta::mover::lacks_majority;
use hcube_core::meta::{Meta, Placement, Topic};
use hcube_core::topic::Name;

use super::error::{self, Asked};
use crate::Handle;

/// How long a change waits until this very peer has heard of it, so that its clients see what they did.
const OWN_CHANGE: Duration = Duration::from_secs(1);

/// Milliseconds after which an administrator may have decided.
const DECISION_MS: u64 = 5_000;

/// A good answer and the way to it.
#[derive(Debug)]
pub(super) struct Answered {
    pub answer: Answer,
    pub path: Vec<Vertex>,
}

/// A peer that belongs to a hypercube.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub handle: Handle,
    pub patience_ms: u32,
}

impl Peer {
    /// Asks for something that is no publish.
    ///
    /// # Errors
    /// The broker's error as a problem.
    pub async fn ask(&self, request: Request) -> Result<Answered, Problem> {
        self.ask_as(request, Asked::Other, self.patience_ms).await
    }

    /// Asks for something, with the patience given.
    ///
    /// # Errors
    /// The broker's error as a problem.
    pub async fn ask_as(
        &self,
        request: Request,
        asked: Asked,
        patience_ms: u32,
    ) -> Result<Answered, Problem> {
        let group = request.group(&self.handle.meta());
        let reply = self.handle.request(request, patience_ms).await;
        match reply.result {
            Ok(answer) => Ok(Answered { answer, path: reply.path }),
            Err(error) => Err(self.explain(error::problem(&error, asked), group)),
        }
    }

    /// Says why there may be no leader, where this peer can tell.
    fn explain(&self, mut problem: Problem, group: GroupId) -> Problem {
        if problem.code == Code::NoLeader {
            if let Some(lost) = self.majority_lost(group) {
                return lost;
            }
            let status = self.handle.status();
            let wanted = crate::wanted(&self.handle.meta(), status.node);
            let absent = wanted.keys().filter(|node| !status.links.contains(node)).count();
            if absent > 0 {
                let (reached, all) = (wanted.len() - absent, wanted.len());
                problem.detail = format!(
                    "{}; this peer reaches {reached} of the {all} peers that it keeps links to, so a majority of the \
                     replicas may be down or cut off from it",
                    problem.detail
                )
                .into();
            }
        }
        problem
    }

    /// Why a slot has no leader that will never have one by itself.
    fn majority_lost(&self, group: GroupId) -> Option<Problem> {
        let (slot, meta) = (group.slot()?, self.handle.meta());
        let placement = meta.placement_of(group).filter(|placement| lacks_majority(&meta, placement))?;
        let lost = placement.all().map(|replica| replica.node).filter(|node| meta.is_lost(*node));
        let nodes: Vec<String> = lost.map(|node| node.to_string()).collect();
        let detail = format!(
            "slot {slot} lost most of its voters with the disks of the nodes {}; it goes on when an administrator \
             decides so: `hcube cluster unsafe-recover`",
            nodes.join(", ")
        );
        Some(Problem::new(Code::MajorityLost, detail).with("slot", slot.0).retry_after_ms(DECISION_MS))
    }

    /// A topic by its name. One that this peer does not know is asked for at the metadata leader, because it
    /// may have been created through another peer a moment ago; a known one needs nobody.
    ///
    /// # Errors
    /// `unknown-topic`; others when the metadata leader cannot be asked.
    pub async fn topic(&self, name: &Name) -> Result<Arc<Topic>, Problem> {
        let known = self.handle.meta().topic(name).cloned();
        match known {
            Some(topic) => Ok(topic),
            None => self.find(name).await,
        }
    }

    /// A topic by its name, as the metadata leader knows it.
    ///
    /// # Errors
    /// `unknown-topic`; others when the metadata leader cannot be asked.
    pub async fn find(&self, name: &Name) -> Result<Arc<Topic>, Problem> {
        let found = self.ask(Request::FindTopic { name: name.clone() }).await;
        match found.map(|found| found.answer) {
            Ok(Answer::Topic(info)) => {
                let hcube_broker::request::TopicInfo { id, name, partitions, retention } = info;
                Ok(Arc::new(Topic { id, name, partitions, retention }))
            }
            Ok(other) => Err(unexpected(&other)),
            Err(problem) if problem.code == Code::UnknownTopic => Err(error::unknown_topic(name)),
            Err(problem) => Err(problem),
        }
    }

    /// The present life of a topic of which a slot said that its life has ended.
    ///
    /// # Errors
    /// `unknown-topic` where there is no newer one.
    pub async fn find_again(&self, topic: &Topic) -> Result<Arc<Topic>, Problem> {
        let found = self.find(&topic.name).await?;
        if found.id == topic.id { Err(error::unknown_topic(&topic.name)) } else { Ok(found) }
    }

    /// Waits until this peer has applied a change, but not for long: the change is made already.
    pub async fn heard(&self, applied: impl Fn(&Meta) -> bool) {
        let _late = tokio::time::timeout(OWN_CHANGE, self.handle.meta_where(applied)).await;
    }

    /// What this peer knows of the others.
    pub fn view(&self) -> View {
        let meta = self.handle.meta();
        let dimension = u8::try_from(meta.cube().dimension()).unwrap_or(u8::MAX);
        View { status: self.handle.status(), meta, dimension }
    }
}

/// A topic as requests name it.
pub(super) fn topic_ref(topic: &Topic) -> TopicRef {
    TopicRef { name: topic.name.clone(), id: topic.id }
}

/// An answer to another question than was asked: a fault of this version.
pub(super) fn unexpected(answer: &Answer) -> Problem {
    tracing::error!(?answer, "an answer does not fit its request");
    Problem::new(Code::Internal, "the peer answered something else")
}

/// The hypercube at one moment, as one peer sees it.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub status: Arc<Status>,
    pub meta: Arc<Meta>,
    /// D, the digits of a label.
    pub dimension: u8,
}

impl View {
    /// A vertex as its label.
    pub fn label(&self, vertex: Vertex) -> Label {
        Label::new(vertex, self.dimension)
    }

    /// Where a node stands.
    pub fn label_of(&self, node: NodeId) -> Option<Label> {
        self.meta.members.get(&node).map(|member| self.label(member.vertex))
    }

    /// Who leads a group, as far as this peer knows.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        match self.status.groups.get(&group) {
            Some(here) => here.leader,
            None => self.status.hints.get(&group).copied(),
        }
    }

    /// The vertices of a group's replicas.
    pub fn replicas(&self, placement: &Placement) -> Vec<Label> {
        self.labels(placement.replicas().map(|replica| replica.node))
    }

    /// Where these nodes stand, as far as they are members.
    pub fn labels(&self, nodes: impl IntoIterator<Item = NodeId>) -> Vec<Label> {
        nodes.into_iter().filter_map(|node| self.label_of(node)).collect()
    }

    /// The slots as groups, and where their replicas are meant to be.
    pub fn slots(&self) -> impl Iterator<Item = (GroupId, &Placement)> {
        self.meta.groups().filter(|(group, _)| *group != GroupId::META)
    }
}
