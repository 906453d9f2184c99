//! Serving requests where they belong: at the leader of their group, or at any replica of it.

use hcube_consensus::ProposeError;
use hcube_core::ids::GroupId;
use hcube_core::meta::{self, Topic};
use hcube_core::planted::{self, Bug};
use hcube_core::record::Batch;

use super::call::{CallId, Waits};
use super::replica::Leading;
use super::{Commit, Peer};
use crate::command::{Command, PartitionId};
use crate::proposals::Verdict;
use crate::request::{Answer, Error, Request, TopicInfo, TopicRef};
use crate::slot::Admission;

/// Whether a topic's partition exists, as far as this peer knows.
pub(super) enum Existence {
    Exists,
    /// It never did, or does no longer.
    Gone,
    /// This peer's metadata may be behind.
    Unheard,
}

impl Peer {
    /// Serves a call here.
    pub(super) fn serve(&mut self, id: CallId, group: GroupId) {
        let Some(call) = self.calls.get(id) else { return };
        match &call.request {
            Request::ReadFile { file, at, length, .. } => {
                let (file, at, length) = (*file, *at, *length);
                return self.read_file(id, file, at, length);
            }
            Request::NodeStatus { node } => {
                let here = *node == self.node;
                let slots = || Answer::NodeStatus(self.slot_statuses());
                let answer = if here { Ok(slots()) } else { Err(Error::NotHere) };
                return self.finish(id, answer);
            }
            Request::MetadataStatus { node } => {
                let status = self.metadata_status().filter(|_| *node == self.node);
                return self.finish(id, status.map(Answer::MetadataStatus).ok_or(Error::NotHere));
            }
            Request::ForceMetadata { node, lost, last } => {
                let (here, lost, last) = (*node == self.node, lost.clone(), *last);
                if here {
                    return self.force_metadata(id, &lost, last);
                }
                return self.finish(id, Err(Error::NotHere));
            }
            Request::Pull(pull) if !pull.leader || pull.replica.is_some() => return self.pull(id, group),
            _ => {}
        }
        let Some(role) = self.groups.role(group) else {
            return self.finish(id, Err(Error::NotLeader(self.hints.get(&group).copied())));
        };
        if !role.leads {
            return self.finish(id, Err(Error::NotLeader(role.leader)));
        }
        if self.leading_ready(group) { self.lead(id, group) } else { self.park(id) }
    }

    /// Whether this peer leads the group and knows its whole log. What it knew in an earlier term says nothing.
    pub(super) fn leading_ready(&self, group: GroupId) -> bool {
        let leads = |leading: &Leading| {
            self.groups.role(group).is_some_and(|role| role.leads && leading.term == Some(role.term))
        };
        self.leading(group).is_some_and(|leading| leading.ready && leads(leading))
    }

    /// Where a group stands whose replica here leads it, or may; none for a group without a replica here.
    pub(super) fn leading(&self, group: GroupId) -> Option<&Leading> {
        if group == GroupId::META { Some(&self.metadata) } else { Some(&self.slots.get(&group)?.leading) }
    }

    pub(super) fn leading_mut(&mut self, group: GroupId) -> Option<&mut Leading> {
        if group == GroupId::META {
            Some(&mut self.metadata)
        } else {
            Some(&mut self.slots.get_mut(&group)?.leading)
        }
    }

    fn lead(&mut self, id: CallId, group: GroupId) {
        let Some(call) = self.calls.get(id) else { return };
        let confirmed = call.confirmed;
        match call.request.clone() {
            Request::CreateTopic { name, id: topic, partitions, retention } => {
                let topic = Topic { id: topic, name, partitions, retention };
                self.propose_meta(id, &meta::Command::CreateTopic(topic));
            }
            Request::AlterTopic { name, retention } => {
                self.propose_meta(id, &meta::Command::AlterTopic { name, retention });
            }
            Request::DeleteTopic { name } => {
                self.propose_meta(id, &meta::Command::DeleteTopic { name, id: None });
            }
            Request::Change(change) => match self.check_change(&change) {
                Ok(()) => self.propose_meta(id, &meta::Command::Change(change)),
                Err(error) => self.finish(id, Err(error)),
            },
            Request::Publish { topic, partition, batch } => {
                self.publish(id, group, &topic, partition, &batch)
            }
            Request::Pull(_) => self.pull(id, group),
            Request::RegisterPublisher { .. }
            | Request::RegisterSubscriber { .. }
            | Request::CommitCursor { .. }
                if self.too_many(group, &call.request) =>
            {
                self.finish(id, Err(Error::TooMany));
            }
            Request::RegisterPublisher { name, id: producer } => {
                self.propose(id, group, &Command::RegisterPublisher { name, id: producer }, None, None);
            }
            Request::RegisterSubscriber { name } => {
                let command = Command::RegisterSubscriber { name };
                self.propose(id, group, &command, None, Some(Answer::Subscriber(true)));
            }
            Request::CommitCursor { topic, partition, subscriber, offset } => {
                // A topic that is gone is said to be gone, not to end before the offset.
                if !self.may_exist(id, group, &topic, partition) {
                    return;
                }
                let at = (topic.id, partition);
                let end = self.slots.get(&group).and_then(|replica| replica.slot.partition(at));
                let (start, end) = end.map_or((0, 0), |state| (state.log_start(), state.next_offset()));
                if let Some(wanted) = offset.filter(|offset| *offset > end) {
                    // A cursor there would skip everything that is yet to come.
                    if !confirmed {
                        return self.confirm(id, group);
                    }
                    let refusal = Error::OutOfRange { wanted, log_start: start, high_watermark: end };
                    return self.finish(id, Err(refusal));
                }
                if self.open_for(id, group, &topic, partition) {
                    let command = Command::Cursor { partition: at, subscriber, offset };
                    self.propose(id, group, &command, None, Some(Answer::Cursor(offset)));
                }
            }
            Request::FindTopic { .. }
            | Request::Describe { .. }
            | Request::FindSubscriber { .. }
            | Request::FetchCursor { .. } => self.confirm(id, group),
            Request::ReadFile { .. }
            | Request::NodeStatus { .. }
            | Request::MetadataStatus { .. }
            | Request::ForceMetadata { .. } => {
                unreachable!("served without a leader")
            }
        }
    }

    /// Whether a registration or cursor would be one more than a slot or partition may hold.
    fn too_many(&self, group: GroupId, request: &Request) -> bool {
        let Some(replica) = self.slots.get(&group) else { return false };
        match request {
            Request::RegisterPublisher { name, .. } => !replica.slot.takes_publisher(name),
            Request::RegisterSubscriber { name } => !replica.slot.takes_subscriber(name),
            Request::CommitCursor { topic, partition, subscriber, .. } => {
                let state = replica.slot.partition((topic.id, *partition));
                state.is_some_and(|state| !state.takes_cursor(subscriber))
            }
            _ => false,
        }
    }

    fn publish(&mut self, id: CallId, group: GroupId, topic: &TopicRef, partition: u16, batch: &Batch) {
        if !self.open_for(id, group, topic, partition) {
            return;
        }
        let at = (topic.id, partition);
        let replicas = self.replicas(group);
        let confirmed = self.calls.get(id).is_some_and(|call| call.confirmed);
        let Some(replica) = self.slots.get(&group) else { return self.park(id) };
        match replica.proposals.judge(&replica.slot, at, batch, self.now.wall_ms) {
            // A repeat of what is stored already gets its answer even then.
            Verdict::Append { .. } if self.disk_full => self.finish(id, Err(Error::DiskFull)),
            Verdict::Append { base_offset, stamp_ms } => {
                let batch_bytes = batch.bytes().clone();
                let command = Command::Publish { partition: at, base_offset, stamp_ms, batch: batch_bytes };
                let answer = Answer::Published {
                    base_offset,
                    records: batch.records_count(),
                    stamp_ms,
                    duplicate: false,
                    replicas,
                };
                self.propose(id, group, &command, Some(batch), Some(answer));
            }
            Verdict::Done(seen) => {
                let answer = duplicate(seen, replicas);
                self.finish(id, Ok(answer));
            }
            Verdict::UnderWay(index, seen) => {
                let Some(term) = replica.leading.term else { return self.park(id) };
                let answer = Some(duplicate(seen, replicas));
                self.calls.waits(id, Waits::Commit);
                let waiting = self.commits.entry(group).or_default().entry(index).or_default();
                waiting.push(Commit { term, call: id, answer });
            }
            // A leader that was replaced without noticing may lack what its successor acknowledged.
            Verdict::Refused(_) if !confirmed && !planted::is(Bug::UnconfirmedRefusal) => {
                self.confirm(id, group);
            }
            Verdict::Refused(admission) => {
                let error = refusal(admission);
                self.finish(id, Err(error));
            }
            Verdict::Closing => self.finish(id, Err(Error::UnknownTopic)),
            Verdict::NotOpen => self.park(id),
        }
    }

    /// Makes sure that the partition exists and that the slot has not closed its topic; otherwise the call is dealt with.
    fn may_exist(&mut self, id: CallId, group: GroupId, topic: &TopicRef, partition: u16) -> bool {
        let Some(replica) = self.slots.get(&group) else { return false };
        let is_closed = replica.proposals.is_closed(&replica.slot, topic.id);
        match self.existence(topic, partition) {
            Existence::Exists if !is_closed => return true,
            Existence::Exists | Existence::Gone => self.finish(id, Err(Error::UnknownTopic)),
            Existence::Unheard => self.park(id),
        }
        false
    }

    /// Makes sure that the slot has opened the partition, or is about to; otherwise the call is dealt with.
    fn open_for(&mut self, id: CallId, group: GroupId, topic: &TopicRef, partition: u16) -> bool {
        if !self.may_exist(id, group, topic, partition) {
            return false;
        }
        let at: PartitionId = (topic.id, partition);
        let Some(replica) = self.slots.get(&group) else { return false };
        if replica.proposals.is_open(&replica.slot, at) {
            return true;
        }
        match self.enter(group, &Command::Open(at), None) {
            Ok(_) => true,
            Err(_) => {
                self.park(id);
                false
            }
        }
    }

    pub(super) fn existence(&self, topic: &TopicRef, partition: u16) -> Existence {
        match self.meta.topic_by_id(topic.id) {
            Some(known) if known.name == topic.name && partition < known.partitions => Existence::Exists,
            Some(_) => Existence::Gone,
            None if self.meta.is_deleted(topic.id) => Existence::Gone,
            None => Existence::Unheard,
        }
    }

    fn replicas(&self, group: GroupId) -> u16 {
        let count = self.meta.placement_of(group).map_or(0, |placement| placement.voters.len());
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    fn propose(
        &mut self,
        id: CallId,
        group: GroupId,
        command: &Command,
        batch: Option<&Batch>,
        answer: Option<Answer>,
    ) {
        match (self.enter(group, command, batch), answer) {
            (Ok(_), Some(answer)) if planted::is(Bug::AcknowledgedWhenProposed) => {
                self.finish(id, Ok(answer))
            }
            (Ok(proposed), answer) => self.await_commit(id, group, proposed, answer),
            // It is certainly not in the log, so it may be tried again, here or elsewhere.
            (Err(_), _) => self.park(id),
        }
    }

    /// Puts a command into a slot's log.
    pub(super) fn enter(
        &mut self,
        group: GroupId,
        command: &Command,
        batch: Option<&Batch>,
    ) -> Result<hcube_consensus::Proposed, ProposeError> {
        let proposed = self.groups.propose(group, command.encode())?;
        if let Some(replica) = self.slots.get_mut(&group) {
            replica.proposals.proposed(&replica.slot, proposed.index, command, batch);
        }
        Ok(proposed)
    }

    fn propose_meta(&mut self, id: CallId, command: &meta::Command) {
        let bytes = command.encode();
        if meta::Command::decode(bytes.clone()).is_err() {
            // A peer that checks less than this one must not put into the log what nobody can apply.
            return self.finish(id, Err(Error::Invalid("the metadata command".to_owned())));
        }
        match self.groups.propose(GroupId::META, bytes) {
            Ok(proposed) => self.await_commit(id, GroupId::META, proposed, None),
            Err(_) => self.park(id),
        }
    }

    pub(super) fn await_commit(
        &mut self,
        id: CallId,
        group: GroupId,
        proposed: hcube_consensus::Proposed,
        answer: Option<Answer>,
    ) {
        self.calls.waits(id, Waits::Commit);
        let waiting = self.commits.entry(group).or_default().entry(proposed.index).or_default();
        waiting.push(Commit { term: proposed.term, call: id, answer });
    }

    /// Asks for the leader's confirmation that what is applied here is current.
    pub(super) fn confirm(&mut self, id: CallId, group: GroupId) {
        match self.groups.read_index(group, id) {
            Ok(()) => self.calls.waits(id, Waits::Confirmation),
            Err(_) => self.park(id),
        }
    }

    /// Answers what needed a confirmation, now that everything up to it is applied.
    pub(super) fn answer_confirmed(&mut self, id: CallId, group: GroupId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.confirmed = true;
        match call.request.clone() {
            Request::FindTopic { name } => {
                let answer = self.meta.topic(&name).map(|topic| Answer::Topic(TopicInfo::from(topic)));
                self.finish(id, answer.ok_or(Error::UnknownTopic));
            }
            Request::FindSubscriber { name } => {
                let known = self.slots.get(&group).is_some_and(|replica| replica.slot.has_subscriber(&name));
                self.finish(id, Ok(Answer::Subscriber(known)));
            }
            Request::Describe { topic, partition } => self.describe(id, group, &topic, partition),
            Request::FetchCursor { topic, partition, subscriber } => {
                self.fetch_cursor(id, group, &topic, partition, &subscriber);
            }
            Request::Pull(_) => self.pull(id, group),
            Request::Publish { .. } | Request::CommitCursor { .. } => self.dispatch(id),
            other => unreachable!("{other:?} needs no confirmation"),
        }
    }

    fn fetch_cursor(
        &mut self,
        id: CallId,
        group: GroupId,
        topic: &TopicRef,
        partition: u16,
        subscriber: &hcube_core::topic::Name,
    ) {
        match self.existence(topic, partition) {
            Existence::Exists => {}
            Existence::Gone => return self.finish(id, Err(Error::UnknownTopic)),
            Existence::Unheard => return self.park(id),
        }
        let partition = self.slots.get(&group).and_then(|r| r.slot.partition((topic.id, partition)));
        let cursor = partition.and_then(|partition| partition.cursor(subscriber));
        self.finish(id, Ok(Answer::Cursor(cursor)));
    }

    fn describe(&mut self, id: CallId, group: GroupId, topic: &TopicRef, partition: u16) {
        match self.existence(topic, partition) {
            Existence::Exists => {}
            Existence::Gone => return self.finish(id, Err(Error::UnknownTopic)),
            Existence::Unheard => return self.park(id),
        }
        let state = self.slots.get(&group).and_then(|replica| replica.slot.partition((topic.id, partition)));
        let (log_start, high_watermark, bytes) =
            state.map_or((0, 0, 0), |state| (state.log_start(), state.next_offset(), state.bytes()));
        let replicas = self.replica_states(group);
        let leader = self.node;
        self.finish(id, Ok(Answer::Partition { log_start, high_watermark, bytes, leader, replicas }));
    }
}

fn duplicate(seen: crate::slot::BatchSeen, replicas: u16) -> Answer {
    Answer::Published {
        base_offset: seen.base_offset,
        records: seen.records,
        stamp_ms: seen.stamp_ms,
        duplicate: true,
        replicas,
    }
}

fn refusal(admission: Admission) -> Error {
    match admission {
        Admission::Gap { expected } => Error::SequenceGap { expected },
        Admission::TooOld => Error::SequenceTooOld,
        Admission::Fenced { epoch } => Error::Fenced { epoch },
        Admission::Unknown => Error::UnknownProducer,
        Admission::New | Admission::Duplicate(_) => unreachable!("not a refusal"),
    }
}
