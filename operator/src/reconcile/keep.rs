//! The secrets of a hypercube: made when there are none, kept, and rotated when that is wished.

use hcube_crd::Hypercube;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::announce::Decisions;
use crate::build;
use crate::context::Context;
use crate::error::Error;
use crate::names::{MANAGER, Names};
use crate::plan::Facts;
use crate::secrets::{Secrets, mint};

/// The secrets, made now where there are none.
pub(super) async fn secrets(
    context: &Context,
    hypercube: &Hypercube,
    names: &Names,
) -> Result<Secrets, Error> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &names.namespace);
    if let Some(found) = api.get_opt(&names.secret()).await? {
        let damaged =
            || Error::Object(format!("the Secret {} holds no token and peer secret", names.secret()));
        return Secrets::of(&found).ok_or_else(damaged);
    }
    let fresh = Secrets::fresh(hypercube.spec.secret_rotation, mint);
    let object = fresh.object(names, &build::owner(hypercube));
    let object = serde_json::from_value(object).map_err(|error| Error::Object(error.to_string()))?;
    // Creating, unlike applying, never writes over secrets that somebody else has just made.
    let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    api.create(&parameters, &object).await?;
    context.metrics.wrote();
    Ok(fresh)
}

/// The secrets after the next step of a rotation, where one is due.
pub(super) async fn rotated(
    context: &Context,
    hypercube: &Hypercube,
    facts: Facts<'_>,
    secrets: &Secrets,
    decisions: &mut Decisions<'_>,
) -> Result<Secrets, Error> {
    let is_rolled_out = is_rolled_out(facts, secrets);
    let Some(next) = secrets.next(hypercube.spec.secret_rotation, is_rolled_out, mint) else {
        return Ok(secrets.clone());
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &facts.names.namespace);
    let object = next.object(facts.names, &build::owner(hypercube));
    let patch = json!({
        "metadata": { "annotations": object["metadata"]["annotations"] },
        "stringData": object["stringData"],
    });
    let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    api.patch(&facts.names.secret(), &parameters, &Patch::Merge(&patch)).await?;
    context.metrics.wrote();
    decisions.rotation(&next).await;
    Ok(next)
}

/// Whether every pod runs with the present secrets.
fn is_rolled_out(facts: Facts<'_>, secrets: &Secrets) -> bool {
    let Some(set) = &facts.observed.set else { return false };
    let Some(revision) = &set.revision else { return false };
    let complete = facts.observed.pods.len() == usize::from(set.replicas);
    let current =
        |pod: &crate::observed::Pod| pod.ready && !pod.terminating && pod.revision.as_ref() == Some(revision);
    set.secrets_mark == secrets.mark() && complete && facts.observed.pods.values().all(current)
}
