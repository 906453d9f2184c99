//! Who holds which slot: a pure plan from members, zones, slots and what is placed now.
//!
//! By priority: every slot has its effective number of replicas on distinct vertices; they are spread over the
//! zones as evenly as the zones' sizes allow, so that no zone holds a majority where that can be avoided;
//! replicas and leaders are balanced over the peers within those bounds; few replicas move; replicas are close to
//! the slot's [home](crate::cube::Cube::home). The same plan answers a dry run and drives the metadata leader.

mod ground;
mod leaders;
mod moves;
mod readers;
mod settle;
mod spread;
mod table;

use ground::Ground;
pub use moves::{Move, diff};
pub use readers::readers;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, Slot, Vertex};
use crate::limits;

/// What a node may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Receives replicas.
    Active,
    /// Is to leave: its replicas move away.
    Draining,
    /// Is held to be lost: its replicas are replaced elsewhere.
    Dead,
}

/// A node that a plan may use, or has to empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Where it stands. At most one active node stands at a vertex; those it replaced may be listed beside it.
    pub vertex: Vertex,
    /// What fails together with it; any text, also none.
    pub zone: String,
    /// What it may be used for.
    pub standing: Standing,
}

/// Where one slot is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The nodes that hold a replica, sorted.
    pub replicas: Vec<NodeId>,
    /// The replica that should lead while nothing speaks against it.
    pub leader: NodeId,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to place, or a replication factor of 0.
    #[error("there is nothing to place: {slots} slots with {replication} replicas")]
    Nothing {
        /// Slots asked for.
        slots: u16,
        /// Replicas asked for.
        replication: u8,
    },
    /// The current table is neither empty nor one assignment for each slot.
    #[error("{found} slots are placed, but there are {slots}")]
    CurrentSlots {
        /// Slots asked for.
        slots: u16,
        /// Assignments given.
        found: usize,
    },
    /// A node is listed twice.
    #[error("node {0} is listed twice")]
    SharedNode(NodeId),
    /// Two active nodes claim one vertex.
    #[error("two active nodes stand at vertex {0}")]
    SharedVertex(Vertex),
    /// A vertex beyond the largest hypercube.
    #[error("vertex {0} is beyond the largest hypercube of {max} peers", max = limits::PEERS_MAX)]
    Vertex(Vertex),
    /// No node can hold that slot.
    #[error("no active node can hold slot {0}")]
    Nowhere(Slot),
}

/// Voters of the metadata group at most.
const METADATA_VOTERS_MAX: u8 = 5;

/// The replicas that a slot really gets: the largest odd number that is neither above `wanted` nor above `peers`.
#[must_use]
pub fn effective_replication(wanted: u8, peers: usize) -> u8 {
    let most = usize::from(wanted).min(peers);
    let odd = if most % 2 == 0 { most.saturating_sub(1) } else { most };
    u8::try_from(odd).expect("not above a u8")
}

/// Places every slot, changing `current` (one assignment a slot, or none at birth) as little as the priorities
/// of this module allow.
///
/// Only active nodes receive replicas, and the others keep none, but for one case: where fewer active nodes than
/// effective replicas exist, a slot keeps replicas that it has on a draining or dead node. The effective
/// replication counts all vertices, also those of draining nodes: a drain that would lower it waits until
/// `replication` is lowered. Nodes of `current` that are not candidates count as gone.
pub fn plan(
    candidates: &[Candidate],
    slots: u16,
    replication: u8,
    current: &[Assignment],
) -> Result<Vec<Assignment>, PlanError> {
    let want = effective_replication(replication, vertices(candidates, |_| true));
    place(candidates, slots, want, current)
}

/// The nodes that vote in the metadata group, sorted: as many as the largest odd number up to 5 and up to the
/// number of vertices that stay (draining ones do not count, or five peers could never become four), spread over
/// the zones, with the fewest changes from `current`. Empty when no node can vote.
#[must_use]
pub fn metadata_voters(candidates: &[Candidate], current: &[NodeId]) -> Vec<NodeId> {
    let staying = vertices(candidates, |standing| standing != Standing::Draining);
    // When all are leaving there is no smaller group to become.
    let peers = if staying == 0 { vertices(candidates, |_| true) } else { staying };
    let want = effective_replication(METADATA_VOTERS_MAX, peers);
    let current = current.first().map(|first| Assignment { replicas: current.to_vec(), leader: *first });
    match place(candidates, 1, want, current.as_slice()) {
        Ok(mut plan) => plan.pop().map_or_else(Vec::new, |assignment| assignment.replicas),
        Err(_) => Vec::new(),
    }
}

fn place(
    candidates: &[Candidate],
    slots: u16,
    want: u8,
    current: &[Assignment],
) -> Result<Vec<Assignment>, PlanError> {
    if slots == 0 || (want == 0 && !candidates.is_empty()) {
        return Err(PlanError::Nothing { slots, replication: want });
    }
    if !current.is_empty() && current.len() != usize::from(slots) {
        return Err(PlanError::CurrentSlots { slots, found: current.len() });
    }
    let ground = Ground::survey(candidates, slots, want, current)?;
    let table = settle::settle(&ground);
    Ok(leaders::appoint(&ground, &table, current))
}

/// The number of distinct vertices of the candidates whose standing passes.
fn vertices(candidates: &[Candidate], counts: impl Fn(Standing) -> bool) -> usize {
    let mut seen: Vec<Vertex> = candidates.iter().filter(|c| counts(c.standing)).map(|c| c.vertex).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}
