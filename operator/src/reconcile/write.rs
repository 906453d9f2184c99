//! The status, written only where it differs, and never over what somebody else wrote meanwhile.

use hcube_crd::conditions::{self, Verdict};
use hcube_crd::{Hypercube, HypercubeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::Error;
use crate::names::MANAGER;
use crate::plan::Remark;
use crate::verdicts;

/// Writes the status.
pub(super) async fn status(
    context: &Context,
    hypercube: &Hypercube,
    status: &HypercubeStatus,
) -> Result<(), Error> {
    if hypercube.status.as_ref() == Some(status) {
        return Ok(());
    }
    let meta = &hypercube.metadata;
    let (name, namespace) = (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref());
    let api: Api<Hypercube> = Api::namespaced(context.client.clone(), namespace.unwrap_or_default());
    // The version makes it fail where the status that this look began with is not the last one: what was remembered
    // since, above all the name of the hypercube, must not be lost.
    let patch = json!({
        "apiVersion": "hcube.dev/v1alpha1",
        "kind": "Hypercube",
        "metadata": { "name": name, "uid": meta.uid, "resourceVersion": meta.resource_version },
        "status": status,
    });
    api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await?;
    context.metrics.wrote();
    Ok(())
}

/// Writes what has to be mended before anything is done. All else stays as it was known.
pub(super) async fn stalled(context: &Context, hypercube: &Hypercube, why: &Remark) -> Result<(), Error> {
    let before = hypercube.status.clone().unwrap_or_default();
    let generation = hypercube.metadata.generation;
    let now = crate::context::now();
    let mut verdicts = verdicts::faulty(why.reason, &why.message);
    if !before.conditions.iter().any(|known| known.type_ == conditions::READY) {
        verdicts.push(Verdict::new(conditions::READY, false, why.reason, &why.message));
    }
    let mut conditions = conditions::merge(&before.conditions, &verdicts, generation, &now);
    let is_kept = |known: &&Condition| verdicts.iter().all(|verdict| verdict.kind != known.type_);
    conditions.extend(before.conditions.iter().filter(is_kept).cloned());
    let order = |condition: &Condition| conditions::ALL.iter().position(|kind| *kind == condition.type_);
    conditions.sort_by_key(order);
    let operator = Some(context.operator.clone());
    let next = HypercubeStatus { observed_generation: generation, operator, conditions, ..before };
    status(context, hypercube, &next).await
}
