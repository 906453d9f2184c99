//! Somebody who follows the README: a shell in the repository, with the programs that it speaks of.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Namespace, kubectl, operator};
use crate::program::{self, Ran, Running};

/// How long a line may take: longer than any timeout that the README writes.
const PATIENCE: Duration = Duration::from_secs(330);

/// A reader, whose kubeconfig has a story's namespace where a line names none.
#[derive(Debug)]
pub struct Reader {
    home: TempDir,
}

impl Reader {
    /// One whose kubectl works in this namespace.
    ///
    /// # Panics
    /// When there is no room for a temporary directory, or no kubeconfig.
    #[track_caller]
    #[must_use]
    pub fn within(namespace: &Namespace) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        // `cargo install` would put the program there, and a link by the plugin's name makes it one.
        for name in ["hcube", "kubectl-hcube"] {
            let made = std::os::unix::fs::symlink(program::hcube(), home.path().join(name));
            made.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let reader = Self { home };
        let mut config = kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).json();
        config["contexts"][0]["context"]["namespace"] = Value::from(namespace.name.as_str());
        std::fs::write(reader.kubeconfig(), config.to_string()).expect("a temporary directory takes a file");
        reader
    }

    /// Her kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// Types a line and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    #[must_use]
    pub fn types(&self, line: &str) -> Ran {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", line]).stdin(Stdio::null());
        bash.current_dir(operator::repository("")).env("KUBECONFIG", self.kubeconfig());
        bash.env("PATH", format!("{}:{path}", self.home.path().display()));
        // Not what the stage tells its tests.
        for name in ["HCUBE_BIN", "HCUBE_FIGURES"] {
            bash.env_remove(name);
        }
        Running::start(bash).finish(PATIENCE)
    }
}
