//! A subscription by server-sent events, read as a browser would read it.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The last id that was sent; what `Last-Event-ID` gives back.
    pub id: String,
    /// Its data.
    pub data: Value,
}

impl Event {
    /// The value of the message in it.
    ///
    /// # Panics
    /// Where it is no message with text.
    #[track_caller]
    #[must_use]
    pub fn value(&self) -> &str {
        assert_eq!(self.name, "message", "{self:?}");
        self.data["value"].as_str().unwrap_or_else(|| panic!("no text: {self:?}"))
    }
}

/// A stream of events, read by a thread that ends with the connection.
#[derive(Debug)]
pub struct Events(Receiver<Event>);

impl Events {
    /// Subscribes; resumes after `last_id` where one is given.
    ///
    /// # Panics
    /// When the peer does not answer with a stream of events.
    #[must_use]
    pub fn open(url: &str, last_id: Option<&str>) -> Self {
        let client =
            Client::builder().no_proxy().timeout(None).build().expect("a client needs nothing but a thread");
        let mut request = client.get(url).header("accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().unwrap_or_else(|error| panic!("{url}: {error:?}"));
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.text().unwrap_or_default();
            panic!("{url} (last id {last_id:?}): {status} {body}");
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut event = Event { name: String::new(), id: String::new(), data: Value::Null };
            // The stream ends with the peer, or when nobody listens any more.
            for line in BufReader::new(response).lines().map_while(Result::ok) {
                match line.split_once(": ") {
                    Some(("event", name)) => event.name = name.to_owned(),
                    Some(("id", id)) => event.id = id.to_owned(),
                    Some(("data", data)) => event.data = serde_json::from_str(data).unwrap_or_default(),
                    _ if line.is_empty() && !event.data.is_null() => {
                        let done = Event {
                            data: event.data.take(),
                            name: std::mem::take(&mut event.name),
                            id: event.id.clone(),
                        };
                        if sender.send(done).is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
        Self(receiver)
    }

    /// The next event; none when the stream has ended.
    ///
    /// # Panics
    /// When nothing happens in time.
    #[track_caller]
    #[must_use]
    pub fn next(&self, patience: Duration) -> Option<Event> {
        match self.0.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no event within {patience:?}"),
        }
    }

    /// So many messages.
    ///
    /// # Panics
    /// When they do not come in time.
    #[track_caller]
    #[must_use]
    pub fn take(&self, count: usize, patience: Duration) -> Vec<Event> {
        let deadline = Instant::now() + patience;
        let mut events = Vec::new();
        while events.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left) {
                Some(event) => events.push(event),
                None => panic!("the stream ended after {} of {count} events", events.len()),
            }
        }
        events
    }

    /// Everything until the stream ends.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    #[must_use]
    pub fn rest(&self, patience: Duration) -> Vec<Event> {
        let deadline = Instant::now() + patience;
        std::iter::from_fn(|| self.next(deadline.saturating_duration_since(Instant::now()))).collect()
    }
}
