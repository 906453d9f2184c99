//! A stream of messages out of one topic, in order within each partition and each message once.

use std::collections::VecDeque;

use hcube_api::clients::{CursorAnswer, Position, SetCursor};
use hcube_api::cursor::Cursor;
use hcube_api::messages::Message;
use hcube_core::topic::Name;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::Error;

mod builder;
mod place;
mod poll;
mod subscription;

pub use builder::{ConsumerBuilder, Transport};

/// Messages that arrived together.
#[derive(Debug)]
struct Chunk {
    messages: Vec<Message>,
    /// The place after them.
    after: Cursor,
}

/// What a reader's task tells its consumer.
type Chunks = mpsc::Sender<Result<Chunk, Error>>;

/// Reads messages of one topic; see [`Client::consumer`].
///
/// Those of one partition come in the order of their offsets, without gap and without repeat, however often
/// connections break and through whichever peers. A task reads ahead of the caller by about three answers.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    topic: Name,
    subscriber: Option<Name>,
    /// The only one that is read, where not all are.
    partition: Option<u16>,
    chunks: mpsc::Receiver<Result<Chunk, Error>>,
    task: JoinHandle<()>,
    /// Arrived and not given out yet.
    messages: VecDeque<Message>,
    /// The place after the messages that were given out.
    cursor: Cursor,
    /// The place after everything that has arrived.
    arrived: Cursor,
    error: Option<Error>,
}

impl Client {
    /// Sets up a consumer of a topic that exists.
    pub fn consumer(&self, topic: &Name) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic.clone())
    }
}

impl Consumer {
    /// The next message; waits for it. None where the consumer does not follow the topic and has reached its
    /// end. A call that is dropped while it waits loses nothing.
    ///
    /// # Errors
    /// [`Error`] when the topic cannot be read any more, or not within the client's retry timeout; again at
    /// each further call. What was read before is given out first. Go on with a new consumer at
    /// [`Consumer::cursor`].
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        self.receive().await?;
        Ok(self.take())
    }

    /// The next messages: those that have arrived, or the first to come. Empty where [`Consumer::next`] would
    /// give none.
    ///
    /// # Errors
    /// Those of [`Consumer::next`].
    pub async fn next_chunk(&mut self) -> Result<Vec<Message>, Error> {
        self.receive().await?;
        self.cursor = self.arrived.clone();
        Ok(std::mem::take(&mut self.messages).into())
    }

    /// The place after the messages that were given out: where a reader goes on that comes after this one.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Makes that place the subscriber's durable one.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a subscriber; see [`Error`].
    pub async fn commit(&mut self) -> Result<CursorAnswer, Error> {
        let Some(subscriber) = &self.subscriber else {
            return Err(Error::Invalid("only the consumer of a subscriber can commit".into()));
        };
        // Others may read the other partitions for the subscriber; their places are not ours to set.
        let place = match self.partition {
            Some(partition) => {
                let offset = self.cursor.get(partition);
                SetCursor::Partitions(
                    offset.map(|offset| Position { partition, offset }).into_iter().collect(),
                )
            }
            None => SetCursor::Cursor(self.cursor.clone()),
        };
        self.client.set_cursor(subscriber, &self.topic, &place).await
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        if self.messages.is_empty() {
            self.cursor = self.arrived.clone();
        } else {
            self.cursor.set(message.partition, message.offset + 1);
        }
        Some(message)
    }

    /// Waits until there are messages, or none will come.
    async fn receive(&mut self) -> Result<(), Error> {
        while self.messages.is_empty() {
            if let Some(error) = &self.error {
                return Err(error.clone());
            }
            match self.chunks.recv().await {
                Some(Ok(chunk)) => {
                    self.messages = chunk.messages.into();
                    self.arrived = chunk.after;
                }
                Some(Err(error)) => self.error = Some(error),
                None => break,
            }
        }
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
