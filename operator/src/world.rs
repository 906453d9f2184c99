//! The Kubernetes objects of all hypercubes, kept up to date by watches, so that looking at them asks nobody.

use hcube_crd::HypercubeTopic;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use serde::Serialize;
use serde_json::Value;

use crate::names::{INSTANCE, Names};

/// What is known of Kubernetes.
#[derive(Clone)]
pub struct World {
    /// StatefulSets.
    pub sets: Store<StatefulSet>,
    /// Pods.
    pub pods: Store<Pod>,
    /// Volume claims.
    pub claims: Store<PersistentVolumeClaim>,
    /// Services.
    pub services: Store<Service>,
    /// Service accounts.
    pub accounts: Store<ServiceAccount>,
    /// Disruption budgets.
    pub budgets: Store<PodDisruptionBudget>,
    /// Network policies.
    pub policies: Store<NetworkPolicy>,
    /// Topics.
    pub topics: Store<HypercubeTopic>,
}

impl World {
    /// An object as JSON; none where it is not there.
    #[must_use]
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        match kind {
            "StatefulSet" => find(&self.sets, namespace, name),
            "Service" => find(&self.services, namespace, name),
            "ServiceAccount" => find(&self.accounts, namespace, name),
            "PodDisruptionBudget" => find(&self.budgets, namespace, name),
            "NetworkPolicy" => find(&self.policies, namespace, name),
            _ => None,
        }
    }

    /// The pods of a hypercube.
    #[must_use]
    pub fn pods_of(&self, names: &Names) -> Vec<std::sync::Arc<Pod>> {
        self.pods.state_filter(|pod| belongs(pod, names))
    }

    /// The volume claims of a hypercube.
    #[must_use]
    pub fn claims_of(&self, names: &Names) -> Vec<std::sync::Arc<PersistentVolumeClaim>> {
        self.claims.state_filter(|claim| belongs(claim, names))
    }

    /// The StatefulSet of a hypercube.
    #[must_use]
    pub fn set_of(&self, names: &Names) -> Option<std::sync::Arc<StatefulSet>> {
        self.sets.get(&ObjectRef::new(names.set()).within(&names.namespace))
    }
}

fn belongs<K: Resource>(object: &K, names: &Names) -> bool {
    let meta = object.meta();
    let label = meta.labels.as_ref().and_then(|labels| labels.get(INSTANCE));
    meta.namespace.as_ref() == Some(&names.namespace) && label == Some(&names.name)
}

fn find<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Value>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + 'static,
{
    let object = store.get(&ObjectRef::new(name).within(namespace))?;
    serde_json::to_value(object.as_ref()).ok()
}
