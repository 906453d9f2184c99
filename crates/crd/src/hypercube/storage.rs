//! The volume of each peer.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Amount;

/// The volume of each peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity('256Mi')) >= 0")
        .message("storage.size is at least 256Mi"),
    validation = Rule::new("has(self.className) == has(oldSelf.className) \
        && (!has(self.className) || self.className == oldSelf.className)")
        .message("storage.className is fixed when the Hypercube is created")
)]
pub struct Storage {
    /// Its size. It can grow later where the storage class allows that, and never shrinks: a wish that no volume has
    /// followed yet can be taken back.
    #[serde(default = "size_default")]
    #[schemars(schema_with = "size_schema")]
    pub size: Amount,
    /// Its storage class; the default one of the Kubernetes cluster where it is left out. Fixed at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// What becomes of the volume of a peer that has left. By then it holds nothing that is not elsewhere, and its
    /// identity is used up: a volume that is retained has to be deleted by hand before the hypercube grows again.
    #[serde(default)]
    pub when_scaled: WhenScaled,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: size_default(), class_name: None, when_scaled: WhenScaled::default() }
    }
}

/// A text of bounded length, unlike other amounts: the API server refuses rules whose cost it cannot bound.
fn size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32, "pattern": r"^\d+(\.\d+)?([KMGTPE]i?|k)?$" })
}

/// As the API server writes amounts, which may differ from how people may.
pub(super) fn found_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32 })
}

fn size_default() -> Amount {
    Amount::from("10Gi")
}

/// What becomes of the volume of a peer that has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum WhenScaled {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays until somebody deletes it.
    Retain,
}
