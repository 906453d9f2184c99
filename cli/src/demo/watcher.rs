//! A subscriber that stays through everything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hcube_client::{Client, Error, Message, Transport};
use hcube_core::topic::Name;
use tokio::task::JoinHandle;

/// How often the number of messages is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(20);

/// Collects what a subscription delivers. Dropping it ends the subscription.
pub struct Watcher {
    heard: Arc<Mutex<Vec<Message>>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Watcher {
    /// Subscribes from now on, by server-sent events.
    pub async fn subscribe(client: &Client, topic: &Name) -> anyhow::Result<Self> {
        let from = hcube_api::messages::Start::Latest;
        let mut consumer = client.consumer(topic).from(from).transport(Transport::Events).build().await?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let messages = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Some(message) = consumer.next().await? {
                messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
            Ok(())
        });
        Ok(Self { heard, task })
    }

    /// How many messages came so far.
    pub fn count(&self) -> usize {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends the subscription when so many messages came, or the time is over; what came, and how it ended
    /// where it ended by itself.
    pub async fn finish(mut self, count: usize, patience: Duration) -> (Vec<Message>, Option<Error>) {
        let deadline = Instant::now() + patience;
        while self.count() < count && Instant::now() < deadline && !self.task.is_finished() {
            tokio::time::sleep(POLL).await;
        }
        let error =
            if self.task.is_finished() { (&mut self.task).await.ok().and_then(Result::err) } else { None };
        (std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner)), error)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
