//! `hcube replica`: where a topic's replicas are, and what one of them holds.

use hcube_api::cluster::{Cluster, SlotPlacement};
use hcube_api::label::Label;
use hcube_api::topics::{Partition, Topic};
use hcube_client::Client;
use hcube_core::ids::Slot;
use hcube_core::topic::Name;
use serde::Serialize;

use crate::args::{PullArgs, ReadArgs, ReplicaCommand};
use crate::cluster;
use crate::output::{Output, Table, grouped};
use crate::read::pull;

/// What a replica is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    Leader,
    Voter,
    Reader,
    Arriving,
    Leaving,
}

/// One replica of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    partition: u16,
    slot: Slot,
    label: Label,
    role: Role,
    in_sync: Option<bool>,
    start_offset: Option<u64>,
    high_watermark: Option<u64>,
}

/// Carries out `hcube replica ...`.
pub async fn run(command: ReplicaCommand, client: &Client, output: &Output) -> anyhow::Result<()> {
    match command {
        ReplicaCommand::List { topic } => {
            let described = client.describe_topic(&topic).await?;
            let cluster = cluster::seen_by_all(client).await?;
            output.document(&rows(&described, &cluster), |rows| table(rows))
        }
        ReplicaCommand::Fetch { topic, replica, read, limit } => {
            fetch(topic, replica, read, limit, client, output).await
        }
    }
}

fn rows(topic: &Topic, cluster: &Cluster) -> Vec<Row> {
    let mut rows = Vec::new();
    for partition in &topic.partitions {
        let placed = cluster.slots.iter().find(|slot| slot.slot == partition.slot);
        let of =
            |lists: fn(&SlotPlacement) -> &Vec<Label>| placed.map_or(&[][..], |slot| lists(slot).as_slice());
        let (arriving, leaving) = (of(|slot| &slot.arriving), of(|slot| &slot.leaving));
        let row = |label: &Label, role, in_sync| Row {
            partition: partition.partition,
            slot: partition.slot,
            label: label.clone(),
            role,
            in_sync,
            start_offset: partition.start_offset,
            high_watermark: partition.high_watermark,
        };
        for replica in &partition.replicas {
            let role = match &replica.label {
                label if partition.leader.as_ref() == Some(label) => Role::Leader,
                label if leaving.contains(label) => Role::Leaving,
                label if arriving.contains(label) => Role::Arriving,
                _ if replica.votes => Role::Voter,
                _ => Role::Reader,
            };
            rows.push(row(&replica.label, role, replica.in_sync));
        }
        let told = |label: &&Label| partition.replicas.iter().any(|replica| replica.label == **label);
        rows.extend(leaving.iter().filter(|label| !told(label)).map(|label| row(label, Role::Leaving, None)));
    }
    rows
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["partition", "slot", "replica", "role", "in sync", "first", "end"]);
    let offset = |offset: Option<u64>| offset.map_or_else(|| "-".to_owned(), grouped);
    for row in rows {
        let role = match row.role {
            Role::Leader => "leader",
            Role::Voter => "voter",
            Role::Reader => "reader",
            Role::Arriving => "arriving",
            Role::Leaving => "leaving",
        };
        let in_sync = match row.in_sync {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        table.row([
            row.partition.to_string(),
            row.slot.to_string(),
            row.label.to_string(),
            role.to_owned(),
            in_sync.to_owned(),
            offset(row.start_offset),
            offset(row.high_watermark),
        ]);
    }
    table
}

/// What one vertex holds of a topic, partition by partition.
async fn fetch(
    topic: Name,
    replica: Label,
    read: ReadArgs,
    limit: Option<u64>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let wait = std::time::Duration::ZERO;
    let partitions = match read.partition {
        Some(partition) => vec![partition],
        None => held(&client.describe_topic(&topic).await?, &replica, output)?,
    };
    let mut left = limit;
    for partition in partitions {
        let read = ReadArgs { partition: Some(partition), ..read.clone() };
        let replica = Some(replica.clone());
        let args = PullArgs { topic: topic.clone(), read, limit: left, wait, replica, subscriber: None };
        let printed = pull(args, client, output).await?;
        left = left.map(|left| left.saturating_sub(printed));
        if left == Some(0) {
            break;
        }
    }
    Ok(())
}

/// The partitions of a topic that a vertex holds a copy of; the others are named to the reader.
fn held(topic: &Topic, replica: &Label, output: &Output) -> anyhow::Result<Vec<u16>> {
    let holds = |partition: &&Partition| partition.replicas.iter().any(|held| held.label == *replica);
    let (held, others): (Vec<_>, Vec<_>) = topic.partitions.iter().partition(holds);
    let numbers =
        |partitions: &[&Partition]| -> Vec<u16> { partitions.iter().map(|p| p.partition).collect() };
    anyhow::ensure!(
        !held.is_empty(),
        "{replica} holds no copy of {}; `hcube topic describe` says who does",
        topic.name
    );
    if !others.is_empty() {
        output.talk(format_args!("{replica} holds no copy of partitions {:?}", numbers(&others)));
    }
    Ok(numbers(&held))
}

#[cfg(test)]
mod tests {
    use hcube_api::topics::{Replica, Retention};
    use hcube_core::ids::{NodeId, TopicId, Vertex};

    use super::*;
    use crate::cluster::tests::cluster;

    #[test]
    fn every_replica_has_one_role() {
        let label = |vertex| Label::new(Vertex(vertex), 2);
        let replica = |vertex, votes| Replica {
            label: label(vertex),
            node_id: NodeId(u64::from(vertex) + 1),
            in_sync: Some(vertex == 0),
            votes,
        };
        let partition = Partition {
            partition: 0,
            slot: Slot(1),
            leader: Some(label(0)),
            replicas: vec![replica(0, true), replica(1, true), replica(2, false), replica(3, false)],
            start_offset: Some(0),
            high_watermark: Some(7),
        };
        let topic = Topic {
            name: "t".parse().unwrap(),
            id: TopicId(1),
            retention: Retention::default(),
            read_replicas: 1,
            partitions: vec![partition],
        };
        let mut seen = cluster();
        seen.slots[1].arriving = vec![label(3)];
        seen.slots[1].leaving = vec![Label::new(Vertex(4), 3)];
        let rows = rows(&topic, &seen);
        let roles: Vec<Role> = rows.iter().map(|row| row.role).collect();
        assert_eq!(roles, [Role::Leader, Role::Voter, Role::Reader, Role::Arriving, Role::Leaving]);
        assert_eq!(table(&rows).render(false).lines().count(), 6);
    }
}
