//! A Hypercube of a story, with ports at which the test reaches its peers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use super::forward::Forward;
use super::kubectl::json as get;
use super::{Namespace, condition, holds, resource};
use crate::answer::{self, Answer};
use crate::history::{Acked, Reading, check};
use crate::program::{self, Ran};
use crate::reading;
use crate::wait::{eventually, seconds};

/// How long a Hypercube may take until it is ready or has settled: far longer than it takes.
const PATIENCE: Duration = seconds(180);

/// A Hypercube.
#[derive(Debug)]
pub struct Hypercube<'n> {
    /// Where it is.
    pub namespace: &'n Namespace,
    /// What it is called.
    pub name: String,
    /// Where its peers are reached, by vertex; also those that are not there yet.
    pub endpoints: Vec<String>,
    pub(super) client: Client,
    // They are open as long as they are here.
    _forwards: Vec<Forward>,
    further: RefCell<BTreeMap<(u16, u16), Forward>>,
}

impl<'n> Hypercube<'n> {
    /// One that somebody else applies, with ports for so many peers.
    ///
    /// # Panics
    /// When the ports cannot be had.
    #[track_caller]
    #[must_use]
    pub fn reach(namespace: &'n Namespace, name: &str, peers: u16) -> Self {
        let name_of = |vertex: u16| format!("reach-{name}-{vertex}");
        let service = |vertex: u16| service(&name_of(vertex), &format!("{name}-{vertex}"), 8000);
        namespace.apply(&(0..peers).map(service).collect::<Vec<_>>());
        let forwards: Vec<Forward> = (0..peers).map(|vertex| forward(namespace, &name_of(vertex))).collect();
        let endpoints = forwards.iter().map(|forward| format!("http://127.0.0.1:{}", forward.port)).collect();
        Self {
            namespace,
            name: name.to_owned(),
            endpoints,
            client: answer::client(),
            _forwards: forwards,
            further: RefCell::default(),
        }
    }

    /// Applies one and waits until it has settled.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    #[must_use]
    pub fn apply(namespace: &'n Namespace, name: &str, spec: &Value, peers: u16) -> Self {
        let hypercube = Self::reach(namespace, name, peers);
        namespace.apply(&[resource(name, spec)]);
        let _ = hypercube.until_settled();
        hypercube
    }

    /// A port of this machine that leads to one of a peer's other ports: 8100 for peers, 8200 for administration.
    ///
    /// # Panics
    /// When it cannot be had.
    #[track_caller]
    #[must_use]
    pub fn port(&self, vertex: u16, port: u16) -> u16 {
        let mut further = self.further.borrow_mut();
        let name = format!("reach-{}-{vertex}-{port}", self.name);
        let forward = further.entry((vertex, port)).or_insert_with(|| {
            self.namespace.apply(&[service(&name, &self.pod(vertex), port)]);
            forward(self.namespace, &name)
        });
        forward.port
    }

    /// The resource as it is.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    #[must_use]
    pub fn get(&self) -> Value {
        let found = self.namespace.get("hypercube", &self.name);
        found.unwrap_or_else(|| panic!("no Hypercube {}", self.name))
    }

    /// Waits until it is as it should be.
    ///
    /// # Panics
    /// When it is not in time.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.namespace.until("hypercube", &self.name, what, PATIENCE, is_so)
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn until_ready(&self) -> Value {
        self.until("is Ready", |object| holds(object, "Ready", true))
    }

    /// Waits until it serves and nothing is left to do.
    ///
    /// # Panics
    /// When it does not settle.
    #[track_caller]
    pub fn until_settled(&self) -> Value {
        self.until("has settled", |object| {
            let peers = object["spec"]["replicas"].as_u64();
            holds(object, "Ready", true)
                && ["Reconciling", "Stalled", "Draining", "Rebalancing", "Degraded"]
                    .iter()
                    .all(|kind| holds(object, kind, false))
                && object["status"]["replicas"].as_u64() == peers
                && self.pods().len() as u64 == peers.unwrap_or_default()
        })
    }

    /// Waits for a condition that says that something is wrong, and returns its message.
    ///
    /// # Panics
    /// When it does not come, or without a message.
    #[track_caller]
    pub fn until_says(&self, kind: &str, reason: &str) -> String {
        let object = self.until(&format!("says {kind}: {reason}"), |object| {
            holds(object, kind, true) && condition(object, kind)["reason"] == reason
        });
        let message = condition(&object, kind)["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.is_empty(), "{kind} without a message: {object}");
        message
    }

    /// `kubectl scale`.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn scale(&self, replicas: u16) {
        let resource = format!("hypercube/{}", self.name);
        let _ = self.namespace.kubectl(&["scale", &resource, &format!("--replicas={replicas}")]).ok();
    }

    /// `kubectl patch` of the spec.
    ///
    /// # Panics
    /// When kubectl does not end.
    #[track_caller]
    #[must_use]
    pub fn patch(&self, spec: &Value) -> Ran {
        let patch = json!({ "spec": spec }).to_string();
        self.namespace.kubectl(&["patch", "hypercube", &self.name, "--type=merge", "-p", &patch])
    }

    /// The name of a peer's pod.
    #[must_use]
    pub fn pod(&self, vertex: u16) -> String {
        format!("{}-{vertex}", self.name)
    }

    /// Its pods.
    #[must_use]
    pub fn pods(&self) -> Vec<Value> {
        let selector = format!("app.kubernetes.io/name=hcube,app.kubernetes.io/instance={}", self.name);
        let list = get(&["--namespace", &self.namespace.name, "pods", "-l", &selector]);
        list.and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
    }

    /// The uid of a peer's pod; none while it is missing.
    #[must_use]
    pub fn uid(&self, vertex: u16) -> Option<String> {
        let pod = self.namespace.get("pod", &self.pod(vertex))?;
        pod["metadata"]["uid"].as_str().map(str::to_owned)
    }

    /// Waits until another pod than the one of this uid is ready at a vertex.
    ///
    /// # Panics
    /// When none is.
    #[track_caller]
    pub fn until_replaced(&self, vertex: u16, uid: Option<&str>) {
        let _ = self.namespace.until("pod", &self.pod(vertex), "is a new one, and ready", PATIENCE, |pod| {
            let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            pod["metadata"]["uid"].as_str() != uid && conditions.iter().any(is_ready)
        });
    }

    /// A member of the status by vertex.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn member(&self, vertex: u16) -> Value {
        let object = self.get();
        let members = object["status"]["members"].as_array().cloned().unwrap_or_default();
        let found = members.into_iter().find(|member| member["vertex"] == vertex);
        found.unwrap_or_else(|| panic!("no member at {vertex}: {object}"))
    }

    /// Creates a topic at whichever peer does it, as soon as one does.
    ///
    /// # Panics
    /// When none does in time.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: u16) {
        let body = json!({ "partitions": partitions }).to_string();
        eventually(&format!("the topic {topic}"), PATIENCE, || {
            self.endpoints.iter().find_map(|endpoint| {
                let request = self.client.put(format!("{endpoint}/v1/topics/{topic}"));
                let request = request.header("content-type", "application/json").body(body.clone());
                let answer = Answer::of(&self.client, request).ok()?;
                let refused = answer.status < 500 && ![200, 201, 429].contains(&answer.status);
                assert!(!refused, "{answer}");
                (answer.status < 300).then_some(())
            })
        });
    }

    /// A topic as the first peer that answers describes it; none where there is no such topic.
    ///
    /// # Panics
    /// When no peer answers.
    #[track_caller]
    #[must_use]
    pub fn topic(&self, topic: &str) -> Option<Value> {
        let described = eventually(&format!("word of the topic {topic}"), seconds(60), || {
            self.endpoints.iter().find_map(|endpoint| {
                let request = self.client.get(format!("{endpoint}/v1/topics/{topic}"));
                Answer::of(&self.client, request).ok().filter(|answer| [200, 404].contains(&answer.status))
            })
        });
        (described.status == 200).then(|| described.json())
    }

    /// Publishes values to partition 0, one after the other, and returns where they are.
    ///
    /// # Panics
    /// When one is not acknowledged.
    #[track_caller]
    #[must_use]
    pub fn publish(&self, topic: &str, name: &str, count: u64) -> Vec<Acked> {
        let mut publisher = crate::Publisher::register(&self.endpoints, None, topic, 0);
        let one = |number| {
            let value = crate::history::value(name, number);
            Acked { partition: 0, offset: publisher.publish(&value).offset, value }
        };
        (0..count).map(one).collect()
    }

    /// Reads a topic through some peers and checks each reading against what was acknowledged; then waits until all
    /// replicas of each partition hold the same bytes.
    ///
    /// # Panics
    /// When anything is missing, doubled, moved, out of order or different.
    #[track_caller]
    pub fn check(&self, topic: &str, partitions: u16, acked: &[Acked], through: &[u16]) -> Reading {
        let mut last = Reading::default();
        for &vertex in through {
            let endpoint = &self.endpoints[usize::from(vertex)];
            let began = Instant::now();
            last = loop {
                match reading::complete(&self.client, endpoint, topic, partitions, acked) {
                    Ok(reading) => break reading,
                    Err(error) => assert!(began.elapsed() < seconds(60), "{error}"),
                }
            };
            check(&format!("{topic} through vertex {vertex}"), acked, &last);
        }
        self.replicas_become_equal(topic, partitions, through);
        last
    }

    #[track_caller]
    fn replicas_become_equal(&self, topic: &str, partitions: u16, through: &[u16]) {
        for partition in 0..partitions {
            eventually(&format!("equal replicas of {topic}/{partition}"), seconds(60), || {
                let described = self.topic(topic)?;
                let replicas = described["partitions"][usize::from(partition)]["replicas"].as_array()?;
                let labels = replicas.iter().filter_map(|replica| replica["label"].as_str());
                let mut copies = Vec::new();
                for (turn, label) in labels.enumerate() {
                    let endpoint = &self.endpoints[usize::from(through[turn % through.len()])];
                    copies.push(reading::raw(&self.client, endpoint, topic, partition, Some(label)).ok()?);
                }
                let equal = !copies.is_empty() && copies.windows(2).all(|pair| pair[0] == pair[1]);
                equal.then_some(())
            });
        }
    }

    /// A command of the program `hcube` that knows all peers.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        program::with_peers(&self.endpoints, arguments)
    }

    /// Runs the program `hcube`, which knows all peers.
    #[track_caller]
    #[must_use]
    pub fn hcube(&self, arguments: &[&str]) -> Ran {
        program::run(self.command(arguments))
    }

    /// A command of the program `hcube` that finds its own way to the peers, as from a laptop.
    #[must_use]
    pub fn afar(&self, arguments: &[&str]) -> Command {
        let place = ["--namespace", &self.namespace.name, "--hypercube", &self.name];
        program::command(&[&place[..], arguments].concat())
    }

    /// Runs the program `hcube`, which finds its own way to the peers.
    #[track_caller]
    #[must_use]
    pub fn from_afar(&self, arguments: &[&str]) -> Ran {
        program::run(self.afar(arguments))
    }
}

/// Leads to a port that a Service of the namespace has at each machine.
#[track_caller]
fn forward(namespace: &Namespace, service: &str) -> Forward {
    let found = namespace.get("service", service);
    let port = found.as_ref().and_then(|found| found["spec"]["ports"][0]["nodePort"].as_u64());
    let address = format!("{}:{}", machine(), port.unwrap_or_else(|| panic!("no port: {found:?}")));
    Forward::to(address.parse().unwrap_or_else(|error| panic!("{address}: {error}")))
}

/// The address of a machine of the cluster that pods run on.
#[track_caller]
fn machine() -> String {
    let list = get(&["nodes", "-l", "!node-role.kubernetes.io/control-plane"]);
    let addresses = list.as_ref().and_then(|list| list["items"][0]["status"]["addresses"].as_array());
    let internal = addresses.into_iter().flatten().find(|address| address["type"] == "InternalIP");
    let address = internal.and_then(|address| address["address"].as_str());
    address.unwrap_or_else(|| panic!("no machine has an address: {list:?}")).to_owned()
}

/// A port at every machine for a port of one pod, ready or not.
fn service(name: &str, pod: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "type": "NodePort",
            "publishNotReadyAddresses": true,
            "selector": { "statefulset.kubernetes.io/pod-name": pod },
            "ports": [{ "name": "reach", "port": port, "targetPort": port }],
        },
    })
}
