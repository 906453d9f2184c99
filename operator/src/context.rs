//! What every reconcile needs and none changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hcube_crd::{Hypercube, HypercubeTopic};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource};

use crate::announce::Said;
use crate::build::Defaults;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::peers::Peers;
use crate::tenure::Tenure;
use crate::world::World;

/// Label of a machine: its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// What every reconcile needs.
pub struct Context {
    /// Kubernetes.
    pub client: Client,
    /// What is known of it.
    pub world: World,
    /// The hypercubes.
    pub hypercubes: Store<Hypercube>,
    /// The peers.
    pub peers: Arc<dyn Peers>,
    /// What objects are made with where a resource does not say.
    pub defaults: Defaults,
    /// The DNS domain of the Kubernetes cluster.
    pub domain: String,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Publishes Events.
    pub events: Events,
    /// What was said already.
    pub said: Said,
    /// This operator's name, among others.
    pub operator: String,
    /// Which Hypercubes are this operator's.
    pub tenure: Tenure,
    zones: Mutex<HashMap<String, String>>,
}

/// The parts of a [`Context`] that are chosen.
pub struct Parts {
    /// Kubernetes.
    pub client: Client,
    /// What is known of it.
    pub world: World,
    /// The hypercubes.
    pub hypercubes: Store<Hypercube>,
    /// The peers.
    pub peers: Arc<dyn Peers>,
    /// What objects are made with where a resource does not say.
    pub defaults: Defaults,
    /// The DNS domain of the Kubernetes cluster.
    pub domain: String,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// This operator's name, among others.
    pub operator: String,
    /// The operator's own pod, for Events.
    pub instance: Option<String>,
}

impl Context {
    /// A context of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { client, world, hypercubes, peers, defaults, domain, metrics, operator, instance } = parts;
        let events = Events::new(client.clone(), instance);
        Self {
            client,
            world,
            hypercubes,
            peers,
            defaults,
            domain,
            metrics,
            events,
            said: Said::default(),
            operator,
            tenure: Tenure::default(),
            zones: Mutex::default(),
        }
    }

    /// What the objects of a hypercube are called.
    #[must_use]
    pub fn names(&self, hypercube: &Hypercube) -> Names {
        Names {
            name: hypercube.metadata.name.clone().unwrap_or_default(),
            namespace: hypercube.metadata.namespace.clone().unwrap_or_default(),
            domain: self.domain.clone(),
        }
    }

    /// The zone of a machine; empty when unknown. Asked once for each machine, whose zone does not change.
    pub async fn zone(&self, machine: &str) -> String {
        let known = self.zones.lock().unwrap_or_else(PoisonError::into_inner).get(machine).cloned();
        if let Some(zone) = known {
            return zone;
        }
        match Api::<Node>::all(self.client.clone()).get_metadata(machine).await {
            Ok(node) => {
                let labels = node.metadata.labels.unwrap_or_default();
                let zone = labels.get(ZONE).cloned().unwrap_or_default();
                self.zones
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(machine.to_owned(), zone.clone());
                zone
            }
            // Without the right to look at machines, peers stand in no zone.
            Err(error) => {
                tracing::debug!(machine, %error, "zone unknown");
                String::new()
            }
        }
    }

    /// Whether another operator looks after a Hypercube.
    #[must_use]
    pub fn is_anothers(&self, hypercube: &Hypercube) -> bool {
        let holder = hypercube.status.as_ref().and_then(|status| status.operator.as_ref());
        holder.is_some_and(|holder| *holder != self.operator)
    }

    /// Topics that are declared for a hypercube, from whatever namespace.
    #[must_use]
    pub fn topics_of(&self, names: &Names) -> Vec<Arc<HypercubeTopic>> {
        self.world.topics.state_filter(|topic| {
            let reference = &topic.spec.hypercube;
            let namespace = reference.namespace.as_ref().or(topic.meta().namespace.as_ref());
            reference.name == names.name && namespace == Some(&names.namespace)
        })
    }
}

/// The time, as Kubernetes writes it: whole seconds.
#[must_use]
pub fn now() -> Time {
    let now = k8s_openapi::jiff::Timestamp::now();
    Time(k8s_openapi::jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}
