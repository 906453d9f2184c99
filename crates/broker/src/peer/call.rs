//! Calls: requests under way at this peer, whoever asked.

use std::collections::{BTreeMap, BTreeSet};

use hcube_consensus::Rng;
use hcube_core::ids::{GroupId, NodeId, Vertex};

use super::Peer;
use super::fanout::Meeting;
use crate::frame::{Answered, Frame};
use crate::request::{Answer, Error, Reply, Request};
use crate::{Action, RequestId};

/// Names a call at this peer, and the hop to the next one.
pub(super) type CallId = u64;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A client of this peer.
    Client(RequestId),
    /// Another peer, by its own name for the hop.
    Peer(NodeId, u64),
    /// This peer itself, for a snapshot of the group.
    Snapshot(GroupId),
    /// This peer itself, to report something about the group to the metadata's leader.
    Report(GroupId),
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// A leader, a link, or better times: tried again at every tick and change of leader.
    Parked,
    /// Its entry to be applied.
    Commit,
    /// The leader's confirmation that a read is current.
    Confirmation,
    /// The disk.
    Disk,
    /// The next record of its partition.
    Record,
    /// The answer of the peer it was forwarded to.
    Peer(NodeId),
    /// The answer to another poll of this peer, see [`super::fanout`].
    Meeting,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Call {
    pub origin: Origin,
    pub request: Request,
    pub deadline_ms: u64,
    /// When a long poll ends with what there is; the deadline otherwise.
    pub wake_ms: u64,
    /// The vertices it has been at, this one included.
    pub path: Vec<Vertex>,
    pub ttl: u16,
    /// The node that is meant to serve it, when it came from another peer.
    pub target: Option<NodeId>,
    pub waits: Waits,
    /// How often it was forwarded or begun again.
    pub tries: u32,
    /// Whether it changes something and was sent to a peer that never said that it did nothing.
    pub may_be_done: bool,
    /// Whether a read may be decided here: the leader's word that this state is current.
    pub confirmed: bool,
    /// Where a poll waits together with others.
    pub meeting: Option<Meeting>,
}

impl Call {
    pub fn local(id: RequestId, request: Request, deadline_ms: u64, vertex: Vertex) -> Self {
        Self::new(Origin::Client(id), request, deadline_ms, vec![vertex])
    }

    pub fn new(origin: Origin, request: Request, deadline_ms: u64, path: Vec<Vertex>) -> Self {
        Self {
            origin,
            request,
            deadline_ms,
            wake_ms: deadline_ms,
            path,
            ttl: 0,
            target: None,
            waits: Waits::Parked,
            tries: 0,
            may_be_done: false,
            confirmed: false,
            meeting: None,
        }
    }
}

/// All calls of a peer.
#[derive(Debug)]
pub(super) struct Calls {
    all: BTreeMap<CallId, Call>,
    by_origin: BTreeMap<Origin, CallId>,
    wakes: BTreeSet<(u64, CallId)>,
    parked: BTreeSet<CallId>,
    bytes: usize,
    last: CallId,
}

impl Calls {
    /// No calls. Ids begin at a random place, so that an answer to a call of the process before is nobody's.
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            all: BTreeMap::new(),
            by_origin: BTreeMap::new(),
            wakes: BTreeSet::new(),
            parked: BTreeSet::new(),
            bytes: 0,
            last: rng.next_u64() >> 1,
        }
    }

    pub fn insert(&mut self, call: Call) -> CallId {
        self.last += 1;
        let id = self.last;
        self.bytes += call.request.bytes();
        self.by_origin.insert(call.origin, id);
        self.wakes.insert((call.wake_ms, id));
        self.parked.insert(id);
        self.all.insert(id, call);
        id
    }

    pub fn remove(&mut self, id: CallId) -> Option<Call> {
        let call = self.all.remove(&id)?;
        self.bytes -= call.request.bytes();
        self.by_origin.remove(&call.origin);
        self.wakes.remove(&(call.wake_ms, id));
        self.parked.remove(&id);
        Some(call)
    }

    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.all.get(&id)
    }

    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.all.get_mut(&id)
    }

    pub fn waits(&mut self, id: CallId, waits: Waits) {
        let Some(call) = self.all.get_mut(&id) else { return };
        call.waits = waits;
        if waits == Waits::Parked {
            self.parked.insert(id);
        } else {
            self.parked.remove(&id);
        }
    }

    pub fn wake_at(&mut self, id: CallId, wake_ms: u64) {
        let Some(call) = self.all.get_mut(&id) else { return };
        self.wakes.remove(&(call.wake_ms, id));
        call.wake_ms = wake_ms.min(call.deadline_ms);
        self.wakes.insert((call.wake_ms, id));
    }

    pub fn by_origin(&self, origin: Origin) -> Option<CallId> {
        self.by_origin.get(&origin).copied()
    }

    pub fn due(&self, now_ms: u64) -> Vec<CallId> {
        self.wakes.range(..=(now_ms, CallId::MAX)).map(|(_, id)| *id).collect()
    }

    pub fn parked(&self) -> Vec<CallId> {
        self.parked.iter().copied().collect()
    }

    /// Calls of a peer that only read: without it, nobody waits for them.
    pub fn reads_of(&self, node: NodeId) -> Vec<Origin> {
        let reads = |call: &&Call| {
            matches!(call.origin, Origin::Peer(from, _) if from == node) && !call.request.changes()
        };
        self.all.values().filter(reads).map(|call| call.origin).collect()
    }

    pub fn where_waits(&self, matches: impl Fn(&Call) -> bool) -> Vec<CallId> {
        self.all.iter().filter(|(_, call)| matches(call)).map(|(id, _)| *id).collect()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Peer {
    /// Takes up a call, unless there are too many.
    pub(super) fn begin(&mut self, call: Call) {
        // Polls wait long and may be many; they leave half of the room to everything else.
        let max = self.config.calls_max;
        let room = if call.request.may_wait() { max / 2 } else { max };
        let full = self.calls.len() >= room
            || self.calls.bytes() + call.request.bytes() > self.config.calls_bytes_max;
        let id = self.calls.insert(call);
        if full {
            self.finish(id, Err(Error::Overloaded));
        } else {
            self.dispatch(id);
        }
    }

    /// Answers a call that was decided here.
    pub(super) fn finish(&mut self, id: CallId, result: Result<Answer, Error>) {
        let path = self.calls.get(id).map(|call| call.path.clone()).unwrap_or_default();
        self.finish_with(id, result, path);
    }

    /// Answers a call with the way that it went.
    pub(super) fn finish_with(&mut self, id: CallId, result: Result<Answer, Error>, path: Vec<Vertex>) {
        self.forget_poll(id);
        self.part(id);
        let Some(call) = self.calls.remove(id) else { return };
        match call.origin {
            Origin::Client(id) => self.actions.push(Action::Reply { id, reply: Reply { result, path } }),
            Origin::Peer(to, id) => {
                let frame = Frame::Response(Answered { id, result, path });
                self.actions.push(Action::Send { to, frame });
            }
            Origin::Snapshot(group) => self.file_part(group, &call.request, result),
            // What was not heard is said again: see `membership`.
            Origin::Report(_) => {}
        }
    }

    /// Nobody waits for the answer any more. What is in a log stays there; nothing else goes on, here or at the
    /// peers that the call was forwarded to.
    pub(super) fn abandon(&mut self, origin: Origin) {
        let Some(id) = self.calls.by_origin(origin) else { return };
        self.forget_poll(id);
        self.part(id);
        if let Some(Call { waits: Waits::Peer(to), .. }) = self.calls.remove(id) {
            self.actions.push(Action::Send { to, frame: Frame::Cancel(id) });
        }
    }

    /// Lets the call be tried again at the next occasion. A peer that has left its hypercube gets none: whoever asked
    /// it is told at once, and asks another.
    pub(super) fn park(&mut self, id: CallId) {
        self.calls.waits(id, Waits::Parked);
        if !self.is_removed() {
            return;
        }
        let Some(call) = self.calls.get(id) else { return };
        let error = match call.origin {
            _ if call.may_be_done => Error::Unknown,
            Origin::Peer(..) => Error::NotLeader(None),
            _ => Error::Left,
        };
        self.finish(id, Err(error));
    }

    /// Calls whose time has come: polls end with what there is, others with the truth about their outcome.
    pub(super) fn wake_due(&mut self) {
        for id in self.calls.due(self.now.mono_ms) {
            let Some(call) = self.calls.get(id) else { continue };
            if call.waits == Waits::Record {
                self.end_poll(id);
                continue;
            }
            if call.waits == Waits::Meeting && call.deadline_ms > self.now.mono_ms {
                // It has waited for as long as it wanted, and asks how things are.
                self.go_on(id);
                continue;
            }
            let may_be_done = call.may_be_done || call.waits == Waits::Commit;
            let error = if may_be_done { Error::Unknown } else { Error::NoLeader };
            self.finish(id, Err(error));
        }
    }
}
