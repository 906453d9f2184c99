//! `hcube publish`: every message of the input, in order, and an account of what was not acknowledged.

use std::collections::VecDeque;

use hcube_api::messages::Incoming;
use hcube_client::{Delivery, Producer, SendError};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::args::PublishArgs;
use crate::connect::{self, Reach};
use crate::exit::Coded;
use crate::output::{Output, grouped};
use crate::signals;

mod input;
mod lines;

use input::Input;

/// Messages that are read ahead of the producer.
const READ_AHEAD: usize = 1024;
/// Messages that wait for their acknowledgement at most; the producer bounds their bytes.
const PENDING_MAX: usize = 50_000;

/// What a message became.
#[derive(Debug, Serialize)]
struct Acknowledged {
    line: u64,
    partition: u16,
    offset: u64,
    timestamp_ms: u64,
    duplicate: bool,
}

/// Carries it out.
pub async fn run(args: PublishArgs, reach: &Reach, output: &Output) -> anyhow::Result<()> {
    let client = reach.builder()?.retry_timeout(args.patience.min(connect::RETRY)).build()?;
    let values = Input::values(&args)?;
    let mut builder = client.producer(&args.topic).delivery_timeout(args.patience);
    if let Some(name) = &args.producer {
        builder = builder.name(name);
    }
    let (incoming, count) = if values.is_empty() {
        let input = Input::open(&args)?;
        let count = input.count;
        if input.is_terminal {
            output.talk("one message a line; Ctrl-D ends");
        }
        (read(input), count)
    } else {
        let count = Some(values.len() as u64);
        (given(values), count)
    };
    let producer = builder.build().await?;
    let bar = output.progress(count, "messages");
    let mut account = Account {
        output,
        bar: &bar,
        pending: VecDeque::new(),
        acknowledged: 0,
        failed: Vec::new(),
        why: None,
    };
    let stopped = account.publish(incoming, &producer).await;
    bar.finish_and_clear();
    output.flush()?;
    account.conclude(stopped)
}

/// Reads on a thread of its own, because reading stdin blocks.
fn read(mut input: Input) -> mpsc::Receiver<anyhow::Result<Incoming>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        while let Some(message) = input.next().transpose() {
            let wrong = message.is_err();
            if sender.blocking_send(message).is_err() || wrong {
                return;
            }
        }
    });
    receiver
}

fn given(values: Vec<Incoming>) -> mpsc::Receiver<anyhow::Result<Incoming>> {
    let (sender, receiver) = mpsc::channel(values.len());
    for value in values {
        sender.try_send(Ok(value)).expect("the channel has room for all values");
    }
    receiver
}

/// What is on its way, what arrived, and what did not.
struct Account<'o> {
    output: &'o Output,
    bar: &'o ProgressBar,
    pending: VecDeque<(u64, Delivery)>,
    acknowledged: u64,
    /// Lines that were not acknowledged, ascending.
    failed: Vec<u64>,
    /// Why the first of them was not.
    why: Option<SendError>,
}

impl Account<'_> {
    /// Publishes until the input ends; stops reading when a partition fails, the input is wrong, or somebody
    /// interrupts, and accounts for everything that was taken until then.
    async fn publish(
        &mut self,
        mut incoming: mpsc::Receiver<anyhow::Result<Incoming>>,
        producer: &Producer,
    ) -> anyhow::Result<()> {
        let interrupted = signals::interrupted();
        tokio::pin!(interrupted);
        let mut stopped = Ok(());
        let mut next = None;
        let mut reading = true;
        while reading || next.is_some() || !self.pending.is_empty() {
            let room = self.pending.len() < PENDING_MAX;
            tokio::select! {
                biased;
                () = &mut interrupted => {
                    self.failed.extend(next.map(|message: Incoming| message.line));
                    self.failed.extend(self.pending.drain(..).map(|(line, _)| line));
                    return Err(anyhow::anyhow!("interrupted"));
                }
                outcome = first(&mut self.pending) => self.settle(outcome)?,
                (line, taken) = take(producer, next.as_ref()), if room => {
                    next = None;
                    match taken {
                        Ok(delivery) => self.pending.push_back((line, delivery)),
                        Err(error) => self.fail(line, error),
                    }
                }
                message = incoming.recv(), if reading && next.is_none() => match message {
                    None => reading = false,
                    Some(Ok(message)) => next = Some(message),
                    Some(Err(wrong)) => {
                        stopped = Err(wrong);
                        reading = false;
                    }
                },
            }
            // What follows would be refused for the same reason.
            reading = reading && self.failed.is_empty();
        }
        stopped
    }

    fn settle(&mut self, (line, outcome): (u64, Result<hcube_client::Ack, SendError>)) -> anyhow::Result<()> {
        match outcome {
            Err(error) => self.fail(line, error),
            Ok(ack) => {
                self.acknowledged += 1;
                self.bar.inc(1);
                if self.output.is_json() {
                    self.output.json(&Acknowledged {
                        line,
                        partition: ack.partition,
                        offset: ack.offset,
                        timestamp_ms: ack.timestamp_ms,
                        duplicate: ack.is_duplicate,
                    })?;
                }
            }
        }
        if self.pending.is_empty() { self.output.flush() } else { Ok(()) }
    }

    fn fail(&mut self, line: u64, error: SendError) {
        self.failed.push(line);
        self.why.get_or_insert(error);
    }

    fn conclude(mut self, stopped: anyhow::Result<()>) -> anyhow::Result<()> {
        let acknowledged = grouped(self.acknowledged);
        self.failed.sort_unstable();
        match (self.failed.is_empty(), stopped) {
            (true, Ok(())) => {
                self.output.talk(format_args!("{acknowledged} messages acknowledged"));
                Ok(())
            }
            (true, Err(error)) => {
                Err(error
                    .context(format!("{acknowledged} messages acknowledged, the rest was not published")))
            }
            (false, stopped) => {
                let lines = lines::named(&self.failed);
                let why = match (&self.why, stopped) {
                    (Some(why), _) => why.to_string(),
                    (None, Err(error)) => error.to_string(),
                    (None, Ok(())) => "of no known reason".into(),
                };
                let maybe = if self.why.as_ref().is_none_or(SendError::maybe_stored) {
                    "; they may be stored nevertheless"
                } else {
                    ""
                };
                Err(Coded::unacknowledged(format!(
                    "{acknowledged} messages acknowledged; lines {lines} are not{maybe}, and later lines were \
                     not read: {why}"
                ))
                .into())
            }
        }
    }
}

/// The outcome of the message that was sent first; never where there is none.
async fn first(pending: &mut VecDeque<(u64, Delivery)>) -> (u64, Result<hcube_client::Ack, SendError>) {
    let Some((line, delivery)) = pending.front_mut() else { return std::future::pending().await };
    let (line, outcome) = (*line, delivery.await);
    pending.pop_front();
    (line, outcome)
}

/// Hands a message to the producer, which waits while its buffer is full; never where there is none.
async fn take(producer: &Producer, message: Option<&Incoming>) -> (u64, Result<Delivery, SendError>) {
    let Some(Incoming { line, partition, record }) = message else { return std::future::pending().await };
    let taken = match partition {
        Some(partition) => producer.enqueue_to(*partition, record.clone()).await,
        None => producer.enqueue(record.clone()).await,
    };
    (*line, taken)
}
