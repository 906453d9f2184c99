//! `hcube cluster unsafe-recover`: slots that lost most of their voters go on with what is left, or the metadata does.

use hcube_api::admin::{Members, Recovered};
use hcube_api::cluster::Cluster;
use hcube_core::ids::NodeId;

use super::administration::{Administration, pick};
use super::status::{lost as told, stuck};
use crate::output::{Output, Table};

/// Tells what would be given up, and gives it up where that is accepted.
pub async fn run(
    administration: &Administration,
    lost: &[String],
    metadata: bool,
    accepted: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let known = administration.members().await?;
    if metadata {
        return recover_metadata(administration, &standing(&known, lost)?, accepted, output).await;
    }
    let nodes = nodes(&known, lost)?;
    output.talk(prospect(&administration.look().await?, &nodes));
    anyhow::ensure!(accepted, "nothing was changed; --accept-data-loss does it");
    let cluster = administration.cluster();
    let admins = administration.admins();
    let recovered = admins.ask(async |admin| admin.unsafe_recover(cluster, &nodes).await).await?;
    if recovered.losses.is_empty() {
        output
            .talk("no slot was given up: none is stuck because of these nodes, or each was given up before");
    }
    if recovered.without_majority > 0 {
        let left = recovered.without_majority;
        output.talk(format_args!("{left} slots lack their majority because of other nodes as well"));
    }
    output.document(&recovered, table)
}

async fn recover_metadata(
    administration: &Administration,
    nodes: &[NodeId],
    accepted: bool,
    output: &Output,
) -> anyhow::Result<()> {
    output.talk(metadata_prospect(nodes));
    anyhow::ensure!(accepted, "nothing was changed; --accept-data-loss does it");
    let (cluster, admins) = (administration.cluster(), administration.admins());
    let recovered = admins.ask(async |admin| admin.unsafe_recover_metadata(cluster, nodes).await).await?;
    if recovered.losses.is_empty() {
        output.talk("nothing was given up: the metadata went on without these nodes before");
    } else {
        output.talk(
            "start peers with empty disks at these vertices to replace them; slots that lost their majority too \
             are recovered by `hcube cluster unsafe-recover` without --metadata",
        );
    }
    output.document(&recovered, table)
}

/// The nodes that stand at these vertices.
fn standing(members: &Members, lost: &[String]) -> anyhow::Result<Vec<NodeId>> {
    let node = |text: &String| Ok(pick(members, Some(text), |_| false)?.node_id);
    let mut nodes = lost.iter().map(node).collect::<anyhow::Result<Vec<_>>>()?;
    nodes.sort_unstable();
    nodes.dedup();
    Ok(nodes)
}

/// The lost nodes at these vertices. Where none is lost, the one that stands there: the hypercube says why not.
fn nodes(members: &Members, lost: &[String]) -> anyhow::Result<Vec<NodeId>> {
    let mut nodes = Vec::new();
    for text in lost {
        let member = pick(members, Some(text), |_| false)?;
        let before = members.lost.iter().filter(|lost| lost.vertex == member.vertex).map(|lost| lost.node_id);
        let count = nodes.len();
        nodes.extend(before);
        if nodes.len() == count {
            nodes.push(member.node_id);
        }
    }
    nodes.sort_unstable();
    nodes.dedup();
    anyhow::ensure!(!nodes.is_empty(), "name the vertices whose disks are lost");
    Ok(nodes)
}

/// What somebody decides about.
fn metadata_prospect(nodes: &[NodeId]) -> String {
    let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    format!(
        "the metadata goes on with the peer that has the most of it, without the nodes {}. What only their disks held of \
         it is gone for good: topics, members and moves that were made last. These nodes are refused for ever; but \
         should several of their disks come back after all, they could go on among themselves as if nothing had \
         happened: their disks must really be gone.",
        ids.join(" ")
    )
}

/// What somebody decides about.
fn prospect(cluster: &Cluster, nodes: &[NodeId]) -> String {
    let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let slots = match stuck(cluster) {
        none if none.is_empty() => "no slot".to_owned(),
        slots => format!("slots {slots}"),
    };
    format!(
        "majority lost: {slots}. Each of them whose lost voters are all among the nodes {} goes on with the copy that is \
         farthest; where no copy is left, it begins anew, empty. Messages that only the lost disks held are gone for \
         good, acknowledged ones included; offsets given to them are given again; cursors may lie beyond the end.",
        ids.join(" ")
    )
}

fn table(recovered: &Recovered) -> Table {
    let mut table = Table::new(["given up"]);
    for loss in &recovered.losses {
        table.row([told(loss)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::cluster;

    #[test]
    fn what_stands_there_is_named_for_the_metadata() {
        let text = metadata_prospect(&[NodeId(2), NodeId(4)]);
        assert!(text.contains("nodes 2 4.") && text.contains("refused for ever"), "{text}");
    }

    #[test]
    fn what_would_be_lost_is_told_first() {
        let mut stuck = cluster();
        stuck.slots[1].majority_lost = true;
        let text = prospect(&stuck, &[NodeId(2), NodeId(4)]);
        assert!(text.contains("slots 1.") && text.contains("nodes 2 4 "), "{text}");
        assert!(prospect(&cluster(), &[NodeId(2)]).contains("majority lost: no slot"), "nothing is stuck");
    }
}
