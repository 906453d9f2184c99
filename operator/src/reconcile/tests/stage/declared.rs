//! The HypercubeTopics of a stage.

use std::sync::Arc;

use hcube_crd::HypercubeTopic;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::{NAMESPACE, Stage, put};
use crate::topics;

impl Stage {
    /// Lets the operator know the Hypercube as it is stored now.
    pub fn know(&mut self) {
        let hypercube = self.hypercube();
        self.hypercubes.apply_watcher_event(&Event::Apply(hypercube));
    }

    /// Declares a topic of the Hypercube, or declares it anew.
    pub fn declare(&mut self, namespace: &str, name: &str, changes: Value) {
        let path = topic_path(namespace, name);
        let mut spec = json!({"hypercube": {"name": "demo", "namespace": NAMESPACE}});
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        {
            let mut server = self.server.lock().unwrap();
            let count = server.objects.len();
            let fresh = || {
                json!({
                    "apiVersion": "hcube.dev/v1alpha1",
                    "kind": "HypercubeTopic",
                    "metadata": {
                        "name": name, "namespace": namespace, "uid": format!("topic-{count}"),
                        "resourceVersion": "1", "creationTimestamp": format!("2026-01-01T00:00:{count:02}Z"),
                    },
                })
            };
            server.objects.entry(path).or_insert_with(fresh)["spec"] = spec;
        }
        self.see(namespace, name);
    }

    /// A HypercubeTopic as it is stored now.
    pub fn topic(&self, namespace: &str, name: &str) -> HypercubeTopic {
        let stored = self.server.lock().unwrap().objects[&topic_path(namespace, name)].clone();
        serde_json::from_value(stored).unwrap()
    }

    fn see(&mut self, namespace: &str, name: &str) {
        let topic = serde_json::to_value(self.topic(namespace, name)).unwrap();
        put(&mut self.topics, &topic);
    }

    /// One look at a HypercubeTopic. Returns what was written.
    pub async fn look_at(&mut self, namespace: &str, name: &str) -> Vec<String> {
        let topic = Arc::new(self.topic(namespace, name));
        topics::reconcile(topic, Arc::clone(&self.context)).await.unwrap();
        self.see(namespace, name);
        std::mem::take(&mut self.server.lock().unwrap().writes)
    }

    /// Plays the deletion of a HypercubeTopic, which the operator sees only if it is there.
    pub async fn withdraw(&mut self, namespace: &str, name: &str, is_seen: bool) {
        let topic = self.topic(namespace, name);
        self.server.lock().unwrap().objects.remove(&topic_path(namespace, name));
        self.topics.apply_watcher_event(&Event::Delete(topic.clone()));
        if is_seen {
            topics::removed(&self.context, &topic).await.unwrap();
        }
    }
}

fn topic_path(namespace: &str, name: &str) -> String {
    format!("/apis/hcube.dev/v1alpha1/namespaces/{namespace}/hypercubetopics/{name}")
}
