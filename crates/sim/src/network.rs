//! The simulated network: delay, loss, repetition and cut links.

use std::collections::BTreeSet;

use hcube_broker::Frame;
use hcube_consensus::Rng;

/// Who can reach whom, and how badly.
pub(crate) struct Network {
    rng: Rng,
    cut: BTreeSet<(usize, usize)>,
    /// Of a thousand frames of Raft, so many are lost.
    pub loss: u64,
    /// Of a thousand frames of Raft, so many arrive twice.
    pub repetition: u64,
    /// Longest delay in microseconds.
    pub delay_us: u64,
    pub lost: u64,
    pub repeated: u64,
}

impl Network {
    pub fn new(rng: Rng) -> Self {
        Self { rng, cut: BTreeSet::new(), loss: 0, repetition: 0, delay_us: 1_000, lost: 0, repeated: 0 }
    }

    /// When copies of a frame arrive, in microseconds from now; none when it is lost.
    pub fn deliveries(&mut self, from: usize, to: usize, frame: &Frame) -> Vec<u64> {
        if self.is_cut(from, to) {
            self.lost += 1;
            return Vec::new();
        }
        // Requests and answers travel on a connection: whole, once, or not at all.
        let raft = matches!(frame, Frame::Raft(_));
        if self.rng.below(1000) < self.loss {
            self.lost += 1;
            return Vec::new();
        }
        let mut times = vec![self.delay()];
        if raft && self.rng.below(1000) < self.repetition {
            self.repeated += 1;
            times.push(self.delay());
        }
        times
    }

    fn delay(&mut self) -> u64 {
        // Mostly short, sometimes as long as it gets.
        let longest = if self.rng.below(10) == 0 { self.delay_us } else { self.delay_us / 10 };
        50 + self.rng.below(longest.max(1))
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Everybody reaches everybody again, without faults.
    pub fn heal(&mut self) -> Vec<(usize, usize)> {
        (self.loss, self.repetition, self.delay_us) = (0, 0, 1_000);
        std::mem::take(&mut self.cut).into_iter().collect()
    }
}
