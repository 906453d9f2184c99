//! Kubernetes' objects in the form that plans are made from.

use hcube_core::ids::NodeId;
use hcube_crd::Amount;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1 as core;

use crate::names::{FEATURE_LEVEL, RETIRED, SECRETS};
use crate::observed::{Claim, Pod, Set, Trouble};

/// Reasons that a starting container gives while nothing is wrong.
const STARTING: &[&str] = &["ContainerCreating", "PodInitializing"];

/// A StatefulSet.
#[must_use]
pub fn set(object: &StatefulSet) -> Option<Set> {
    let spec = object.spec.as_ref()?;
    let status = object.status.as_ref();
    // What the status says of an earlier generation says nothing of this one.
    let is_current = status.and_then(|status| status.observed_generation) >= object.metadata.generation;
    let revision = status.filter(|_| is_current).and_then(|status| status.update_revision.clone());
    let claims = spec.volume_claim_templates.as_ref().and_then(|claims| claims.first());
    let annotations = spec.template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref());
    let containers = spec.template.spec.as_ref().map(|pod| pod.containers.as_slice()).unwrap_or_default();
    let mut variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    let level = variables.find(|variable| variable.name == FEATURE_LEVEL);
    Some(Set {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        replicas: spec.replicas.and_then(|replicas| u16::try_from(replicas).ok()).unwrap_or(1),
        revision: revision.filter(|revision| !revision.is_empty()),
        storage: claims.and_then(requested)?,
        secrets_mark: annotations
            .and_then(|annotations| annotations.get(SECRETS))
            .cloned()
            .unwrap_or_default(),
        feature_level: level.and_then(|level| level.value.as_ref()?.parse().ok()),
    })
}

/// A pod, in a zone that is known elsewhere.
#[must_use]
pub fn pod(object: &core::Pod, zone: String) -> Pod {
    let status = object.status.as_ref();
    let labels = object.metadata.labels.as_ref();
    Pod {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        ip: status.and_then(|status| status.pod_ip.clone()).filter(|ip| !ip.is_empty()),
        zone,
        ready: condition(status, "Ready").is_some_and(|ready| ready.status == "True"),
        terminating: object.metadata.deletion_timestamp.is_some(),
        revision: labels.and_then(|labels| labels.get("controller-revision-hash")).cloned(),
        trouble: trouble(status),
    }
}

fn condition<'s>(status: Option<&'s core::PodStatus>, kind: &str) -> Option<&'s core::PodCondition> {
    status?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn trouble(status: Option<&core::PodStatus>) -> Option<Trouble> {
    if let Some(unscheduled) = condition(status, "PodScheduled").filter(|known| known.status == "False") {
        return Some(Trouble {
            reason: unscheduled.reason.clone().unwrap_or_default(),
            message: unscheduled.message.clone().unwrap_or_default(),
        });
    }
    let mut containers = status?.container_statuses.as_ref()?.iter();
    let (container, waiting) = containers.find_map(|container| {
        container.state.as_ref().and_then(|state| state.waiting.as_ref()).map(|waiting| (container, waiting))
    })?;
    let reason = waiting.reason.clone().filter(|reason| !STARTING.contains(&reason.as_str()))?;
    let said = (reason == "CrashLoopBackOff").then(|| last_words(container)).flatten();
    let message = said.or_else(|| waiting.message.clone());
    Some(Trouble { reason, message: message.unwrap_or_else(|| "its container does not start".into()) })
}

/// Why a container says that it last ended, which tells more than that it is started again. None where the end of its
/// output holds no such words.
fn last_words(container: &core::ContainerStatus) -> Option<String> {
    let said = container.last_state.as_ref()?.terminated.as_ref()?.message.as_ref()?;
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let begins = |line: &&str| line.starts_with("Error: ") || line.starts_with("thread '");
    let is_for_developers = |line: &str| line.starts_with("note: ") || line.ends_with("backtrace:");
    let words = lines[lines.iter().rposition(begins)?..].iter().copied();
    Some(words.take_while(|line| !is_for_developers(line)).collect::<Vec<_>>().join(" "))
}

/// A volume claim.
#[must_use]
pub fn claim(object: &core::PersistentVolumeClaim) -> Option<Claim> {
    let annotations = object.metadata.annotations.as_ref();
    let capacity = object.status.as_ref().and_then(|status| status.capacity.as_ref());
    Some(Claim {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        requested: requested(object)?,
        capacity: capacity.and_then(|capacity| capacity.get("storage")).map(Amount::from),
        retired: annotations
            .and_then(|annotations| annotations.get(RETIRED))
            .and_then(|node| node.parse().ok())
            .map(NodeId),
        terminating: object.metadata.deletion_timestamp.is_some(),
    })
}

fn requested(claim: &core::PersistentVolumeClaim) -> Option<Amount> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    resources.requests.as_ref()?.get("storage").map(Amount::from)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod_of(status: Value) -> Pod {
        let object = json!({"metadata": {"name": "demo-0", "uid": "u"}, "status": status});
        pod(&serde_json::from_value(object).unwrap(), String::new())
    }

    #[test]
    fn a_pod_that_starts_is_in_no_trouble() {
        let waiting = |reason: &str| {
            json!({"containerStatuses": [{
                "name": "hcube", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": "why"}},
            }]})
        };
        assert_eq!(pod_of(waiting("ContainerCreating")).trouble, None);
        assert_eq!(pod_of(waiting("ImagePullBackOff")).trouble.unwrap().reason, "ImagePullBackOff");
        assert_eq!(pod_of(json!({})).trouble, None);
        let unscheduled = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"},
        ]});
        assert_eq!(pod_of(unscheduled).trouble.unwrap().message, "no room");
    }

    #[test]
    fn a_pod_that_ends_again_and_again_is_quoted() {
        let crashing = |said: &str| {
            let status = json!({"containerStatuses": [{
                "name": "hcube", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"exitCode": 1, "message": said}},
            }]});
            pod_of(status).trouble.unwrap().message
        };
        let log = "{\"level\":\"INFO\"}\n";
        for (said, told) in [
            ("Error: no token", "Error: no token"),
            ("Error: this disk\n\nCaused by:\n    is full\n", "Error: this disk Caused by: is full"),
            ("Error: no token\n\nStack backtrace:\n   0: main", "Error: no token"),
            (
                "\nthread 'main' panicked at a.rs:1:2:\nwhy\nnote: run",
                "thread 'main' panicked at a.rs:1:2: why",
            ),
            ("", "back-off 40s"),
            ("   9: main\n  10: _start\n", "back-off 40s"),
        ] {
            assert_eq!(crashing(&format!("{log}{log}{said}")), told);
        }
        assert_eq!(crashing(""), "back-off 40s");
    }

    #[test]
    fn an_old_status_of_the_set_tells_no_revision() {
        let of = |observed: i64| {
            let object = json!({
                "metadata": {"uid": "s", "generation": 2},
                "spec": {
                    "serviceName": "x", "selector": {}, "replicas": 4,
                    "template": {
                        "metadata": {"annotations": {"hcube.dev/secrets": "1.Settled"}},
                        "spec": {"containers": [
                            {"name": "hcube", "env": [{"name": "HCUBE_FEATURE_LEVEL", "value": "5"}]},
                        ]},
                    },
                    "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1Gi"}}}}],
                },
                "status": {"replicas": 4, "observedGeneration": observed, "updateRevision": "r2"},
            });
            set(&serde_json::from_value(object).unwrap()).unwrap()
        };
        assert_eq!((of(1).revision, of(2).revision), (None, Some("r2".into())));
        assert_eq!((of(2).replicas, of(2).secrets_mark.as_str()), (4, "1.Settled"));
        assert_eq!(of(2).feature_level, Some(5));
    }

    #[test]
    fn a_used_up_claim_says_whose_it_was() {
        let object = json!({
            "metadata": {"uid": "c", "annotations": {"hcube.dev/retired-node": "7"}},
            "spec": {"resources": {"requests": {"storage": "1Gi"}}},
            "status": {"capacity": {"storage": "1Gi"}},
        });
        let claim = claim(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!((claim.retired, claim.capacity), (Some(NodeId(7)), Some(Amount::from("1Gi"))));
    }
}
