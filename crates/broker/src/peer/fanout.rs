//! Fan-out over the broadcast tree: polls for the same records meet on their way.
//!
//! A poll keeps to the edges of the hypercube, and the routes from everywhere to the peer that serves it are that peer's
//! broadcast tree ([`hcube_core::cube::Cube::broadcast_children`]). At a peer from which a poll for the same records went
//! on before, the next one waits, and what comes back goes to all who wait: so a leader gives each batch to at most D
//! peers, however many of them have subscribers, and none passes a peer behind which there are none. Who comes when the
//! answer has just gone by is given it as well, for a second.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hcube_core::ids::{NodeId, Vertex};
use hcube_core::record::Batch;

use super::Peer;
use super::call::{CallId, Origin, Waits};
use crate::command::PartitionId;
use crate::request::{Answer, Error, From, Request, StoredBatch};

/// How long an answer is kept for polls that come late, in ticks.
const PASSED_TICKS: u64 = 10;
/// Bytes of batches that are kept for them.
const PASSED_BYTES: usize = 4 << 20;

/// What polls that wait for each other have in common. Each went towards the same peer, so whoever waits at a peer comes
/// from farther away than it, and nobody waits in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Meeting {
    target: NodeId,
    wanted: Wanted,
    from: u64,
}

/// What a poll asks for, but for the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    partition: PartitionId,
    max_records: u32,
    max_bytes: u32,
}

/// Polls that met here, and the last answers that went by.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    met: BTreeMap<Meeting, Met>,
    passed: VecDeque<Passed>,
    passed_bytes: usize,
    /// What other peers poll for here, and at which tick they were given it last.
    followed: BTreeMap<Wanted, u64>,
    /// Polls so far that others' answers answered.
    pub shared: u64,
}

#[derive(Debug)]
struct Met {
    /// The poll that went on.
    ahead: CallId,
    /// Those that wait here for its answer.
    behind: BTreeSet<CallId>,
}

/// An answer that went by.
#[derive(Debug)]
struct Passed {
    tick: u64,
    wanted: Wanted,
    /// It answers polls from here...
    from: u64,
    /// ...to before here.
    end: u64,
    batches: Vec<StoredBatch>,
    high_watermark: u64,
    log_start: u64,
    /// The way it came, from the next peer to the one that served it.
    onward: Vec<Vertex>,
}

impl Fanout {
    /// Whether a poll went on for this already; otherwise this one does. Then the call waits for it.
    fn waits(&mut self, meeting: Meeting, call: CallId) -> bool {
        let met = self.met.entry(meeting).or_insert(Met { ahead: call, behind: BTreeSet::new() });
        met.ahead != call && met.behind.insert(call)
    }

    /// The call waits with nobody any more. Returns who waited for it.
    fn leave(&mut self, meeting: Meeting, call: CallId) -> BTreeSet<CallId> {
        let Some(met) = self.met.get_mut(&meeting) else { return BTreeSet::new() };
        if met.ahead != call {
            met.behind.remove(&call);
            return BTreeSet::new();
        }
        self.met.remove(&meeting).map(|met| met.behind).unwrap_or_default()
    }

    fn keep(&mut self, passed: Passed) {
        self.passed_bytes += bytes(&passed);
        self.passed.push_back(passed);
        while self.passed_bytes > PASSED_BYTES {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.passed.pop_front() {
            self.passed_bytes -= bytes(&oldest);
        }
    }

    /// Forgets what went by before this tick.
    fn forget_before(&mut self, tick: u64) {
        self.followed.retain(|_, at| *at >= tick);
        while self.passed.front().is_some_and(|passed| passed.tick < tick) {
            self.forget_oldest();
        }
    }

    /// The newest answer that has what is wanted at this offset.
    fn passed(&self, wanted: Wanted, from: u64) -> Option<&Passed> {
        let has = |passed: &&Passed| passed.wanted == wanted && (passed.from..passed.end).contains(&from);
        self.passed.iter().rev().find(has)
    }
}

fn bytes(passed: &Passed) -> usize {
    passed.batches.iter().map(|stored| stored.batch.len()).sum()
}

impl Passed {
    /// The answer of a poll from one of its offsets.
    fn answer(&self, from: u64) -> Answer {
        let first = self.batches.iter().rposition(|stored| stored.base_offset <= from).unwrap_or(0);
        Answer::Pulled {
            from,
            batches: self.batches[first..].to_vec(),
            high_watermark: self.high_watermark,
            log_start: self.log_start,
        }
    }
}

impl Peer {
    /// Where a poll can meet others, and over which edge it goes from here; none where it goes its own way: by a detour,
    /// or because it is no poll for what comes next at any replica.
    pub(super) fn branch(&self, id: CallId, target: NodeId) -> Option<(Meeting, NodeId)> {
        let call = self.calls.get(id)?;
        let Request::Pull(pull) = &call.request else { return None };
        let From::Offset(from) = pull.from else { return None };
        let spent = matches!(call.origin, Origin::Peer(..)) && call.ttl == 0;
        if pull.wait_ms == 0 || pull.leader || pull.replica.is_some() || spent {
            return None;
        }
        let to = self.meta.members.get(&target)?.vertex;
        let hop = self.meta.cube().next_hop(self.vertex, to).filter(|hop| !call.path.contains(hop))?;
        let via = self.meta.member_at(hop).map(|member| member.node)?;
        let wanted = Wanted {
            partition: (pull.topic.id, pull.partition),
            max_records: pull.max_records,
            max_bytes: pull.max_bytes,
        };
        self.links.contains_key(&via).then_some((Meeting { target, wanted, from }, via))
    }

    /// Answers a poll with what has just gone by, or lets it wait for one that went on before. Returns whether it need
    /// not go on itself.
    pub(super) fn meet(&mut self, id: CallId, meeting: Meeting) -> bool {
        let Meeting { wanted, from, .. } = meeting;
        let passed = self.fanout.passed(wanted, from).filter(|_| !self.meta.is_deleted(wanted.partition.0));
        if let Some(passed) = passed {
            let (answer, onward) = (passed.answer(from), passed.onward.clone());
            self.answer_behind(id, wanted, answer, &onward);
            return true;
        }
        let waits = self.fanout.waits(meeting, id);
        let now_ms = self.now.mono_ms;
        let Some(call) = self.calls.get_mut(id) else { return true };
        call.meeting = Some(meeting);
        if let (true, Request::Pull(pull)) = (waits, &call.request) {
            let ends_ms = now_ms + u64::from(pull.wait_ms);
            self.calls.waits(id, Waits::Meeting);
            self.calls.wake_at(id, ends_ms);
        }
        waits
    }

    /// Gives what came back for a poll to those that wait for it here, and keeps it for those that come late.
    pub(super) fn pass_on(&mut self, id: CallId, result: &Result<Answer, Error>, path: &[Vertex]) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Ok(Answer::Pulled { batches, high_watermark, log_start, .. }) = result else { return };
        // Where nothing came, each waits on for as long as it wants.
        let (Some(meeting), Some(last)) = (call.meeting, batches.last()) else { return };
        call.meeting = None;
        let onward: Vec<Vertex> = path.iter().skip(call.path.len()).copied().collect();
        self.note_follower(id, meeting.wanted);
        let behind = self.fanout.leave(meeting, id);
        let end = Batch::parse(last.batch.clone())
            .map_or(last.base_offset, |batch| last.base_offset + u64::from(batch.records_count()));
        let Meeting { wanted, from, .. } = meeting;
        let passed = Passed {
            tick: self.ticks,
            wanted,
            from,
            end,
            batches: batches.clone(),
            high_watermark: *high_watermark,
            log_start: *log_start,
            onward,
        };
        for id in &behind {
            if let Some(call) = self.calls.get_mut(*id) {
                call.meeting = None;
            }
            self.answer_behind(*id, wanted, passed.answer(from), &passed.onward);
        }
        // Subscribers here have a feed; only other peers come late.
        if self.fanout.followed.contains_key(&wanted) {
            self.fanout.keep(passed);
        }
    }

    /// Notes a poll of another peer that gets its answer here.
    fn note_follower(&mut self, id: CallId, wanted: Wanted) {
        if self.calls.get(id).is_some_and(|call| matches!(call.origin, Origin::Peer(..))) {
            self.fanout.followed.insert(wanted, self.ticks);
        }
    }

    /// Forgets answers that went by too long ago.
    pub(super) fn forget_passed(&mut self) {
        self.fanout.forget_before(self.ticks.saturating_sub(PASSED_TICKS));
    }

    /// Answers a poll by what another one brought, or brought just before.
    fn answer_behind(&mut self, id: CallId, wanted: Wanted, answer: Answer, onward: &[Vertex]) {
        self.note_follower(id, wanted);
        let Some(call) = self.calls.get(id) else { return };
        self.fanout.shared += 1;
        let path = call.path.iter().chain(onward).copied().collect();
        self.finish_with(id, Ok(answer), path);
    }

    /// The call does not wait with others any more: those that waited for it go on by themselves.
    pub(super) fn part(&mut self, id: CallId) {
        let Some(meeting) = self.calls.get_mut(id).and_then(|call| call.meeting.take()) else { return };
        for behind in self.fanout.leave(meeting, id) {
            self.go_on(behind);
        }
    }

    /// A poll that waited for another goes on by itself, for as long as it still wants to wait.
    pub(super) fn go_on(&mut self, id: CallId) {
        let now_ms = self.now.mono_ms;
        self.part(id);
        let Some(call) = self.calls.get_mut(id).filter(|call| call.waits == Waits::Meeting) else { return };
        if let Request::Pull(pull) = &mut call.request {
            let left_ms = call.wake_ms.saturating_sub(now_ms);
            pull.wait_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
        }
        self.calls.wake_at(id, u64::MAX);
        self.calls.waits(id, Waits::Parked);
        self.dispatch(id);
    }
}
