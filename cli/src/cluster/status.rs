//! `hcube cluster status`: peers, what they lead and hold, what moves.

use std::collections::BTreeMap;

use hcube_api::cluster::{Cluster, Loss, MemberState, Rebalance, SlotState};

use crate::output::{Output, Table};
use crate::route::joined;

/// Shows it.
pub fn show(cluster: &Cluster, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(cluster);
    }
    output.line(headline(cluster).as_bytes())?;
    output.table(&members(cluster))?;
    if cluster.slots.iter().any(|slot| slot.state == SlotState::Moving) {
        output.line(b"")?;
        output.table(&moves(cluster))?;
    }
    Ok(())
}

/// How far slots are from where they should be, in words.
pub fn told(rebalance: &Rebalance) -> String {
    let Rebalance { paused, moving, waiting, under_replicated, without_majority, .. } = *rebalance;
    let mut text = match (moving, waiting) {
        (0, 0) => "every slot is where it should be".to_owned(),
        _ => format!("{moving} slots move, {waiting} wait"),
    };
    if under_replicated > 0 {
        text.push_str(&format!(", {under_replicated} lack replicas"));
    }
    if without_majority > 0 {
        text.push_str(&format!(
            ", {without_majority} lost their majority and wait for `hcube cluster unsafe-recover`"
        ));
    }
    if paused {
        text.push_str("; moves are paused");
    }
    text
}

fn losses(losses: &[Loss]) -> String {
    losses.iter().map(|loss| format!("data may have been lost: {}\n", lost(loss))).collect()
}

/// The slots whose majority is lost.
pub fn stuck(cluster: &Cluster) -> String {
    let slots = cluster.slots.iter().filter(|slot| slot.majority_lost).map(|slot| slot.slot.to_string());
    slots.collect::<Vec<_>>().join(" ")
}

/// A loss in words.
pub fn lost(loss: &Loss) -> String {
    let what = loss.slot.map_or_else(|| "the metadata".to_owned(), |slot| format!("slot {slot}"));
    match loss.survivor {
        Some(node) => format!("{what} went on with the copy of node {node} (epoch {})", loss.epoch),
        None => format!("{what} began anew, empty (epoch {})", loss.epoch),
    }
}

fn moves(cluster: &Cluster) -> Table {
    let mut table = Table::new(["slot", "leader", "replicas", "arriving", "leaving"]);
    for slot in cluster.slots.iter().filter(|slot| slot.state == SlotState::Moving) {
        table.row([
            slot.slot.to_string(),
            slot.leader.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
            joined(&slot.replicas, " "),
            joined(&slot.arriving, " "),
            joined(&slot.leaving, " "),
        ]);
    }
    table
}

fn headline(cluster: &Cluster) -> String {
    let leaderless: Vec<String> =
        cluster.slots.iter().filter(|slot| slot.leader.is_none()).map(|slot| slot.slot.to_string()).collect();
    let slots = match leaderless.len() {
        0 => "every slot has a leader".to_owned(),
        _ => format!("no leader known of slots {}", leaderless.join(" ")),
    };
    let waits = match stuck(cluster) {
        none if none.is_empty() => none,
        slots => format!("majority lost of slots {slots}\n"),
    };
    let metadata = cluster.metadata.leader.as_ref().map_or("none", |leader| leader.as_str());
    format!(
        "hypercube {}: {} peers, {} dimensions, {} edges, {} replicas, hcube {}, feature level {}\n\
         {} slots, {slots}; metadata led by {metadata}, held by {}\n\
         {}\n{waits}{}",
        cluster.cluster_id,
        cluster.peers,
        cluster.dimension,
        cluster.edges.len(),
        cluster.replication,
        cluster.version,
        cluster.feature_level,
        cluster.slots.len(),
        joined(&cluster.metadata.replicas, " "),
        told(&cluster.rebalance),
        losses(&cluster.losses),
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

/// A member's state in a word.
pub fn state(state: MemberState) -> &'static str {
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
    use hcube_api::label::Label;
    use hcube_core::ids::{Slot, Vertex};

    use super::*;
    use crate::cluster::tests::cluster;

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

    #[test]
    fn what_moves_and_what_was_lost_is_told() {
        let mut moving = cluster();
        moving.slots[0].state = SlotState::Moving;
        moving.slots[0].leaving = vec![Label::new(Vertex(1), 1)];
        moving.rebalance = Rebalance {
            moving: 1,
            waiting: 2,
            under_replicated: 1,
            without_majority: 1,
            paused: true,
            epoch: 4,
        };
        moving.slots[1].majority_lost = true;
        moving.losses = vec![Loss { slot: Some(Slot(1)), epoch: 3, survivor: None }];
        let text = headline(&moving);
        assert!(text.contains("1 slots move, 2 wait, 1 lack replicas, 1 lost their majority"), "{text}");
        assert!(text.contains("majority lost of slots 1\n"), "{text}");
        assert!(text.contains("slot 1 began anew"), "{text}");
        assert_eq!(moves(&moving).render(false).lines().count(), 2);
        assert_eq!(told(&Rebalance::default()), "every slot is where it should be");
    }
}
