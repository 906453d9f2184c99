//! What has to be done about a topic, from what is declared and what is there: pure.

use hcube_api::topics::{CreateTopic, PatchRetention, PatchTopic, Retention, Topic};
use hcube_client::Name;
use hcube_core::ids::ClusterId;
use hcube_crd::HypercubeTopicSpec;

use crate::peers::TopicChange;

/// The changes that make a topic what is declared.
///
/// # Errors
/// Why nothing can, in words.
pub(super) fn plan(
    spec: &HypercubeTopicSpec,
    name: &Name,
    cluster: ClusterId,
    live: Option<&Topic>,
) -> Result<Vec<TopicChange>, String> {
    let partitions =
        spec.partitions.try_into().map_err(|error: hcube_api::topics::PartitionsError| error.to_string())?;
    let retention = retention(spec)?;
    let wished = spec.read_replicas;
    let mut changes = Vec::new();
    match live {
        None => changes.push(TopicChange::Create(name.clone(), CreateTopic { partitions, retention })),
        Some(live) if live.partitions.len() != usize::from(spec.partitions) => {
            return Err(format!(
                "the topic {name} has {} partitions for ever, and the resource says {}",
                live.partitions.len(),
                spec.partitions
            ));
        }
        Some(live) if live.retention != retention => {
            let patch = PatchRetention { age_ms: Some(retention.age_ms), bytes: Some(retention.bytes) };
            changes.push(TopicChange::Alter(name.clone(), PatchTopic { retention: patch }));
        }
        Some(_) => {}
    }
    if live.map_or(0, |live| live.read_replicas) != wished {
        changes.push(TopicChange::SetReadReplicas(name.clone(), cluster, wished));
    }
    Ok(changes)
}

fn retention(spec: &HypercubeTopicSpec) -> Result<Retention, String> {
    let bytes = match &spec.retention.size {
        None => None,
        Some(size) => match size.units() {
            None | Some(0) => return Err(format!("retention.size is an amount of bytes, not {size}")),
            bytes => bytes,
        },
    };
    Ok(Retention { age_ms: spec.retention.age_seconds.map(|seconds| seconds.saturating_mul(1000)), bytes })
}

/// Reason and note of a change.
pub(super) fn describe(change: &TopicChange, was_there: bool) -> (&'static str, String) {
    match change {
        TopicChange::Create(name, _) if was_there => {
            ("Recreated", format!("the topic {name} was gone and is created anew, empty"))
        }
        TopicChange::Create(name, _) => ("Created", format!("the topic {name} is created")),
        TopicChange::Alter(name, _) => ("Altered", format!("the retention of {name} is as declared again")),
        TopicChange::Delete(name) => ("Deleted", format!("the topic {name} is deleted")),
        TopicChange::SetReadReplicas(name, _, count) => {
            ("ReadReplicasSet", format!("{name} is to have {count} read replicas"))
        }
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::{Slot, TopicId};
    use serde_json::{Value, json};

    use super::*;

    fn live(partitions: u16, retention: Retention, read_replicas: u8) -> Topic {
        let partition = |partition| hcube_api::topics::Partition {
            partition,
            slot: Slot(partition),
            leader: None,
            replicas: Vec::new(),
            start_offset: None,
            high_watermark: None,
        };
        Topic {
            name: "quakes".parse().unwrap(),
            id: TopicId(1),
            retention,
            read_replicas,
            partitions: (0..partitions).map(partition).collect(),
        }
    }

    fn steps(spec: Value, live: Option<&Topic>) -> Result<Vec<&'static str>, String> {
        let mut whole = json!({"hypercube": {"name": "demo"}});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let spec = serde_json::from_value(whole).unwrap();
        let changes = plan(&spec, &"quakes".parse().unwrap(), ClusterId(1), live)?;
        Ok(changes.iter().map(|change| describe(change, false).0).collect())
    }

    #[test]
    fn each_difference_has_its_step() {
        let plain = live(1, Retention::default(), 0);
        assert_eq!(steps(json!({}), None), Ok(vec!["Created"]));
        assert_eq!(steps(json!({"readReplicas": 2}), None), Ok(vec!["Created", "ReadReplicasSet"]));
        assert_eq!(steps(json!({}), Some(&plain)), Ok(vec![]));
        assert_eq!(steps(json!({"retention": {"ageSeconds": 5}}), Some(&plain)), Ok(vec!["Altered"]));
        let kept = live(1, Retention { age_ms: Some(5000), bytes: Some(1 << 30) }, 1);
        let same = json!({"retention": {"ageSeconds": 5, "size": "1Gi"}, "readReplicas": 1});
        assert_eq!(steps(same, Some(&kept)), Ok(vec![]));
        assert_eq!(steps(json!({}), Some(&kept)), Ok(vec!["Altered", "ReadReplicasSet"]));
    }

    #[test]
    fn what_cannot_be_changed_is_told() {
        let three = live(3, Retention::default(), 0);
        assert!(steps(json!({}), Some(&three)).unwrap_err().contains("3 partitions for ever"));
        assert!(steps(json!({"retention": {"size": "0"}}), None).unwrap_err().contains("retention.size"));
    }
}
