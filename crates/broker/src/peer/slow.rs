//! Disks that are much slower than the others of their group: a leader with one hands over, and none gets the lead
//! back while it is slow.

use std::collections::BTreeMap;

use hcube_core::ids::{GroupId, ReplicaId};

use super::Peer;

/// Ticks for which a leader's own disk may be behind what the others have committed without it.
const BEHIND_TICKS: u32 = 10;
/// Ticks for which a replica that was behind counts as slow.
const SLOW_TICKS: u64 = 100;

/// What a leader has seen of the disks of its group.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// What was committed one tick ago.
    committed: u64,
    /// For how many ticks the leader's own disk has lacked something that was committed a tick before.
    behind: u32,
    /// When each other replica lacked something that was committed a tick before.
    slow: BTreeMap<ReplicaId, u64>,
}

impl Disks {
    /// Looks at what each replica has on disk; once a tick. Returns whether the leader's own disk is too slow to
    /// lead.
    fn look(&mut self, own: ReplicaId, matched: &[(ReplicaId, u64)], commit: u64, tick: u64) -> bool {
        let mut behind = false;
        for (replica, _) in matched.iter().filter(|(_, matched)| *matched < self.committed) {
            if *replica == own {
                behind = true;
            } else {
                self.slow.insert(*replica, tick);
            }
        }
        self.behind = if behind { self.behind + 1 } else { 0 };
        self.committed = commit;
        self.behind >= BEHIND_TICKS
    }

    /// Whether a replica was behind lately.
    pub fn is_slow(&self, replica: ReplicaId, tick: u64) -> bool {
        self.slow.get(&replica).is_some_and(|seen| tick < seen + SLOW_TICKS)
    }
}

impl Peer {
    /// Hands over where this peer's disk is what its groups wait for.
    pub(super) fn watch_disks(&mut self) {
        let led: Vec<GroupId> = self.groups.ids().filter(|group| self.leading_ready(*group)).collect();
        for group in led {
            let Some(own) = self.groups.replica(group) else { continue };
            let commit = self.groups.indexes(group).map_or(0, |indexes| indexes.commit);
            let followers = self.groups.followers(group);
            let matched: Vec<_> = followers.iter().map(|f| (f.replica, f.matched)).collect();
            let tick = self.ticks;
            let Some(leading) = self.leading_mut(group) else { continue };
            if !leading.disks.look(own, &matched, commit, tick) {
                continue;
            }
            leading.disks.behind = 0;
            if let Some(best) = self.best_successor(group).filter(|_| !self.groups.transferring(group)) {
                self.groups.transfer(group, best);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ReplicaId = ReplicaId(1);
    const OTHER: ReplicaId = ReplicaId(2);

    /// Ticks until the leader is found too slow, when its disk is `lag` entries behind at ten entries a tick.
    fn found_slow(lag: u64) -> Option<u64> {
        let mut disks = Disks::default();
        (1..100_u64).find(|tick| {
            let commit = tick * 10;
            disks.look(OWN, &[(OWN, commit.saturating_sub(lag)), (OTHER, commit)], commit, *tick)
        })
    }

    #[test]
    fn a_disk_that_keeps_up_within_a_tick_leads_on() {
        assert_eq!(found_slow(0), None);
        assert_eq!(found_slow(10), None);
    }

    #[test]
    fn a_disk_that_stays_behind_does_not() {
        assert_eq!(found_slow(25), Some(11));
    }

    #[test]
    fn a_slow_follower_is_not_given_the_lead_for_a_while() {
        let mut disks = Disks::default();
        disks.look(OWN, &[(OWN, 10), (OTHER, 0)], 10, 1);
        assert!(!disks.is_slow(OTHER, 1));
        disks.look(OWN, &[(OWN, 20), (OTHER, 9)], 20, 2);
        assert!(disks.is_slow(OTHER, 3));
        assert!(!disks.is_slow(OTHER, 2 + SLOW_TICKS));
    }
}
