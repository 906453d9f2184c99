//! Pulls: what may be read here, where it lies, and waiting for what does not exist yet.

use hcube_consensus::ReadIndex;
use hcube_core::ids::GroupId;
use hcube_core::planted::{self, Bug};

use super::Peer;
use super::call::{Call, CallId, Waits};
use super::lead::Existence;
use crate::command::{Command, PartitionId, batch_of};
use crate::request::{Answer, Error, From, Pull, Request, StoredBatch};
use crate::slot::{Chunk, Partition, Place};
use crate::{Action, Piece, ReadError, ReadPlan, ReadToken};

/// How often a read is planned again because what it looked for had moved.
const READ_TRIES: u32 = 5;

/// What can be done about a pull here and now.
enum Step {
    /// Read from this offset on; the stamp leaves out older batches.
    Read {
        from: u64,
        stamp_ms: u64,
    },
    /// There is nothing yet; wait for it or say so.
    Nothing {
        from: u64,
    },
    /// Only the leader may decide.
    AskLeader,
    /// The leader, who is here, must make sure that it still leads.
    Confirm,
    Refuse(Error),
}

impl Peer {
    /// Whether the replica here has begun: an empty one that waits for its snapshot knows nothing yet.
    pub(super) fn can_read(&self, group: GroupId) -> bool {
        self.slots.contains_key(&group) && self.groups.indexes(group).is_some_and(|i| i.applied > 0)
    }

    /// Whether the replica here has heard of its leader lately, so that what is published will come here too.
    pub(super) fn is_fresh(&self, group: GroupId) -> bool {
        let lately = 2 * self.config.consensus.election_ticks as u64;
        self.slots.get(&group).is_some_and(|replica| self.ticks <= replica.heard_tick + lately)
    }

    /// Polls at replicas that do not hear of their leaders any more go to the leaders.
    pub(super) fn leave_stale_replicas(&mut self) {
        let stale = |group: &GroupId| !self.leads(*group) && !self.is_fresh(*group);
        let groups: Vec<GroupId> = self.slots.keys().copied().filter(stale).collect();
        if groups.is_empty() || self.polls.is_empty() {
            return;
        }
        let here = |call: &Call| {
            let own = matches!(&call.request, Request::Pull(pull) if pull.replica.is_none());
            own && call.waits == Waits::Record && groups.contains(&call.request.group(&self.meta))
        };
        for id in self.calls.where_waits(here) {
            self.forget_poll(id);
            self.ask_leader(id);
        }
    }

    pub(super) fn pull(&mut self, id: CallId, group: GroupId) {
        let Some((call, pull)) = self.calls.get(id).and_then(|call| match &call.request {
            Request::Pull(pull) => Some((call, pull.clone())),
            _ => None,
        }) else {
            return;
        };
        let confirmed = call.confirmed;
        let meant_for_us = call.target == Some(self.node);
        let here = self.slots.contains_key(&group);
        match pull.replica {
            Some(node) if node != self.node || !here => return self.finish(id, Err(Error::NotHere)),
            // The replica that was to serve it has gone meanwhile: there are others.
            None if !here && meant_for_us => return self.finish(id, Err(Error::NotLeader(None))),
            None if !here => return self.park(id),
            _ => {}
        }
        match self.existence(&pull.topic, pull.partition) {
            Existence::Exists => {}
            Existence::Gone => return self.finish(id, Err(Error::UnknownTopic)),
            Existence::Unheard => return self.park(id),
        }
        if planted::is(Bug::ReadsAboveCommit)
            && let Some(batch) = self.uncommitted(group, &pull)
        {
            let answer = self.pulled(group, &pull, batch.base_offset, vec![batch]);
            return self.finish(id, Ok(answer));
        }
        match self.step(group, &pull, confirmed) {
            Step::Read { from, stamp_ms } => self.read(id, group, &pull, from, stamp_ms),
            Step::Nothing { from } if pull.wait_ms > 0 => self.poll(id, &pull, from),
            Step::Nothing { from } => self.finish_empty(id, group, &pull, from),
            Step::Confirm => self.confirm(id, group),
            Step::AskLeader => self.ask_leader(id),
            Step::Refuse(error) => self.finish(id, Err(error)),
        }
    }

    fn step(&self, group: GroupId, pull: &Pull, confirmed: bool) -> Step {
        let empty = Partition::default();
        let state = self.slots.get(&group).and_then(|r| r.slot.partition((pull.topic.id, pull.partition)));
        let state = state.unwrap_or(&empty);
        let (start, end) = (state.log_start(), state.next_offset());
        let leads = self.groups.role(group).is_some_and(|role| role.leads) && self.leading_ready(group);
        let final_word = confirmed || pull.replica.is_some();
        // What this replica alone cannot say for sure goes to the leader, and the leader makes sure first.
        let undecided = || if leads { Step::Confirm } else { Step::AskLeader };
        let beyond = |from: u64| {
            if from < start || (from > end && pull.replica.is_none()) {
                let refusal = Error::OutOfRange { wanted: from, log_start: start, high_watermark: end };
                if final_word { Step::Refuse(refusal) } else { undecided() }
            } else if leads || final_word || (pull.wait_ms > 0 && !pull.leader && self.is_fresh(group)) {
                Step::Nothing { from }
            } else {
                Step::AskLeader
            }
        };
        match pull.from {
            From::Offset(from) if (start..end).contains(&from) => Step::Read { from, stamp_ms: 0 },
            From::Offset(from) => beyond(from),
            From::Earliest if start < end => Step::Read { from: start, stamp_ms: 0 },
            From::Earliest => beyond(start),
            From::Latest if final_word => Step::Nothing { from: end },
            From::Stamp(stamp_ms) if final_word => match state.chunk_at_stamp(stamp_ms) {
                Some(chunk) => Step::Read { from: chunk.first.max(start), stamp_ms },
                None => Step::Nothing { from: end },
            },
            From::Latest | From::Stamp(_) => undecided(),
        }
    }

    /// Sends the call to the leader, wherever it came from.
    fn ask_leader(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if let Request::Pull(pull) = &mut call.request {
            pull.leader = true;
        }
        // A peer that chose this replica as any replica is told to choose the leader.
        self.dispatch(id);
    }

    fn read(&mut self, id: CallId, group: GroupId, pull: &Pull, from: u64, stamp_ms: u64) {
        let partition = (pull.topic.id, pull.partition);
        let max_bytes = u64::from(pull.max_bytes.min(self.config.pull_bytes_max));
        let Some(pieces) = self.pieces(group, partition, from, max_bytes, u64::from(pull.max_records)) else {
            // A file that is named but not there would be a broken invariant; the reader is told, not misled.
            return self.finish(id, Err(Error::Read("a run of records has no place".to_owned())));
        };
        let plan =
            ReadPlan { partition, from, stamp_ms, max_bytes, max_records: pull.max_records.into(), pieces };
        self.calls.waits(id, Waits::Disk);
        // The poll's own end no longer counts: there is something to read.
        self.calls.wake_at(id, u64::MAX);
        self.actions.push(Action::Read { token: ReadToken(id), plan });
    }

    fn pieces(
        &self,
        group: GroupId,
        partition: PartitionId,
        from: u64,
        max_bytes: u64,
        max_records: u64,
    ) -> Option<Vec<Piece>> {
        let state = self.slots.get(&group)?.slot.partition(partition)?;
        let (mut bytes, mut pieces) = (0, Vec::new());
        for chunk in state.chunks_from(from) {
            if !pieces.is_empty() && (bytes >= max_bytes || chunk.first >= from.saturating_add(max_records)) {
                break;
            }
            bytes += chunk.bytes;
            pieces.push(self.piece(group, chunk)?);
        }
        Some(pieces)
    }

    /// Where a run of records is to be read.
    pub(super) fn piece(&self, group: GroupId, chunk: &Chunk) -> Option<Piece> {
        let (base_offset, stamp_ms) = (chunk.first, chunk.stamp_ms);
        match chunk.place {
            Place::File(id) => {
                let file = *self.slots.get(&group)?.files.get(&id)?;
                Some(Piece::File { file, end: chunk.end })
            }
            Place::Log(index) => match self.groups.locate(group, index)? {
                hcube_consensus::Located::Memory(entry) => {
                    let batch = batch_of(&entry).expect("a run of records is a publish");
                    Some(Piece::Memory(StoredBatch { base_offset, stamp_ms, batch }))
                }
                hcube_consensus::Located::Disk(_) => self.piece_in_log(group, chunk),
            },
        }
    }

    /// Where a batch lies in the log, once it is written there.
    pub(super) fn piece_in_log(&self, group: GroupId, chunk: &Chunk) -> Option<Piece> {
        let Place::Log(index) = chunk.place else { return None };
        let position = self.groups.position(group, index)?;
        Some(Piece::Log { base_offset: chunk.first, stamp_ms: chunk.stamp_ms, position })
    }

    pub(super) fn read_done(&mut self, token: ReadToken, result: Result<Vec<StoredBatch>, ReadError>) {
        let id = token.0;
        let Some(call) = self.calls.get_mut(id).filter(|call| call.waits == Waits::Disk) else { return };
        let Request::Pull(pull) = call.request.clone() else { return };
        let group = call.request.group(&self.meta);
        match result {
            Ok(batches) if batches.is_empty() && !matches!(pull.from, From::Stamp(_)) => {
                self.finish(id, Err(Error::Read("records that should be there are not".to_owned())));
            }
            Ok(batches) if batches.is_empty() => {
                // Every batch was older than the stamp: what is wanted does not exist yet.
                let end = self.state_of(group, &pull).map_or(0, Partition::next_offset);
                if pull.wait_ms > 0 {
                    self.poll(id, &pull, end);
                } else {
                    self.finish_empty(id, group, &pull, end);
                }
            }
            Ok(batches) => {
                let first = batches[0].base_offset;
                let from = match pull.from {
                    From::Offset(offset) => offset,
                    _ => self.state_of(group, &pull).map_or(first, |state| state.log_start().max(first)),
                };
                let answer = self.pulled(group, &pull, from, batches);
                self.finish(id, Ok(answer));
            }
            Err(ReadError::Gone) if call.tries < READ_TRIES => {
                call.tries += 1;
                self.pull(id, group);
            }
            Err(error) => self.finish(id, Err(Error::Read(error.to_string()))),
        }
    }

    /// A planted mistake: what this replica has and does not know to be committed, where the pull is at the end of that.
    fn uncommitted(&self, group: GroupId, pull: &Pull) -> Option<StoredBatch> {
        let end = self.state_of(group, pull)?.next_offset();
        let indexes = self.groups.indexes(group).filter(|_| pull.from == From::Offset(end))?;
        (indexes.applied + 1..=indexes.last).find_map(|index| {
            let hcube_consensus::Located::Memory(entry) = self.groups.locate(group, index)? else {
                return None;
            };
            match Command::decode(entry).ok()? {
                Command::Publish { partition, base_offset, stamp_ms, batch }
                    if partition == (pull.topic.id, pull.partition) && base_offset == end =>
                {
                    Some(StoredBatch { base_offset, stamp_ms, batch })
                }
                _ => None,
            }
        })
    }

    fn state_of(&self, group: GroupId, pull: &Pull) -> Option<&Partition> {
        self.slots.get(&group)?.slot.partition((pull.topic.id, pull.partition))
    }

    fn pulled(&self, group: GroupId, pull: &Pull, from: u64, batches: Vec<StoredBatch>) -> Answer {
        let state = self.state_of(group, pull);
        Answer::Pulled {
            from,
            batches,
            high_watermark: state.map_or(0, Partition::next_offset),
            log_start: state.map_or(0, Partition::log_start),
        }
    }

    fn finish_empty(&mut self, id: CallId, group: GroupId, pull: &Pull, from: u64) {
        let answer = self.pulled(group, pull, from, Vec::new());
        self.finish(id, Ok(answer));
    }

    /// Waits for the record at `from`.
    fn poll(&mut self, id: CallId, pull: &Pull, from: u64) {
        let first = self.calls.get(id).is_some_and(|call| !matches!(call.waits, Waits::Record));
        self.polls.entry((pull.topic.id, pull.partition)).or_default().insert(id);
        if let Some(Request::Pull(pull)) = self.calls.get_mut(id).map(|call| &mut call.request) {
            // From now on the pull is for this very offset, whatever it was asked for by.
            pull.from = From::Offset(from);
        }
        self.calls.waits(id, Waits::Record);
        if first {
            self.calls.wake_at(id, self.now.mono_ms + u64::from(pull.wait_ms));
        }
    }

    /// A poll's time is over: it ends with nothing.
    pub(super) fn end_poll(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let Request::Pull(pull) = call.request.clone() else { return };
        let group = call.request.group(&self.meta);
        let from = match pull.from {
            From::Offset(from) => from,
            _ => 0,
        };
        self.finish_empty(id, group, &pull, from);
    }

    pub(super) fn forget_poll(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let Request::Pull(pull) = &call.request else { return };
        let at = (pull.topic.id, pull.partition);
        if let Some(waiting) = self.polls.get_mut(&at) {
            waiting.remove(&id);
            if waiting.is_empty() {
                self.polls.remove(&at);
            }
        }
    }

    /// The partition changed: whoever waits for it looks again.
    pub(super) fn wake_polls(&mut self, at: PartitionId) {
        for id in self.polls.remove(&at).unwrap_or_default() {
            let group = self.calls.get(id).map(|call| call.request.group(&self.meta));
            if let Some(group) = group {
                self.pull(id, group);
            }
        }
    }

    /// A read is confirmed; it is served as soon as everything up to its index is applied.
    pub(super) fn read_confirmed(&mut self, read: ReadIndex) {
        let applied = self.groups.indexes(read.group).map_or(0, |indexes| indexes.applied);
        let waits = self.calls.get(read.token).is_some_and(|call| call.waits == Waits::Confirmation);
        if !waits {
            return;
        }
        if read.index <= applied {
            self.answer_confirmed(read.token, read.group);
        } else {
            self.confirmed.entry(read.group).or_default().push((read.index, read.token));
        }
    }
}
