//! One look at a Hypercube: fetch, validate, plan, build, apply, act, status.

mod carry;
mod keep;
mod look;
mod turn;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hcube_crd::{Hypercube, conditions};
use kube::runtime::controller::Action as Next;

use crate::announce::Decisions;
use crate::build::{self, Inputs};
use crate::context::Context;
use crate::error::Error;
use crate::plan::{Facts, Gravity, Plan, Remark};
use crate::status::Memory;
use crate::{announce, orphans, plan, status, validate, verdicts};

/// How soon a hypercube that changes is looked at again. Changes of its pods are noticed at once.
const SOON: Duration = Duration::from_secs(2);
/// How soon one that is as wished is looked at again, to notice what only peers know.
const LATER: Duration = Duration::from_secs(30);

/// Looks at a Hypercube once.
///
/// # Errors
/// What keeps the look from its end. Steps that fail by themselves do not.
pub async fn reconcile(hypercube: Arc<Hypercube>, context: Arc<Context>) -> Result<Next, Error> {
    let began = Instant::now();
    let result = reconcile_once(&hypercube, &context).await;
    let result = match result {
        // Somebody wrote the status meanwhile: this look began with an old one.
        Err(error) if error.is_conflict() => Ok(Next::requeue(Duration::from_millis(200))),
        other => other,
    };
    context.metrics.reconciled("Hypercube", began.elapsed(), result.is_ok());
    result
}

/// What to do after a look that failed.
pub fn after_failure(hypercube: Arc<Hypercube>, error: &Error, _: Arc<Context>) -> Next {
    let name = hypercube.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(name, %error, "reconcile failed");
    Next::requeue(Duration::from_secs(5))
}

async fn reconcile_once(hypercube: &Hypercube, context: &Context) -> Result<Next, Error> {
    if hypercube.metadata.deletion_timestamp.is_some() {
        // Everything that is to go has an owner; nothing is to be done by hand.
        return Ok(Next::await_change());
    }
    if let Some(next) = turn::not_now(context, hypercube).await? {
        return Ok(next);
    }
    let names = context.names(hypercube);
    let faults = validate::faults(&hypercube.spec);
    if !faults.is_empty() {
        return stall(context, hypercube, "InvalidSpec", faults.join("; ")).await;
    }
    let before = hypercube.status.clone().unwrap_or_default();
    let mut secrets = match keep::secrets(context, hypercube, &names).await {
        Ok(secrets) => secrets,
        Err(error) if error.is_lasting() => {
            return stall(context, hypercube, "NoSecrets", error.to_string()).await;
        }
        Err(error) => return Err(error),
    };
    let (observed, peers) = look::look(context, hypercube, &names, &secrets).await;
    let facts = Facts { names: &names, spec: &hypercube.spec, status: &before, observed: &observed };
    let mut plan = plan::plan(facts);
    let mut memory = Memory::of(&before);
    if hypercube.spec.paused {
        plan.actions.clear();
        plan.remarks = vec![Remark {
            gravity: Gravity::Stalled,
            reason: "Paused",
            message: "spec.paused is set: nothing is changed".into(),
        }];
    } else {
        let mut decisions = Decisions::of(context, hypercube);
        let rotated = keep::rotated(context, hypercube, facts, &secrets, &mut decisions).await;
        let failed = rotated.map(|rotated| secrets = rotated).err();
        let objects = build::objects(Inputs {
            names: &names,
            spec: &hypercube.spec,
            owner: &build::owner(hypercube),
            defaults: &context.defaults,
            secrets_mark: &secrets.mark(),
            replicas: plan.replicas,
            storage: &plan.storage.0,
            feature_level: plan.feature_level,
        });
        let mut failures = carry::apply_all(context, facts, &plan, &objects, &mut decisions).await;
        failures.extend(carry::act_all(context, facts, &peers, &mut memory, &plan, &mut decisions).await);
        decisions.end();
        failures.extend(failed.map(|error| carry::failure(format!("rotation of secrets: {error}"))));
        plan.remarks.extend(failures);
    }
    announce::remarks(context, hypercube, &plan.remarks).await;
    let mut next = status::status(facts, memory, Some(&secrets), hypercube.metadata.generation);
    next.operator = Some(context.operator.clone());
    orphans::update(context, hypercube, facts, &peers, &mut next).await;
    next.conditions = conditions::merge(
        &before.conditions,
        &verdicts::verdicts(facts, &plan),
        hypercube.metadata.generation,
        &crate::context::now(),
    );
    write::status(context, hypercube, &next).await?;
    let ready = conditions::holds(&next.conditions, conditions::READY) == Some(true);
    let stalled = conditions::holds(&next.conditions, conditions::STALLED) == Some(true);
    context.metrics.stands(&names.namespace, &names.name, ready, stalled, next.replicas);
    Ok(Next::requeue(pause(&plan, &next)))
}

/// Says why nothing can be done, and leaves all as it is.
async fn stall(
    context: &Context,
    hypercube: &Hypercube,
    reason: &'static str,
    message: String,
) -> Result<Next, Error> {
    let remark = Remark { gravity: Gravity::Stalled, reason, message };
    announce::remarks(context, hypercube, std::slice::from_ref(&remark)).await;
    write::stalled(context, hypercube, &remark).await?;
    Ok(Next::requeue(LATER))
}

fn pause(plan: &Plan, status: &hcube_crd::HypercubeStatus) -> Duration {
    let holds = |kind| conditions::holds(&status.conditions, kind) == Some(true);
    let changes = !plan.actions.is_empty()
        || [conditions::RECONCILING, conditions::DRAINING, conditions::REBALANCING].into_iter().any(holds)
        || !holds(conditions::READY);
    let is_stuck = holds(conditions::STALLED);
    match (changes, is_stuck) {
        (true, false) => SOON,
        (true, true) => SOON * 5,
        (false, _) => LATER,
    }
}

#[cfg(test)]
pub(crate) mod tests;
