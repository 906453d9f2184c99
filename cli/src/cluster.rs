//! `hcube cluster` and `hcube route`: the hypercube as a whole.

use std::time::Duration;

use hcube_api::cluster::{Cluster, MemberState, SlotState};
use hcube_client::Client;
use tokio::task::JoinSet;

use crate::args::{ClusterCommand, RouteArgs};
use crate::connect::Reach;
use crate::output::Output;
use crate::route;

mod act;
mod administration;
mod members;
pub mod plan;
mod recovery;
mod status;

pub use administration::Administration;

/// How long a member may take to tell how it sees the hypercube.
const PATIENCE: Duration = Duration::from_secs(2);

/// Carries out `hcube cluster ...`.
pub async fn run(
    command: ClusterCommand,
    client: &Client,
    reach: &Reach,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Status => status::show(&seen_by_all(client).await?, output),
        ClusterCommand::Plan { peers, replication } => plan::run(peers, replication, client, output).await,
        ClusterCommand::Members { admin } => {
            let administration = Administration::find(&admin, reach).await?;
            output.document(&administration.members().await?, members::table)
        }
        ClusterCommand::Drain { peer, patience, admin } => {
            let administration = Administration::find(&admin, reach).await?;
            act::drain(&administration, peer.as_deref(), !patience.no_wait, output).await
        }
        ClusterCommand::Cancel { peer, admin } => {
            let administration = Administration::find(&admin, reach).await?;
            act::cancel(&administration, peer.as_deref(), output).await
        }
        ClusterCommand::Rebalance { pause, resume, wait, admin } => {
            let administration = Administration::find(&admin, reach).await?;
            let paused = (pause || resume).then_some(pause);
            act::rebalance(&administration, paused, wait, output).await
        }
        ClusterCommand::UnsafeRecover { lost, metadata, accept_data_loss, admin } => {
            let administration = Administration::find(&admin, reach).await?;
            recovery::run(&administration, &lost, metadata, accept_data_loss, output).await
        }
        ClusterCommand::Set { replication, patience, admin } => {
            let administration = Administration::find(&admin, reach).await?;
            act::set_replication(&administration, replication, !patience.no_wait, output).await
        }
    }
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

/// The hypercube as all its members together see it.
pub async fn seen_by_all(client: &Client) -> anyhow::Result<Cluster> {
    let mut cluster = client.cluster().await?;
    let views = views(client, &cluster).await;
    merge(&mut cluster, &views);
    Ok(cluster)
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

/// A peer knows the leaders of the groups that it is a replica of, and which replicas of those do not count yet, and
/// whether those it is linked to are up; the others tell the rest.
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
    for slot in
        cluster.slots.iter_mut().filter(|slot| slot.state == SlotState::Moving && slot.arriving.is_empty())
    {
        let told = views.iter().flat_map(|view| &view.slots).filter(|told| told.slot == slot.slot);
        slot.arriving =
            told.map(|told| told.arriving.clone()).find(|told| !told.is_empty()).unwrap_or_default();
    }
    if cluster.metadata.leader.is_none() {
        cluster.metadata.leader = views.iter().find_map(|view| view.metadata.leader.clone());
    }
}

#[cfg(test)]
pub mod tests {
    use hcube_api::cluster::{Group, Member, Rebalance, SlotPlacement};
    use hcube_api::label::Label;
    use hcube_core::ids::{ClusterId, NodeId, Slot, Vertex};

    use super::*;

    /// Two peers, one of them down, and two slots, one of them without a leader.
    pub fn cluster() -> Cluster {
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
            state: SlotState::Settled,
            arriving: Vec::new(),
            leaving: Vec::new(),
            readers: Vec::new(),
            majority_lost: false,
        };
        Cluster {
            cluster_id: ClusterId(1),
            answered_by: label(0),
            version: "0".into(),
            peers: 2,
            dimension: 1,
            replication: 3,
            epoch: 1,
            feature_level: 1,
            members: vec![member(0, MemberState::Up), member(1, MemberState::Down)],
            edges: vec![[label(0), label(1)]],
            metadata: Group { leader: Some(label(0)), replicas: vec![label(0)] },
            slots: vec![slot(0, Some(0)), slot(1, None)],
            rebalance: Rebalance::default(),
            losses: Vec::new(),
        }
    }

    #[test]
    fn what_one_peer_does_not_know_another_tells() {
        let (mut seen, mut other) = (cluster(), cluster());
        other.slots[0].leader = None;
        other.slots[1].leader = Some(Label::new(Vertex(1), 1));
        seen.slots[1].state = SlotState::Moving;
        other.slots[1].arriving = vec![Label::new(Vertex(1), 1)];
        merge(&mut seen, &[other]);
        let leaders: Vec<_> = seen.slots.iter().map(|slot| slot.leader.as_ref().map(Label::vertex)).collect();
        assert_eq!(leaders, [Some(Vertex(0)), Some(Vertex(1))]);
        assert_eq!(seen.slots[1].arriving.len(), 1);
    }
}
