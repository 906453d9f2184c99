//! `hcube cluster` and `hcube route`: the hypercube as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use hcube_api::cluster::{Cluster, MemberState};
use hcube_client::Client;
use tokio::task::JoinSet;

use crate::args::{ClusterCommand, RouteArgs};
use crate::output::{Output, Table};
use crate::route::{self, joined};

/// How long a member may take to tell how it sees the hypercube.
const PATIENCE: Duration = Duration::from_secs(2);

/// Carries out `hcube cluster ...`.
pub async fn run(command: ClusterCommand, client: &Client, output: &Output) -> anyhow::Result<()> {
    let ClusterCommand::Status = command;
    let mut cluster = client.cluster().await?;
    let views = views(client, &cluster).await;
    merge(&mut cluster, &views);
    if output.is_json() {
        return output.json(&cluster);
    }
    output.line(headline(&cluster).as_bytes())?;
    output.table(&members(&cluster))
}

/// Carries out `hcube route ...`.
pub async fn route(args: RouteArgs, client: &Client, output: &Output) -> anyhow::Result<()> {
    let route = client.route(&args.topic, args.partition).await?;
    if output.is_json() {
        return output.json(&route);
    }
    let peers = client.cluster().await?.peers;
    output.write(route::draw(&route, peers).as_bytes())
}

/// How every other member sees the hypercube, as far as it answers.
async fn views(client: &Client, cluster: &Cluster) -> Vec<Cluster> {
    let mut questions = JoinSet::new();
    for member in cluster.members.iter().filter(|member| member.label != cluster.answered_by) {
        let Ok(only) = format!("http://{}", member.client_address).parse().map(|url| client.only(url)) else {
            continue;
        };
        questions.spawn(async move { tokio::time::timeout(PATIENCE, only.ok()?.cluster()).await.ok()?.ok() });
    }
    questions.join_all().await.into_iter().flatten().collect()
}

/// A peer knows the leaders of the groups that it is a replica of, and whether those it is linked to are up; the
/// others tell the rest.
fn merge(cluster: &mut Cluster, views: &[Cluster]) {
    for member in cluster.members.iter_mut().filter(|member| member.state == MemberState::Unknown) {
        if views.iter().any(|view| view.answered_by == member.label) {
            member.state = MemberState::Up;
        }
    }
    for slot in cluster.slots.iter_mut().filter(|slot| slot.leader.is_none()) {
        let told = views.iter().flat_map(|view| &view.slots).filter(|told| told.slot == slot.slot);
        slot.leader = told.filter_map(|told| told.leader.clone()).next();
    }
    if cluster.metadata.leader.is_none() {
        cluster.metadata.leader = views.iter().find_map(|view| view.metadata.leader.clone());
    }
}

fn headline(cluster: &Cluster) -> String {
    let leaderless: Vec<String> =
        cluster.slots.iter().filter(|slot| slot.leader.is_none()).map(|slot| slot.slot.to_string()).collect();
    let slots = match leaderless.len() {
        0 => "every slot has a leader".to_owned(),
        _ => format!("no leader known of slots {}", leaderless.join(" ")),
    };
    let metadata = cluster.metadata.leader.as_ref().map_or("none", |leader| leader.as_str());
    format!(
        "hypercube {}: {} peers, {} dimensions, {} edges, {} replicas, hcube {}\n\
         {} slots, {slots}; metadata led by {metadata}, held by {}\n",
        cluster.cluster_id,
        cluster.peers,
        cluster.dimension,
        cluster.edges.len(),
        cluster.replication,
        cluster.version,
        cluster.slots.len(),
        joined(&cluster.metadata.replicas, " ")
    )
}

fn members(cluster: &Cluster) -> Table {
    let mut leads = BTreeMap::<&str, u32>::new();
    let mut holds = BTreeMap::<&str, u32>::new();
    for slot in &cluster.slots {
        if let Some(leader) = &slot.leader {
            *leads.entry(leader.as_str()).or_default() += 1;
        }
        for replica in &slot.replicas {
            *holds.entry(replica.as_str()).or_default() += 1;
        }
    }
    let count =
        |counts: &BTreeMap<&str, u32>, label: &str| counts.get(label).copied().unwrap_or(0).to_string();
    let mut table =
        Table::new(["peer", "state", "node", "leads", "holds", "neighbours", "clients at", "zone"]);
    for member in &cluster.members {
        let label = member.label.as_str();
        let neighbours = cluster.edges.iter().filter_map(|[a, b]| match label {
            _ if a.as_str() == label => Some(b.as_str()),
            _ if b.as_str() == label => Some(a.as_str()),
            _ => None,
        });
        table.row([
            label.to_owned(),
            state(member.state).to_owned(),
            member.node_id.to_string(),
            count(&leads, label),
            count(&holds, label),
            neighbours.collect::<Vec<_>>().join(" "),
            member.client_address.clone(),
            member.zone.clone(),
        ]);
    }
    table
}

fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Up => "up",
        MemberState::Down => "down",
        MemberState::Unknown => "unknown",
        MemberState::Joining => "joining",
        MemberState::Leaving => "leaving",
    }
}

#[cfg(test)]
mod tests {
    use hcube_api::cluster::{Group, Member, SlotPlacement};
    use hcube_api::label::Label;
    use hcube_core::ids::{ClusterId, NodeId, Slot, Vertex};

    use super::*;

    fn cluster() -> Cluster {
        let label = |vertex: u16| Label::new(Vertex(vertex), 1);
        let member = |vertex: u16, state| Member {
            label: label(vertex),
            vertex: Vertex(vertex),
            node_id: NodeId(u64::from(vertex) + 1),
            state,
            client_address: format!("127.0.0.1:{}", 8000 + vertex),
            zone: String::new(),
        };
        let slot = |slot: u16, leader: Option<u16>| SlotPlacement {
            slot: Slot(slot),
            leader: leader.map(label),
            replicas: vec![label(0), label(1)],
        };
        Cluster {
            cluster_id: ClusterId(1),
            answered_by: label(0),
            version: "0".into(),
            peers: 2,
            dimension: 1,
            replication: 3,
            epoch: 1,
            members: vec![member(0, MemberState::Up), member(1, MemberState::Down)],
            edges: vec![[label(0), label(1)]],
            metadata: Group { leader: Some(label(0)), replicas: vec![label(0)] },
            slots: vec![slot(0, Some(0)), slot(1, None)],
        }
    }

    #[test]
    fn what_one_peer_does_not_know_another_tells() {
        let (mut seen, mut other) = (cluster(), cluster());
        other.slots[0].leader = None;
        other.slots[1].leader = Some(Label::new(Vertex(1), 1));
        merge(&mut seen, &[other]);
        let leaders: Vec<_> = seen.slots.iter().map(|slot| slot.leader.as_ref().map(Label::vertex)).collect();
        assert_eq!(leaders, [Some(Vertex(0)), Some(Vertex(1))]);
    }

    #[test]
    fn slots_without_leader_are_named() {
        assert!(headline(&cluster()).contains("no leader known of slots 1;"), "{}", headline(&cluster()));
    }

    #[test]
    fn every_peer_shows_what_it_leads_and_holds() {
        let text = members(&cluster()).render(false);
        let rows: Vec<Vec<&str>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["0", "up", "1", "1", "2", "1", "127.0.0.1:8000"]);
        assert_eq!(rows[1], ["1", "down", "2", "0", "2", "0", "127.0.0.1:8001"]);
    }
}
