//! The program kubectl, run as a person would run it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::program::{Ran, Running};

/// How long kubectl may take: longer than any of its own timeouts that stories ask for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs kubectl to its end.
///
/// # Panics
/// When it cannot be started or does not end.
#[track_caller]
#[must_use]
pub fn kubectl(arguments: &[&str]) -> Ran {
    let how = "no cluster is named: run `tests/run --stage kubernetes`, or \
               tests/kind/up && eval \"$(tests/kind/env)\"";
    assert!(std::env::var_os("KUBECONFIG").is_some(), "{how}");
    let mut command = Command::new("kubectl");
    command.args(arguments).stdin(Stdio::null());
    Running::start(command).finish(PATIENCE)
}

/// What kubectl gets; none where there is no such thing or the API does not answer.
#[must_use]
pub fn json(arguments: &[&str]) -> Option<Value> {
    let mut all = vec!["get", "-o", "json", "--request-timeout=10s"];
    all.extend(arguments);
    let ran = kubectl(&all);
    (ran.code == Some(0)).then(|| serde_json::from_str(&ran.stdout).ok()).flatten()
}

/// A manifest of these objects, for `kubectl apply -f`.
///
/// # Panics
/// When there is no room for a temporary file.
#[must_use]
pub fn file(objects: &[Value]) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".json").tempfile().expect("a temporary file");
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    write!(file, "{list}").expect("a temporary file takes a manifest");
    file
}
