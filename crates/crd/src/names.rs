//! What the objects of a hypercube are called, and how they are found again: the operator makes them, the command
//! line looks for them.

use std::collections::BTreeMap;

/// Who owns every field that the operator writes.
pub const MANAGER: &str = "hcube-operator";
/// Port for clients.
pub const CLIENT_PORT: u16 = 8000;
/// Port for other peers.
pub const PEER_PORT: u16 = 8100;
/// Port for administration.
pub const ADMIN_PORT: u16 = 8200;

/// Key of the administration tokens in the Secret, one a line, and name of their file; the first is shown.
pub const TOKEN: &str = "admin-token";

/// Label that names the hypercube of an object.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label that all objects of the operator share.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Annotation on a volume claim: the node id that it held when that node left for ever.
pub const RETIRED: &str = "hcube.dev/retired-node";
/// Annotation on every object: a digest of what was applied.
pub const APPLIED: &str = "hcube.dev/applied";
/// Annotation on pods: the rotation of secrets that they were started with.
pub const SECRETS: &str = "hcube.dev/secrets";
/// Variable of a peer's environment: the feature level that it is held at.
pub const FEATURE_LEVEL: &str = "HCUBE_FEATURE_LEVEL";
/// Annotation on a Hypercube: ids of orphaned topics to delete, separated by commas. An
/// id never stands for a later topic of the same name.
pub const DROP_ORPHANS: &str = "hcube.dev/drop-orphans";

/// The names of one hypercube's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The hypercube's own.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The DNS domain of the Kubernetes cluster.
    pub domain: String,
}

impl Names {
    /// The StatefulSet.
    #[must_use]
    pub fn set(&self) -> &str {
        &self.name
    }

    /// The Service that clients use.
    #[must_use]
    pub fn client_service(&self) -> &str {
        &self.name
    }

    /// The Service that gives each peer a name of its own.
    #[must_use]
    pub fn peer_service(&self) -> String {
        format!("{}-peers", self.name)
    }

    /// The Secret with token and peer secret.
    #[must_use]
    pub fn secret(&self) -> String {
        format!("{}-secrets", self.name)
    }

    /// A pod.
    #[must_use]
    pub fn pod(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// A pod's volume claim.
    #[must_use]
    pub fn claim(&self, ordinal: u16) -> String {
        format!("data-{}-{ordinal}", self.name)
    }

    /// The ordinal of a pod or of a volume claim; none where it is not of this hypercube's StatefulSet.
    #[must_use]
    pub fn ordinal(&self, object: &str) -> Option<u16> {
        let object =
            object.strip_prefix("data-").filter(|rest| rest.starts_with(&self.name)).unwrap_or(object);
        let digits = object.strip_prefix(&self.name)?.strip_prefix('-')?;
        digits.parse().ok().filter(|ordinal: &u16| ordinal.to_string() == digits)
    }

    /// The DNS name of a pod. It is absolute, so that it takes one question to resolve it.
    #[must_use]
    pub fn host(&self, ordinal: u16) -> String {
        format!("{}.{}.{}.svc.{}", self.pod(ordinal), self.peer_service(), self.namespace, self.domain)
    }

    /// Where other peers reach a pod.
    #[must_use]
    pub fn peer_address(&self, ordinal: u16) -> String {
        format!("{}:{PEER_PORT}", self.host(ordinal))
    }

    /// Where clients are told that they reach a pod.
    #[must_use]
    pub fn client_address(&self, ordinal: u16) -> String {
        format!("{}:{CLIENT_PORT}", self.host(ordinal))
    }

    /// The hosts by which clients may call any peer.
    #[must_use]
    pub fn client_hosts(&self) -> Vec<String> {
        let (service, namespace) = (self.client_service(), &self.namespace);
        vec![
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.{}", self.domain),
        ]
    }

    /// The labels by which pods belong to the hypercube. A StatefulSet never changes its selector.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        [("app.kubernetes.io/name", "hcube"), (INSTANCE, &self.name), (MANAGED_BY, MANAGER)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The labels of every object.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/component".into(), "peer".into());
        labels.insert("app.kubernetes.io/part-of".into(), "hcube".into());
        labels
    }

    /// The selector as the scale subresource has it.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let pairs = self.selector().into_iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_ordinals() {
        let names = Names { name: "data-x".into(), namespace: "n".into(), domain: "cluster.local".into() };
        for ordinal in [0, 7, 1023] {
            assert_eq!(names.ordinal(&names.pod(ordinal)), Some(ordinal));
            assert_eq!(names.ordinal(&names.claim(ordinal)), Some(ordinal));
        }
        for other in ["data-x", "data-x-", "data-x-01", "data-x-y-0", "other-0", "data-x-70000"] {
            assert_eq!(names.ordinal(other), None, "{other}");
        }
        assert_eq!(names.peer_address(2), "data-x-2.data-x-peers.n.svc.cluster.local:8100");
    }
}
