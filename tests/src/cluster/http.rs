//! What stories ask the peers of a hypercube by HTTP.

use std::collections::BTreeMap;

use reqwest::Method;
use reqwest::blocking::RequestBuilder;
use serde_json::{Value, json};

use super::Cluster;
use crate::answer::Answer;
use crate::history::{Acked, Reading, check};
use crate::reading;
use crate::wait::{eventually, seconds};

impl Cluster {
    /// A request to a peer.
    pub fn request(&self, method: Method, vertex: u16, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.endpoint(vertex)))
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    #[must_use]
    pub fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(&self.client, request).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// GET.
    #[track_caller]
    #[must_use]
    pub fn get(&self, vertex: u16, path: &str) -> Answer {
        self.send(self.request(Method::GET, vertex, path))
    }

    /// Any method with a JSON body.
    #[track_caller]
    #[must_use]
    pub fn send_json(&self, method: Method, vertex: u16, path: &str, body: &Value) -> Answer {
        let request = self.request(method, vertex, path).header("content-type", "application/json");
        self.send(request.body(body.to_string()))
    }

    /// POST of a message or, as `application/x-ndjson`, of many.
    #[track_caller]
    #[must_use]
    pub fn post(&self, vertex: u16, topic: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self.request(Method::POST, vertex, &format!("/v1/topics/{topic}/messages"));
        self.send(request.header("content-type", content_type).body(body.into()))
    }

    /// Creates a topic and waits until each of its partitions has a leader.
    ///
    /// # Panics
    /// When it is not created.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: u16) {
        let body = json!({ "partitions": partitions });
        let _ = self.send_json(Method::PUT, 0, &format!("/v1/topics/{topic}"), &body).expect(201);
        for partition in 0..partitions {
            let _ = self.leader(topic, partition);
        }
    }

    /// A topic as a peer describes it.
    ///
    /// # Panics
    /// When the peer does not for long.
    #[track_caller]
    #[must_use]
    pub fn describe(&self, vertex: u16, topic: &str) -> Value {
        eventually(&format!("a description of {topic}"), seconds(30), || {
            let request = self.request(Method::GET, vertex, &format!("/v1/topics/{topic}"));
            Answer::of(&self.client, request)
                .ok()
                .filter(|answer| answer.status == 200)
                .map(|answer| answer.json())
        })
    }

    /// The vertex that leads a partition.
    ///
    /// # Panics
    /// When nobody does for long.
    #[track_caller]
    #[must_use]
    pub fn leader(&self, topic: &str, partition: u16) -> u16 {
        eventually(&format!("a leader of {topic}/{partition}"), seconds(30), || {
            let leader = &self.describe(0, topic)["partitions"][usize::from(partition)]["leader"];
            leader.as_str().map(|label| self.vertex(label))
        })
    }

    /// The vertex that leads a partition as one peer sees it; none while it knows none.
    #[must_use]
    pub fn leader_seen_by(&self, vertex: u16, topic: &str, partition: u16) -> Option<u16> {
        let request =
            self.request(Method::GET, vertex, &format!("/v1/cluster/route/{topic}?partition={partition}"));
        let answer = Answer::of(&self.client, request).ok().filter(|answer| answer.status == 200)?;
        answer.json()["leader"].as_str().map(|label| self.vertex(label))
    }

    /// The vertices that hold a partition.
    ///
    /// # Panics
    /// When the description lacks them.
    #[track_caller]
    #[must_use]
    pub fn replicas(&self, topic: &str, partition: u16) -> Vec<u16> {
        self.replicas_seen_by(0, topic, partition)
    }

    /// The vertices that hold a partition, as one peer describes it.
    ///
    /// # Panics
    /// When the description lacks them.
    #[track_caller]
    #[must_use]
    pub fn replicas_seen_by(&self, vertex: u16, topic: &str, partition: u16) -> Vec<u16> {
        let described = self.describe(vertex, topic);
        let replicas = described["partitions"][usize::from(partition)]["replicas"].as_array().cloned();
        let replicas = replicas.unwrap_or_else(|| panic!("no replicas: {described}"));
        let label = |replica: &Value| replica["label"].as_str().map(|label| self.vertex(label));
        replicas
            .iter()
            .map(|replica| label(replica).unwrap_or_else(|| panic!("no label: {described}")))
            .collect()
    }

    /// Everything in a partition as one peer gives it, with NDJSON as it came.
    ///
    /// # Panics
    /// When the peer refuses.
    #[track_caller]
    #[must_use]
    pub fn read_raw(&self, vertex: u16, topic: &str, partition: u16, replica: Option<u16>) -> Vec<u8> {
        let label = replica.map(|replica| self.label(replica));
        let read = reading::raw(&self.client, &self.endpoint(vertex), topic, partition, label.as_deref());
        read.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Everything in a topic as one peer gives it.
    ///
    /// # Panics
    /// When the peer refuses, or gives what makes no sense.
    #[track_caller]
    #[must_use]
    pub fn read(&self, vertex: u16, topic: &str, partitions: u16) -> Reading {
        let read = reading::whole(&self.client, &self.endpoint(vertex), topic, partitions);
        read.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads a topic through some peers and checks each reading against what was acknowledged; then waits until all
    /// replicas of each partition hold the same bytes. Returns what was read.
    ///
    /// # Panics
    /// When anything is missing, doubled, moved, out of order or different.
    #[track_caller]
    pub fn check(&self, topic: &str, partitions: u16, acked: &[Acked], through: &[u16]) -> Reading {
        let mut readings = BTreeMap::new();
        for &vertex in through {
            let endpoint = self.endpoint(vertex);
            let reading = reading::complete(&self.client, &endpoint, topic, partitions, acked);
            let reading = reading.unwrap_or_else(|error| panic!("{error}"));
            check(&format!("{topic} through {}", self.label(vertex)), acked, &reading);
            readings.insert(vertex, reading);
        }
        self.replicas_become_equal(topic, partitions);
        readings.into_values().next_back().unwrap_or_else(|| panic!("somebody is asked"))
    }

    /// Waits until every replica's own copy of every partition is the same, byte for byte.
    ///
    /// # Panics
    /// When they stay different.
    #[track_caller]
    pub fn replicas_become_equal(&self, topic: &str, partitions: u16) {
        for partition in 0..partitions {
            let replicas = self.replicas(topic, partition);
            eventually(
                &format!("equal replicas of {topic}/{partition} at {replicas:?}"),
                seconds(30),
                || {
                    // Asked through another peer each, so that the forwarding of such reads is seen too.
                    let through = |replica: u16| (replica + 1) % self.shape.peers;
                    let copy =
                        |replica: u16| self.read_raw(through(replica), topic, partition, Some(replica));
                    let copies: Vec<Vec<u8>> = replicas.iter().map(|replica| copy(*replica)).collect();
                    copies.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
                },
            );
        }
    }
}
