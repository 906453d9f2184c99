//! What a hypercube keeps in its directory: state, secrets, logs, data.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::Cluster;
use crate::process::Peer;

/// Lines of each peer's log that are shown when a story fails.
const SHOWN_LINES: usize = 40;

impl Cluster {
    /// The processes by vertex, none where a peer was stopped; empty where there is no state.
    #[must_use]
    pub fn processes(&self) -> Vec<Option<Peer>> {
        let text = fs::read(self.dir().join("state.json")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&text).unwrap_or_default();
        state["peers"].as_array().map(|peers| peers.iter().map(Peer::of_state).collect()).unwrap_or_default()
    }

    /// The token of administrators.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn admin_token(&self) -> String {
        let token = fs::read_to_string(self.dir().join("admin.token"));
        token.unwrap_or_else(|error| panic!("no admin token: {error}")).trim().to_owned()
    }

    /// The data directory of a peer.
    #[must_use]
    pub fn data_dir(&self, vertex: u16) -> PathBuf {
        self.dir().join(format!("peer-{}", self.label(vertex)))
    }

    /// What a peer has said so far.
    #[must_use]
    pub fn log(&self, vertex: u16) -> String {
        let path = self.dir().join(format!("peer-{}.log", self.label(vertex)));
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Writes the ends of all logs to stderr, past the capture of test output: stories that fail must explain
    /// themselves.
    pub(super) fn show_logs(&self) {
        let mut text = format!("\n=== {} stays for inspection\n", self.dir().display());
        for vertex in self.vertices() {
            let log = self.log(vertex);
            let lines: Vec<&str> = log.lines().collect();
            text.push_str(&format!("=== peer {} ({} lines)\n", self.label(vertex), lines.len()));
            for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
                text.push_str(line);
                text.push('\n');
            }
        }
        // Nobody can be told that stderr is gone.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
