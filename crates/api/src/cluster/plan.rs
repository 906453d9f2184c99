//! What would move: the plan of a hypercube of another size, which nobody has asked for yet.

use hcube_core::ids::Slot;
use hcube_core::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::check_replication;
use crate::error::Problem;
use crate::label::Label;
use crate::query::{number, pairs};

/// The query of `GET /v1/cluster/plan`; what is left out is as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanQuery {
    /// N as it might be.
    pub peers: Option<u16>,
    /// R as it might be.
    pub replication: Option<u8>,
}

impl PlanQuery {
    /// Reads a query string, without its `?`. Unknown and repeated parameters are refused.
    ///
    /// # Errors
    /// `invalid-argument`.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "peers" => parsed.peers = Some(number("peers", &value, 1, limits::PEERS_MAX)?),
                "replication" => {
                    let replication = number("replication", &value, 1, 7)?;
                    check_replication(replication)?;
                    parsed.replication = Some(replication);
                }
                _ => return Err(Problem::invalid(format!("there is no parameter {name:?} here"))),
            }
        }
        Ok(parsed)
    }

    /// The query string, without `?`.
    #[must_use]
    pub fn to_query(&self) -> String {
        let peers = self.peers.map(|peers| format!("peers={peers}"));
        let replication = self.replication.map(|replication| format!("replication={replication}"));
        peers.into_iter().chain(replication).collect::<Vec<_>>().join("&")
    }
}

/// Answer to `GET /v1/cluster/plan`. But for `labels`, labels have the digits of the larger of both hypercubes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The epoch from which the plan starts.
    pub epoch: u64,
    /// N, the peers that there would be.
    pub peers: u16,
    /// R, replicas of each slot as they would be wished for.
    pub replication: u8,
    /// D, the digits that a label would have.
    pub dimension: u8,
    /// The labels that there would be, by vertex.
    pub labels: Vec<Label>,
    /// Edges that there would be and are not now, the lower vertex first.
    pub edges_added: Vec<[Label; 2]>,
    /// Edges that there are now and would not be, the lower vertex first.
    pub edges_removed: Vec<[Label; 2]>,
    /// What would move, by slot.
    pub moves: Vec<PlannedMove>,
    /// What would be copied, as far as it is known.
    pub bytes_total: u64,
    /// Who would vote on the metadata.
    pub metadata_voters: Vec<Label>,
}

/// The move of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedMove {
    /// The slot.
    #[schemars(with = "u16")]
    pub slot: Slot,
    /// Vertices that would get a replica.
    pub add: Vec<Label>,
    /// Vertices that would lose theirs.
    pub remove: Vec<Label>,
    /// The vertex that would lead instead of the one that should now; null where that stays.
    pub leader: Option<Label>,
    /// What would be copied: the slot's bytes for each replica added; null where no replica could be asked.
    pub bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_round_trip() {
        for (query, text) in [
            (PlanQuery::default(), ""),
            (PlanQuery { peers: Some(9), replication: None }, "peers=9"),
            (PlanQuery { peers: Some(1024), replication: Some(5) }, "peers=1024&replication=5"),
        ] {
            assert_eq!((PlanQuery::parse(text), query.to_query().as_str()), (Ok(query), text));
        }
    }

    #[test]
    fn impossible_hypercubes_are_refused() {
        for wrong in ["peers=0", "peers=1025", "replication=2", "replication=9", "peer=1", "peers=1&peers=1"]
        {
            assert!(PlanQuery::parse(wrong).is_err(), "{wrong}");
        }
    }
}
