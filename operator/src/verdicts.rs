//! What the conditions say, from what was found and what is planned: pure.

use hcube_api::cluster::MemberState as Seen;
use hcube_crd::conditions::{DEGRADED, DRAINING, READY, REBALANCING, RECONCILING, STALLED, Verdict};

use crate::observed::{Cube, voters};
use crate::plan::{Facts, Gravity, Plan, Stage};

/// The six conditions.
#[must_use]
pub fn verdicts(facts: Facts<'_>, plan: &Plan) -> Vec<Verdict> {
    let cube = match facts.stage() {
        Stage::Founded(cluster) => {
            facts.observed.cube.as_ref().filter(|cube| cube.members.cluster_id == cluster)
        }
        Stage::New | Stage::Founding(_) => None,
    };
    let stalled = stalled(plan);
    let reconciling = reconciling(plan, cube, stalled.holds == Some(true));
    vec![
        ready(facts, plan, cube),
        reconciling,
        stalled,
        draining(plan, cube),
        rebalancing(cube),
        degraded(facts, plan, cube),
    ]
}

/// The conditions that change where nothing can be done: what runs goes on as it is.
#[must_use]
pub fn faulty(reason: &str, message: &str) -> Vec<Verdict> {
    vec![
        Verdict::new(RECONCILING, false, reason, "nothing is changed until that is mended"),
        Verdict::new(STALLED, true, reason, message),
    ]
}

fn first(plan: &Plan, gravity: Gravity) -> Option<(&'static str, String)> {
    let remarks: Vec<_> = plan.remarks.iter().filter(|remark| remark.gravity == gravity).collect();
    let reason = remarks.first()?.reason;
    Some((reason, remarks.iter().map(|remark| remark.message.as_str()).collect::<Vec<_>>().join("; ")))
}

/// It serves: a majority of every slot is at ready pods.
fn ready(facts: Facts<'_>, plan: &Plan, cube: Option<&Cube>) -> Verdict {
    let Some(cube) = cube else {
        let (reason, message) = first(plan, Gravity::Stalled)
            .or_else(|| first(plan, Gravity::Waiting))
            .unwrap_or(("Founding", "the hypercube is being founded".into()));
        return Verdict::new(READY, false, reason, message);
    };
    let without = |slot: &&hcube_api::cluster::SlotPlacement| {
        let voters = voters(slot);
        let alive = voters.iter().filter(|vertex| facts.observed.is_ready(**vertex)).count();
        !voters.is_empty() && alive <= voters.len() / 2
    };
    let lost = cube.cluster.slots.iter().filter(without).count();
    match lost {
        0 => Verdict::new(
            READY,
            true,
            "Serving",
            format!("{} peers serve {} slots", cube.peers(), cube.cluster.slots.len()),
        ),
        lost => Verdict::new(
            READY,
            false,
            "MajorityLost",
            format!("{lost} of {} slots have no majority at ready peers", cube.cluster.slots.len()),
        ),
    }
}

fn stalled(plan: &Plan) -> Verdict {
    match first(plan, Gravity::Stalled) {
        Some((reason, message)) => Verdict::new(STALLED, true, reason, message),
        None => Verdict::new(STALLED, false, "Progressing", "nothing has to be mended"),
    }
}

fn reconciling(plan: &Plan, cube: Option<&Cube>, is_stalled: bool) -> Verdict {
    let moving = cube.map_or(0, |cube| cube.cluster.rebalance.moving + cube.cluster.rebalance.waiting);
    match first(plan, Gravity::Waiting).or_else(|| first(plan, Gravity::Draining)) {
        _ if is_stalled => Verdict::new(RECONCILING, false, "Stalled", "see the condition Stalled"),
        Some((reason, message)) => Verdict::new(RECONCILING, true, reason, message),
        None if !plan.actions.is_empty() => {
            Verdict::new(RECONCILING, true, "Acting", format!("{} steps are being taken", plan.actions.len()))
        }
        None if moving > 0 => {
            Verdict::new(RECONCILING, true, "Rebalancing", format!("{moving} slots have to move"))
        }
        None => Verdict::new(RECONCILING, false, "Settled", "all is as wished"),
    }
}

fn draining(plan: &Plan, cube: Option<&Cube>) -> Verdict {
    let leaving = cube.iter().flat_map(|cube| &cube.members.members);
    let leaving: Vec<_> = leaving
        .filter(|member| member.state == Seen::Leaving)
        .map(|member| format!("vertex {} (node {})", member.label, member.node_id))
        .collect();
    if leaving.is_empty() {
        return Verdict::new(DRAINING, false, "NobodyLeaves", "no peer leaves");
    }
    let (reason, message) =
        first(plan, Gravity::Draining).unwrap_or(("Draining", format!("{} leave", leaving.join(", "))));
    Verdict::new(DRAINING, true, reason, message)
}

fn rebalancing(cube: Option<&Cube>) -> Verdict {
    let Some(rebalance) = cube.map(|cube| cube.cluster.rebalance) else {
        return Verdict::unknown(REBALANCING, "NoPeerAnswers", "no peer tells where the slots are");
    };
    let (moving, waiting) = (rebalance.moving, rebalance.waiting);
    if moving + waiting == 0 {
        return Verdict::new(REBALANCING, false, "Balanced", "every slot is where it should be");
    }
    let paused = if rebalance.paused { "; rebalancing is paused" } else { "" };
    Verdict::new(REBALANCING, true, "Moving", format!("{moving} slots move, {waiting} wait{paused}"))
}

fn degraded(facts: Facts<'_>, plan: &Plan, cube: Option<&Cube>) -> Verdict {
    let Some(cube) = cube else {
        return Verdict::unknown(DEGRADED, "NoPeerAnswers", "no peer tells what is missing");
    };
    let mut reasons: Vec<(&'static str, String)> = first(plan, Gravity::Degraded).into_iter().collect();
    let down: Vec<String> = cube
        .members
        .members
        .iter()
        .map(|member| member.vertex.0)
        .filter(|&vertex| !facts.observed.is_ready(vertex))
        .map(|vertex| facts.names.pod(vertex))
        .collect();
    if !down.is_empty() {
        reasons.push(("PeersNotReady", format!("not ready: {}", down.join(", "))));
    }
    let short = cube.cluster.rebalance.under_replicated;
    if short > 0 {
        reasons.push(("UnderReplicated", format!("{short} slots have fewer replicas than they should have")));
    }
    match reasons.first() {
        None => Verdict::new(DEGRADED, false, "Complete", "every peer is ready and every replica is there"),
        Some((reason, _)) => {
            let message = reasons.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ");
            Verdict::new(DEGRADED, true, reason, message)
        }
    }
}
