//! The operator, installed as the README says: one file for `kubectl apply`.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::kubectl::{json, kubectl};
use crate::program::Ran;

/// Where it runs.
pub const NAMESPACE: &str = "hcube-system";
/// Its Deployment.
pub const DEPLOYMENT: &str = "deployment/hcube-operator";
/// Its pods.
pub const PODS: &str = "app.kubernetes.io/name=hcube-operator";

/// A file of the repository, by its path from the root.
///
/// # Panics
/// When cargo does not run this.
#[must_use]
pub fn repository(path: &str) -> String {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells its tests where they lie");
    let root = Path::new(&package).parent().expect("this package lies in the root").to_path_buf();
    root.join(path).to_string_lossy().into_owned()
}

/// Installs the operator, once in a run, from the images that the cluster has now.
///
/// # Panics
/// When it does not come up.
#[track_caller]
pub fn is_there() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        install();
        // Pods of an earlier run hold an earlier image of the same name.
        let _ = kubectl(&["--namespace", NAMESPACE, "rollout", "restart", DEPLOYMENT]).ok();
        until_rolled_out();
    });
}

/// `kubectl apply -f deploy/hcube.yaml`.
///
/// # Panics
/// When it is refused.
#[track_caller]
pub fn install() {
    let _ = kubectl(&["apply", "-f", &repository("deploy/hcube.yaml")]).ok();
}

/// Waits until all replicas run.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn until_rolled_out() {
    let _ = kubectl(&["--namespace", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout=120s"]).ok();
}

/// Kills every replica at once, without a chance to say anything.
///
/// # Panics
/// When kubectl fails.
#[track_caller]
pub fn kill() {
    let _ = kubectl(&["--namespace", NAMESPACE, "delete", "pods", "-l", PODS, "--grace-period=0", "--force"])
        .ok();
}

/// The pod that acts: the holder of the Lease.
#[must_use]
pub fn acting() -> Option<String> {
    let lease: Value = json(&["--namespace", NAMESPACE, "lease", "hcube-operator"])?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

/// What it said about a namespace lately.
#[must_use]
pub fn log(since: Duration, namespace: &str) -> Ran {
    let since = format!("--since={}s", since.as_secs() + 5);
    let mut ran = kubectl(&["--namespace", NAMESPACE, "logs", "-l", PODS, "--prefix", "--tail=-1", &since]);
    let about = |line: &&str| line.contains(namespace) || !line.contains("object.ref");
    let lines: Vec<&str> = ran.stdout.lines().filter(about).collect();
    ran.stdout = lines[lines.len().saturating_sub(200)..].join("\n");
    ran
}
