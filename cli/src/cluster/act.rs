//! What an administrator asks for: drains, pauses, another number of replicas; each waited for to its end.

use hcube_api::cluster::MemberState;

use super::administration::{Administration, pick};
use super::members;
use super::status::told;
use crate::output::Output;

/// Lets a peer give its replicas away.
pub async fn drain(
    administration: &Administration,
    peer: Option<&str>,
    waits: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let known = administration.members().await?;
    let node = pick(&known, peer, |_| true)?.node_id;
    let cluster = administration.cluster();
    let mut member = administration.admins().ask(async |admin| admin.drain(node, cluster).await).await?;
    output.talk(format_args!("peer {} gives its replicas away", member.label));
    if waits {
        member = administration.empties(&member, output).await?;
        output.talk(format_args!("peer {} holds nothing any more and can be removed", member.label));
    }
    output.document(&member, members::one)
}

/// Lets a peer stay after all.
pub async fn cancel(
    administration: &Administration,
    peer: Option<&str>,
    output: &Output,
) -> anyhow::Result<()> {
    let known = administration.members().await?;
    let node = pick(&known, peer, |member| member.state == MemberState::Leaving)?.node_id;
    let cluster = administration.cluster();
    let member = administration.admins().ask(async |admin| admin.cancel_drain(node, cluster).await).await?;
    output.talk(format_args!("peer {} stays", member.label));
    output.document(&member, members::one)
}

/// Stops moves or lets them go on, and tells how far they are.
pub async fn rebalance(
    administration: &Administration,
    paused: Option<bool>,
    waits: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let cluster = administration.cluster();
    let mut epoch = 0;
    if let Some(paused) = paused {
        let told = administration.admins().ask(async |admin| admin.set_paused(cluster, paused).await).await?;
        epoch = told.epoch;
    }
    if waits {
        administration.settles(epoch, "every slot to be where it should be", output).await?;
    }
    let rebalance = administration.look().await?.rebalance;
    if output.is_json() { output.json(&rebalance) } else { output.line(told(&rebalance).as_bytes()) }
}

/// Sets R.
pub async fn set_replication(
    administration: &Administration,
    replication: u8,
    waits: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let cluster = administration.cluster();
    let admins = administration.admins();
    let asked = admins.ask(async |admin| admin.set_replication(cluster, replication).await).await?;
    output.talk(format_args!("replicas of every message: {replication}"));
    if waits {
        administration.settles(asked.epoch, "every slot to have its replicas", output).await?;
    }
    let rebalance = administration.look().await?.rebalance;
    if output.is_json() { output.json(&rebalance) } else { output.line(told(&rebalance).as_bytes()) }
}
