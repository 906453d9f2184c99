//! Pods are made anew from the present template one after the other, never below a majority of any slot.

use super::{Action, Facts, Plan, Stage};
use crate::observed::{Pod, voters};

pub(super) fn plan(facts: Facts<'_>, plan: &mut Plan) {
    let Some(revision) = facts.observed.set.as_ref().and_then(|set| set.revision.as_deref()) else { return };
    let pods = || facts.observed.pods.iter().map(|(ordinal, pod)| (*ordinal, pod));
    let is_old = |pod: &Pod| !pod.terminating && pod.revision.as_deref().is_some_and(|own| own != revision);
    if !pods().any(|(_, pod)| is_old(pod)) {
        return;
    }
    let restart = |ordinal: u16, pod: &Pod, why: &str| Action::Restart {
        ordinal,
        uid: pod.uid.clone(),
        why: format!("{why}, and its template has changed"),
    };
    // Those that cannot run lose nothing, and a mended template reaches them only like this.
    let broken: Vec<Action> = pods()
        .filter(|(_, pod)| is_old(pod) && !pod.ready && pod.trouble.is_some())
        .map(|(ordinal, pod)| restart(ordinal, pod, "it does not run"))
        .collect();
    if !broken.is_empty() {
        plan.actions.extend(broken);
        return;
    }
    if let Some((ordinal, _)) = pods().find(|(_, pod)| pod.terminating) {
        return plan.wait("RollingUpdate", format!("{} is being restarted", facts.pod(ordinal)));
    }
    let not_ready = |(_, pod): &(u16, &Pod)| !pod.ready;
    if matches!(facts.stage(), Stage::Founded(_)) {
        if let Some((ordinal, pod)) = pods().rfind(not_ready) {
            if is_old(pod) {
                return plan.act(restart(ordinal, pod, "it is not ready"));
            }
            let message = format!("{} is not ready, and the next pod waits for it", facts.pod(ordinal));
            return plan.wait("RollingUpdate", message);
        }
        let missing = (0..plan.replicas).find(|ordinal| !facts.observed.pods.contains_key(ordinal));
        if let Some(ordinal) = missing {
            let message = format!("{} is missing, and the next pod waits for it", facts.pod(ordinal));
            return plan.wait("RollingUpdate", message);
        }
    }
    let Some((ordinal, pod)) = pods().rfind(|(_, pod)| is_old(pod)) else { return };
    match objection(facts, ordinal) {
        Some(message) => plan.wait("RollingUpdate", message),
        None => plan.act(restart(ordinal, pod, "it is its turn")),
    }
}

/// Why a pod must not end now.
fn objection(facts: Facts<'_>, ordinal: u16) -> Option<String> {
    let Stage::Founded(cluster) = facts.stage() else { return None };
    let pod = facts.pod(ordinal);
    let Some(cube) = facts.cube(cluster) else {
        return Some(format!("{pod} waits to be restarted until a peer tells where the slots are"));
    };
    let moving = cube.cluster.rebalance.moving;
    if moving > 0 {
        return Some(format!("{pod} waits to be restarted until {moving} slots have moved"));
    }
    let short = cube.cluster.slots.iter().find(|slot| {
        let voters = voters(slot);
        let left =
            voters.iter().filter(|voter| **voter != ordinal && facts.observed.is_ready(**voter)).count();
        // One replica alone has no majority without itself; restarting it interrupts its slot, whenever it is done.
        voters.contains(&ordinal) && voters.len() > 1 && left <= voters.len() / 2
    });
    short.map(|slot| format!("{pod} cannot be restarted now: slot {} would lose its majority", slot.slot))
}
