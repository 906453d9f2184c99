//! What a peer does without being asked: time-outs, retention, closing deleted topics, evening out leaders.

use hcube_core::ids::{GroupId, TopicId};

use super::Peer;
use super::call::Waits;
use crate::command::{Command, PartitionId};
use crate::slot::Partition;

/// Ticks after the start at which preferred leaders stand for election where nobody leads.
const STAND_TICKS: u64 = 3;
/// Groups handed over in one tick at most.
const HAND_OVERS: usize = 8;
/// Entries that the preferred leader may be behind when it is handed the lead.
const HAND_OVER_LAG: u64 = 64;
/// A wall clock that is further ahead of where it should be is not believed. One hour.
const CLOCK_JUMP_MS: i128 = 3_600_000;

impl Peer {
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.groups.tick();
        self.doubt_leaders();
        self.staging_room_bytes = self.config.staging_bytes_per_tick;
        self.wake_due();
        self.forget_passed();
        self.retry_parked(None);
        if self.ticks == STAND_TICKS {
            self.stand();
        }
        self.watch_disks();
        self.hand_over();
        self.tend_membership();
        self.leave_stale_replicas();
        if self.ticks.is_multiple_of(self.config.retention_ticks) {
            self.retain();
        }
        self.compact_next();
        self.retry_staging();
    }

    /// A process that is killed closes its links at once: who followed it there need not wait for time-outs. A leader
    /// that lives, and whose link is soon made again, is heard before that.
    fn doubt_leaders(&mut self) {
        let silent = self.config.doubt_ticks;
        let due = |at: &u64| at + silent as u64 <= self.ticks;
        let nodes: Vec<_> =
            self.broken_links.iter().filter(|(_, at)| due(at)).map(|(node, _)| *node).collect();
        for node in nodes {
            self.broken_links.remove(&node);
            self.groups.doubt(node, silent);
        }
    }

    /// Tries parked calls again: those of one group, or all.
    pub(super) fn retry_parked(&mut self, group: Option<GroupId>) {
        for id in self.calls.parked() {
            let Some(call) = self.calls.get(id) else { continue };
            if call.waits == Waits::Parked
                && group.is_none_or(|group| call.request.group(&self.meta) == group)
            {
                self.dispatch(id);
            }
        }
    }

    /// After a start, the replicas that should lead stand first, so that leaders are even at once.
    fn stand(&mut self) {
        if self.membership.retiring {
            return;
        }
        let ids: Vec<_> = self.groups.ids().collect();
        for group in ids {
            let preferred = self.meta.placement_of(group).is_some_and(|p| p.leader == self.node);
            let nobody = self.groups.role(group).is_some_and(|role| role.leader.is_none());
            if preferred && nobody {
                self.groups.campaign(group);
            }
        }
    }

    /// Gives the lead back to the replicas that should have it, once they have caught up.
    fn hand_over(&mut self) {
        if self.membership.retiring {
            return;
        }
        let led: Vec<_> = self.groups.ids().filter(|group| self.leading_ready(*group)).collect();
        let mut budget = HAND_OVERS;
        for group in led {
            let since = self.leading(group).map_or(self.ticks, |leading| leading.since_tick);
            if budget == 0
                || self.ticks < since + self.config.hand_over_ticks
                || self.groups.transferring(group)
            {
                continue;
            }
            let Some(placement) = self.meta.placement_of(group) else { continue };
            if placement.leader == self.node {
                continue;
            }
            let Some(preferred) = placement.replica_on(placement.leader) else { continue };
            if !self.groups.conf(group).is_some_and(|conf| conf.voters.contains(&preferred)) {
                continue;
            }
            if self.leading(group).is_some_and(|leading| leading.disks.is_slow(preferred, self.ticks)) {
                continue;
            }
            let last = self.groups.indexes(group).map_or(0, |indexes| indexes.last);
            let able = self.groups.followers(group).into_iter().any(|follower| {
                follower.replica == preferred && follower.active && follower.matched + HAND_OVER_LAG >= last
            });
            if able && self.links.contains_key(&placement.leader) {
                self.groups.transfer(group, preferred);
                // One that does not take over is not asked again at once: meanwhile nothing is proposed.
                let ticks = self.ticks;
                if let Some(leading) = self.leading_mut(group) {
                    leading.since_tick = ticks;
                }
                budget -= 1;
            }
        }
    }

    /// Whether the wall clock went on as the monotonic one did.
    pub(super) fn clock_is_sane(&self) -> bool {
        let offset = i128::from(self.now.wall_ms) - i128::from(self.now.mono_ms);
        offset - self.clock_offset_ms < CLOCK_JUMP_MS
    }

    /// Proposes the log starts that retention asks for.
    fn retain(&mut self) {
        let mut starts: Vec<(GroupId, PartitionId, u64)> = Vec::new();
        for (group, replica) in self.slots.iter().filter(|(group, _)| self.leading_ready(**group)) {
            for (at, state) in replica.slot.partitions() {
                let Some(topic) = self.meta.topic_by_id(at.0) else { continue };
                let by_age = topic.retention.age_ms.filter(|_| self.clock_is_sane());
                let oldest = by_age.map(|age| self.now.wall_ms.saturating_sub(age));
                let start = retained_from(state, oldest, topic.retention.bytes);
                if start > state.log_start() {
                    starts.push((*group, at, start));
                }
            }
        }
        self.close_all_deleted();
        for (group, partition, offset) in starts {
            // A refusal costs nothing: the next round asks again.
            let _later = self.enter(group, &Command::LogStart { partition, offset }, None);
        }
    }

    /// A topic is gone: the slots led here forget it.
    pub(super) fn topic_deleted(&mut self, topic: TopicId) {
        for group in self.slots_led() {
            self.close(group, topic);
        }
        self.retry_parked(None);
    }

    /// Closes what is deleted and open in any slot led here: a proposal may have been refused, or the deletion
    /// may have come in a snapshot.
    pub(super) fn close_all_deleted(&mut self) {
        for group in self.slots_led() {
            self.close_deleted(group);
        }
    }

    fn slots_led(&self) -> Vec<GroupId> {
        self.slots.keys().copied().filter(|group| self.leading_ready(*group)).collect()
    }

    /// A partition was opened by a leader that did not know yet that its topic is gone.
    pub(super) fn partition_opened(&mut self, group: GroupId, topic: TopicId) {
        if self.leading_ready(group) && self.meta.is_deleted(topic) {
            self.close(group, topic);
        }
    }

    /// Closes whatever was deleted while nobody led the slot.
    pub(super) fn close_deleted(&mut self, group: GroupId) {
        let Some(replica) = self.slots.get(&group) else { return };
        let gone: std::collections::BTreeSet<TopicId> = replica
            .slot
            .partitions()
            .map(|((topic, _), _)| topic)
            .filter(|topic| self.meta.is_deleted(*topic))
            .collect();
        for topic in gone {
            self.close(group, topic);
        }
    }

    fn close(&mut self, group: GroupId, topic: TopicId) {
        let Some(replica) = self.slots.get(&group) else { return };
        let open =
            replica.slot.partitions().any(|((id, _), _)| id == topic) || replica.proposals.opens(topic);
        if open && !replica.proposals.is_closed(&replica.slot, topic) {
            // A refusal costs nothing: whoever leads next finds the topic open and deleted.
            let _later = self.enter(group, &Command::Close(topic), None);
        }
    }
}

/// The offset that retention moves the log start to: whole runs of records only, and never the newest run.
fn retained_from(state: &Partition, oldest_ms: Option<u64>, bytes_max: Option<u64>) -> u64 {
    let mut bytes = state.bytes();
    let mut start = state.log_start();
    let mut chunks = state.chunks().peekable();
    while let Some(chunk) = chunks.next() {
        let too_old = oldest_ms.is_some_and(|oldest| chunk.stamp_ms < oldest);
        let too_much = bytes_max.is_some_and(|max| bytes > max) && chunks.peek().is_some();
        if !too_old && !too_much {
            break;
        }
        bytes -= chunk.bytes;
        start = chunk.end;
    }
    start
}

#[cfg(test)]
mod tests {
    use hcube_core::record::{Batch, Producer, Record};

    use super::*;

    fn partition() -> Partition {
        let mut partition = Partition::default();
        for index in 0..4 {
            let record = Record { value: vec![7; 100].into(), ..Record::default() };
            let batch = Batch::build(Producer::default(), &[record]).unwrap();
            partition.push(&batch, 1000 * (index + 1), index + 2);
        }
        partition
    }

    #[test]
    fn age_lets_go_of_what_is_older() {
        assert_eq!(retained_from(&partition(), Some(1000), None), 0);
        assert_eq!(retained_from(&partition(), Some(2500), None), 2);
        assert_eq!(retained_from(&partition(), Some(9000), None), 4);
    }

    #[test]
    fn bytes_let_go_of_the_oldest_but_never_of_the_newest_run() {
        let each = partition().bytes() / 4;
        assert_eq!(retained_from(&partition(), None, Some(4 * each)), 0);
        assert_eq!(retained_from(&partition(), None, Some(2 * each)), 2);
        assert_eq!(retained_from(&partition(), None, Some(0)), 3);
    }
}
