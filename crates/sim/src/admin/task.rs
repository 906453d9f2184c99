//! One thing that the administrator wants, request by request.

use hcube_broker::{Answer, Error};
use hcube_core::ids::{Incarnation, NodeId, Vertex};
use hcube_core::meta::change::NewMember;
use hcube_core::meta::{Change, ChangeRefusal, Changed, Meta};

use crate::invariants::hold;
use crate::report::Changes;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    Join { machine: usize, vertex: Option<Vertex> },
    Replace { machine: usize, node: NodeId, vertex: Vertex },
    Drain { node: NodeId, cancel: bool },
    Cancel { node: NodeId },
    Remove { node: NodeId },
    Set(Change),
}

/// A want, and when it is asked for next.
pub(super) struct Task {
    pub id: usize,
    pub want: Want,
    pub not_before_us: u64,
    /// When the request under way counts as lost.
    pub gives_up_us: Option<u64>,
}

/// What an answer leads to.
pub(super) enum Next {
    Again { after_us: u64 },
    Then { want: Want, after_us: u64 },
    Done,
}

impl Want {
    /// Whether members come or go by it.
    pub fn resizes(&self) -> bool {
        matches!(self, Self::Join { .. } | Self::Drain { .. } | Self::Cancel { .. } | Self::Remove { .. })
    }

    pub fn machine(&self) -> Option<usize> {
        match self {
            Self::Join { machine, .. } | Self::Replace { machine, .. } => Some(*machine),
            _ => None,
        }
    }

    /// The change to ask for.
    pub fn change(&self, meta: &Meta) -> Change {
        match self.clone() {
            Self::Join { machine, vertex } => {
                Change::AddMember(member(machine, vertex.unwrap_or(Vertex(meta.cube().peers())), None))
            }
            Self::Replace { machine, node, vertex } => Change::AddMember(member(machine, vertex, Some(node))),
            Self::Drain { node, .. } => Change::Drain { node },
            Self::Cancel { node } => Change::CancelDrain { node },
            Self::Remove { node } => Change::RemoveMember { node },
            Self::Set(change) => change,
        }
    }

    /// What to do after an answer.
    pub fn answered(
        &mut self,
        result: Result<Answer, Error>,
        changes: &mut Changes,
        finishing: bool,
    ) -> Next {
        match result {
            Ok(Answer::Changed(changed)) => self.changed(&changed, changes, finishing),
            Ok(other) => {
                crate::invariants::violated("right answers", &format!("{self:?} was answered {other:?}"))
            }
            Err(Error::Change(refusal)) => {
                changes.refusals += 1;
                self.refused(&refusal)
            }
            Err(error) => {
                hold!("right answers", error.is_passing(), "{self:?} was refused: {error}");
                Next::Again { after_us: 100_000 }
            }
        }
    }

    fn changed(&mut self, changed: &Changed, changes: &mut Changes, finishing: bool) -> Next {
        if let (Some(machine), Changed::Member(member)) = (self.machine(), changed) {
            let ours = member.incarnation == incarnation(machine);
            hold!("right answers", ours, "{self:?} was answered with {member:?}");
        }
        match self.clone() {
            Self::Join { .. } => changes.joins += 1,
            Self::Replace { .. } => changes.replacements += 1,
            Self::Drain { node, cancel: true } => {
                return Next::Then { want: Self::Cancel { node }, after_us: 800_000 };
            }
            Self::Drain { node, cancel: false } => {
                return Next::Then { want: Self::Remove { node }, after_us: 500_000 };
            }
            Self::Cancel { .. } => changes.cancels += 1,
            Self::Remove { .. } => changes.leaves += 1,
            Self::Set(Change::SetReplication { .. }) => changes.replications += 1,
            Self::Set(Change::SetReadReplicas { .. }) => changes.readers += 1,
            Self::Set(Change::SetPaused { paused: true }) => {
                changes.pauses += 1;
                let want = Self::Set(Change::SetPaused { paused: false });
                return Next::Then { want, after_us: if finishing { 0 } else { 3_000_000 } };
            }
            Self::Set(_) => {}
        }
        Next::Done
    }

    fn refused(&mut self, refusal: &ChangeRefusal) -> Next {
        match (self.clone(), refusal) {
            // Somebody else was faster, or the picture that this was asked for from is old.
            (Self::Join { machine, .. }, ChangeRefusal::NotNext { next }) => {
                Next::Then { want: Self::Join { machine, vertex: Some(*next) }, after_us: 100_000 }
            }
            (Self::Join { machine, .. }, ChangeRefusal::VertexTaken { .. } | ChangeRefusal::Draining(_)) => {
                Next::Then { want: Self::Join { machine, vertex: None }, after_us: 1_000_000 }
            }
            (Self::Remove { .. }, ChangeRefusal::NotEmpty { .. } | ChangeRefusal::NotHighest { .. }) => {
                Next::Again { after_us: 500_000 }
            }
            // Until the leader has noticed that its link is gone.
            (Self::Replace { .. }, ChangeRefusal::Alive(_)) => Next::Again { after_us: 500_000 },
            _ => Next::Done,
        }
    }
}

/// Machines have their disks' incarnations from 1.
fn incarnation(machine: usize) -> Incarnation {
    Incarnation(machine as u128 + 1)
}

fn member(machine: usize, vertex: Vertex, replaces: Option<NodeId>) -> NewMember {
    let address = |what: &str| format!("{what}-{machine}:1");
    NewMember {
        incarnation: incarnation(machine),
        vertex,
        zone: String::new(),
        peer_address: address("peer"),
        client_address: address("client"),
        replaces,
    }
}
