//! Where hcube must stand, from the issue: ratios to figures of the same run.

use crate::figures::{Better, METRICS, Results};

/// What a goal is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// hcube's figure over a system's figure: at least so much where more is better, at most where less is.
    Ratio(&'static str, f64),
    /// hcube's own figure, likewise.
    Absolute(f64),
}

const SYNC: &str = "nats-sync";
const NATS: &str = "nats-default";
const KAFKA: &str = "kafka-default";

/// Goals of a metric of the column `hcube`.
#[must_use]
pub fn of(metric: &str) -> Vec<Goal> {
    use Goal::{Absolute, Ratio};
    let three = |sync, nats, kafka| vec![Ratio(SYNC, sync), Ratio(NATS, nats), Ratio(KAFKA, kafka)];
    match metric {
        "w1" => three(1.5, 0.6, 1.0),
        "w2" => three(3.0, 1.3, 2.5),
        // Lower than every other's.
        "w2-p99" => {
            ["nats-sync", "nats-default", "kafka-sync", "kafka-default"].map(|name| Ratio(name, 1.0)).to_vec()
        }
        "w3-256" => three(5.0, 4.0, 1.3),
        "w3-1k" => three(3.0, 2.0, 2.0),
        "w3-16k" => three(1.5, 1.0, 1.5),
        "w4" => three(4.0, 2.0, 2.0),
        "w5" => three(5.0, 5.0, 1.3),
        "w6" => three(3.0, 3.0, 3.0),
        "w6-p99" => three(1.0, 1.0, 1.0),
        "w7-gap" => three(0.25, 0.25, 0.5),
        "w7-missing" | "w7-twice" => vec![Absolute(0.0)],
        "w8-loaded" => three(1.0, 1.0, 0.25),
        "w8-idle" => vec![Absolute(15.0)],
        _ => Vec::new(),
    }
}

/// What became of a goal in this run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// hcube's metric.
    pub metric: String,
    /// The system it is held against; none where it is hcube's own figure.
    pub against: Option<String>,
    /// What was wanted.
    pub wanted: f64,
    /// The ratio, or hcube's own figure; none where one of them was not measured.
    pub measured: Option<f64>,
    /// Whether the goal is met; none where it was not measured.
    pub met: Option<bool>,
}

/// All goals, held against a run.
#[must_use]
pub fn judge(results: &Results) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for metric in METRICS {
        let figure = |system: &str| results.spread(system, metric.name).map(|spread| spread.median);
        for goal in of(metric.name) {
            let (against, wanted, measured) = match goal {
                Goal::Absolute(wanted) => (None, wanted, figure("hcube")),
                Goal::Ratio(system, wanted) => {
                    let ratio = figure("hcube").zip(figure(system)).map(|(ours, theirs)| ours / theirs);
                    (Some(system.to_owned()), wanted, ratio)
                }
            };
            let met = measured.map(|measured| match metric.better {
                Better::More => measured >= wanted,
                Better::Less => measured <= wanted,
            });
            verdicts.push(Verdict { metric: metric.name.to_owned(), against, wanted, measured, met });
        }
    }
    // Plain HTTP is held against another metric's owner: the issue names it apart.
    let http = results.spread("hcube-http", "w2").zip(results.spread(KAFKA, "w2"));
    let measured = http.map(|(ours, theirs)| ours.median / theirs.median);
    verdicts.push(Verdict {
        metric: "w2 by plain HTTP".into(),
        against: Some(KAFKA.into()),
        wanted: 1.0,
        measured,
        met: measured.map(|measured| measured >= 1.0),
    });
    verdicts.extend(growth(results));
    verdicts
}

/// W2 keeps at least 70 % with 10,000 topics, and with 8 peers.
fn growth(results: &Results) -> Vec<Verdict> {
    let figure = |name: &str| results.spread("hcube", name).map(|spread| spread.median);
    let pairs = [("w9-w2-topics-10000", "w9-w2-topics-1"), ("w9-w2-peers-8", "w9-w2-peers-3")];
    pairs
        .map(|(grown, small)| {
            let measured = figure(grown).zip(figure(small)).map(|(grown, small)| grown / small);
            Verdict {
                metric: format!("{grown} over {small}"),
                against: None,
                wanted: 0.7,
                measured,
                met: measured.map(|measured| measured >= 0.7),
            }
        })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_of_metrics_that_exist_and_of_measured_figures() {
        let mut results = Results::default();
        results.add("hcube", "w1", 1500.0);
        results.add("nats-sync", "w1", 1000.0);
        let verdicts = judge(&results);
        let w1 = |against: &str| {
            let mut all = verdicts.iter().filter(|verdict| verdict.metric == "w1");
            all.find(|verdict| verdict.against.as_deref() == Some(against)).unwrap()
        };
        assert_eq!((w1("nats-sync").measured, w1("nats-sync").met), (Some(1.5), Some(true)));
        assert_eq!((w1("kafka-default").measured, w1("kafka-default").met), (None, None));
    }
}
