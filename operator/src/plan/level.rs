//! At which feature level peers are held. It never falls: peers that are held below the one in force do not start.

use super::{Facts, Plan, Stage};

/// The level that pods are to be held at; none where nothing holds them. A wish that cannot be granted leaves them as
/// they are.
pub(super) fn template(facts: Facts<'_>) -> Option<u32> {
    let wished = facts.spec.feature_level;
    let Some(in_force) = too_low(facts) else { return wished };
    match &facts.observed.set {
        // It may have risen while pods with a lower one were on their way.
        Some(set) => set.feature_level.map(|held| held.max(in_force)),
        None => Some(in_force),
    }
}

pub(super) fn plan(facts: Facts<'_>, plan: &mut Plan) {
    if let (Some(wished), Some(in_force)) = (facts.spec.feature_level, too_low(facts)) {
        plan.stall(
            "FeatureLevelCannotFall",
            format!(
                "featureLevel cannot be {wished}: the hypercube is at feature level {in_force}, which never falls, and \
                 its peers go on as they are; set featureLevel to {in_force}, or leave it out"
            ),
        );
    }
}

/// The level in force, where the wish is below it.
fn too_low(facts: Facts<'_>) -> Option<u32> {
    let wished = facts.spec.feature_level?;
    in_force(facts).filter(|in_force| wished < *in_force)
}

/// The level that the hypercube has, as its peers tell now or told before: a peer that is asked may lag behind.
pub(crate) fn in_force(facts: Facts<'_>) -> Option<u32> {
    let told = match facts.stage() {
        Stage::New => None,
        Stage::Founding(cluster) | Stage::Founded(cluster) => facts.cube(cluster),
    };
    let told = told.map(|cube| cube.cluster.feature_level);
    // Peers from before there were levels tell none, which reads as 0.
    told.filter(|level| *level > 0).max(facts.status.feature_level)
}
