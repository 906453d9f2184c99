//! Events: each decision and each new obstacle, once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use hcube_crd::Hypercube;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::events::{Event, EventType};

use crate::context::Context;
use crate::plan::{Action, Gravity, Remark};

/// What was said of which resource, so that it is not said again while it stays so.
#[derive(Debug, Default)]
pub struct Said(Mutex<HashMap<String, BTreeSet<String>>>);

impl Said {
    /// Those of the reasons that were not said of a resource before. The others are forgotten.
    fn news(&self, uid: &str, reasons: BTreeSet<String>) -> BTreeSet<String> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.get(uid).cloned().unwrap_or_default();
        let news = reasons.difference(&before).cloned().collect();
        if reasons.is_empty() {
            said.remove(uid);
        } else {
            said.insert(uid.to_owned(), reasons);
        }
        news
    }
}

/// Says an action that was taken.
pub async fn decision(context: &Context, hypercube: &Hypercube, action: &Action) {
    let names = context.names(hypercube);
    let (reason, note) = describe(action, |ordinal| names.pod(ordinal));
    publish(context, hypercube, EventType::Normal, reason, note).await;
}

/// Says remarks that are new: those of which neither this process nor the status knows.
pub async fn remarks(context: &Context, hypercube: &Hypercube, remarks: &[Remark]) {
    let worth: Vec<&Remark> =
        remarks.iter().filter(|remark| remark.gravity > Gravity::Draining || is_block(remark)).collect();
    let reasons = worth.iter().map(|remark| remark.reason.to_owned()).collect();
    let uid = hypercube.metadata.uid.as_deref().unwrap_or_default();
    let news = context.said.news(uid, reasons);
    let known = hypercube.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    for reason in news.iter().filter(|reason| !is_known(known, reason)) {
        if let Some(remark) = worth.iter().find(|remark| remark.reason == reason) {
            publish(context, hypercube, EventType::Warning, remark.reason, remark.message.clone()).await;
        }
    }
}

fn is_block(remark: &Remark) -> bool {
    matches!(remark.reason, "DrainBlocked" | "StepFailed")
}

fn is_known(conditions: &[Condition], reason: &str) -> bool {
    conditions.iter().any(|condition| condition.reason == reason)
}

async fn publish(context: &Context, hypercube: &Hypercube, type_: EventType, reason: &str, note: String) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1000).collect()),
        action: "Reconcile".into(),
        secondary: None,
    };
    // An Event that is lost is no reason to do anything again.
    if let Err(error) = context.recorder.publish(&event, &hypercube.object_ref(&())).await {
        tracing::warn!(%error, reason, "an Event was not published");
    }
}

/// Reason and note of an action.
fn describe(action: &Action, pod: impl Fn(u16) -> String) -> (&'static str, String) {
    match action {
        Action::Name { founders } => ("Naming", format!("a new hypercube of {founders} peers gets its name")),
        Action::Adopt { cluster } => {
            ("Adopted", format!("the volumes hold the hypercube {cluster}, which goes on"))
        }
        Action::Found { cluster, founders } => {
            ("Founded", format!("the hypercube {cluster} was founded by {} peers", founders.len()))
        }
        Action::Founded => ("Founded", "the hypercube had been founded already".into()),
        Action::SetReplication { replication } => {
            ("ReplicationSet", format!("each slot is to have {replication} replicas"))
        }
        Action::Add { ordinal, replaces: Some(node), .. } => {
            ("Replaced", format!("{} takes the place of node {node}, whose volume is gone", pod(*ordinal)))
        }
        Action::Add { ordinal, .. } => ("Joined", format!("{} joins at vertex {ordinal}", pod(*ordinal))),
        Action::Drain { ordinal, node } => {
            ("Draining", format!("{} (node {node}) gives its replicas away before it leaves", pod(*ordinal)))
        }
        Action::CancelDrain { ordinal, node } => {
            ("DrainCancelled", format!("{} (node {node}) and all below it stay after all", pod(*ordinal)))
        }
        Action::Remove { ordinal, node, .. } => {
            ("Removed", format!("node {node} of {} has left for ever", pod(*ordinal)))
        }
        Action::DeleteClaim { ordinal, .. } => {
            ("VolumeDeleted", format!("the used up volume of {} is deleted", pod(*ordinal)))
        }
        Action::Restart { ordinal, why, .. } => ("Restarting", format!("{}: {why}", pod(*ordinal))),
        Action::Expand { ordinal, size } => {
            ("VolumeExpanding", format!("the volume of {} is to grow to {size}", pod(*ordinal)))
        }
        Action::Orphan { .. } => {
            ("SetRecreated", "the StatefulSet is made anew with larger volumes; its pods stay".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_and_again_after_it_was_over() {
        let said = Said::default();
        let set = |reasons: &[&str]| reasons.iter().map(|&reason| reason.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(said.news("u", set(&["A"])), set(&["A"]));
        assert_eq!(said.news("u", set(&["A", "B"])), set(&["B"]));
        assert_eq!(said.news("other", set(&["A"])), set(&["A"]));
        assert_eq!(said.news("u", set(&[])), set(&[]));
        assert_eq!(said.news("u", set(&["A"])), set(&["A"]));
    }
}
