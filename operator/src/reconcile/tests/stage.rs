//! A Kubernetes that writes down what it is asked, and a hypercube that does what it is told.

mod actors;
mod declared;
mod server;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use hcube_crd::{Hypercube, HypercubeTopic};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::runtime::controller::Action as Next;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::build::Defaults;
use crate::context::{Context, Parts};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::peers::{Change, TopicChange};
use crate::reconcile::reconcile;
use crate::world::World;
use actors::{Actors, Cast};
use server::{Server, serve};

/// Everything around one Hypercube.
pub struct Stage {
    pub context: Arc<Context>,
    pub server: Arc<Mutex<Server>>,
    actors: Actors,
    pub names: Names,
    sets: Writer<StatefulSet>,
    pods: Writer<Pod>,
    claims: Writer<PersistentVolumeClaim>,
    services: Writer<Service>,
    accounts: Writer<ServiceAccount>,
    budgets: Writer<PodDisruptionBudget>,
    policies: Writer<NetworkPolicy>,
    topics: Writer<HypercubeTopic>,
    hypercubes: Writer<Hypercube>,
}

const NAMESPACE: &str = "shop";

impl Stage {
    /// A namespace with one Hypercube and nothing else.
    pub fn new(spec: Value) -> Self {
        let mut whole = json!({"storage": {"size": "1Gi"}, "slots": 4});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let server = Arc::new(Mutex::new(Server::default()));
        let hypercube = json!({
            "apiVersion": "hcube.dev/v1alpha1",
            "kind": "Hypercube",
            "metadata": {
                "name": "demo", "namespace": NAMESPACE, "uid": "uid-1", "generation": 1, "resourceVersion": "1",
            },
            "spec": whole,
        });
        server.lock().unwrap().objects.insert(hypercube_path(), hypercube);
        let client = Client::new(serve(Arc::clone(&server)), "default");
        let (sets, pods, claims) = (Writer::default(), Writer::default(), Writer::default());
        let (services, accounts) = (Writer::default(), Writer::default());
        let (budgets, policies) = (Writer::default(), Writer::default());
        let (topics_reader, topics) = reflector::store();
        let (hypercubes_reader, hypercubes) = reflector::store();
        let world = World {
            sets: Writer::as_reader(&sets),
            pods: Writer::as_reader(&pods),
            claims: Writer::as_reader(&claims),
            services: Writer::as_reader(&services),
            accounts: Writer::as_reader(&accounts),
            budgets: Writer::as_reader(&budgets),
            policies: Writer::as_reader(&policies),
            topics: topics_reader,
        };
        let actors = Actors::default();
        let context = Context::new(Parts {
            client,
            world,
            hypercubes: hypercubes_reader,
            peers: Arc::new(actors.clone()),
            defaults: Defaults { image: "hcube-node:test".into(), operator_namespace: "hcube-system".into() },
            domain: "cluster.local".into(),
            metrics: Arc::new(Metrics::default()),
            operator: "hcube-system/hcube-operator".into(),
            instance: None,
        });
        let names =
            Names { name: "demo".into(), namespace: NAMESPACE.into(), domain: "cluster.local".into() };
        Self {
            context: Arc::new(context),
            server,
            actors,
            names,
            sets,
            pods,
            claims,
            services,
            accounts,
            budgets,
            policies,
            topics,
            hypercubes,
        }
    }

    /// The Hypercube as it is stored now.
    pub fn hypercube(&self) -> Hypercube {
        serde_json::from_value(self.server.lock().unwrap().objects[&hypercube_path()].clone()).unwrap()
    }

    /// Changes the stored Hypercube, as a user would.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut server = self.server.lock().unwrap();
        let hypercube = server.objects.get_mut(&hypercube_path()).unwrap();
        change(hypercube);
        let meta = &mut hypercube["metadata"];
        meta["generation"] = (meta["generation"].as_i64().unwrap() + 1).into();
    }

    /// Lets peers say and see other things.
    pub fn cast(&self, change: impl FnOnce(&mut Cast)) {
        change(&mut self.actors.0.lock().unwrap());
    }

    /// One look. Returns what was written since the last one, in order; what was applied is there afterwards.
    pub async fn look(&mut self) -> Vec<String> {
        let (writes, next) = self.look_of(Arc::new(self.hypercube())).await;
        next.unwrap();
        writes
    }

    /// One look at a Hypercube that may be an old one.
    pub async fn look_of(
        &mut self,
        hypercube: Arc<Hypercube>,
    ) -> (Vec<String>, Result<Next, crate::error::Error>) {
        let next = reconcile(hypercube, Arc::clone(&self.context)).await;
        let (writes, bodies) = {
            let mut server = self.server.lock().unwrap();
            (std::mem::take(&mut server.writes), std::mem::take(&mut server.bodies))
        };
        for body in bodies.into_values() {
            self.applied(&body);
        }
        (writes, next)
    }

    /// Reasons of the Events since the last call.
    pub fn events(&self) -> Vec<String> {
        self.notes().into_iter().map(|(reason, _)| reason).collect()
    }

    /// Reasons and notes of the Events since the last call.
    pub fn notes(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.server.lock().unwrap().events)
    }

    /// What was asked of the peers since the last call.
    pub fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.actors.0.lock().unwrap().changes)
    }

    /// What was asked of the peers about topics since the last call.
    pub fn topic_changes(&self) -> Vec<TopicChange> {
        std::mem::take(&mut self.actors.0.lock().unwrap().topic_changes)
    }

    fn applied(&mut self, body: &Value) {
        match body["kind"].as_str().unwrap_or_default() {
            "Service" => put(&mut self.services, body),
            "ServiceAccount" => put(&mut self.accounts, body),
            "PodDisruptionBudget" => put(&mut self.budgets, body),
            "NetworkPolicy" => put(&mut self.policies, body),
            "StatefulSet" => {
                let mut set = body.clone();
                set["metadata"]["uid"] = "set".into();
                set["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
                // The revision is what the template says, whatever it says.
                let mut hasher = std::hash::DefaultHasher::new();
                set["spec"]["template"].to_string().hash(&mut hasher);
                let revision = format!("r{:x}", hasher.finish());
                set["status"] = json!({"replicas": 0, "updateRevision": revision});
                put(&mut self.sets, &set);
            }
            _ => {}
        }
    }

    /// Plays the StatefulSet controller: every pod and volume that should be there is there, and ready.
    pub fn run_pods(&mut self) {
        let set = self.context.world.set_of(&self.names).expect("there is a StatefulSet");
        let revision = set.status.as_ref().unwrap().update_revision.clone().unwrap();
        let replicas = u16::try_from(set.spec.as_ref().unwrap().replicas.unwrap()).unwrap();
        for ordinal in 0..replicas {
            if self
                .context
                .world
                .pods_of(&self.names)
                .iter()
                .any(|pod| pod.metadata.name == Some(self.names.pod(ordinal)))
            {
                continue;
            }
            let pod = json!({
                "metadata": {
                    "name": self.names.pod(ordinal), "namespace": NAMESPACE, "uid": format!("pod-{ordinal}"),
                    "labels": self.labels(&revision),
                },
                "status": {
                    "podIP": ip(ordinal),
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            });
            put(&mut self.pods, &pod);
            let claim = json!({
                "metadata": {
                    "name": self.names.claim(ordinal), "namespace": NAMESPACE, "uid": format!("claim-{ordinal}"),
                    "labels": self.names.selector(),
                },
                "spec": {"resources": {"requests": {"storage": "1Gi"}}},
                "status": {"capacity": {"storage": "1Gi"}},
            });
            put(&mut self.claims, &claim);
        }
    }

    /// Plays a pod that does not serve any more.
    pub fn trouble_pod(&mut self, ordinal: u16) {
        let pods = self.context.world.pods_of(&self.names);
        let pod = pods.iter().find(|pod| pod.metadata.name == Some(self.names.pod(ordinal))).unwrap();
        let mut pod = pod.as_ref().clone();
        for condition in pod.status.as_mut().unwrap().conditions.iter_mut().flatten() {
            condition.status = "False".into();
        }
        self.pods.apply_watcher_event(&Event::Apply(pod));
    }

    /// Plays a pod that waits for a volume of a class.
    pub fn hold_back(&mut self, ordinal: u16, class: &str) {
        let pod = self.names.pod(ordinal);
        let pods = self.context.world.pods_of(&self.names);
        let found = pods.iter().find(|found| found.metadata.name.as_ref() == Some(&pod)).unwrap();
        let mut found = serde_json::to_value(found.as_ref()).unwrap();
        found["status"] = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no volume"},
        ]});
        put(&mut self.pods, &found);
        self.change_claim(ordinal, |claim| {
            claim["spec"]["storageClassName"] = class.into();
            claim["status"] = json!({});
        });
    }

    /// Plays the class of a volume.
    pub fn give_class(&mut self, ordinal: u16, class: &str) {
        self.change_claim(ordinal, |claim| claim["spec"]["storageClassName"] = class.into());
    }

    /// Plays a volume that has grown.
    pub fn enlarge_claim(&mut self, ordinal: u16, size: &str) {
        self.change_claim(ordinal, |claim| {
            claim["spec"]["resources"]["requests"]["storage"] = size.into();
            claim["status"]["capacity"]["storage"] = size.into();
        });
    }

    fn change_claim(&mut self, ordinal: u16, change: impl FnOnce(&mut Value)) {
        let claim = self.names.claim(ordinal);
        let claims = self.context.world.claims_of(&self.names);
        let found = claims.iter().find(|found| found.metadata.name.as_ref() == Some(&claim)).unwrap();
        let mut found = serde_json::to_value(found.as_ref()).unwrap();
        change(&mut found);
        put(&mut self.claims, &found);
    }

    /// Plays the end of the StatefulSet, whose pods stay.
    pub fn end_set(&mut self) {
        let set = self.context.world.set_of(&self.names).unwrap();
        self.sets.apply_watcher_event(&Event::Delete(set.as_ref().clone()));
    }

    /// Plays the end of a pod.
    pub fn end_pod(&mut self, ordinal: u16) {
        let pods = self.context.world.pods_of(&self.names);
        let pod = pods.iter().find(|pod| pod.metadata.name == Some(self.names.pod(ordinal))).unwrap();
        self.pods.apply_watcher_event(&Event::Delete(pod.as_ref().clone()));
    }

    /// Plays what was written on a volume claim.
    pub fn mark_claim(&mut self, ordinal: u16, annotations: Value) {
        let claims = self.context.world.claims_of(&self.names);
        let claim =
            claims.iter().find(|claim| claim.metadata.name == Some(self.names.claim(ordinal))).unwrap();
        let mut claim = claim.as_ref().clone();
        claim.metadata.annotations = serde_json::from_value(annotations).unwrap();
        self.claims.apply_watcher_event(&Event::Apply(claim));
    }

    fn labels(&self, revision: &str) -> BTreeMap<String, String> {
        let mut labels = self.names.selector();
        labels.insert("controller-revision-hash".into(), revision.to_owned());
        labels
    }
}

/// The address of a pod.
pub fn ip(ordinal: u16) -> String {
    format!("10.0.0.{ordinal}")
}

/// The path of the Hypercube.
pub fn hypercube_path() -> String {
    format!("/apis/hcube.dev/v1alpha1/namespaces/{NAMESPACE}/hypercubes/demo")
}

fn put<K>(writer: &mut Writer<K>, object: &Value)
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).unwrap()));
}
