//! What the pods of a hypercube look like, and which of them can be talked to.

use hcube_crd::names::{CLIENT_PORT, Names};
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodState {
    /// Its ordinal, which is its vertex.
    pub ordinal: u16,
    /// Its name.
    pub name: String,
    /// ready, not ready, ending, or the phase or reason why it does not run.
    pub state: String,
    /// Whether it serves clients.
    pub ready: bool,
    /// The machine it runs on.
    pub node: Option<String>,
    /// How often its process was started again.
    pub restarts: i32,
}

/// The pods of a hypercube by ordinal; others of these labels are left out.
pub fn states(names: &Names, pods: &[Pod]) -> Vec<PodState> {
    let state = |pod: &Pod| {
        let name = pod.metadata.name.clone()?;
        let ordinal = names.ordinal(&name)?;
        let status = pod.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        let is_ready = status
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let waiting = containers
            .iter()
            .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let phase = status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Unknown".into());
        let state = match (is_ending, is_ready) {
            (true, _) => "ending".to_owned(),
            (false, true) => "ready".to_owned(),
            (false, false) if phase == "Running" && waiting.is_none() => "not ready".to_owned(),
            (false, false) => waiting.unwrap_or(phase),
        };
        Some(PodState {
            ordinal,
            name,
            state,
            ready: is_ready && !is_ending,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            restarts: containers.iter().map(|container| container.restart_count).sum(),
        })
    };
    let mut states: Vec<PodState> = pods.iter().filter_map(state).collect();
    states.sort_by_key(|state| state.ordinal);
    states
}

/// Who a connection is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any pod that is ready.
    Any,
    /// This one.
    Pod(u16),
}

/// Who is meant by a host's name inside the cluster; none where it is nobody of this hypercube.
pub fn target(names: &Names, host: &str) -> Option<Target> {
    let host = host.trim_end_matches('.');
    let service = format!("{}.{}.svc", names.client_service(), names.namespace);
    let is_within = |host: &str, base: &str| {
        host.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if is_within(host, &service) {
        return Some(Target::Any);
    }
    let (pod, domain) = host.split_once('.')?;
    let peers = format!("{}.{}.svc", names.peer_service(), names.namespace);
    is_within(domain, &peers).then(|| names.ordinal(pod)).flatten().map(Target::Pod)
}

/// Where any pod answers clients.
pub fn service(names: &Names) -> String {
    format!("http://{}.{}.svc:{CLIENT_PORT}", names.client_service(), names.namespace)
}

/// The pods to try for any of them, each turn beginning at another one.
pub fn in_turn(states: &[PodState], turn: usize) -> Vec<String> {
    let mut ready: Vec<String> = states.iter().filter(|pod| pod.ready).map(|pod| pod.name.clone()).collect();
    let count = ready.len().max(1);
    ready.rotate_left(turn % count);
    ready
}

/// Why no pod can be talked to.
pub fn none_ready(name: &str, states: &[PodState]) -> String {
    let each: Vec<String> = states.iter().map(|pod| format!("{} is {}", pod.name, pod.state)).collect();
    match each.as_slice() {
        [] => format!("Hypercube {name} has no pods; `hcube k8s status` says why"),
        each => format!("no pod of Hypercube {name} is ready: {}", each.join(", ")),
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    pub fn names() -> Names {
        Names { name: "demo".into(), namespace: "shop".into(), domain: "cluster.local".into() }
    }

    pub fn pod(name: &str, ready: bool, ending: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": "worker", "containers": []},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{
                    "name": "peer", "image": "i", "imageID": "i", "ready": true, "restartCount": 2,
                }],
            },
        });
        if ending {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn only_ready_pods_of_the_hypercube_are_talked_to() {
        let mut waits = pod("demo-3", false, false);
        waits.status = serde_json::from_value(json!({"phase": "Pending"})).unwrap();
        let pods = [
            pod("demo-10", true, false),
            pod("demo-2", false, false),
            pod("demo-1", true, true),
            pod("other-0", true, false),
            pod("demo-0", true, false),
            waits,
        ];
        let states = states(&names(), &pods);
        let told: Vec<(u16, &str)> = states.iter().map(|pod| (pod.ordinal, pod.state.as_str())).collect();
        assert_eq!(told, [(0, "ready"), (1, "ending"), (2, "not ready"), (3, "Pending"), (10, "ready")]);
        assert_eq!(in_turn(&states, 0), ["demo-0", "demo-10"]);
        assert_eq!(in_turn(&states, 3), ["demo-10", "demo-0"]);
        assert_eq!(in_turn(&[], 3), Vec::<String>::new());
        assert!(none_ready("demo", &states[1..3]).ends_with("demo-1 is ending, demo-2 is not ready"));
    }

    #[test]
    fn hosts_name_a_pod_or_any() {
        let target = |host: &str| target(&names(), host);
        assert_eq!(target("demo.shop.svc"), Some(Target::Any));
        assert_eq!(target("demo.shop.svc.cluster.local"), Some(Target::Any));
        assert_eq!(target("demo-2.demo-peers.shop.svc.example.org"), Some(Target::Pod(2)));
        for other in
            ["demo-2.demo-peers.other.svc", "demo.shop.svcx", "x-2.demo-peers.shop.svc", "127.0.0.1", ""]
        {
            assert_eq!(target(other), None, "{other}");
        }
    }
}
