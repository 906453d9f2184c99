//! A publisher that speaks HTTP and never gives a message up: same producer, same sequence, until a peer says where
//! the message is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::answer::{self, Answer};

/// How long a message may take until it is acknowledged, with every peer down for some of it.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait before a repetition.
const PAUSE: Duration = Duration::from_millis(50);

/// A registered publisher in one partition of a topic.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    endpoints: Vec<String>,
    /// The endpoint that is asked next.
    turn: usize,
    /// Its producer id.
    pub id: String,
    /// Its epoch.
    pub epoch: u64,
    topic: String,
    partition: u16,
    /// The sequence of its next message.
    pub sequence: u64,
    /// Requests that had to be repeated.
    pub repeats: u64,
    /// Becomes true when nobody waits for acknowledgements any more.
    pub abandoned: Arc<AtomicBool>,
}

/// An acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The offset.
    pub offset: u64,
    /// Whether an earlier request had stored it.
    pub duplicate: bool,
    /// From the first request to the acknowledgement.
    pub took: Duration,
}

impl Publisher {
    /// Registers one; without a name it is anonymous. It asks the endpoints in turn, one a message.
    ///
    /// # Panics
    /// When no endpoint registers it.
    #[must_use]
    pub fn register(endpoints: &[String], name: Option<&str>, topic: &str, partition: u16) -> Self {
        let client = answer::client();
        let body = name.map_or_else(|| json!({}), |name| json!({ "name": name })).to_string();
        let began = Instant::now();
        let registered: Value = 'registered: loop {
            for endpoint in endpoints {
                let request = client.post(format!("{endpoint}/v1/publishers"));
                let request = request.header("content-type", "application/json").body(body.clone());
                match Answer::of(&client, request) {
                    Ok(answer) if answer.status == 200 => break 'registered answer.json(),
                    Ok(answer) if answer.status >= 500 => {}
                    Ok(answer) => panic!("a publisher could not be registered: {answer}"),
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
                }
            }
            assert!(began.elapsed() < PATIENCE, "no peer registers a publisher");
            std::thread::sleep(PAUSE);
        };
        let id = registered["producer_id"].as_str().expect("a publisher has a producer_id").to_owned();
        let epoch = registered["epoch"].as_u64().expect("a publisher has an epoch");
        let (endpoints, topic) = (endpoints.to_vec(), topic.to_owned());
        Self {
            client,
            endpoints,
            turn: 0,
            id,
            epoch,
            topic,
            partition,
            sequence: 0,
            repeats: 0,
            abandoned: Arc::default(),
        }
    }

    /// Publishes the next message.
    ///
    /// # Panics
    /// When no peer acknowledges it in time, or one refuses it for good.
    pub fn publish(&mut self, value: &str) -> Ack {
        let began = Instant::now();
        loop {
            let endpoint = self.turn % self.endpoints.len();
            self.turn += 1;
            let last = match self.request(endpoint, self.sequence, value) {
                Ok(answer) if answer.status == 200 => {
                    self.sequence += 1;
                    let ack = answer.json();
                    assert_eq!(ack["partition"], self.partition, "{answer}");
                    return Ack {
                        offset: ack["offset"].as_u64().expect("an acknowledgement has an offset"),
                        duplicate: ack["duplicate"].as_bool().expect("an acknowledgement tells duplicates"),
                        took: began.elapsed(),
                    };
                }
                Ok(answer) if [429, 503, 504].contains(&answer.status) => answer.to_string(),
                Ok(answer) => panic!("{} #{}: refused for good: {answer}", self.id, self.sequence),
                // The peer may be gone, and may have taken it before.
                Err(error) => error,
            };
            self.repeats += 1;
            assert!(!self.abandoned.load(Ordering::Relaxed), "abandoned: {value}; last: {last}");
            assert!(
                began.elapsed() < PATIENCE,
                "not acknowledged within {PATIENCE:?}: {value}; last: {last}"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends one publish to one endpoint, once.
    ///
    /// # Errors
    /// What went wrong where there was no answer.
    pub fn request(&self, endpoint: usize, sequence: u64, value: &str) -> Result<Answer, String> {
        let url = format!("{}/v1/topics/{}/messages", self.endpoints[endpoint], self.topic);
        let request = self.client.post(url).body(value.to_owned()).header("content-type", "text/plain");
        let request = request
            .header("hcube-producer-id", &self.id)
            .header("hcube-producer-epoch", self.epoch)
            .header("hcube-sequence", sequence)
            .header("hcube-partition", self.partition);
        Answer::of(&self.client, request)
    }
}
