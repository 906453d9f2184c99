//! Conditions as kstatus reads them, with times that change only when a status changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// It serves: its peers are members and a majority of each slot can vote.
pub const READY: &str = "Ready";
/// The operator is at work on the difference between what is wished and what is.
pub const RECONCILING: &str = "Reconciling";
/// Nothing will change until somebody mends the resource or what it needs.
pub const STALLED: &str = "Stalled";
/// A peer gives its replicas away before it leaves.
pub const DRAINING: &str = "Draining";
/// Replicas are on their way between peers.
pub const REBALANCING: &str = "Rebalancing";
/// It serves with less than it should have.
pub const DEGRADED: &str = "Degraded";

/// All of them, in the order in which they are written.
pub const ALL: [&str; 6] = [READY, RECONCILING, STALLED, DRAINING, REBALANCING, DEGRADED];

/// What a condition says, before it is known since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// One of the constants of this module.
    pub kind: &'static str,
    /// Whether it holds; none where nobody can tell.
    pub holds: Option<bool>,
    /// One word in CamelCase, for programs.
    pub reason: String,
    /// A sentence, for people.
    pub message: String,
}

impl Verdict {
    /// A condition that holds, or does not.
    #[must_use]
    pub fn new(kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, holds: Some(holds), reason: reason.to_owned(), message: message.into() }
    }

    /// A condition of which nobody can tell whether it holds.
    #[must_use]
    pub fn unknown(kind: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, holds: None, reason: reason.to_owned(), message: message.into() }
    }

    fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// The conditions to write, in the order of the verdicts. One whose status stays keeps its time.
#[must_use]
pub fn merge(
    before: &[Condition],
    verdicts: &[Verdict],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let merged = |verdict: &Verdict| {
        let known = before.iter().find(|known| known.type_ == verdict.kind);
        let since = known.filter(|known| known.status == verdict.status());
        Condition {
            type_: verdict.kind.to_owned(),
            status: verdict.status().to_owned(),
            reason: verdict.reason.clone(),
            message: verdict.message.clone(),
            observed_generation: generation,
            last_transition_time: since
                .map_or_else(|| now.clone(), |known| known.last_transition_time.clone()),
        }
    };
    verdicts.iter().map(merged).collect()
}

/// Whether a condition of this kind holds; none where there is none, or nobody can tell.
#[must_use]
pub fn holds(conditions: &[Condition], kind: &str) -> Option<bool> {
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: &str) -> Time {
        serde_json::from_value(serde_json::json!(format!("2026-01-01T00:00:{second}Z"))).unwrap()
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let first = merge(&[], &[Verdict::new(READY, false, "Founding", "")], Some(1), &at("01"));
        let same = merge(&first, &[Verdict::new(READY, false, "Waiting", "x")], Some(2), &at("02"));
        assert_eq!((&same[0].last_transition_time, same[0].reason.as_str()), (&at("01"), "Waiting"));
        let other = merge(&same, &[Verdict::new(READY, true, "Serving", "")], Some(2), &at("03"));
        assert_eq!(other[0].last_transition_time, at("03"));
        assert_eq!(holds(&other, READY), Some(true));
        assert_eq!(holds(&other, STALLED), None);
    }
}
