//! `hcube k8s plan`: what another number of replicas would do to slots, pods and volumes.

use std::ops::Range;

use hcube_api::cluster::{Plan, PlanQuery};
use hcube_crd::Hypercube;
use hcube_crd::hypercube::WhenScaled;
use hcube_crd::names::{Names, RETIRED};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde::Serialize;

use crate::cluster::plan;
use crate::connect::Reach;
use crate::output::Output;

/// What would become of pods and volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Objects {
    replicas_now: u16,
    replicas: u16,
    /// In the order in which they come.
    pods_added: Vec<String>,
    /// In the order in which they go.
    pods_removed: Vec<String>,
    volumes_added: Vec<String>,
    volumes_deleted: Vec<String>,
    /// They stay without a pod.
    volumes_retained: Vec<String>,
    /// Why it would not come about.
    obstacles: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Document<'d> {
    #[serde(flatten)]
    objects: &'d Objects,
    hypercube: Option<&'d Plan>,
}

/// Shows it.
pub async fn run(
    replicas: u16,
    hypercube: &Hypercube,
    names: &Names,
    claims: &[PersistentVolumeClaim],
    reach: &Reach,
    output: &Output,
) -> anyhow::Result<()> {
    let objects = objects(replicas, hypercube, names, claims);
    // The API server refuses fewer peers than replicas of a slot, so there is nothing to plan.
    let planned = match replicas < u16::from(hypercube.spec.replication_factor) {
        true => None,
        false => Some(reach.client()?.plan(&PlanQuery { peers: Some(replicas), replication: None }).await?),
    };
    if output.is_json() {
        return output.json(&Document { objects: &objects, hypercube: planned.as_ref() });
    }
    output.write(told(&objects).as_bytes())?;
    match &planned {
        Some(planned) => plan::show(planned, output),
        None => Ok(()),
    }
}

fn objects(replicas: u16, hypercube: &Hypercube, names: &Names, claims: &[PersistentVolumeClaim]) -> Objects {
    let now = hypercube.spec.replicas;
    let pods = |ordinals: Range<u16>| ordinals.map(|ordinal| names.pod(ordinal)).collect::<Vec<_>>();
    let volumes = |ordinals: Range<u16>| ordinals.map(|ordinal| names.claim(ordinal)).collect::<Vec<_>>();
    let (added, removed) = (now..replicas, replicas..now);
    let is_there = |volume: &String| claims.iter().any(|claim| claim.metadata.name.as_ref() == Some(volume));
    let leave: Vec<String> = volumes(removed.clone()).into_iter().rev().collect();
    let (deleted, retained) = match hypercube.spec.storage.when_scaled {
        WhenScaled::Delete => (leave, Vec::new()),
        WhenScaled::Retain => (Vec::new(), leave),
    };
    Objects {
        replicas_now: now,
        replicas,
        pods_added: pods(added.clone()),
        pods_removed: pods(removed).into_iter().rev().collect(),
        volumes_added: volumes(added.clone()).into_iter().filter(|volume| !is_there(volume)).collect(),
        volumes_deleted: deleted,
        volumes_retained: retained,
        obstacles: obstacles(replicas, hypercube, names, claims, added),
    }
}

fn obstacles(
    replicas: u16,
    hypercube: &Hypercube,
    names: &Names,
    claims: &[PersistentVolumeClaim],
    added: Range<u16>,
) -> Vec<String> {
    let mut obstacles = Vec::new();
    let least = hypercube.spec.replication_factor;
    if replicas < u16::from(least) {
        obstacles.push(format!("replicationFactor is {least}: the API server refuses fewer replicas"));
    }
    if hypercube.spec.paused {
        obstacles.push("the Hypercube is paused: the operator changes nothing".to_owned());
    }
    for claim in claims {
        let Some(name) = &claim.metadata.name else { continue };
        let is_taken_up = names.ordinal(name).is_some_and(|ordinal| added.contains(&ordinal));
        if is_taken_up && claim.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(RETIRED))
        {
            obstacles.push(format!("volume {name} belonged to a peer that left for ever: delete it first"));
        }
    }
    obstacles
}

fn told(objects: &Objects) -> String {
    let Objects { replicas_now, replicas, .. } = objects;
    let mut text = format!("{replicas_now} replicas now, {replicas} then\n");
    for (title, list) in [
        ("pods come", &objects.pods_added),
        ("volumes come", &objects.volumes_added),
        ("pods go, once drained, in this order", &objects.pods_removed),
        ("volumes are deleted (whenScaled: Delete)", &objects.volumes_deleted),
        ("volumes stay unused (whenScaled: Retain)", &objects.volumes_retained),
    ] {
        if !list.is_empty() {
            text.push_str(&format!("{title}: {}\n", list.join(" ")));
        }
    }
    for obstacle in &objects.obstacles {
        text.push_str(&format!("in the way: {obstacle}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::pods::tests::names;
    use crate::k8s::status::tests::hypercube;

    fn claim(name: &str, retired: bool) -> PersistentVolumeClaim {
        let annotations = if retired { json!({RETIRED: "7"}) } else { json!({}) };
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap()
    }

    #[test]
    fn growing_tells_pods_and_volumes_and_what_is_in_the_way() {
        let claims = [claim("data-demo-2", true), claim("data-demo-3", true)];
        let grown = objects(5, &hypercube(), &names(), &claims);
        assert_eq!(grown.pods_added, ["demo-3", "demo-4"]);
        assert_eq!(grown.volumes_added, ["data-demo-4"]);
        assert_eq!(grown.obstacles.len(), 1, "that of a pod that is there is in nobody's way");
        assert!(told(&grown).contains("in the way: volume data-demo-3"));
    }

    #[test]
    fn shrinking_tells_what_becomes_of_volumes_by_policy() {
        let mut hypercube = hypercube();
        hypercube.spec.replicas = 5;
        let shrunk = objects(3, &hypercube, &names(), &[]);
        assert_eq!(shrunk.pods_removed, ["demo-4", "demo-3"]);
        assert_eq!(shrunk.volumes_deleted, ["data-demo-4", "data-demo-3"]);
        hypercube.spec.storage.when_scaled = WhenScaled::Retain;
        let shrunk = objects(3, &hypercube, &names(), &[]);
        assert!(shrunk.volumes_deleted.is_empty() && shrunk.volumes_retained.len() == 2);
        assert!(shrunk.obstacles.is_empty());
        assert!(!objects(2, &hypercube, &names(), &[]).obstacles.is_empty());
    }
}
