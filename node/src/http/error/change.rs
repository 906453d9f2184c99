//! What refused changes of members and of the whole are in HTTP, with what to do next.

use hcube_api::{Code, Problem};
use hcube_core::meta::ChangeRefusal;

/// The problem that an administrator gets.
pub(super) fn problem(refusal: &ChangeRefusal) -> Problem {
    let code = code(refusal);
    if code == Code::Internal {
        // Only peers ask for placements, and not over HTTP.
        tracing::error!(%refusal, "a change was refused that nobody can have asked for");
    }
    let detail = match advice(refusal) {
        Some(advice) => format!("{refusal}: {advice}"),
        None => refusal.to_string(),
    };
    let problem = Problem::new(code, detail);
    match refusal {
        ChangeRefusal::NotNext { next } => problem.with("next", next.0),
        ChangeRefusal::NotHighest { highest } => problem.with("highest", highest.0),
        ChangeRefusal::TooFewPeers { left, replication } => {
            problem.with("left", *left).with("replication", *replication)
        }
        ChangeRefusal::NotEmpty { node, replicas } => {
            problem.with("node_id", node.0).with("replicas", *replicas)
        }
        ChangeRefusal::VertexTaken { vertex, node } | ChangeRefusal::NotReplaced { vertex, node } => {
            problem.with("vertex", vertex.0).with("node_id", node.0)
        }
        ChangeRefusal::IncarnationUsed { node }
        | ChangeRefusal::Alive(node)
        | ChangeRefusal::UnknownNode(node)
        | ChangeRefusal::Retired(node)
        | ChangeRefusal::Draining(node)
        | ChangeRefusal::NotDraining(node) => problem.with("node_id", node.0),
        _ => problem,
    }
}

fn code(refusal: &ChangeRefusal) -> Code {
    match refusal {
        ChangeRefusal::VertexTaken { .. } => Code::VertexTaken,
        ChangeRefusal::NotNext { .. } => Code::NotNext,
        ChangeRefusal::TooManyPeers => Code::TooManyPeers,
        ChangeRefusal::IncarnationUsed { .. } => Code::IncarnationUsed,
        ChangeRefusal::NotReplaced { .. } => Code::NotReplaced,
        ChangeRefusal::Alive(_) => Code::StillAlive,
        ChangeRefusal::UnknownNode(_) => Code::UnknownNode,
        ChangeRefusal::Retired(_) => Code::NodeRetired,
        ChangeRefusal::NotHighest { .. } => Code::NotHighest,
        ChangeRefusal::TooFewPeers { .. } => Code::TooFewPeers,
        ChangeRefusal::DrainLimit => Code::DrainLimit,
        ChangeRefusal::Draining(_) => Code::DrainInProgress,
        ChangeRefusal::NotDraining(_) => Code::NotDraining,
        ChangeRefusal::NotEmpty { .. } => Code::NotEmpty,
        ChangeRefusal::UnknownTopic => Code::UnknownTopic,
        ChangeRefusal::Text(_) | ChangeRefusal::Replication(_) | ChangeRefusal::TooManyReadReplicas => {
            Code::InvalidArgument
        }
        ChangeRefusal::Stale { .. } => Code::Stale,
        ChangeRefusal::Placement(_) => Code::Internal,
    }
}

/// What to do next, where the refusal itself does not say it.
fn advice(refusal: &ChangeRefusal) -> Option<&'static str> {
    match refusal {
        ChangeRefusal::VertexTaken { .. } => {
            Some("take the next vertex, or name that node in `replaces` where its disk is lost")
        }
        ChangeRefusal::NotNext { .. } => Some("join there"),
        ChangeRefusal::IncarnationUsed { .. } => Some("start the peer with an empty data directory"),
        ChangeRefusal::NotReplaced { .. } => Some("name that node in `replaces`, or another vertex"),
        ChangeRefusal::Alive(_) => Some("end its process for good first, or drain it"),
        ChangeRefusal::UnknownNode(_) => Some("the list of members has them all"),
        ChangeRefusal::Retired(_) => {
            Some("its peer can join again as a new node, with an empty data directory")
        }
        ChangeRefusal::NotHighest { .. } => Some("drain and remove that first"),
        ChangeRefusal::DrainLimit => Some("wait until one of them is removed, or cancel its drain"),
        ChangeRefusal::NotDraining(_) => Some("drain it first"),
        ChangeRefusal::NotEmpty { .. } => {
            Some("wait for its drain to end; the list of members tells how far it is")
        }
        ChangeRefusal::UnknownTopic => Some("create it first"),
        ChangeRefusal::TooManyPeers
        | ChangeRefusal::Text(_)
        | ChangeRefusal::TooFewPeers { .. }
        | ChangeRefusal::Draining(_)
        | ChangeRefusal::Replication(_)
        | ChangeRefusal::TooManyReadReplicas
        | ChangeRefusal::Stale { .. }
        | ChangeRefusal::Placement(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::{GroupId, NodeId, Vertex};

    use super::*;

    #[test]
    fn every_refusal_says_what_to_do_and_carries_its_figures() {
        let (vertex, node) = (Vertex(2), NodeId(3));
        let rows: [(ChangeRefusal, u16, &str, &str); 18] = [
            (ChangeRefusal::VertexTaken { vertex, node }, 409, "vertex-taken", "replaces"),
            (ChangeRefusal::NotNext { next: vertex }, 409, "not-next", "next vertex is 2"),
            (ChangeRefusal::TooManyPeers, 409, "too-many-peers", "1024"),
            (ChangeRefusal::Text("the zone".into()), 400, "invalid-argument", "zone"),
            (ChangeRefusal::IncarnationUsed { node }, 409, "incarnation-used", "empty data directory"),
            (ChangeRefusal::NotReplaced { vertex, node }, 409, "not-replaced", "name that node"),
            (ChangeRefusal::Alive(node), 409, "still-alive", "drain it"),
            (ChangeRefusal::UnknownNode(node), 404, "unknown-node", "list of members"),
            (ChangeRefusal::Retired(node), 410, "node-retired", "new node"),
            (ChangeRefusal::NotHighest { highest: vertex }, 409, "not-highest", "which is 2"),
            (
                ChangeRefusal::TooFewPeers { left: 2, replication: 3 },
                409,
                "too-few-peers",
                "lower the replication",
            ),
            (ChangeRefusal::DrainLimit, 409, "drain-limit", "cancel"),
            (ChangeRefusal::Draining(node), 409, "drain-in-progress", "cancel"),
            (ChangeRefusal::NotDraining(node), 409, "not-draining", "drain it first"),
            (ChangeRefusal::NotEmpty { node, replicas: 7 }, 409, "not-empty", "7 replicas"),
            (ChangeRefusal::Replication(2), 400, "invalid-argument", "1, 3, 5 or 7"),
            (ChangeRefusal::UnknownTopic, 404, "unknown-topic", "create it"),
            (ChangeRefusal::Placement(GroupId(1)), 500, "internal", "group 1"),
        ];
        for (refusal, status, code, says) in rows {
            let problem = problem(&refusal);
            assert_eq!((problem.status, problem.code.as_str()), (status, code), "{refusal}");
            assert!(problem.detail.contains(says), "{}", problem.detail);
        }
        let few = problem(&ChangeRefusal::TooFewPeers { left: 2, replication: 3 });
        assert_eq!((&few.extra["left"], &few.extra["replication"]), (&2.into(), &3.into()));
        assert_eq!(problem(&ChangeRefusal::NotHighest { highest: vertex }).extra["highest"], 2);
        assert_eq!(problem(&ChangeRefusal::NotEmpty { node, replicas: 7 }).extra["replicas"], 7);
        assert_eq!(problem(&ChangeRefusal::Alive(node)).extra["node_id"], 3);
    }
}
