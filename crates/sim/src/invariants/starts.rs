//! A disk that was only ever written, synced and cut off from power starts again, whole; one that was damaged says so.

use hcube_core::meta::Meta;
use hcube_log::Recovery;

use super::hold;
use crate::machine::Machine;

const NAME: &str = "a sound disk starts, a damaged one says so";

/// A process has started: whatever it found damaged was damaged.
pub(super) fn started(machine: &Machine, recovery: &Recovery) {
    let Some(damage) = &recovery.damage else { return };
    let hit = recovery.groups.iter().filter(|(group, _)| damage.concerns(**group));
    for replica in hit.map(|(_, found)| found.replica) {
        let known = machine.damaged.contains(&replica);
        hold!(NAME, known, "machine {} finds {damage:?}, which nobody made", machine.incarnation);
    }
}

/// A process ended at once: its disk was spoilt, or its node has left the hypercube.
pub(super) fn refused(machine: &Machine, newest: &Meta, reason: &str) {
    let member = machine.node.is_some_and(|node| newest.members.contains_key(&node));
    hold!(
        NAME,
        machine.spoilt || !member,
        "machine {} does not start: {reason}; damaged were {:?}",
        machine.incarnation,
        machine.damaged
    );
}
