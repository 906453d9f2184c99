//! What the operator may do, and nothing else: the data from which roles are made.

use serde_json::{Value, json};

/// Where a rule is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Objects that belong to no namespace. Without these the operator works, and knows fewer reasons.
    Cluster,
    /// The namespaces that are looked after.
    Watched,
    /// The operator's own namespace.
    Own,
}

impl Reach {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Cluster, Self::Watched, Self::Own];

    /// The key in the data.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Watched => "watched",
            Self::Own => "own",
        }
    }
}

/// A rule: where, API group, resources, verbs, why.
type Rule = (Reach, &'static str, &'static [&'static str], &'static [&'static str], &'static str);

/// What keeps an object as it should be.
const KEEP: &[&str] = &["get", "list", "watch", "create", "patch"];

/// Every rule.
const RULES: &[Rule] = &[
    (Reach::Cluster, "", &["nodes"], &["get"], "zones of the machines that peers run on"),
    (Reach::Cluster, "", &["namespaces"], &["get"], "labels, for allowedNamespaces"),
    (Reach::Cluster, "storage.k8s.io", &["storageclasses"], &["get"], "whether volumes can grow"),
    (
        Reach::Watched,
        "hcube.dev",
        &["hypercubes", "hypercubetopics"],
        &["get", "list", "watch"],
        "what is wished",
    ),
    (
        Reach::Watched,
        "hcube.dev",
        &["hypercubes/status", "hypercubetopics/status"],
        &["patch"],
        "what was found; never the spec",
    ),
    (
        Reach::Watched,
        "",
        &["services", "serviceaccounts"],
        KEEP,
        "how peers are reached, and as whom they run",
    ),
    (Reach::Watched, "apps", &["statefulsets"], KEEP, "the peers"),
    (Reach::Watched, "apps", &["statefulsets"], &["delete"], "made anew with larger volumes; its pods stay"),
    (Reach::Watched, "policy", &["poddisruptionbudgets"], KEEP, "one peer at a time is sent away"),
    (Reach::Watched, "networking.k8s.io", &["networkpolicies"], KEEP, "who reaches the peers"),
    (Reach::Watched, "networking.k8s.io", &["networkpolicies"], &["delete"], "switched off"),
    (Reach::Watched, "", &["pods"], &["get", "list", "watch", "delete"], "restarts, one at a time"),
    (
        Reach::Watched,
        "",
        &["persistentvolumeclaims"],
        &["get", "list", "watch", "patch", "delete"],
        "growth, and what peers that have left leave behind",
    ),
    (Reach::Watched, "", &["secrets"], &["get", "create", "patch"], "token and peer secret; never listed"),
    (Reach::Watched, "", &["events"], &["list"], "why pods cannot be created"),
    (Reach::Watched, "events.k8s.io", &["events"], &["create", "patch"], "decisions"),
    (
        Reach::Own,
        "coordination.k8s.io",
        &["leases"],
        &["get", "list", "watch", "create", "patch", "update"],
        "which replica acts",
    ),
];

/// Whether some rule allows this.
#[cfg(test)]
pub(crate) fn allows(group: &str, resource: &str, verb: &str) -> bool {
    RULES.iter().any(|(_, of, resources, verbs, _)| {
        *of == group && resources.contains(&resource) && verbs.contains(&verb)
    })
}

/// The rules by where they are needed, as roles have them.
#[must_use]
pub fn data() -> Value {
    let mut data = json!({});
    for reach in Reach::ALL {
        let rules = RULES.iter().filter(|rule| rule.0 == reach).map(|(_, group, resources, verbs, _)| {
            json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
        });
        data[reach.as_str()] = rules.collect();
    }
    data
}

/// The data as it is committed.
#[must_use]
pub fn yaml() -> String {
    let header =
        "# Made from operator/src/rbac.rs; `UPDATE_GOLDEN=1 cargo test -p hcube-operator` writes it anew.\n";
    format!("{header}{}", hcube_crd::manifest::to_yaml(&data()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn committed_rules_are_these() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rbac.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, yaml()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == yaml(), "operator/rbac.yaml is stale: UPDATE_GOLDEN=1 writes it anew");
    }

    #[test]
    fn nothing_is_granted_wholesale() {
        for (_, _, resources, verbs, why) in RULES {
            assert!(resources.iter().chain(*verbs).all(|word| *word != "*") && !why.is_empty());
        }
        let listed = RULES.iter().any(|(_, _, resources, verbs, _)| {
            resources.contains(&"secrets") && verbs.iter().any(|verb| ["list", "watch"].contains(verb))
        });
        assert!(!listed, "who may list secrets may read all of them");
    }
}
