//! `hcube topic`: create, look at, change and delete topics.

use hcube_api::topics::{CreateTopic, PatchRetention, PatchTopic, Retention, Topic, TopicList};
use hcube_client::Client;
use hcube_core::topic::Name;

use crate::args::TopicCommand;
use crate::args::units::Bound;
use crate::cluster::Administration;
use crate::connect::Reach;
use crate::output::{Output, Table, grouped};

/// Carries it out.
pub async fn run(
    command: TopicCommand,
    client: &Client,
    reach: &Reach,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        TopicCommand::Create { topic, partitions, retention_age, retention_bytes } => {
            let retention = Retention { age_ms: retention_age, bytes: retention_bytes };
            let created = client.create_topic(&topic, &CreateTopic { partitions, retention }).await?;
            output.talk(format_args!(
                "{topic} {}",
                if created.is_new { "created" } else { "is there already" }
            ));
            if output.is_json() {
                return output.json(&created.topic);
            }
            // The answer to a creation comes before every partition has been asked for its leader.
            output.table(&describe(&client.describe_topic(&topic).await?))
        }
        TopicCommand::List => output.document(&TopicList { topics: client.list_topics().await? }, list),
        TopicCommand::Describe { topic } => {
            let topic = client.describe_topic(&topic).await?;
            if !output.is_json() {
                output.talk(format_args!("{} ({}), {}", topic.name, topic.id, kept(topic.retention)));
            }
            output.document(&topic, describe)
        }
        TopicCommand::Alter { topic, retention_age, retention_bytes, read_replicas, patience, admin } => {
            if retention_age.is_some() || retention_bytes.is_some() {
                let retention = PatchRetention {
                    age_ms: retention_age.map(Bound::to_patch),
                    bytes: retention_bytes.map(Bound::to_patch),
                };
                let altered = client.alter_topic(&topic, &PatchTopic { retention }).await?;
                output.talk(format_args!("{topic}: {}", kept(altered.retention)));
            }
            if let Some(count) = read_replicas {
                let administration = Administration::find(&admin, reach).await?;
                read_from(&administration, &topic, count, !patience.no_wait, output).await?;
            }
            if output.is_json() { output.json(&client.describe_topic(&topic).await?) } else { Ok(()) }
        }
        TopicCommand::Delete { topics } => {
            for topic in topics {
                client.delete_topic(&topic).await?;
                output.talk(format_args!("{topic} deleted"));
                if output.is_json() {
                    output.json(&serde_json::json!({ "deleted": topic }))?;
                }
            }
            Ok(())
        }
    }
}

/// Sets how many replicas of a topic only read.
async fn read_from(
    administration: &Administration,
    topic: &Name,
    count: u8,
    waits: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let cluster = administration.cluster();
    let admins = administration.admins();
    admins.ask(async |admin| admin.set_read_replicas(topic, cluster, count).await).await?;
    // Asked for after the change, so that what is waited for knows of it.
    let epoch = administration.members().await?.epoch;
    output.talk(format_args!("{topic}: {count} of its replicas only read"));
    if waits {
        administration.settles(epoch, "the replicas that only read", output).await?;
    }
    Ok(())
}

fn describe(topic: &Topic) -> Table {
    let mut table = Table::new(["partition", "slot", "leader", "replicas", "in sync", "first", "end"]);
    for partition in &topic.partitions {
        let labels = |wanted: fn(Option<bool>) -> bool| {
            let replicas = partition.replicas.iter().filter(|replica| wanted(replica.in_sync));
            replicas.map(|replica| replica.label.as_str()).collect::<Vec<_>>().join(" ")
        };
        let offset = |offset: Option<u64>| offset.map_or_else(|| "-".to_owned(), grouped);
        table.row([
            partition.partition.to_string(),
            partition.slot.to_string(),
            partition.leader.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
            labels(|_| true),
            labels(|in_sync| in_sync == Some(true)),
            offset(partition.start_offset),
            offset(partition.high_watermark),
        ]);
    }
    table
}

fn list(list: &TopicList) -> Table {
    let mut table = Table::new(["topic", "partitions", "kept"]);
    for topic in &list.topics {
        table.row([topic.name.to_string(), topic.partitions.to_string(), kept(topic.retention)]);
    }
    table
}

fn kept(retention: Retention) -> String {
    match (retention.age_ms, retention.bytes) {
        (None, None) => "kept for ever".into(),
        (Some(age), None) => format!("kept {}", age_text(age)),
        (None, Some(bytes)) => format!("{} bytes a partition kept", grouped(bytes)),
        (Some(age), Some(bytes)) => {
            format!("kept {}, at most {} bytes a partition", age_text(age), grouped(bytes))
        }
    }
}

/// In the largest unit that leaves no rest.
fn age_text(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let fits = units.into_iter().find(|(unit, _)| ms.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_largest_unit_without_rest() {
        let told = [604_800_000, 5_400_000, 1500].map(age_text);
        assert_eq!(told, ["7d", "90m", "1500ms"]);
    }

    #[test]
    fn what_is_kept_is_said_in_words() {
        assert_eq!(kept(Retention::default()), "kept for ever");
        let both = Retention { age_ms: Some(86_400_000), bytes: Some(1000) };
        assert_eq!(kept(both), "kept 1d, at most 1,000 bytes a partition");
    }
}
