//! Volumes grow in steps, each of which can be seen afterwards: the claims, then the StatefulSet made anew.

use std::cmp::Ordering;

use hcube_crd::Amount;

use super::{Action, Facts, Plan};
use crate::observed::StorageClass;

/// The size that the StatefulSet asks for: it cannot change while the StatefulSet lives.
pub(super) fn template(facts: Facts<'_>) -> Amount {
    facts.observed.set.as_ref().map_or_else(|| facts.spec.storage.size.clone(), |set| set.storage.clone())
}

/// Claims that ask for less than is wished.
pub(crate) fn too_small(facts: Facts<'_>) -> Vec<u16> {
    let size = &facts.spec.storage.size;
    let claims =
        facts.observed.claims.iter().filter(|(_, claim)| claim.retired.is_none() && !claim.terminating);
    claims
        .filter(|(_, claim)| claim.requested.compare(size) == Some(Ordering::Less))
        .map(|(ordinal, _)| *ordinal)
        .collect()
}

pub(super) fn plan(facts: Facts<'_>, plan: &mut Plan) {
    let size = &facts.spec.storage.size;
    if let StorageClass::Missing(class) = &facts.observed.storage_class {
        plan.stall("StorageClassMissing", format!("there is no StorageClass {class}"));
    }
    let small = too_small(facts);
    if !small.is_empty() {
        if facts.observed.storage_class == (StorageClass::Exists { expandable: false }) {
            return plan.stall(
                "VolumesCannotGrow",
                format!("the storage class of the volumes does not let them grow to {size}"),
            );
        }
        plan.actions.extend(small.into_iter().map(|ordinal| Action::Expand { ordinal, size: size.clone() }));
        return;
    }
    let growing = facts.observed.claims.iter().find(|(_, claim)| {
        let has = claim.capacity.as_ref().and_then(|capacity| capacity.compare(&claim.requested));
        claim.retired.is_none() && has == Some(Ordering::Less)
    });
    if let Some((ordinal, claim)) = growing {
        let message = format!("the volume of {} grows to {}", facts.pod(*ordinal), claim.requested);
        plan.wait("VolumesGrowing", message);
    }
    if let Some(set) = &facts.observed.set
        && set.storage.compare(size) == Some(Ordering::Less)
    {
        plan.act(Action::Orphan { uid: set.uid.clone() });
    }
}
