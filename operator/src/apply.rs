//! Server-side apply under one name, and only where something differs.

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::context::Context;
use crate::drift;
use crate::error::Error;
use crate::names::{MANAGER, Names};

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was as it should be.
    Not,
    /// It was not there.
    Created,
    /// It was different: something else is wished, or somebody else had changed it.
    Changed,
}

/// Applies an object unless the live one says the same.
///
/// # Errors
/// What Kubernetes refuses.
pub async fn apply(context: &Context, wished: &Value) -> Result<Written, Error> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, meta) = (text(&wished["kind"]), &wished["metadata"]);
    let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
    let live = context.world.object(&kind, &namespace, &name);
    let written = match live {
        Some(live) if !drift::differs(wished, &live) => return Ok(Written::Not),
        Some(_) => Written::Changed,
        None => Written::Created,
    };
    let api = dynamic(context, &text(&wished["apiVersion"]), &kind, &namespace);
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(wished)).await?;
    context.metrics.wrote();
    Ok(written)
}

/// Deletes the NetworkPolicy, where there is one. Returns whether there was.
///
/// # Errors
/// What Kubernetes refuses.
pub async fn delete_policy(context: &Context, names: &Names) -> Result<bool, Error> {
    if context.world.object("NetworkPolicy", &names.namespace, &names.name).is_none() {
        return Ok(false);
    }
    let api = dynamic(context, "networking.k8s.io/v1", "NetworkPolicy", &names.namespace);
    context.metrics.wrote();
    gone(api.delete(&names.name, &DeleteParams::default()).await.map(drop))?;
    Ok(true)
}

fn dynamic(context: &Context, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(context.client.clone(), namespace, &resource)
}

/// Deletion of exactly one life of an object.
#[must_use]
pub fn exactly(uid: &str) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None })
}

/// An object that is not there any more, or is another one by now, needs no deletion.
///
/// # Errors
/// Anything else that Kubernetes refuses.
pub fn gone(result: Result<(), kube::Error>) -> Result<(), Error> {
    match result.map_err(Error::from) {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other,
    }
}
