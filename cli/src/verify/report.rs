//! What a run came to: a timeline, a verdict, and the figures it rests on.

use std::path::PathBuf;

use serde::Serialize;

use super::check::Faults;
use super::history::History;
use super::load::Published;
use super::outage;
use super::stage::{Happening, seconds};
use crate::output::{Output, Table, grouped};

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Line {
    event: String,
    from_s: f64,
    until_s: f64,
    /// The longest time that any partition waited for an acknowledgement meanwhile.
    longest_gap_ms: u64,
    /// Which one that was.
    partition: Option<String>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    passed: bool,
    seed: u64,
    seconds: f64,
    timeline: Vec<Line>,
    sent: u64,
    acknowledged: u64,
    unacknowledged: u64,
    readable: u64,
    delivered: u64,
    glimpses: u64,
    copies: u64,
    faults: Faults,
    /// What did not go as it should, beside the promises about messages.
    troubles: Vec<String>,
    /// Where data and logs of the peers were left.
    data: Option<PathBuf>,
}

impl Report {
    /// Draws it up.
    pub fn new(
        seed: u64,
        happenings: &[Happening],
        published: &Published,
        history: &History,
        faults: Faults,
        troubles: Vec<String>,
    ) -> Self {
        let end = published.ended_ms;
        let line = |happening: &Happening| {
            let (from, until) = (happening.from_ms, happening.until_ms);
            let longest = outage::longest(&published.acks, from, until.max(from + 1), end.max(until));
            Line {
                event: happening.what.clone(),
                from_s: seconds(from),
                until_s: seconds(until),
                longest_gap_ms: longest.map_or(0, |outage| outage.ms),
                partition: longest.map(|outage| outage.key.to_string()),
            }
        };
        let quiet = Happening {
            what: "nothing".into(),
            from_ms: published.acks.values().filter_map(|times| times.first()).max().copied().unwrap_or(0),
            until_ms: happenings.first().map_or(end, |first| first.from_ms),
        };
        let quiet = Some(&quiet).filter(|quiet| quiet.from_ms < quiet.until_ms);
        let timeline: Vec<Line> = quiet.into_iter().chain(happenings).map(line).collect();
        let seen = history.streams.iter().flat_map(|stream| stream.seen.values());
        let acknowledged = published.acked.len() as u64;
        let is_whole = faults.total() == 0 && troubles.is_empty();
        Self {
            passed: is_whole && published.unacknowledged == 0 && acknowledged > 0,
            seed,
            seconds: seconds(end),
            timeline,
            sent: published.sent,
            acknowledged,
            unacknowledged: published.unacknowledged,
            readable: history.stored.values().map(|stored| stored.len() as u64).sum(),
            delivered: seen.map(|seen| seen.len() as u64).sum(),
            glimpses: history.glimpses.len() as u64,
            copies: history.copies.values().map(|copies| copies.len() as u64).sum(),
            faults,
            troubles,
            data: None,
        }
    }

    /// Whether every promise was kept.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Notes where data and logs were left.
    pub fn keeps(&mut self, data: PathBuf) {
        self.data = Some(data);
    }

    /// Prints it.
    pub fn print(&self, output: &Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(self);
        }
        output.table(&self.timeline())?;
        let wrong = self.faults.counts().into_iter().filter(|(_, count)| *count > 0);
        for (name, count) in wrong {
            output.line(format!("{}: {name}", grouped(count)).as_bytes())?;
        }
        for line in self.faults.examples.iter().chain(&self.troubles) {
            output.line(format!("  {line}").as_bytes())?;
        }
        if let Some(data) = &self.data {
            output.line(format!("data and logs are in {}", data.display()).as_bytes())?;
        }
        output.line(output.verdict(self.passed, &self.verdict()).as_bytes())
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        let Self { acknowledged, unacknowledged, readable, delivered, glimpses, copies, faults, .. } = self;
        let [acknowledged, unacknowledged, readable, delivered, glimpses, copies] =
            [*acknowledged, *unacknowledged, *readable, *delivered, *glimpses, *copies].map(grouped);
        format!(
            "{}: {acknowledged} acknowledged, {unacknowledged} not, {readable} readable; lost {}, duplicated {}, \
             reordered {}; {delivered} delivered live, {glimpses} read meanwhile, {copies} copies compared, {} differ; \
             seed {}, {:.1} s",
            if self.passed { "PASSED" } else { "FAILED" },
            faults.lost + faults.skipped,
            faults.duplicated,
            faults.reordered,
            faults.diverged,
            self.seed,
            self.seconds,
        )
    }

    fn timeline(&self) -> Table {
        let mut table = Table::new(["from", "until", "event", "longest gap", "where"]);
        for line in &self.timeline {
            table.row([
                format!("{:.1} s", line.from_s),
                format!("{:.1} s", line.until_s),
                line.event.clone(),
                format!("{} ms", grouped(line.longest_gap_ms)),
                line.partition.clone().unwrap_or_default(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::output::captured::Captured;
    use crate::verify::history::{Acked, Id, Key};

    fn report(faults: Faults, troubles: Vec<String>, unacknowledged: u64) -> Report {
        let key = Key { topic: 0, partition: 3 };
        let acked = vec![Acked { id: Id { producer: 0, number: 0 }, key, offset: 0 }];
        let acks = outage::Acks::from([(key, vec![10, 20, 30, 900, 910])]);
        let published =
            Published { sent: 1, acked, acks, unacknowledged, failures: Vec::new(), ended_ms: 1000 };
        let kill = Happening { what: "kill 01".into(), from_ms: 100, until_ms: 950 };
        Report::new(7, &[kill], &published, &History::default(), faults, troubles)
    }

    #[test]
    fn a_run_without_fault_has_passed() {
        let passed = report(Faults::default(), Vec::new(), 0);
        assert!(passed.passed() && passed.verdict().starts_with("PASSED: 1 acknowledged, 0 not"));
        for (faults, troubles, unacknowledged) in [
            (Faults { lost: 1, ..Faults::default() }, Vec::new(), 0),
            (Faults::default(), vec!["a peer did not come back".to_owned()], 0),
            (Faults::default(), Vec::new(), 1),
        ] {
            assert!(!report(faults, troubles, unacknowledged).passed());
        }
    }

    #[test]
    fn every_event_has_its_longest_gap() {
        let captured = Captured::default();
        report(Faults::default(), Vec::new(), 0).print(&captured.output(Format::Table)).unwrap();
        let text = captured.text();
        assert!(text.contains("kill 01") && text.contains("800 ms"), "{text}");
        assert!(text.contains("topic 0 partition 3"), "{text}");
    }

    #[test]
    fn programs_get_everything() {
        let captured = Captured::default();
        report(Faults { lost: 2, ..Faults::default() }, Vec::new(), 0)
            .print(&captured.output(Format::Json))
            .unwrap();
        let json: serde_json::Value = serde_json::from_str(&captured.text()).unwrap();
        assert_eq!((&json["passed"], &json["faults"]["lost"]), (&false.into(), &2.into()));
        assert_eq!(json["timeline"][1]["longest_gap_ms"], 800);
    }
}
