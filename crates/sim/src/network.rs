//! The simulated network: delay, loss, repetition and cut links.

use std::collections::{BTreeMap, BTreeSet};

use hcube_consensus::Rng;

/// Who can reach whom, and how badly.
pub(crate) struct Network {
    rng: Rng,
    cut: BTreeSet<(usize, usize)>,
    /// Machines that nobody reaches, whatever is mended.
    apart: BTreeSet<usize>,
    /// Of a thousand frames, so many are lost.
    pub loss: u64,
    /// Of a thousand frames of Raft, so many arrive twice.
    pub repetition: u64,
    /// Longest delay in microseconds.
    pub delay_us: u64,
    /// When the last request or answer from one machine to another arrives, in microseconds since the beginning.
    arrived_us: BTreeMap<(usize, usize), u64>,
    pub lost: u64,
    pub repeated: u64,
}

impl Network {
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            cut: BTreeSet::new(),
            apart: BTreeSet::new(),
            loss: 0,
            repetition: 0,
            delay_us: 1_000,
            arrived_us: BTreeMap::new(),
            lost: 0,
            repeated: 0,
        }
    }

    /// When copies of a frame of Raft arrive, in microseconds from now; none when it is lost.
    pub fn deliveries(&mut self, from: usize, to: usize) -> Vec<u64> {
        if self.loses(from, to) {
            return Vec::new();
        }
        let mut times = vec![self.delay()];
        if self.rng.below(1000) < self.repetition {
            self.repeated += 1;
            times.push(self.delay());
        }
        times
    }

    /// When a request or an answer arrives that is sent at `now_us`, in microseconds from then. They travel on a
    /// connection: once or not at all, and none overtakes another.
    pub fn delivery(&mut self, from: usize, to: usize, now_us: u64) -> Option<u64> {
        if self.loses(from, to) {
            return None;
        }
        let before_us = self.arrived_us.get(&(from, to)).copied().unwrap_or_default();
        let arrives_us = before_us.max(now_us + self.delay());
        self.arrived_us.insert((from, to), arrives_us);
        Some(arrives_us - now_us)
    }

    fn loses(&mut self, from: usize, to: usize) -> bool {
        let loses = self.is_cut(from, to) || self.rng.below(1000) < self.loss;
        self.lost += u64::from(loses);
        loses
    }

    fn delay(&mut self) -> u64 {
        // Mostly short, sometimes as long as it gets.
        let longest = if self.rng.below(10) == 0 { self.delay_us } else { self.delay_us / 10 };
        50 + self.rng.below(longest.max(1))
    }

    /// How long it takes until a link's end notices that it is gone.
    pub fn notice(&mut self) -> u64 {
        self.rng.below(2_000_000)
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to)) || self.apart.contains(&from) || self.apart.contains(&to)
    }

    /// Whether a connection between two machines can work, which needs both ways.
    pub fn connects(&self, one: usize, other: usize) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    /// Frames from one machine to the other are lost from now on.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Everything to and from one machine is lost from now on.
    pub fn isolate(&mut self, at: usize, machines: usize) {
        for other in (0..machines).filter(|other| *other != at) {
            self.cut.extend([(at, other), (other, at)]);
        }
    }

    /// Nobody reaches one machine until it is let in again.
    pub fn set_apart(&mut self, at: usize) {
        self.apart.insert(at);
    }

    /// Of the machines that are kept apart, only these still are.
    pub fn keep_apart(&mut self, which: impl Fn(usize) -> bool) {
        self.apart.retain(|at| which(*at));
    }

    /// Everybody reaches everybody again.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// One machine is reached again.
    pub fn mend_around(&mut self, at: usize) {
        self.cut.retain(|(from, to)| *from != at && *to != at);
    }

    /// No more faults at all.
    pub fn heal(&mut self) {
        (self.loss, self.repetition, self.delay_us) = (0, 0, 1_000);
        self.mend();
    }
}
