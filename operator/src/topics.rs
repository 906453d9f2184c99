//! One look at a HypercubeTopic: what it declares is created and kept.

mod plan;
mod reference;
mod removal;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hcube_client::Name;
use hcube_crd::conditions::{self, READY, RECONCILING, STALLED, Verdict};
use hcube_crd::{HypercubeTopic, HypercubeTopicStatus};
use kube::Api;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action as Next;
use kube::runtime::events::EventType;
use serde_json::json;

pub use removal::removed;

use crate::contacts::contacts;
use crate::context::Context;
use crate::error::Error;
use crate::names::MANAGER;

/// How soon a topic that is not as declared is looked at again.
const SOON: Duration = Duration::from_secs(5);
/// How soon one that is as declared is looked at again: what others change is repaired, and messages are counted.
const LATER: Duration = Duration::from_secs(60);

/// Looks at a HypercubeTopic once.
///
/// # Errors
/// What Kubernetes refuses.
pub async fn reconcile(topic: Arc<HypercubeTopic>, context: Arc<Context>) -> Result<Next, Error> {
    let began = Instant::now();
    let result = match reconcile_once(&topic, &context).await {
        Err(error) if error.is_conflict() => Ok(Next::requeue(Duration::from_millis(200))),
        other => other,
    };
    context.metrics.reconciled("HypercubeTopic", began.elapsed(), result.is_ok());
    result
}

/// What to do after a look that failed.
pub fn after_failure(topic: Arc<HypercubeTopic>, error: &Error, _: Arc<Context>) -> Next {
    let name = topic.metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(name, %error, "reconcile of a topic failed");
    Next::requeue(SOON)
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It is as declared.
    Kept,
    /// Something has to happen first, which will by itself.
    Waiting(&'static str, String),
    /// Somebody has to mend something.
    Stalled(&'static str, String),
}

async fn reconcile_once(topic: &HypercubeTopic, context: &Context) -> Result<Next, Error> {
    if topic.metadata.deletion_timestamp.is_some() {
        return Ok(Next::await_change());
    }
    if reference::hypercube(context, topic).is_some_and(|hypercube| context.is_anothers(&hypercube)) {
        return Ok(Next::requeue(LATER));
    }
    let mut next = topic.status.clone().unwrap_or_default();
    let outcome = keep(topic, context, &mut next).await?;
    let verdicts = verdicts(&outcome);
    let generation = topic.metadata.generation;
    next.observed_generation = generation;
    next.conditions = conditions::merge(&next.conditions, &verdicts, generation, &crate::context::now());
    write(context, topic, &next).await?;
    Ok(Next::requeue(if outcome == Outcome::Kept { LATER } else { SOON }))
}

async fn keep(
    topic: &HypercubeTopic,
    context: &Context,
    next: &mut HypercubeTopicStatus,
) -> Result<Outcome, Error> {
    let reference = match reference::resolve(context, topic).await? {
        Ok(reference) => reference,
        Err(outcome) => return Ok(outcome),
    };
    let peers = contacts(context, &reference.names).await?;
    let (Some(peer), Some(cluster)) = (peers.first(), reference.cluster) else {
        let message = format!("the hypercube {} does not serve yet", reference.names.name);
        return Ok(Outcome::Waiting("HypercubeNotReady", message));
    };
    let live = match context.peers.topic(peer, &reference.topic).await {
        Ok(live) => live,
        Err(error) => return Ok(Outcome::Waiting("PeerRefused", error.to_string())),
    };
    next.topic = Some(reference.topic.to_string());
    let steps = match plan::plan(&topic.spec, &reference.topic, cluster, live.as_ref()) {
        Ok(steps) => steps,
        Err(message) => return Ok(Outcome::Stalled("TopicDiffers", message)),
    };
    for step in &steps {
        if let Err(error) = context.peers.change_topic(peer, step).await {
            return Ok(Outcome::Waiting("PeerRefused", error.to_string()));
        }
        decision(context, topic, plan::describe(step, next.topic_id.is_some())).await;
    }
    let live = match steps.is_empty() {
        true => live,
        false => context.peers.topic(peer, &reference.topic).await.unwrap_or(live),
    };
    let Some(live) = live else {
        return Ok(Outcome::Waiting("Creating", "the topic is being created".into()));
    };
    status::fill(next, &live);
    Ok(Outcome::Kept)
}

fn verdicts(outcome: &Outcome) -> [Verdict; 3] {
    match outcome {
        Outcome::Kept => [
            Verdict::new(READY, true, "AsDeclared", "the topic is as declared"),
            Verdict::new(RECONCILING, false, "AsDeclared", "the topic is as declared"),
            Verdict::new(STALLED, false, "AsDeclared", "nothing has to be mended"),
        ],
        Outcome::Waiting(reason, message) => [
            Verdict::new(READY, false, reason, message),
            Verdict::new(RECONCILING, true, reason, message),
            Verdict::new(STALLED, false, "Progressing", "nothing has to be mended"),
        ],
        Outcome::Stalled(reason, message) => [
            Verdict::new(READY, false, reason, message),
            Verdict::new(RECONCILING, false, reason, "see the condition Stalled"),
            Verdict::new(STALLED, true, reason, message),
        ],
    }
}

async fn decision(context: &Context, topic: &HypercubeTopic, (reason, note): (&'static str, String)) {
    context.events.publish(&topic.object_ref(&()), EventType::Normal, reason, note).await;
}

/// Says once that a topic is stalled: when its condition changes.
async fn warn(context: &Context, topic: &HypercubeTopic, next: &HypercubeTopicStatus) {
    let stalled = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
        let found =
            conditions.iter().find(|condition| condition.type_ == STALLED && condition.status == "True");
        found.map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    let before = topic.status.as_ref().and_then(|status| stalled(&status.conditions));
    let Some((reason, note)) = stalled(&next.conditions).filter(|now| before.as_ref() != Some(now)) else {
        return;
    };
    context.events.publish(&topic.object_ref(&()), EventType::Warning, &reason, note).await;
}

async fn write(context: &Context, topic: &HypercubeTopic, next: &HypercubeTopicStatus) -> Result<(), Error> {
    if topic.status.as_ref() == Some(next) {
        return Ok(());
    }
    warn(context, topic, next).await;
    let meta = &topic.metadata;
    let (name, namespace) = (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref());
    let api: Api<HypercubeTopic> = Api::namespaced(context.client.clone(), namespace.unwrap_or_default());
    let patch = json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "HypercubeTopic",
        "metadata": { "name": name, "uid": meta.uid, "resourceVersion": meta.resource_version },
        "status": next,
    });
    api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await?;
    context.metrics.wrote();
    Ok(())
}

/// The name of the topic that a resource declares; none where no topic can be called so.
fn name_of(topic: &HypercubeTopic) -> Option<Name> {
    topic.spec.topic.as_ref().or(topic.metadata.name.as_ref())?.parse().ok()
}

#[cfg(test)]
mod tests;
