//! What keeps pods from running, in words that say what to mend.

use super::{Facts, Gravity, Plan, Stage};

/// Reasons that do not go away by waiting.
const LASTING: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
    "Unschedulable",
];

pub(super) fn plan(facts: Facts<'_>, plan: &mut Plan) {
    if let Some(message) = &facts.observed.set_trouble {
        plan.stall("PodsCannotBeCreated", message.clone());
    }
    if !facts.observed.strangers.is_empty() {
        let pods: Vec<String> = facts.observed.strangers.iter().map(|&ordinal| facts.pod(ordinal)).collect();
        plan.stall(
            "SecretsDiffer",
            format!(
                "{} do not accept the token of the Secret {}: bring back what it held, or delete all pods at the same \
                 time, so that they start with what it holds now",
                pods.join(", "),
                facts.names.secret()
            ),
        );
    }
    for (&ordinal, pod) in &facts.observed.pods {
        let Some(trouble) = &pod.trouble else { continue };
        let message = format!("{}: {} ({})", facts.pod(ordinal), trouble.message, trouble.reason);
        if !LASTING.contains(&trouble.reason.as_str()) {
            plan.wait("PodStarting", message);
        } else if is_needed_now(facts, ordinal) {
            plan.say(Gravity::Degraded, "PodFailing", message);
        } else {
            plan.stall("PodFailing", message);
        }
    }
}

/// A member that fails is missed; a pod that should become one keeps everything from going on.
fn is_needed_now(facts: Facts<'_>, ordinal: u16) -> bool {
    match facts.stage() {
        Stage::New | Stage::Founding(_) => false,
        Stage::Founded(cluster) => facts.cube(cluster).is_some_and(|cube| ordinal < cube.peers()),
    }
}
