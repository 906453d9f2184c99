//! Options of publishing and reading messages.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hcube_api::label::Label;
use hcube_api::messages::{PullQuery, Start};
use hcube_core::topic::Name;

use super::units::parse_duration;

/// Options of `publish`.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// The topic
    pub topic: Name,
    /// Messages; lines of stdin where neither these nor --file are given
    #[arg(value_name = "VALUE", conflicts_with = "file")]
    pub values: Vec<String>,
    /// Read messages from a file, `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What a line is [default: ndjson for a file that ends in .ndjson or .jsonl, otherwise lines]
    #[arg(long, value_enum, conflicts_with = "values")]
    pub format: Option<LineFormat>,
    /// Key of every message that has none of its own; chooses the partition
    #[arg(long)]
    pub key: Option<String>,
    /// Header of every message; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,
    /// Publish to this partition, whatever the keys say
    #[arg(long, value_name = "P")]
    pub partition: Option<u16>,
    /// Publish as this registered publisher; it is registered, which fences whoever used the name before
    #[arg(long, value_name = "NAME")]
    pub producer: Option<Name>,
    /// How long a message may wait for its acknowledgement while peers fail, such as 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub patience: std::time::Duration,
}

/// What a line of input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LineFormat {
    /// A message's value
    Lines,
    /// A JSON object with value (or value_base64), key, headers, partition
    Ndjson,
}

/// What to read.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// One partition; all of them where left out
    #[arg(long, value_name = "P")]
    pub partition: Option<u16>,
    /// earliest, latest, an offset (of one partition), timestamp:MS, or the cursor that a pull ended with
    #[arg(long, value_name = "FROM", value_parser = parse_start)]
    pub from: Option<Start>,
}

/// Options of `pull`.
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// The topic
    pub topic: Name,
    /// What to read
    #[command(flatten)]
    pub read: ReadArgs,
    /// Messages at most; all that are there where left out
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Wait this long for a first message where there is none, at most 30s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_wait)]
    pub wait: std::time::Duration,
    /// Read the copy that this vertex holds, and no other
    #[arg(long, value_name = "LABEL")]
    pub replica: Option<Label>,
    /// Go on at this registered subscriber's durable cursor, and commit after the messages are printed
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "replica"])]
    pub subscriber: Option<Name>,
}

/// Options of `subscribe`.
#[derive(Debug, Clone, Args)]
pub struct SubscribeArgs {
    /// The topic
    pub topic: Name,
    /// What to read; new messages only where --from is left out
    #[command(flatten)]
    pub read: ReadArgs,
    /// Go on for ever; without it the command ends when it has caught up
    #[arg(long)]
    pub follow: bool,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on at this registered subscriber's durable cursor, and commit what has been printed
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub subscriber: Option<Name>,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    text.parse().map_err(|problem: hcube_api::Problem| problem.detail.into())
}

fn parse_wait(text: &str) -> Result<std::time::Duration, String> {
    let wait = parse_duration(text)?;
    if wait.as_millis() > u128::from(PullQuery::WAIT_MS_MAX) {
        return Err(format!("a pull waits at most {} s", PullQuery::WAIT_MS_MAX / 1000));
    }
    Ok(wait)
}
