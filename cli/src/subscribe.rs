//! `hcube subscribe`: messages as they are published.

use std::time::{Duration, Instant};

use hcube_api::messages::Start;
use hcube_client::Consumer;

use crate::args::SubscribeArgs;
use crate::connect::Reach;
use crate::output::Output;
use crate::read;
use crate::signals;

/// How often a subscriber's durable cursor is moved on while messages come.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long a subscription looks for a peer that answers before it ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Carries it out.
pub async fn run(args: SubscribeArgs, reach: &Reach, output: &Output) -> anyhow::Result<()> {
    let SubscribeArgs { topic, read, follow, limit, subscriber } = args;
    let first = reach.client()?;
    // The first question fails soon where nobody is there; a subscription that runs is patient.
    first.describe_topic(&topic).await?;
    let client = reach.builder()?.retry_timeout(PATIENCE).build()?;
    let mut builder = client.consumer(&topic).follows(follow);
    if let Some(partition) = read.partition {
        builder = builder.partition(partition);
    }
    match (&subscriber, read.from) {
        (Some(name), _) => builder = builder.subscriber(name),
        (None, Some(from)) => builder = builder.from(from),
        (None, None) if follow => builder = builder.from(Start::Latest),
        (None, None) => {}
    }
    let mut reader =
        Reader { consumer: builder.build().await?, commits: subscriber.is_some(), committed: None };
    let done = tokio::select! {
        done = reader.run(limit, output) => done,
        () = signals::interrupted() => Ok(()),
    };
    output.flush()?;
    reader.commit().await?;
    done
}

struct Reader {
    consumer: Consumer,
    commits: bool,
    committed: Option<Instant>,
}

impl Reader {
    async fn run(&mut self, limit: Option<u64>, output: &Output) -> anyhow::Result<()> {
        let mut left = limit;
        while left != Some(0) {
            // Under a limit one by one, because the consumer's place is after everything that it gave out.
            let messages = match &mut left {
                None => self.consumer.next_chunk().await?,
                Some(left) => {
                    *left -= 1;
                    self.consumer.next().await?.into_iter().collect()
                }
            };
            if messages.is_empty() {
                return Ok(());
            }
            read::print(&messages, output)?;
            output.flush()?;
            if self.committed.is_none_or(|at| at.elapsed() >= COMMIT_EVERY) {
                self.commit().await?;
            }
        }
        Ok(())
    }

    /// Makes the place after what was printed durable.
    async fn commit(&mut self) -> anyhow::Result<()> {
        if self.commits {
            self.consumer.commit().await?;
            self.committed = Some(Instant::now());
        }
        Ok(())
    }
}
