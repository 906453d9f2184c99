//! Publishes Events, each as an object of its own.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::names::MANAGER;

/// Letters of a note at most; Kubernetes refuses longer ones.
const NOTE_MAX: usize = 1000;

/// Who publishes.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    /// Events of the operator; `pod` is its own.
    #[must_use]
    pub fn new(client: Client, pod: Option<String>) -> Self {
        Self { client, reporter: Reporter { controller: MANAGER.into(), instance: pod } }
    }

    /// Publishes an Event. One that is lost is no reason to do anything again.
    pub async fn publish(
        &self,
        regarding: &ObjectReference,
        type_: EventType,
        reason: &str,
        note: impl Into<String>,
    ) {
        // A Recorder that is kept takes two Events for one for six minutes where type, reason and object are the same,
        // whatever their notes say: of two peers that join it would only tell the first. A new one knows no Event
        // to count up.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.into().chars().take(NOTE_MAX).collect()),
            action: "Reconcile".into(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, regarding).await {
            tracing::warn!(%error, reason, "an Event was not published");
        }
    }
}
