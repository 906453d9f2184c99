//! The administration token and the peer secret: made once, kept, and replaced without a moment in which two peers
//! do not understand each other.
//!
//! A file of secrets has one secret a line. A peer shows the first and accepts all of them. A rotation therefore is
//! rolled out in three steps: `old new`, `new old`, `new`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::names::Names;

pub use hcube_crd::names::TOKEN;

/// Key of the peer secret in the Secret, and name of its file.
pub const PEER: &str = "peer-secret";
/// Annotation of the Secret: the number of the rotation.
const ROTATION: &str = "hcube.dev/rotation";
/// Annotation of the Secret: the step of the rotation.
const STEP: &str = "hcube.dev/rotation-step";

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One of each.
    Settled,
    /// The new ones are accepted and not shown yet.
    Introduced,
    /// The new ones are shown, the old ones still accepted.
    Switched,
}

impl Step {
    /// As it stands in annotations and in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "Settled",
            Self::Introduced => "Introduced",
            Self::Switched => "Switched",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Settled, Self::Introduced, Self::Switched].into_iter().find(|step| step.as_str() == text)
    }
}

/// Both secrets of a hypercube.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The rotation that they belong to.
    pub rotation: u32,
    /// How far it is.
    pub step: Step,
    /// Tokens; the first is shown.
    pub tokens: Vec<String>,
    /// Peer secrets; the first is shown.
    peers: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("rotation", &self.rotation)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// The first secrets of a hypercube.
    pub fn fresh(rotation: u32, mut mint: impl FnMut() -> String) -> Self {
        Self { rotation, step: Step::Settled, tokens: vec![mint()], peers: vec![mint()] }
    }

    /// The secrets of an object; none where it is damaged.
    #[must_use]
    pub fn of(object: &Secret) -> Option<Self> {
        let data =
            object.data.clone().unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
        Self::parse(&data, &object.metadata.annotations.clone().unwrap_or_default())
    }

    /// Reads what a Secret holds; none where it is damaged.
    fn parse(data: &BTreeMap<String, Vec<u8>>, annotations: &BTreeMap<String, String>) -> Option<Self> {
        let lines = |key: &str| {
            let text = std::str::from_utf8(data.get(key)?).ok()?;
            let lines: Vec<String> =
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
            (!lines.is_empty()).then_some(lines)
        };
        // Secrets that somebody brought along have no annotations.
        let rotation = annotations.get(ROTATION).map_or(Some(0), |text| text.parse().ok())?;
        let step = annotations.get(STEP).map_or(Some(Step::Settled), |text| Step::parse(text))?;
        Some(Self { rotation, step, tokens: lines(TOKEN)?, peers: lines(PEER)? })
    }

    /// The rotation and step, as pods carry it: where it differs, they are to be restarted.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("{}.{}", self.rotation, self.step.as_str())
    }

    /// The secrets after the next step of a rotation; none where nothing is to be done, or the present step is not
    /// rolled out to every pod.
    pub fn next(&self, wished: u32, is_rolled_out: bool, mut mint: impl FnMut() -> String) -> Option<Self> {
        if !is_rolled_out {
            return None;
        }
        let mut next = self.clone();
        match self.step {
            Step::Settled if wished > self.rotation => {
                next.rotation = wished;
                next.step = Step::Introduced;
                next.tokens.push(mint());
                next.peers.push(mint());
            }
            Step::Settled => return None,
            Step::Introduced => {
                next.step = Step::Switched;
                next.tokens.reverse();
                next.peers.reverse();
            }
            Step::Switched => {
                next.step = Step::Settled;
                next.tokens.truncate(1);
                next.peers.truncate(1);
            }
        }
        Some(next)
    }

    /// The Secret that holds them.
    #[must_use]
    pub fn object(&self, names: &Names, owner: &Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": names.secret(),
                "namespace": names.namespace,
                "labels": names.labels(),
                "annotations": { ROTATION: self.rotation.to_string(), STEP: self.step.as_str() },
                "ownerReferences": [owner],
            },
            "type": "Opaque",
            "stringData": { TOKEN: self.tokens.join("\n"), PEER: self.peers.join("\n") },
        })
    }
}

/// A secret that nobody guesses: 256 random bits, as hexadecimal digits.
#[must_use]
pub fn mint() -> String {
    let bits: [u128; 2] = rand::random();
    format!("{:032x}{:032x}", bits[0], bits[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut() -> String {
        let mut count = 0;
        move || {
            count += 1;
            format!("secret-{count}")
        }
    }

    #[test]
    fn a_rotation_never_leaves_two_peers_without_a_common_secret() {
        let mut mint = counting();
        let first = Secrets::fresh(0, &mut mint);
        let mut steps = vec![first];
        while let Some(next) = steps.last().unwrap().next(1, true, &mut mint) {
            steps.push(next);
        }
        let shown: Vec<_> = steps.iter().map(|step| (step.mark(), step.tokens.clone())).collect();
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("0.Settled".to_owned(), texts(&["secret-1"])),
                ("1.Introduced".to_owned(), texts(&["secret-1", "secret-3"])),
                ("1.Switched".to_owned(), texts(&["secret-3", "secret-1"])),
                ("1.Settled".to_owned(), texts(&["secret-3"])),
            ]
        );
        for pair in steps.windows(2) {
            assert!(
                pair[1].peers.contains(&pair[0].peers[0]),
                "the later one accepts what the earlier one shows"
            );
            assert!(pair[0].peers.contains(&pair[1].peers[0]), "and the other way round");
        }
    }

    #[test]
    fn a_step_waits_until_every_pod_has_the_one_before() {
        let secrets = Secrets::fresh(0, counting());
        assert_eq!(secrets.next(1, false, counting()), None);
        assert_eq!(secrets.next(0, true, counting()), None);
    }

    #[test]
    fn secrets_survive_their_object() {
        let secrets = Secrets::fresh(0, counting()).next(4, true, counting()).unwrap();
        let names = Names { name: "demo".into(), namespace: "n".into(), domain: "d".into() };
        let object = secrets.object(&names, &json!({}));
        let data = object["stringData"].as_object().unwrap();
        let data = data
            .iter()
            .map(|(key, text)| (key.clone(), text.as_str().unwrap().as_bytes().to_vec()))
            .collect();
        let annotations = serde_json::from_value(object["metadata"]["annotations"].clone()).unwrap();
        assert_eq!(Secrets::parse(&data, &annotations), Some(secrets));
    }

    #[test]
    fn damaged_secrets_are_not_taken_for_new_ones() {
        let annotations = BTreeMap::new();
        for data in [vec![], vec![(TOKEN, "a")], vec![(TOKEN, "a"), (PEER, "\n")]] {
            let data =
                data.into_iter().map(|(key, text)| (key.to_owned(), text.as_bytes().to_vec())).collect();
            assert_eq!(Secrets::parse(&data, &annotations), None);
        }
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!format!("{:?}", Secrets::fresh(0, counting())).contains("secret-"));
        assert_eq!(mint().len(), 64);
    }
}
