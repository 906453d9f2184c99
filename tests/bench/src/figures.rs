//! Figures of all systems and rounds, and what their names mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which direction is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Rates.
    More,
    /// Latencies, memory, losses.
    Less,
}

/// What a figure is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Metric {
    /// Its name in JSON.
    pub name: &'static str,
    /// What a reader calls it.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which direction is good.
    pub better: Better,
}

const fn more(name: &'static str, title: &'static str, unit: &'static str) -> Metric {
    Metric { name, title, unit, better: Better::More }
}

const fn less(name: &'static str, title: &'static str, unit: &'static str) -> Metric {
    Metric { name, title, unit, better: Better::Less }
}

/// Of what all servers together write to disk, journal of the file system included: with three replicas that write
/// everything once, a little more than 3.
const PER_BYTE: &str = "per payload byte";

/// All metrics but those of growth, in the order of the report.
pub const METRICS: &[Metric] = &[
    more("w1", "W1 one in flight", "msg/s"),
    less("w1-p50", "W1 p50", "ms"),
    less("w1-p99", "W1 p99", "ms"),
    more("w2", "W2 64 in flight", "msg/s"),
    less("w2-p50", "W2 p50", "ms"),
    less("w2-p99", "W2 p99", "ms"),
    less("w2-cpu", "W2 servers' processor time", "us/msg"),
    less("w2-written", "W2 written to disk", PER_BYTE),
    more("w3-256", "W3 256 B", "msg/s"),
    more("w3-256-mb", "W3 256 B", "MB/s"),
    less("w3-256-written", "W3 256 B written to disk", PER_BYTE),
    more("w3-1k-msgs", "W3 1 KiB", "msg/s"),
    more("w3-1k", "W3 1 KiB", "MB/s"),
    less("w3-1k-written", "W3 1 KiB written to disk", PER_BYTE),
    more("w3-16k-msgs", "W3 16 KiB", "msg/s"),
    more("w3-16k", "W3 16 KiB", "MB/s"),
    less("w3-16k-written", "W3 16 KiB written to disk", PER_BYTE),
    more("w4", "W4 100 topics", "msg/s"),
    less("w4-p50", "W4 p50", "ms"),
    less("w4-p99", "W4 p99", "ms"),
    less("w4-written", "W4 written to disk", PER_BYTE),
    more("w5", "W5 reading back", "msg/s"),
    more("w6", "W6 50 subscribers", "deliveries/s"),
    less("w6-p50", "W6 delivery p50 at 200/s", "ms"),
    less("w6-p99", "W6 delivery p99 at 200/s", "ms"),
    less("w7-gap", "W7 gap after kill -9", "ms"),
    less("w7-missing", "W7 acknowledged and missing", "messages"),
    less("w7-twice", "W7 read twice", "messages"),
    less("w8-start", "W8 start to first ack", "ms"),
    less("w8-idle", "W8 idle, largest peer", "MiB"),
    less("w8-loaded", "W8 after W3, all peers", "MiB"),
    less("others-cpu", "processor time that others had", "%"),
];

/// Median, smallest and largest of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Rounds that measured it.
    pub rounds: usize,
}

impl Spread {
    /// Of figures, where there are any.
    #[must_use]
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, min, max, rounds: sorted.len() })
    }
}

/// What was measured and what went wrong, by system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// Figures of the rounds, by system and metric.
    pub figures: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// What could not be measured, and why: system, what, reason.
    pub failures: Vec<(String, String, String)>,
}

impl Results {
    /// Notes a figure.
    pub fn add(&mut self, system: &str, metric: &str, figure: f64) {
        let metrics = self.figures.entry(system.to_owned()).or_default();
        metrics.entry(metric.to_owned()).or_default().push(figure);
    }

    /// Notes what could not be measured.
    pub fn fail(&mut self, system: &str, what: &str, reason: &anyhow::Error) {
        self.failures.push((system.to_owned(), what.to_owned(), format!("{reason:#}")));
    }

    /// A figure of this run; none where it was not measured.
    #[must_use]
    pub fn spread(&self, system: &str, metric: &str) -> Option<Spread> {
        Spread::of(self.figures.get(system)?.get(metric)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_min_and_max() {
        let spread = Spread::of(&[3.0, 9.0, 1.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 9.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        let mut results = Results::default();
        results.add("a", "w1", 1.0);
        assert!(results.spread("a", "w2").is_none() && results.spread("b", "w1").is_none());
    }
}
