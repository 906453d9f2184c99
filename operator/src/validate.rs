//! What the API server could not check, or an older definition let pass: a resource with a fault changes nothing.

use hcube_core::{feature, limits};
use hcube_crd::hypercube::{NamespacesFrom, Resources, ServiceType, host};
use hcube_crd::{Amount, HypercubeSpec};

/// Bytes that a volume has at least.
const STORAGE_BYTES_MIN: u64 = 256 << 20;

/// Every fault, as sentences for people; none where the resource can be worked with.
#[must_use]
pub fn faults(spec: &HypercubeSpec) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |good: bool, fault: String| {
        if !good {
            faults.push(fault);
        }
    };
    let (replicas, replication) = (spec.replicas, spec.replication_factor);
    let most = limits::PEERS_MAX;
    check((1..=most).contains(&replicas), format!("replicas is 1 to {most}, not {replicas}"));
    check(
        [1, 3, 5, 7].contains(&replication),
        format!("replicationFactor is 1, 3, 5 or 7, not {replication}"),
    );
    check(
        replicas >= u16::from(replication) || replicas == 0,
        format!(
            "{replicas} replicas are too few for replicationFactor {replication}: each needs a peer of its own"
        ),
    );
    check(
        spec.slots.is_power_of_two() && spec.slots <= limits::SLOTS_MAX,
        format!("slots is a power of two up to {}, not {}", limits::SLOTS_MAX, spec.slots),
    );
    check(
        spec.storage.size.units().is_some_and(|bytes| bytes >= STORAGE_BYTES_MIN),
        format!("storage.size is an amount of at least 256Mi, not {}", spec.storage.size),
    );
    let segment = spec.limits.segment_bytes.unwrap_or(64 << 20);
    check(
        (8 << 20..=2 << 30).contains(&segment) && segment.is_multiple_of(512),
        format!("limits.segmentBytes is a multiple of 512 from 8 MiB to 2 GiB, not {segment}"),
    );
    let level = spec.feature_level.unwrap_or(feature::NEWEST);
    let (oldest, newest) = (feature::OLDEST, feature::NEWEST);
    check(
        (oldest..=newest).contains(&level),
        format!(
            "featureLevel is {oldest} to {newest}, which is what this operator knows, not {level}: leave it out, or \
             install an operator that knows it"
        ),
    );
    let chosen = spec.allowed_namespaces.from == NamespacesFrom::Selector;
    check(
        chosen == spec.allowed_namespaces.selector.is_some(),
        "allowedNamespaces.selector is given when from is Selector, and only then".into(),
    );
    let port = spec.service.node_port;
    check(
        port.is_none() || spec.service.kind != ServiceType::ClusterIP,
        "service.nodePort is given where service.type is NodePort or LoadBalancer".into(),
    );
    faults.extend(amounts(&spec.resources));
    let strange = spec.hosts.iter().filter(|text| host(text).is_none());
    faults.extend(strange.map(|text| format!("hosts holds names and addresses without ports, not {text:?}")));
    faults
}

fn amounts(resources: &Resources) -> Vec<String> {
    let mut faults = Vec::new();
    for (kind, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (name, amount) in amounts {
            if amount.nanos().is_none() {
                faults.push(format!("resources.{kind}.{name} is no amount: {amount}"));
            }
        }
    }
    for (name, request) in &resources.requests {
        let exceeds = |limit: &Amount| request.compare(limit) == Some(std::cmp::Ordering::Greater);
        if let Some(limit) = resources.limits.get(name).filter(|limit| exceeds(limit)) {
            faults.push(format!("resources.requests.{name} ({request}) is above its limit ({limit})"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults_of(spec: Value) -> Vec<String> {
        faults(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_smallest_resource_is_sound() {
        assert_eq!(faults_of(json!({})), [""; 0]);
        assert_eq!(faults_of(json!({"replicas": 1, "replicationFactor": 1, "slots": 1})), [""; 0]);
    }

    #[test]
    fn each_fault_is_named() {
        for (spec, words) in [
            (json!({"replicas": 0, "replicationFactor": 1}), "replicas is 1 to 1024"),
            (json!({"replicationFactor": 2}), "1, 3, 5 or 7, not 2"),
            (json!({"replicas": 2}), "too few for replicationFactor 3"),
            (json!({"slots": 48}), "power of two"),
            (json!({"storage": {"size": "tiny"}}), "storage.size"),
            (json!({"storage": {"size": "1Mi"}}), "at least 256Mi"),
            (json!({"limits": {"segmentBytes": 1000}}), "segmentBytes"),
            (json!({"featureLevel": 0}), "featureLevel is 1 to"),
            (json!({"featureLevel": feature::NEWEST + 1}), "install an operator that knows it"),
            (json!({"resources": {"requests": {"cpu": "much"}}}), "requests.cpu is no amount"),
            (json!({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}}), "above its limit"),
            (json!({"allowedNamespaces": {"from": "Selector"}}), "selector"),
            (json!({"hosts": ["good.example", "bad.example:80"]}), "without ports, not \"bad.example:80\""),
            (json!({"service": {"nodePort": 30080}}), "service.nodePort"),
        ] {
            let faults = faults_of(spec.clone());
            assert!(faults.len() == 1 && faults[0].contains(words), "{spec}: {faults:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(faults_of(json!({"replicas": 2, "slots": 3, "storage": {"size": "x"}})).len(), 3);
    }
}
