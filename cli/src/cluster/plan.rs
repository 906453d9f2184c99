//! `hcube cluster plan`: what would move, from the function that carries it out.

use hcube_api::cluster::{Plan, PlanQuery};
use hcube_api::label::Label;
use hcube_client::Client;

use crate::output::{Output, Table, grouped};
use crate::route::joined;

/// Shows it.
pub async fn run(
    peers: Option<u16>,
    replication: Option<u8>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let plan = client.plan(&PlanQuery { peers, replication }).await?;
    if output.is_json() { output.json(&plan) } else { show(&plan, output) }
}

/// For people.
pub fn show(plan: &Plan, output: &Output) -> anyhow::Result<()> {
    output.line(headline(plan).as_bytes())?;
    if plan.moves.is_empty() { Ok(()) } else { output.table(&moves(plan)) }
}

fn headline(plan: &Plan) -> String {
    let edges = |edges: &[[Label; 2]]| match edges.len() {
        0 => "none".to_owned(),
        _ => edges.iter().map(|edge| joined(edge, "-")).collect::<Vec<_>>().join(" "),
    };
    let copies: usize = plan.moves.iter().map(|step| step.add.len()).sum();
    let unknown = plan.moves.iter().filter(|step| !step.add.is_empty() && step.bytes.is_none()).count();
    let unknown =
        if unknown == 0 { String::new() } else { format!(", and {unknown} slots that nobody could tell of") };
    format!(
        "{} peers, {} dimensions, {} replicas; labels {}\n\
         edges added: {}\nedges removed: {}\nmetadata voted on by {}\n\
         {} slots change, {copies} replicas are copied: {} bytes{unknown}\n",
        plan.peers,
        plan.dimension,
        plan.replication,
        joined(&plan.labels, " "),
        edges(&plan.edges_added),
        edges(&plan.edges_removed),
        joined(&plan.metadata_voters, " "),
        plan.moves.len(),
        grouped(plan.bytes_total),
    )
}

fn moves(plan: &Plan) -> Table {
    let mut table = Table::new(["slot", "add", "remove", "leader", "bytes"]);
    for step in &plan.moves {
        table.row([
            step.slot.to_string(),
            joined(&step.add, " "),
            joined(&step.remove, " "),
            step.leader.as_ref().map_or_else(|| "stays".to_owned(), ToString::to_string),
            step.bytes.map_or_else(|| "-".to_owned(), grouped),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use hcube_api::cluster::PlannedMove;
    use hcube_core::ids::{Slot, Vertex};

    use super::*;

    #[test]
    fn a_plan_tells_labels_edges_moves_and_bytes() {
        let label = |vertex| Label::new(Vertex(vertex), 2);
        let step = |slot, bytes| PlannedMove {
            slot: Slot(slot),
            add: vec![label(2)],
            remove: vec![label(0)],
            leader: None,
            bytes,
        };
        let plan = Plan {
            epoch: 1,
            peers: 3,
            replication: 1,
            dimension: 2,
            labels: vec![label(0), label(1), label(2)],
            edges_added: vec![[label(0), label(2)]],
            edges_removed: Vec::new(),
            moves: vec![step(4, Some(1234)), step(9, None)],
            bytes_total: 1234,
            metadata_voters: vec![label(0)],
        };
        let text = headline(&plan);
        assert!(text.contains("labels 00 01 10\n") && text.contains("edges added: 00-10\n"), "{text}");
        assert!(text.contains("edges removed: none\n"), "{text}");
        assert!(
            text.contains("2 replicas are copied: 1,234 bytes, and 1 slots that nobody could tell of"),
            "{text}"
        );
        assert!(moves(&plan).render(false).contains("1,234"));
    }
}
