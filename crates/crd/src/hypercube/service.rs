//! How clients reach the peers, and by which names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Further hosts at most.
const HOSTS_MAX: usize = 32;
/// Letters of a host at most.
const HOST_LENGTH_MAX: usize = 253;
/// Letters of a part of a host name, between dots, at most.
const PART_LENGTH_MAX: usize = 63;

/// The Service that clients use, named like the Hypercube.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'")
    .message("service.nodePort is given where service.type is NodePort or LoadBalancer"))]
pub struct Service {
    /// ClusterIP: clients within the Kubernetes cluster reach it. NodePort: at a port of every machine too.
    /// LoadBalancer: at an address of its own too. Names and addresses by which it is then reached belong into hosts.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// Annotations, as load balancers want them. Those that the operator sets win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The port of every machine; Kubernetes chooses one where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub node_port: Option<u16>,
}

/// From where a Service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From within the Kubernetes cluster.
    #[default]
    ClusterIP,
    /// At a port of every machine, too.
    NodePort,
    /// At an address of its own, too.
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// A list of names and addresses, each once. A rule of the spec says what they look like, in words that a pattern here
/// would not have, and [`host`] says the rest.
pub(super) fn hosts_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": HOSTS_MAX,
        "x-kubernetes-list-type": "set",
        "items": { "type": "string", "maxLength": HOST_LENGTH_MAX },
    })
}

/// A host as peers compare it: an address in its shortest form, or a name in lower case; none where it is neither.
#[must_use]
pub fn host(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
    let is_part = |part: &str| {
        (1..=PART_LENGTH_MAX).contains(&part.len())
            && part.bytes().all(is_letter)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let is_name = text.len() <= HOST_LENGTH_MAX && text.split('.').all(is_part);
    // Four numbers that are no address are no name either: browsers and resolvers take them for one.
    let is_number = text.bytes().all(|letter| letter.is_ascii_digit() || letter == b'.');
    (is_name && !is_number).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, host_of) in [
            ("hcube.example.org", "hcube.example.org"),
            ("HCube.Example.ORG", "hcube.example.org"),
            ("machine-1", "machine-1"),
            ("3com.example", "3com.example"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8:0:0::7", "2001:db8::7"),
        ] {
            assert_eq!(host(text).as_deref(), Some(host_of));
        }
        for wrong in [
            "",
            "a b",
            "http://a.example",
            "a.example:8000",
            "192.0.2.7:80",
            "[2001:db8::7]",
            "a,b",
            "-a",
            "a-",
            "a..b",
            "a.",
            "*.example",
            "under_score",
            "300.0.2.7",
            "12",
            "::x",
            &"a".repeat(64),
            &["a"; 128].join("."),
        ] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
