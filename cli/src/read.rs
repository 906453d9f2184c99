//! `hcube pull`: messages that are there.

use hcube_api::clients::SetCursor;
use hcube_api::messages::{Message, PullQuery, Start};
use hcube_client::Client;

use crate::args::PullArgs;
use crate::output::Output;

/// Messages of one request.
const PAGE: u32 = 5000;
/// Bytes of one request.
const PAGE_BYTES: u32 = 4 << 20;

/// Carries out `hcube pull`: prints what there was when it began, or the first messages to come within the wait.
/// Returns how many it printed.
pub async fn pull(args: PullArgs, client: &Client, output: &Output) -> anyhow::Result<u64> {
    let PullArgs { topic, read, limit, wait, replica, subscriber } = args;
    let from = match &subscriber {
        Some(name) => Some(Start::Cursor(client.fetch_cursor(name, &topic).await?.cursor)),
        None => read.from,
    };
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(PullQuery::WAIT_MS_MAX);
    let mut query = PullQuery {
        partition: read.partition,
        from,
        max_bytes: PAGE_BYTES,
        wait_ms,
        replica,
        ..PullQuery::default()
    };
    let mut printed = 0u64;
    let mut end = None;
    let next = loop {
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(printed));
        if left == 0 && end.is_some() {
            break query.from;
        }
        // A limit of zero still asks once, so that an unknown topic is told.
        query.limit = u32::try_from(left).unwrap_or(PAGE).clamp(1, PAGE);
        let pulled = client.pull(&topic, &query).await?;
        let end = end.get_or_insert_with(|| pulled.high_watermarks.0.clone());
        let messages =
            &pulled.messages[..pulled.messages.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        print(messages, output)?;
        printed += messages.len() as u64;
        let caught_up = end.iter().all(|(partition, end)| pulled.next.get(*partition) >= Some(*end));
        if left > 0 {
            query.from = Some(Start::Cursor(pulled.next));
        }
        // Those that come while this reads are for the next pull, or it would never end.
        query.wait_ms = 0;
        if caught_up || pulled.messages.is_empty() {
            break query.from;
        }
    };
    // What is committed must have been handed on before.
    output.flush()?;
    if let Some(Start::Cursor(cursor)) = next {
        match subscriber {
            Some(name) => {
                client.set_cursor(&name, &topic, &SetCursor::Cursor(cursor)).await?;
                output.talk(format_args!("{printed} messages; committed for {name}"));
            }
            None => output.talk(format_args!("{printed} messages; go on with --from {cursor}")),
        }
    }
    Ok(printed)
}

/// Each value on a line; for programs each message as JSON.
pub fn print(messages: &[Message], output: &Output) -> anyhow::Result<()> {
    messages.iter().try_for_each(|message| {
        if output.is_json() { output.json(message) } else { output.line(&message.record.value) }
    })
}

#[cfg(test)]
mod tests {
    use hcube_core::record::Record;

    use super::*;
    use crate::args::Format;
    use crate::output::captured::Captured;

    fn message() -> Message {
        let headers = vec![("h".to_owned(), "1".into())];
        let record = Record { key: Some("k".into()), headers, value: "a value".into() };
        Message { partition: 2, offset: 7, timestamp_ms: 5, record }
    }

    #[test]
    fn people_see_values_and_programs_see_everything() {
        let (table, json) = (Captured::default(), Captured::default());
        print(&[message(), message()], &table.output(Format::Table)).unwrap();
        print(&[message()], &json.output(Format::Json)).unwrap();
        assert_eq!(table.text(), "a value\na value\n");
        let expected =
            r#"{"partition":2,"offset":7,"timestamp_ms":5,"key":"k","headers":{"h":"1"},"value":"a value"}"#;
        assert_eq!(json.text().trim_end(), expected);
    }
}
