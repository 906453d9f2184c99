//! `hcube k8s status`: a Hypercube as its resource and its pods show it.

use hcube_crd::Hypercube;
use hcube_crd::hypercube::{MemberState, SlotsStatus};
use hcube_crd::names::Names;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use super::pods::{self, PodState};
use crate::output::{Output, Table};

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Status {
    name: String,
    namespace: String,
    cluster_id: Option<String>,
    replicas_wished: u16,
    replicas: i32,
    dimension: Option<u8>,
    replication: u8,
    feature_level: Option<u32>,
    slots: Option<SlotsStatus>,
    /// Whether the operator has seen the resource as it is now.
    observed: bool,
    conditions: Vec<Condition>,
    peers: Vec<Peer>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Condition {
    kind: String,
    status: String,
    reason: String,
    message: String,
}

/// A vertex: the member there, the pod that stands for it, or both.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
struct Peer {
    vertex: u16,
    label: Option<String>,
    node_id: Option<u64>,
    state: Option<&'static str>,
    zone: Option<String>,
    slots: Option<u32>,
    pod: Option<PodState>,
}

/// Shows it.
pub fn show(hypercube: &Hypercube, pods: &[Pod], output: &Output) -> anyhow::Result<()> {
    let status = status(hypercube, pods);
    if output.is_json() { output.json(&status) } else { output.write(drawn(&status).as_bytes()) }
}

fn status(hypercube: &Hypercube, pods: &[Pod]) -> Status {
    let told = hypercube.status.clone().unwrap_or_default();
    let name = hypercube.metadata.name.clone().unwrap_or_default();
    let namespace = hypercube.metadata.namespace.clone().unwrap_or_default();
    let names = Names { name: name.clone(), namespace: namespace.clone(), domain: String::new() };
    let mut peers: Vec<Peer> = told.members.iter().map(member).collect();
    for pod in pods::states(&names, pods) {
        match peers.iter_mut().find(|peer| peer.vertex == pod.ordinal) {
            Some(peer) => peer.pod = Some(pod),
            None => peers.push(Peer { vertex: pod.ordinal, pod: Some(pod), ..Peer::default() }),
        }
    }
    peers.sort_by_key(|peer| peer.vertex);
    let conditions = told.conditions.iter().map(|condition| Condition {
        kind: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    });
    Status {
        name,
        namespace,
        cluster_id: told.cluster_id,
        replicas_wished: hypercube.spec.replicas,
        replicas: told.replicas,
        dimension: told.dimension,
        replication: told.replication_factor.unwrap_or(hypercube.spec.replication_factor),
        feature_level: told.feature_level,
        slots: told.slots,
        observed: told.observed_generation.is_some()
            && told.observed_generation == hypercube.metadata.generation,
        conditions: conditions.collect(),
        peers,
    }
}

fn member(member: &hcube_crd::hypercube::MemberStatus) -> Peer {
    let state = match member.state {
        MemberState::Up => "up",
        MemberState::Down => "down",
        MemberState::Joining => "joining",
        MemberState::Leaving => "leaving",
    };
    Peer {
        vertex: member.vertex,
        label: Some(member.label.clone()),
        node_id: Some(member.node_id),
        state: Some(state),
        zone: Some(member.zone.clone()).filter(|zone| !zone.is_empty()),
        slots: Some(member.replicas),
        pod: None,
    }
}

/// The tree: the Hypercube, below it its conditions, its slots and its peers.
fn drawn(status: &Status) -> String {
    let Status { name, namespace, replicas, replicas_wished, replication, .. } = status;
    let cluster = status.cluster_id.as_deref().unwrap_or("not founded yet");
    let seen = if status.observed { "" } else { "; the operator has not seen its last change yet" };
    let mut text = format!("Hypercube {name} in {namespace} ({cluster}){seen}\n");
    branch(&mut text, "conditions", &conditions(&status.conditions), false);
    let dimension = status.dimension.map_or_else(|| "-".to_owned(), |dimension| dimension.to_string());
    let level = status.feature_level.map(|level| format!(", feature level {level}")).unwrap_or_default();
    text.push_str(&format!(
        "├─ {replicas} peers of {replicas_wished}, {dimension} dimensions, {replication} replicas{level}\n"
    ));
    match status.slots {
        Some(SlotsStatus { total, under_replicated, moving }) => {
            text.push_str(&format!("├─ {total} slots, {under_replicated} lack replicas, {moving} move\n"))
        }
        None => text.push_str("├─ no slots yet\n"),
    }
    branch(&mut text, "peers", &peers(&status.peers), true);
    text
}

fn branch(text: &mut String, title: &str, table: &Table, is_last: bool) {
    let (fork, stem) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
    text.push_str(&format!("{fork} {title}\n"));
    for line in table.render(false).lines() {
        text.push_str(&format!("{stem}    {line}\n"));
    }
}

fn conditions(conditions: &[Condition]) -> Table {
    let mut table = Table::new(["condition", "status", "reason", "message"]);
    for Condition { kind, status, reason, message } in conditions {
        table.row([kind, status, reason, message]);
    }
    table
}

fn peers(peers: &[Peer]) -> Table {
    let mut table = Table::new(["vertex", "peer", "node", "holds", "zone", "pod", "is", "restarts", "on"]);
    let dash = || "-".to_owned();
    for peer in peers {
        let pod = peer.pod.as_ref();
        table.row([
            peer.label.clone().unwrap_or_else(dash),
            peer.state.unwrap_or("no member").to_owned(),
            peer.node_id.map_or_else(dash, |node| node.to_string()),
            peer.slots.map_or_else(dash, |slots| slots.to_string()),
            peer.zone.clone().unwrap_or_else(dash),
            pod.map_or_else(dash, |pod| pod.name.clone()),
            pod.map_or_else(|| "missing".to_owned(), |pod| pod.state.clone()),
            pod.map_or_else(dash, |pod| pod.restarts.to_string()),
            pod.and_then(|pod| pod.node.clone()).unwrap_or_else(dash),
        ]);
    }
    table
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::args::Format;
    use crate::k8s::pods::tests::pod;
    use crate::output::captured::Captured;

    /// Three peers, of which the last has just lost its pod.
    pub fn hypercube() -> Hypercube {
        let member = |vertex: u16, state: &str| {
            json!({
                "label": format!("{vertex:02b}"), "vertex": vertex, "nodeId": vertex + 1,
                "pod": format!("demo-{vertex}"), "zone": "a", "state": state, "replicas": 64,
            })
        };
        serde_json::from_value(json!({
            "apiVersion": "hcube.dev/v1alpha1", "kind": "Hypercube",
            "metadata": {"name": "demo", "namespace": "shop", "generation": 2},
            "spec": {"replicas": 3},
            "status": {
                "observedGeneration": 2, "replicas": 3, "clusterId": "c1", "dimension": 2, "replicationFactor": 3,
                "featureLevel": 2,
                "slots": {"total": 64, "underReplicated": 1, "moving": 0},
                "members": [member(0, "Up"), member(1, "Up"), member(2, "Down")],
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Serving", "message": "it serves",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn vertices_pods_and_members_stand_together() {
        let pods = [pod("demo-1", true, true), pod("demo-0", true, false), pod("demo-3", false, false)];
        let text = drawn(&status(&hypercube(), &pods));
        let row = |label: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(text.starts_with("Hypercube demo in shop (c1)\n"), "{text}");
        assert!(text.contains("2 dimensions, 3 replicas, feature level 2\n"), "{text}");
        assert!(text.contains("64 slots, 1 lack replicas, 0 move"), "{text}");
        assert_eq!(row("00"), "00 up 1 64 a demo-0 ready 2 worker");
        assert_eq!(row("01"), "01 up 2 64 a demo-1 ending 2 worker");
        assert_eq!(row("10"), "10 down 3 64 a - missing - -");
        assert_eq!(row("-  "), "- no member - - - demo-3 not ready 2 worker");
    }

    #[test]
    fn programs_get_the_same() {
        let captured = Captured::default();
        show(&hypercube(), &[pod("demo-0", true, false)], &captured.output(Format::Json)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&captured.text()).unwrap();
        assert_eq!(
            (&json["peers"][0]["pod"]["ready"], &json["peers"][2]["state"]),
            (&true.into(), &"down".into())
        );
        assert_eq!(json["conditions"][0]["kind"], "Ready");
    }

    #[test]
    fn one_without_a_status_is_shown_too() {
        let mut fresh = hypercube();
        fresh.status = None;
        let text = drawn(&status(&fresh, &[]));
        assert!(text.contains("not founded yet") && text.contains("has not seen"), "{text}");
    }
}
