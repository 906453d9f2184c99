//! Subscribers: each reads one partition from its beginning, poll after poll, and misses nothing.

use hcube_broker::request::{From, StoredBatch, TopicRef};
use hcube_broker::{Error, Request};

use super::publisher::{pull, values};
use crate::invariants::hold;
use crate::streams::{once_in, pick};
use crate::world::World;

/// How long a subscriber waits for a record, and for an answer, in milliseconds.
const WAIT_MS: u32 = 500;
pub(super) const PATIENCE_MS: u32 = 2_000;
/// Of so many polls, one goes to another machine than the one before.
const MOVES: u64 = 40;

/// A subscriber of one partition.
pub(super) struct Follower {
    pub topic: TopicRef,
    pub partition: u16,
    /// The machine that it asks.
    at: Option<usize>,
    /// The offset that it wants next.
    pub next: u64,
    pub stopped: bool,
}

impl Follower {
    pub fn new(topic: TopicRef, partition: u16) -> Self {
        Self { topic, partition, at: None, next: 0, stopped: false }
    }

    /// The next poll, and whom to ask.
    pub fn poll(&mut self, world: &mut World, ask: &[usize]) -> Option<(usize, Request)> {
        let rng = &mut world.streams.clients;
        let stays = self.at.filter(|at| ask.contains(at) && !once_in(rng, MOVES));
        self.at = stays.or_else(|| pick(rng, ask));
        let request = pull(&self.topic, self.partition, From::Offset(self.next), WAIT_MS, None);
        Some((self.at?, request))
    }

    /// Takes what a poll brought.
    pub fn read(&mut self, from: u64, batches: &[StoredBatch]) {
        let next = self.next;
        hold!("subscribers miss nothing", from == next, "a poll from {next} was answered from {from}");
        let values = values(from, batches);
        let first = values.first().map_or(next, |(offset, _)| *offset);
        hold!("subscribers miss nothing", first == next, "{next} was wanted, {first} came");
        self.next += values.len() as u64;
    }

    /// A poll failed, or nobody answers: somebody else may.
    pub fn failed(&mut self, error: &Error) {
        hold!(
            "subscribers are not refused",
            error.is_passing(),
            "a poll from {} was answered {error}",
            self.next
        );
        self.at = None;
    }
}
