//! The resource `Hypercube`: one cluster of peers.

mod pods;
mod service;
mod status;
mod storage;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use pods::{NetworkPolicy, PodTemplate, PullSecret, Resources, Scheduling, Spread};
pub use service::{Service, ServiceType, host};
pub use status::{
    HypercubeStatus, ManagedTopic, MemberState, MemberStatus, OrphanedTopic, Rotation, SlotsStatus,
};
pub use storage::{Storage, WhenScaled};

/// What a hypercube should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "hcube.dev",
    version = "v1alpha1",
    kind = "Hypercube",
    plural = "hypercubes",
    singular = "hypercube",
    shortname = "hc",
    category = "hcube",
    namespaced,
    status = "HypercubeStatus",
    derive = "PartialEq",
    doc = "A hypercube: a replicated message store whose peers are pods. `kubectl scale` grows and shrinks it.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether it serves"
    ),
    printcolumn(
        name = "Nodes",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Peers that belong to it"
    ),
    printcolumn(
        name = "Dimension",
        type_ = "integer",
        json_path = ".status.dimension",
        description = "Digits of a vertex label"
    ),
    printcolumn(
        name = "Under-replicated",
        type_ = "integer",
        json_path = ".status.slots.underReplicated",
        description = "Slots with fewer replicas than they should have"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not",
        priority = 1
    ),
    printcolumn(
        name = "Moving",
        type_ = "integer",
        json_path = ".status.slots.moving",
        description = "Slots whose replicas are on their way",
        priority = 1
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".status.clusterId",
        description = "What names the hypercube for ever",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Since when the resource is there"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("the name of a Hypercube is 1 to 40 of a-z, 0-9 and -, and begins with a letter"),
    // Were it forbidden altogether, a size that the storage class cannot give would be there for ever.
    validation = Rule::new("quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 \
        || (has(self.status) && has(self.status.storageSize) \
        && quantity(self.spec.storage.size).compareTo(quantity(self.status.storageSize)) >= 0)")
        .message("storage.size can grow and never shrinks")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas >= self.replicationFactor")
        .message("replicas must be at least replicationFactor: each replica of a slot needs a peer of its own"),
    validation = Rule::new("!has(self.hosts) || self.hosts.all(host, \
        host.matches('^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$'))")
        .message("hosts holds names and addresses, without ports: hcube.example.org, 192.0.2.7, 2001:db8::7"),
    validation = Rule::new("self.slots == oldSelf.slots").message("slots is fixed when the Hypercube is created")
)]
pub struct HypercubeSpec {
    /// How many peers it has. `kubectl scale hypercube/NAME --replicas=N` changes it; the operator never does.
    #[serde(default = "replicas_default")]
    #[schemars(range(min = 1, max = 1024))]
    pub replicas: u16,
    /// How many replicated logs its topics share; a power of two, fixed at creation.
    #[serde(default = "slots_default")]
    #[schemars(extend("enum" = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]))]
    pub slots: u16,
    /// How many peers hold each message: 1, 3, 5 or 7. A majority of them has to be alive for a publish.
    #[serde(default = "replication_default")]
    #[schemars(extend("enum" = [1, 3, 5, 7]))]
    pub replication_factor: u8,
    /// Image of the peers; the operator's own choice where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When to pull the image: Always, IfNotPresent or Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Always", "IfNotPresent", "Never"]))]
    pub image_pull_policy: Option<String>,
    /// Secrets of this namespace to pull the image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<PullSecret>,
    /// What a peer asks for and may use at most.
    #[serde(default)]
    pub resources: Resources,
    /// The volume of each peer.
    #[serde(default)]
    pub storage: Storage,
    /// Where the peers run.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Labels, annotations and environment beyond what the operator gives the pods.
    #[serde(default)]
    pub pod_template: PodTemplate,
    /// What a peer may use of its volume and memory for its own purposes.
    #[serde(default)]
    pub limits: Limits,
    /// The Service that clients use.
    #[serde(default)]
    pub service: Service,
    /// The feature level at which the peers are held: which formats they use among themselves and on their disks. As
    /// long as it is held, an older hcube can take over again. Where it is left out, the level rises by itself to the
    /// newest that every peer knows. It never falls, and it is no higher than what the operator knows. A change
    /// restarts the peers, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub feature_level: Option<u32>,
    /// Names and addresses, without ports, by which clients reach the peers from elsewhere: those of a load balancer,
    /// an Ingress, or machines. Peers answer to them as they do to the Service's own name, and to no others. A change
    /// restarts the peers, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "service::hosts_schema")]
    pub hosts: Vec<String>,
    /// Who may reach the peers over the network.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// From which namespaces HypercubeTopic resources are taken.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// What becomes of the volumes when the Hypercube is deleted: Retain keeps them, and a Hypercube of the same
    /// name takes them up again with every message; Delete removes them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Raise this number to replace the administration token and the peer secret by new ones. Peers are restarted
    /// three times, one after the other, so that at any moment all of them understand each other.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub secret_rotation: u32,
    /// Stops the operator: it looks, reports and changes nothing, neither pods nor members.
    #[serde(default)]
    pub paused: bool,
}

fn replicas_default() -> u16 {
    3
}

fn slots_default() -> u16 {
    64
}

fn replication_default() -> u8 {
    3
}

/// What becomes of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// They are deleted.
    Delete,
}

/// Figures of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of a segment of a peer's log, a multiple of 512 from 8 MiB to 2 GiB; 64 MiB where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8_388_608, max = 2_147_483_648_u64), extend("multipleOf" = 512))]
    pub segment_bytes: Option<u64>,
}

/// Namespaces from which topics are taken.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("selector is given when from is Selector, and only then"))]
pub struct AllowedNamespaces {
    /// Same: the Hypercube's own. All: every one. Selector: those whose labels fit.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Which labels a namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How namespaces are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// The Hypercube's own.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Those whose labels fit a selector.
    Selector,
}
