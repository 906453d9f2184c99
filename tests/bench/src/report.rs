//! What is told: a table for people, JSON for programs.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::figures::{METRICS, Metric, Results, Spread};
use crate::goals::{Verdict, judge};
use crate::machine::Limit;
use crate::workloads::Scale;

/// Everything about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When it ended, seconds since 1970.
    pub ended_s: u64,
    /// Processor, cores, kernel, file system.
    pub machine: Vec<(String, String)>,
    /// What the machine can do.
    pub limits: Vec<Limit>,
    /// How much was done of everything.
    pub scale: Scale,
    /// The columns in order, with version and settings.
    pub systems: Vec<(String, Vec<(String, String)>)>,
    /// Figures and failures.
    pub results: Results,
    /// The goals.
    pub goals: Vec<Verdict>,
}

/// What charts are drawn of.
#[derive(Debug)]
pub struct Charted {
    /// The columns in order.
    pub systems: Vec<String>,
    /// Their figures.
    pub results: Results,
}

impl Charted {
    /// Of a run that [`Report::write_json`] wrote down.
    ///
    /// # Errors
    /// When there is no such file, or it holds something else.
    pub fn read_json(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Written {
            systems: Vec<(String, Vec<(String, String)>)>,
            results: Results,
        }
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let Written { systems, results } =
            serde_json::from_slice(&text).with_context(|| format!("{} is no run", path.display()))?;
        Ok(Self { systems: systems.into_iter().map(|(name, _)| name).collect(), results })
    }
}

impl Report {
    /// Judges the goals.
    #[must_use]
    pub fn new(
        machine: Vec<(String, String)>,
        limits: Vec<Limit>,
        scale: Scale,
        systems: Vec<(String, Vec<(String, String)>)>,
        results: Results,
    ) -> Self {
        let goals = judge(&results);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ended_s = now.map_or(0, |since| since.as_secs());
        Self { ended_s, machine, limits, scale, systems, results, goals }
    }

    /// What charts are drawn of.
    #[must_use]
    pub fn charted(&self) -> Charted {
        Charted { systems: self.names().map(str::to_owned).collect(), results: self.results.clone() }
    }

    /// Writes the figures for programs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The tables, in Markdown, which is as good on a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let rounds =
            if self.scale.rounds == 1 { "1 round".into() } else { format!("{} rounds", self.scale.rounds) };
        text.push_str(&format!("\nFigures: median of {rounds} [min, max].\n\n"));
        text.push_str(&render(&self.figures()));
        text.push_str("\nhcube against the others (hcube's median over theirs; for times and memory less is better), and the goals:\n\n");
        text.push_str(&render(&self.ratios()));
        let growth = self.growth();
        if growth.len() > 1 {
            text.push_str("\nGrowth (W9), messages a second:\n\n");
            text.push_str(&render(&growth));
        }
        if !self.limits.is_empty() {
            text.push_str("\nThe machine:\n\n");
            text.push_str(&render(&self.limits()));
        }
        text.push_str("\nSystems and settings:\n\n");
        for (name, lines) in &self.systems {
            for (what, value) in lines {
                text.push_str(&format!("- {name}: {what}: {value}\n"));
            }
        }
        for (what, value) in &self.machine {
            text.push_str(&format!("- machine: {what}: {value}\n"));
        }
        if !self.results.failures.is_empty() {
            text.push_str("\nNot measured:\n\n");
            for (system, what, reason) in &self.results.failures {
                text.push_str(&format!("- {system}, {what}: {reason}\n"));
            }
        }
        text
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.systems.iter().map(|(name, _)| name.as_str())
    }

    fn measured(&self) -> impl Iterator<Item = &'static Metric> {
        METRICS
            .iter()
            .filter(|metric| self.names().any(|name| self.results.spread(name, metric.name).is_some()))
    }

    fn figures(&self) -> Vec<Vec<String>> {
        let mut rows = vec![vec!["".into(), "unit".into()]];
        rows[0].extend(self.names().map(str::to_owned));
        for metric in self.measured() {
            let mut row = vec![metric.title.to_owned(), metric.unit.to_owned()];
            row.extend(self.names().map(|name| self.cell(self.results.spread(name, metric.name))));
            rows.push(row);
        }
        rows
    }

    /// Also says when some of the rounds did not measure it.
    fn cell(&self, spread: Option<Spread>) -> String {
        let rounds = spread.map_or(0, |spread| spread.rounds);
        if (1..self.scale.rounds as usize).contains(&rounds) {
            format!("{} ({rounds} of {})", cell(spread), self.scale.rounds)
        } else {
            cell(spread)
        }
    }

    fn ratios(&self) -> Vec<Vec<String>> {
        let others: Vec<&str> = self.names().filter(|name| *name != "hcube").collect();
        let mut rows = vec![vec!["".to_owned()]];
        rows[0].extend(others.iter().map(|name| format!("hcube / {name}")));
        rows[0].push("goals".into());
        for metric in self.measured() {
            let Some(ours) = self.results.spread("hcube", metric.name) else { continue };
            if metric.name == "others-cpu" {
                continue;
            }
            let mut row = vec![format!("{} ({})", metric.title, metric.unit)];
            for other in &others {
                let theirs = self.results.spread(other, metric.name).filter(|theirs| theirs.median != 0.0);
                row.push(theirs.map_or("-".into(), |theirs| times(ours.median / theirs.median)));
            }
            let verdicts = self.goals.iter().filter(|verdict| verdict.metric == metric.name);
            row.push(verdicts.map(told).collect::<Vec<_>>().join("; "));
            rows.push(row);
        }
        let apart =
            self.goals.iter().filter(|verdict| METRICS.iter().all(|metric| metric.name != verdict.metric));
        for verdict in apart.filter(|verdict| verdict.measured.is_some()) {
            let mut row = vec![verdict.metric.clone()];
            row.extend(others.iter().map(|_| "-".to_owned()));
            row.push(told(verdict));
            rows.push(row);
        }
        rows
    }

    fn growth(&self) -> Vec<Vec<String>> {
        let mut rows = vec![vec!["".to_owned()]];
        rows[0].extend(self.names().map(str::to_owned));
        let steps = |kind: &'static str, counts: Vec<usize>| {
            ["w2", "w4"].into_iter().flat_map(move |load| {
                counts.clone().into_iter().map(move |count| format!("w9-{load}-{kind}-{count}"))
            })
        };
        let topics = steps("topics", self.scale.topics.to_vec());
        let peers = steps("peers", self.scale.peers.iter().map(|count| usize::from(*count)).collect());
        for step in topics.chain(peers) {
            let spreads: Vec<_> = self.names().map(|name| self.results.spread(name, &step)).collect();
            if spreads.iter().any(Option::is_some) {
                let mut row = vec![step];
                row.extend(spreads.into_iter().map(cell));
                rows.push(row);
            }
        }
        rows
    }

    fn limits(&self) -> Vec<Vec<String>> {
        let mut rows = vec![vec!["limit".to_owned(), "figure".into(), "unit".into()]];
        rows.extend(
            self.limits
                .iter()
                .map(|limit| vec![limit.title.clone(), number(limit.figure), limit.unit.into()]),
        );
        rows
    }
}

fn told(verdict: &Verdict) -> String {
    let against = verdict.against.as_deref().map_or(String::new(), |name| format!(" {name}"));
    let wanted = verdict.wanted;
    match (verdict.measured, verdict.met) {
        (Some(_), Some(true)) => format!("{wanted}{against}: met"),
        (Some(measured), _) => format!("{wanted}{against}: MISSED ({})", times(measured)),
        (None, _) => format!("{wanted}{against}: not measured"),
    }
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn cell(spread: Option<Spread>) -> String {
    match spread {
        None => "-".into(),
        Some(spread) if spread.rounds == 1 => number(spread.median),
        Some(spread) => format!("{} [{}, {}]", number(spread.median), number(spread.min), number(spread.max)),
    }
}

/// Three digits that count, thousands apart.
#[must_use]
pub fn number(figure: f64) -> String {
    if figure.abs() >= 1000.0 {
        let digits = format!("{figure:.0}");
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else if figure.abs() >= 100.0 || figure == 0.0 {
        format!("{figure:.0}")
    } else if figure.abs() >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

/// A table in Markdown with aligned columns.
fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths.get(column).copied().unwrap_or_default();
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

/// A line on stderr.
pub fn say(text: &str) {
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text on stdout.
///
/// # Errors
/// When nobody reads it any more.
pub fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        let shown = [1_234_567.8, 1000.0, 999.4, 12.34, 0.123, 0.0].map(number);
        assert_eq!(shown, ["1,234,568", "1,000", "999", "12.3", "0.12", "0"]);
    }

    #[test]
    fn a_figure_shows_its_rounds() {
        let mut results = Results::default();
        [20.0, 40.0, 10.0].into_iter().for_each(|figure| results.add("hcube", "w1", figure));
        [4.0, 6.0].into_iter().for_each(|figure| results.add("hcube", "w2", figure));
        let scale = Scale { rounds: 3, ..Scale::FULL };
        let report = Report::new(Vec::new(), Vec::new(), scale, vec![("hcube".into(), Vec::new())], results);
        let figures: Vec<String> =
            report.figures().into_iter().skip(1).map(|mut row| row.remove(2)).collect();
        assert_eq!(figures, ["20.0 [10.0, 40.0]", "5.00 [4.00, 6.00] (2 of 3)"]);
    }

    #[test]
    fn what_was_written_down_can_be_drawn_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::default();
        results.add("hcube", "w1", 10.0);
        let systems = vec![("hcube".to_owned(), vec![("version".to_owned(), "1".to_owned())])];
        let report = Report::new(Vec::new(), Vec::new(), Scale::QUICK, systems, results);
        let path = dir.path().join("run.json");
        report.write_json(&path).unwrap();
        let charted = Charted::read_json(&path).unwrap();
        assert_eq!(charted.systems, ["hcube"]);
        assert_eq!(charted.results.spread("hcube", "w1").unwrap().median, 10.0);
    }

    #[test]
    fn no_ratio_is_printed_against_what_was_not_measured() {
        let mut results = Results::default();
        results.add("hcube", "w1", 10.0);
        let systems = ["hcube", "nats-sync"].map(|name| (name.to_owned(), Vec::new())).to_vec();
        let report = Report::new(Vec::new(), Vec::new(), Scale::QUICK, systems, results);
        let row = report.ratios().into_iter().nth(1).unwrap();
        assert_eq!(row[1], "-");
        assert!(row[2].contains("1.5 nats-sync: not measured"), "{}", row[2]);
    }
}
