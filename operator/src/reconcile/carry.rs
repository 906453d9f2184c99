//! Carries out a plan: objects first, then steps. What fails does not keep the rest back.

use serde_json::Value;

use crate::act;
use crate::announce::Decisions;
use crate::apply::{self, Written};
use crate::context::Context;
use crate::peers::Peer;
use crate::plan::{Facts, Gravity, Plan, Remark};
use crate::status::Memory;

/// Applies every object.
pub(super) async fn apply_all(
    context: &Context,
    facts: Facts<'_>,
    plan: &Plan,
    objects: &[Value],
    decisions: &mut Decisions<'_>,
) -> Vec<Remark> {
    let (mut failures, mut created, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        let what = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
        match apply::apply(context, object).await {
            Ok(Written::Not) => {}
            Ok(Written::Created) => created.push(what),
            Ok(Written::Changed) => changed.push(what),
            Err(error) => failures.push(failure(format!("{what}: {error}"))),
        }
    }
    let set = format!("StatefulSet {}", facts.names.set());
    let pods = facts.observed.set.as_ref().map(|set| set.replicas);
    if let Some(pods) = pods.filter(|pods| *pods != plan.replicas && changed.contains(&set)) {
        changed.retain(|what| *what != set);
        decisions.done("Scaled", format!("{set} has {} pods in place of {pods}", plan.replicas)).await;
    }
    for (reason, what) in [("Created", created), ("Changed", changed)] {
        if !what.is_empty() {
            decisions.done(reason, what.join(", ")).await;
        }
    }
    if !facts.spec.network_policy.enabled {
        match apply::delete_policy(context, facts.names).await {
            Ok(false) => {}
            Ok(true) => decisions.done("Deleted", format!("NetworkPolicy {}", facts.names.name)).await,
            Err(error) => failures.push(failure(error.to_string())),
        }
    }
    failures
}

/// Takes every step.
pub(super) async fn act_all(
    context: &Context,
    facts: Facts<'_>,
    peers: &[Peer],
    memory: &mut Memory,
    plan: &Plan,
    decisions: &mut Decisions<'_>,
) -> Vec<Remark> {
    let mut failures = Vec::new();
    for action in &plan.actions {
        match act::act(context, facts, peers, memory, action).await {
            Ok(()) => {
                tracing::info!(name = facts.names.name, ?action, "done");
                decisions.action(action).await;
            }
            Err(error) => {
                tracing::warn!(name = facts.names.name, ?action, %error, "failed");
                failures.push(failure(error.to_string()));
            }
        }
    }
    failures
}

pub(super) fn failure(message: String) -> Remark {
    Remark { gravity: Gravity::Waiting, reason: "StepFailed", message }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
