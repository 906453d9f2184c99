//! A Kubernetes that writes down what it is asked, and a hypercube that does what it is told.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hcube_api::admin::{Identity, Members};
use hcube_api::cluster::Cluster;
use hcube_api::topics::{Topic, TopicSummary};
use hcube_api::{Code, Problem};
use hcube_client::{Error as PeerError, Name};
use hcube_crd::{Hypercube, HypercubeTopic};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::client::Body;
use kube::runtime::controller::Action as Next;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::build::Defaults;
use crate::context::{Context, Parts};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::peers::{Change, Peer, Peers, TopicChange};
use crate::reconcile::reconcile;
use crate::world::World;

/// What Kubernetes holds, as far as it matters, and what it was asked.
#[derive(Debug, Default)]
pub struct Server {
    /// Writes, as `VERB path`, without Events.
    pub writes: Vec<String>,
    /// Reasons and notes of the Events.
    pub events: Vec<(String, String)>,
    /// Bodies of the writes, by path.
    pub bodies: BTreeMap<String, Value>,
    /// Reads.
    pub reads: Vec<String>,
    /// Objects that can be read, by path.
    pub objects: BTreeMap<String, Value>,
    /// Paths whose writes are refused, with what status.
    pub refused: BTreeMap<String, u16>,
}

/// Peers that say what they are told to say.
#[derive(Debug, Default)]
pub struct Cast {
    /// Who is at which address.
    pub identities: BTreeMap<String, Identity>,
    /// What every peer that belongs to the hypercube sees.
    pub view: Option<(Members, Cluster)>,
    /// At which addresses somebody asked for it.
    pub viewed: Vec<String>,
    /// What was asked for.
    pub changes: Vec<Change>,
    /// What the next changes are answered with.
    pub refusal: Option<Code>,
}

#[derive(Clone, Default)]
struct Actors(Arc<Mutex<Cast>>);

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
    _topics: Writer<HypercubeTopic>,
    _hypercubes: Writer<Hypercube>,
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
            _topics: topics,
            _hypercubes: hypercubes,
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

    fn applied(&mut self, body: &Value) {
        match body["kind"].as_str().unwrap_or_default() {
            "Service" => put(&mut self.services, body),
            "ServiceAccount" => put(&mut self.accounts, body),
            "PodDisruptionBudget" => put(&mut self.budgets, body),
            "NetworkPolicy" => put(&mut self.policies, body),
            "StatefulSet" => {
                let mut set = body.clone();
                set["metadata"]["uid"] = "set".into();
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

type Handle = tower_test::mock::Mock<Request<Body>, Response<Body>>;

/// Serves until the stage is dropped.
fn serve(server: Arc<Mutex<Server>>) -> Handle {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let (status, answer) = server.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
            let answer = Body::from(answer.to_string().into_bytes());
            send.send_response(Response::builder().status(status).body(answer).unwrap());
        }
    });
    service
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        if method == Method::GET {
            self.reads.push(path.to_owned());
            return match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => failure(404),
            };
        }
        if path.contains("/events.k8s.io/") {
            assert_eq!(method, Method::POST, "an Event that is counted up keeps the words of the first");
            let text = |field: &str| body[field].as_str().unwrap().to_owned();
            self.events.push((text("reason"), text("note")));
            return (200, body.clone());
        }
        let short = path.rsplit_once(&format!("/namespaces/{NAMESPACE}/")).map_or(path, |(_, rest)| rest);
        self.writes.push(format!("{method} {short}"));
        if let Some(status) = self.refused.get(short) {
            return failure(*status);
        }
        if method == Method::DELETE {
            return (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}));
        }
        self.bodies.insert(short.to_owned(), body.clone());
        if short == "hypercubes/demo/status" {
            return self.store_status(body);
        }
        let mut answer = body.clone();
        // A patch does not say what it is a patch of.
        if short.starts_with("secrets") {
            self.store_secret(body);
            answer["kind"] = "Secret".into();
        } else if short.starts_with("persistentvolumeclaims") {
            answer["kind"] = "PersistentVolumeClaim".into();
        }
        if answer["apiVersion"].is_null() {
            answer["apiVersion"] = "v1".into();
        }
        (200, answer)
    }

    fn store_status(&mut self, body: &Value) -> (u16, Value) {
        let hypercube = self.objects.get_mut(&hypercube_path()).unwrap();
        let version = hypercube["metadata"]["resourceVersion"].clone();
        if body["metadata"]["resourceVersion"] != version {
            return failure(409);
        }
        let version: u64 = version.as_str().unwrap().parse().unwrap();
        hypercube["metadata"]["resourceVersion"] = (version + 1).to_string().into();
        hypercube["status"] = body["status"].clone();
        (200, hypercube.clone())
    }

    fn store_secret(&mut self, body: &Value) {
        let data: serde_json::Map<String, Value> = body["stringData"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, text)| (key.clone(), base64(text.as_str().unwrap())))
            .collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "demo-secrets", "annotations": body["metadata"]["annotations"]},
            "data": data,
        });
        self.objects.insert(format!("/api/v1/namespaces/{NAMESPACE}/secrets/demo-secrets"), secret);
    }
}

fn base64(text: &str) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap()
}

fn failure(code: u16) -> (u16, Value) {
    let reason = if code == 409 { "Conflict" } else { "NotFound" };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused", "reason": reason, "code": code,
    });
    (code, status)
}

impl Actors {
    fn of<T>(&self, peer: &Peer, tell: impl FnOnce(&Cast) -> Option<T>) -> Result<T, PeerError> {
        let silent = || PeerError::Unreachable { endpoint: peer.ip.clone(), reason: "refused".into() };
        tell(&self.0.lock().unwrap()).ok_or_else(silent)
    }
}

impl Peers for Actors {
    fn identity<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Identity, PeerError>> {
        assert_eq!(peer.tokens.first().map(String::len), Some(64), "a token is shown");
        async move { self.of(peer, |cast| cast.identities.get(&peer.ip).cloned()) }.boxed()
    }

    fn members<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Members, PeerError>> {
        async move {
            self.0.lock().unwrap().viewed.push(peer.ip.clone());
            self.of(peer, |cast| {
                cast.identities.get(&peer.ip)?.cluster_id?;
                cast.view.as_ref().map(|view| view.0.clone())
            })
        }
        .boxed()
    }

    fn cluster<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Cluster, PeerError>> {
        async move { self.of(peer, |cast| cast.view.as_ref().map(|view| view.1.clone())) }.boxed()
    }

    fn change<'a>(&'a self, _: &'a Peer, change: &'a Change) -> BoxFuture<'a, Result<(), PeerError>> {
        async move {
            let mut cast = self.0.lock().unwrap();
            cast.changes.push(change.clone());
            match cast.refusal {
                Some(code) => Err(Problem::new(code, "why").into()),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn topics<'a>(&'a self, _: &'a Peer) -> BoxFuture<'a, Result<Vec<TopicSummary>, PeerError>> {
        async move { Ok(Vec::new()) }.boxed()
    }

    fn topic<'a>(&'a self, _: &'a Peer, _: &'a Name) -> BoxFuture<'a, Result<Option<Topic>, PeerError>> {
        async move { Ok(None) }.boxed()
    }

    fn change_topic<'a>(&'a self, _: &'a Peer, _: &'a TopicChange) -> BoxFuture<'a, Result<(), PeerError>> {
        async move { Ok(()) }.boxed()
    }
}
