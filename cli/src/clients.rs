//! `hcube publisher` and `hcube subscriber`: names and durable cursors.

use hcube_api::clients::{CursorAnswer, Position, SetCursor};
use hcube_client::Client;

use crate::args::{PublisherCommand, SubscriberCommand};
use crate::output::{Output, Table};

/// Carries out `hcube publisher ...`.
pub async fn publisher(command: PublisherCommand, client: &Client, output: &Output) -> anyhow::Result<()> {
    let PublisherCommand::Register { name } = command;
    let publisher = client.register_publisher(name.as_ref()).await?;
    output.document(&publisher, |publisher| {
        let mut table = Table::new(["publisher", "producer id", "epoch"]);
        let name = publisher.name.as_ref().map_or_else(|| "(anonymous)".to_owned(), ToString::to_string);
        table.row([name, publisher.producer_id.to_string(), publisher.epoch.to_string()]);
        table
    })
}

/// Carries out `hcube subscriber ...`.
pub async fn subscriber(command: SubscriberCommand, client: &Client, output: &Output) -> anyhow::Result<()> {
    match command {
        SubscriberCommand::Register { name } => {
            let subscriber = client.register_subscriber(&name).await?;
            output.document(&subscriber, |subscriber| {
                let mut table = Table::new(["subscriber", "registered"]);
                let when = if subscriber.created { "now" } else { "before" };
                table.row([subscriber.name.to_string(), when.to_owned()]);
                table
            })
        }
        SubscriberCommand::Show { name, topic } => {
            output.document(&client.fetch_cursor(&name, &topic).await?, table)
        }
        SubscriberCommand::Commit { name, topic, partition, offset, cursor } => {
            let set = match (offset, cursor) {
                (_, Some(cursor)) => SetCursor::Cursor(cursor),
                (offset, None) => SetCursor::Partitions(
                    offset.map(|offset| Position { partition, offset }).into_iter().collect(),
                ),
            };
            output.document(&client.set_cursor(&name, &topic, &set).await?, table)
        }
        SubscriberCommand::Reset { name, topic, to } => {
            output.document(&client.set_cursor(&name, &topic, &SetCursor::To(to)).await?, table)
        }
    }
}

fn table(answer: &CursorAnswer) -> Table {
    let mut table = Table::new(["topic", "partition", "next offset"]);
    for position in &answer.partitions {
        let place = [answer.topic.to_string(), position.partition.to_string(), position.offset.to_string()];
        table.row(place);
    }
    table
}
