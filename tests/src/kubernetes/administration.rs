//! The administration of a Hypercube's peers, by somebody who may read its Secret.

use serde_json::Value;

use super::Hypercube;
use crate::answer::Answer;
use crate::wait::{eventually, seconds};

/// The port that it is at.
const PORT: u16 = 8200;

/// The secrets of a Hypercube, each with a line for every one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// What administrators show.
    pub token: String,
    /// What peers know.
    pub peer: String,
}

impl Hypercube<'_> {
    /// What its Secret holds now.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        let name = format!("{}-secrets", self.name);
        let of = |key: &str| {
            let template = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
            self.namespace.kubectl(&["get", "secret", &name, "-o", &template]).ok()
        };
        Secrets { token: of("admin-token"), peer: of("peer-secret") }
    }

    /// What a peer's administration port answers to whoever shows this token.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn administration(&self, vertex: u16, path: &str, token: &str) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.port(vertex, PORT));
        eventually(&format!("an answer of vertex {vertex} to {path}"), seconds(30), || {
            Answer::of(&self.client, self.client.get(&url).bearer_auth(token)).ok()
        })
    }

    /// Asks a peer's administration port for a change, once.
    ///
    /// # Errors
    /// What went wrong where there was no answer.
    ///
    /// # Panics
    /// When the port cannot be reached.
    #[track_caller]
    pub fn administer(&self, vertex: u16, path: &str, body: &Value, token: &str) -> Result<Answer, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port(vertex, PORT));
        let request = self.client.post(url).bearer_auth(token).header("content-type", "application/json");
        Answer::of(&self.client, request.body(body.to_string()))
    }

    /// The metrics of a peer.
    ///
    /// # Panics
    /// When it does not tell them.
    #[track_caller]
    #[must_use]
    pub fn metrics(&self, vertex: u16) -> String {
        let url = format!("{}/metrics", self.endpoints[usize::from(vertex)]);
        eventually(&format!("metrics of vertex {vertex}"), seconds(30), || {
            Answer::of(&self.client, self.client.get(&url)).ok().filter(|answer| answer.status == 200)
        })
        .text()
    }

    /// The status with which a peer answers an administrator who shows this token.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn administered(&self, vertex: u16, token: &str) -> u16 {
        self.administration(vertex, "/v1/members", token).status
    }

    /// Who a peer is: its incarnation, and where it belongs.
    ///
    /// # Panics
    /// When it does not say.
    #[track_caller]
    #[must_use]
    pub fn identity(&self, vertex: u16) -> Value {
        self.administration(vertex, "/v1/identity", &self.secrets().token).expect(200).json()
    }
}
