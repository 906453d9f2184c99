//! Which topic of which hypercube a resource stands for, if it may.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcube_client::Name;
use hcube_core::ids::ClusterId;
use hcube_crd::hypercube::{AllowedNamespaces, NamespacesFrom};
use hcube_crd::{Hypercube, HypercubeTopic};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;

use super::{Outcome, name_of};
use crate::context::Context;
use crate::error::Error;
use crate::names::Names;

/// A topic of a hypercube.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// The names of the hypercube's objects.
    pub names: Names,
    /// The hypercube, once it is founded.
    pub cluster: Option<ClusterId>,
    /// The topic.
    pub topic: Name,
}

/// The Hypercube that a resource names.
pub(super) fn hypercube(context: &Context, topic: &HypercubeTopic) -> Option<Arc<Hypercube>> {
    let wished = &topic.spec.hypercube;
    let namespace = wished.namespace.as_deref().or(topic.metadata.namespace.as_deref());
    context.hypercubes.get(&ObjectRef::new(&wished.name).within(namespace.unwrap_or_default()))
}

/// Finds what a resource stands for.
pub(super) async fn resolve(
    context: &Context,
    topic: &HypercubeTopic,
) -> Result<Result<Reference, Outcome>, Error> {
    let stalled = |reason, message: String| Ok(Err(Outcome::Stalled(reason, message)));
    let Some(name) = name_of(topic) else {
        return stalled("InvalidName", "no topic can be called so; give spec.topic".into());
    };
    let own = topic.metadata.namespace.clone().unwrap_or_default();
    let wished = &topic.spec.hypercube;
    let namespace = wished.namespace.clone().unwrap_or_else(|| own.clone());
    let Some(hypercube) = hypercube(context, topic) else {
        return stalled("HypercubeMissing", format!("there is no Hypercube {namespace}/{}", wished.name));
    };
    if !is_admitted(context, &hypercube, &own).await? {
        let message =
            format!("the Hypercube {namespace}/{} admits no topics from namespace {own}", wished.name);
        return stalled("NamespaceNotAllowed", message);
    }
    let names = context.names(&hypercube);
    if let Some(other) = elder(context, &names, topic, &name) {
        return stalled(
            "TopicTaken",
            format!("the HypercubeTopic {other} stands for the topic {name} already"),
        );
    }
    let status = hypercube.status.as_ref().filter(|status| status.founded);
    let cluster = status.and_then(|status| status.cluster_id.as_deref()).and_then(|id| id.parse().ok());
    Ok(Ok(Reference { names, cluster, topic: name }))
}

async fn is_admitted(context: &Context, hypercube: &Hypercube, namespace: &str) -> Result<bool, Error> {
    if hypercube.metadata.namespace.as_deref() == Some(namespace) {
        return Ok(true);
    }
    let allowed = &hypercube.spec.allowed_namespaces;
    if allowed.from != NamespacesFrom::Selector {
        return Ok(allowed.from == NamespacesFrom::All);
    }
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    match namespaces.get_metadata(namespace).await {
        Ok(found) => Ok(fits(allowed, &found.metadata.labels.unwrap_or_default())),
        // An operator that may not look at namespaces admits none by their labels.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn fits(allowed: &AllowedNamespaces, labels: &BTreeMap<String, String>) -> bool {
    let selector = allowed.selector.clone().and_then(|selector| Selector::try_from(selector).ok());
    selector.is_some_and(|selector| selector.matches(labels))
}

/// Another resource for the same topic that was there before.
fn elder(context: &Context, names: &Names, topic: &HypercubeTopic, name: &Name) -> Option<String> {
    let age = |topic: &HypercubeTopic| {
        let created = topic.metadata.creation_timestamp.as_ref().map(|created| created.0);
        (created, topic.metadata.uid.clone())
    };
    let others = context.topics_of(names);
    let same = |other: &&Arc<HypercubeTopic>| {
        other.metadata.uid != topic.metadata.uid
            && name_of(other).as_ref() == Some(name)
            && age(other) < age(topic)
    };
    let elder = others.iter().find(same)?;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Some(format!("{}/{}", text(&elder.metadata.namespace), text(&elder.metadata.name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_chooses_namespaces_by_their_labels() {
        let allowed =
            |selector| serde_json::from_value(json!({"from": "Selector", "selector": selector})).unwrap();
        let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        assert!(fits(&allowed(json!({"matchLabels": {"team": "a"}})), &labels));
        assert!(!fits(&allowed(json!({"matchLabels": {"team": "b"}})), &labels));
        let one_of = json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]});
        assert!(fits(&allowed(one_of), &labels));
        assert!(!fits(&AllowedNamespaces::default(), &labels));
        for (operator, fit) in [("Exists", true), ("DoesNotExist", false), ("Near", false)] {
            let rule = json!({"matchExpressions": [{"key": "team", "operator": operator}]});
            assert_eq!(fits(&allowed(rule), &labels), fit, "{operator}");
        }
        // All of it has to fit, and nothing fits everything.
        let both = json!({
            "matchLabels": {"team": "a"},
            "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}],
        });
        assert!(!fits(&allowed(both), &labels));
        assert!(fits(&allowed(json!({})), &labels));
    }
}
