//! What a benchmark found, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::machine::Machine;
use crate::output::{Output, Table, grouped};

/// Longest latency that is told apart, in microseconds: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Characters of the longest bar of a drawn histogram.
const BAR: u64 = 40;

/// Latencies of one kind of request.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        Self(Histogram::new_with_max(LATENCY_US_MAX, 3).expect("three digits up to ten minutes are possible"))
    }

    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds those of another client.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Counts by powers of two of microseconds: the bound above which a bucket ends, and how many lie in it.
    fn buckets(&self) -> Vec<Bucket> {
        let mut buckets = Vec::new();
        for value in self.0.iter_recorded() {
            let below_us = value.value_iterated_to().max(1).checked_next_power_of_two().unwrap_or(u64::MAX);
            match buckets.last_mut() {
                Some(Bucket { below_us: last, count }) if *last == below_us => {
                    *count += value.count_at_value()
                }
                _ => buckets.push(Bucket { below_us, count: value.count_at_value() }),
            }
        }
        buckets
    }
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Bucket {
    /// Latencies up to this, in microseconds.
    below_us: u64,
    /// How many.
    count: u64,
}

/// One kind of request.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was asked, as the seed system named it where it did.
    pub api: &'static str,
    /// How: `1 client`, `32 clients`, …
    pub clients: u16,
    /// Messages, or requests that carry none.
    pub count: u64,
    /// Those a second.
    pub per_s: f64,
    /// Half of the requests took no longer, in microseconds.
    pub p50_us: u64,
    /// 99 % took no longer.
    pub p99_us: u64,
    /// 99.9 % took no longer.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// What the seed system, in memory and without a sync, reported a second.
    pub seed_per_s: Option<u32>,
    histogram: Vec<Bucket>,
}

impl Row {
    /// What `count` things in `took` and these latencies come to.
    pub fn new(api: &'static str, clients: u16, count: u64, took: Duration, latencies: &Latencies) -> Self {
        let at = |quantile| latencies.0.value_at_quantile(quantile);
        Self {
            api,
            clients,
            count,
            per_s: count as f64 / took.as_secs_f64().max(1e-9),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latencies.0.max(),
            seed_per_s: None,
            histogram: latencies.buckets(),
        }
    }

    /// Puts the seed system's figure beside it.
    pub fn against(mut self, seed_per_s: u32) -> Self {
        self.seed_per_s = Some(seed_per_s);
        self
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of `hcube`.
    pub version: &'static str,
    /// Whether it was built with optimization; figures of a debug build mean nothing.
    pub optimized: bool,
    /// The machine.
    pub machine: Machine,
    /// What one sync and two round trips allow a single client, a second.
    pub allowed_per_s: f64,
    /// Peers of the hypercube.
    pub peers: u16,
    /// Replicas of each message.
    pub replication: u8,
    /// Bytes of a message's value.
    pub message_bytes: u32,
    /// What was timed.
    pub rows: Vec<Row>,
}

impl Report {
    /// Prints it.
    pub fn print(&self, output: &Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(self);
        }
        output.line(self.introduction().as_bytes())?;
        output.line(b"")?;
        output.table(&self.table())?;
        for row in self.rows.iter().filter(|row| row.api.starts_with("publish")) {
            output.line(b"")?;
            output.line(draw(row).as_bytes())?;
        }
        Ok(())
    }

    fn introduction(&self) -> String {
        let Machine { fdatasync_us, round_trip_us, processors } = self.machine;
        format!(
            "{} peers, {} replicas, {} bytes a message, {processors} processors, hcube {}{}\n\
             fdatasync {}, loopback round trip {}: one sync and two round trips allow {} requests/s",
            self.peers,
            self.replication,
            self.message_bytes,
            self.version,
            if self.optimized { "" } else { " (not optimized: these figures mean nothing)" },
            milliseconds(fdatasync_us),
            milliseconds(round_trip_us),
            grouped(rounded(self.allowed_per_s)),
        )
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            "api",
            "clients",
            "count",
            "per s",
            "p50",
            "p99",
            "p99.9",
            "seed per s",
            "ratio",
            "of allowed",
        ]);
        for row in &self.rows {
            let ratio = row.seed_per_s.map(|seed| format!("{:.2}x", row.per_s / f64::from(seed)));
            table.row([
                row.api.to_owned(),
                row.clients.to_string(),
                grouped(row.count),
                grouped(rounded(row.per_s)),
                milliseconds(row.p50_us),
                milliseconds(row.p99_us),
                milliseconds(row.p999_us),
                row.seed_per_s.map_or_else(|| "-".to_owned(), |seed| seed.to_string()),
                ratio.unwrap_or_else(|| "-".to_owned()),
                // The bound is one of a single client that waits for each answer.
                if row.clients == 1 {
                    format!("{:.0}%", 100.0 * row.per_s / self.allowed_per_s)
                } else {
                    "-".into()
                },
            ]);
        }
        table
    }
}

fn draw(row: &Row) -> String {
    let mut text = format!("{}, {} clients: latency", row.api, row.clients);
    let most = row.histogram.iter().map(|bucket| bucket.count).max().unwrap_or(1);
    for bucket in &row.histogram {
        let bar = (bucket.count * BAR).div_ceil(most);
        let bar = "#".repeat(usize::try_from(bar).unwrap_or_default());
        text.push_str(&format!(
            "\n  up to {:>10}  {:>9}  {bar}",
            milliseconds(bucket.below_us),
            grouped(bucket.count)
        ));
    }
    text
}

/// Microseconds as milliseconds, with the digits that matter.
fn milliseconds(us: u64) -> String {
    match us {
        0..1_000 => format!("0.{us:03} ms"),
        1_000..100_000 => format!("{}.{:02} ms", us / 1000, us % 1000 / 10),
        _ => format!("{} ms", grouped(us / 1000)),
    }
}

fn rounded(number: f64) -> u64 {
    // Rates are positive and far below 2^63.
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::output::captured::Captured;

    fn report() -> Report {
        let mut latencies = Latencies::new();
        for us in 1..=1000 {
            latencies.record(Duration::from_micros(us));
        }
        let row = Row::new("publish", 1, 1000, Duration::from_secs(2), &latencies).against(440);
        Report {
            version: "0",
            optimized: true,
            machine: Machine { fdatasync_us: 900, round_trip_us: 50, processors: 2 },
            allowed_per_s: 1000.0,
            peers: 8,
            replication: 3,
            message_bytes: 100,
            rows: vec![row],
        }
    }

    #[test]
    fn percentiles_are_those_of_the_latencies() {
        let row = &report().rows[0];
        assert_eq!((row.p50_us, row.p99_us, row.p999_us, row.max_us), (500, 990, 999, 1000));
        assert!((row.per_s - 500.0).abs() < 1e-9);
    }

    #[test]
    fn every_latency_lies_in_one_bucket() {
        let buckets = &report().rows[0].histogram;
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 1000);
        assert_eq!(buckets.last(), Some(&Bucket { below_us: 1024, count: 1000 - 512 }));
    }

    #[test]
    fn the_seed_stands_beside_the_row() {
        let captured = Captured::default();
        report().print(&captured.output(Format::Table)).unwrap();
        let text = captured.text();
        let row = text.lines().find(|line| line.starts_with("publish ")).unwrap();
        assert!(
            row.contains("500") && row.contains("440") && row.contains("1.14x") && row.ends_with("50%"),
            "{row}"
        );
        assert!(text.contains("up to   0.512 ms"), "{text}");
    }

    #[test]
    fn json_holds_the_histogram() {
        let captured = Captured::default();
        report().print(&captured.output(Format::Json)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&captured.text()).unwrap();
        assert_eq!(json["rows"][0]["histogram"][0]["below_us"], 1);
        assert_eq!(json["rows"][0]["seed_per_s"], 440);
    }
}
