//! The YAML that installs the resources, as it is committed in `deploy/crds`.

use kube::CustomResourceExt;
use serde_json::Value;

mod yaml;

pub use yaml::to_yaml;

use crate::{Hypercube, HypercubeTopic};

/// First line of each file.
const HEADER: &str =
    "# Made from crates/crd; `cargo run -p hcube-crd --example crds` writes it anew. Do not edit.\n";

/// Both definitions: the name of the file and its text.
#[must_use]
pub fn files() -> Vec<(&'static str, String)> {
    [("hypercubes.yaml", Hypercube::crd()), ("hypercubetopics.yaml", HypercubeTopic::crd())]
        .into_iter()
        .map(|(file, crd)| (file, format!("{HEADER}{}", to_yaml(&to_value(&crd)))))
        .collect()
}

fn to_value(crd: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(crd).expect("a definition is JSON");
    // The format names unsigned integers, which Kubernetes does not know and warns about.
    strip_unsigned_formats(&mut value);
    value
}

fn strip_unsigned_formats(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.remove("format");
            }
            map.values_mut().for_each(strip_unsigned_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_unsigned_formats),
        _ => {}
    }
}
