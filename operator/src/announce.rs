//! Events: each decision and each new obstacle, once.

use std::collections::BTreeSet;
use std::time::Instant;

use hcube_crd::Hypercube;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::events::EventType;

use crate::context::Context;
use crate::plan::{Action, Gravity, Remark};
use crate::secrets::{Secrets, Step};

pub use said::Said;

mod said;

/// The decisions of one look at a Hypercube.
pub struct Decisions<'d> {
    context: &'d Context,
    hypercube: &'d Hypercube,
    before: BTreeSet<String>,
    taken: BTreeSet<String>,
}

impl<'d> Decisions<'d> {
    /// None yet.
    #[must_use]
    pub fn of(context: &'d Context, hypercube: &'d Hypercube) -> Self {
        let before = context.said.before(uid(hypercube));
        Self { context, hypercube, before, taken: BTreeSet::new() }
    }

    /// Says an action that was taken.
    pub async fn action(&mut self, action: &Action) {
        let names = self.context.names(self.hypercube);
        let (reason, note) = describe(action, |ordinal| names.pod(ordinal));
        self.say(format!("{action:?}"), reason, note).await;
    }

    /// Says something else that was done.
    pub async fn done(&mut self, reason: &str, note: String) {
        self.say(format!("{reason} {note}"), reason, note).await;
    }

    /// Says a step of a rotation.
    pub async fn rotation(&mut self, secrets: &Secrets) {
        let (reason, note) = match secrets.step {
            Step::Introduced => ("SecretsIntroduced", "new secrets are accepted beside the old ones"),
            Step::Switched => ("SecretsSwitched", "the new secrets are shown, the old ones still accepted"),
            Step::Settled => ("SecretsRotated", "the old secrets are accepted no longer"),
        };
        self.done(reason, format!("rotation {}: {note}", secrets.rotation)).await;
    }

    async fn say(&mut self, decision: String, reason: &str, note: String) {
        if !self.before.contains(&decision) {
            done(self.context, self.hypercube, reason, note).await;
        }
        self.taken.insert(decision);
    }

    /// Remembers them for the next look.
    pub fn end(self) {
        self.context.said.remember(uid(self.hypercube), self.taken);
    }
}

/// Says something that was decided and done.
pub async fn done(context: &Context, hypercube: &Hypercube, reason: &str, note: impl Into<String>) {
    context.events.publish(&hypercube.object_ref(&()), EventType::Normal, reason, note).await;
}

fn uid(hypercube: &Hypercube) -> &str {
    hypercube.metadata.uid.as_deref().unwrap_or_default()
}

/// Says remarks that are new: those of which neither this process nor the status knows.
pub async fn remarks(context: &Context, hypercube: &Hypercube, remarks: &[Remark]) {
    let worth: Vec<&Remark> =
        remarks.iter().filter(|remark| remark.gravity > Gravity::Draining || is_block(remark)).collect();
    let reasons = worth.iter().map(|remark| remark.reason.to_owned()).collect();
    let news = context.said.news(uid(hypercube), reasons, Instant::now());
    let known = hypercube.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    for reason in news.iter().filter(|reason| !is_known(known, reason)) {
        let messages: BTreeSet<&str> = worth
            .iter()
            .filter(|remark| remark.reason == reason)
            .map(|remark| remark.message.as_str())
            .collect();
        let note = messages.into_iter().collect::<Vec<_>>().join("; ");
        context.events.publish(&hypercube.object_ref(&()), EventType::Warning, reason, note).await;
    }
}

fn is_block(remark: &Remark) -> bool {
    matches!(remark.reason, "DrainBlocked" | "StepFailed")
}

fn is_known(conditions: &[Condition], reason: &str) -> bool {
    conditions.iter().any(|condition| condition.reason == reason)
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
