//! Which connections are up to which peer, and what the core is told of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hcube_broker::frame::raft_bytes_at_most;
use hcube_broker::{Event, Frame};
use hcube_core::ids::NodeId;

use super::outbox::Outbox;
use super::wire::{self, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX};
use crate::engine::Inputs;
use crate::metrics::Metrics;

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// This node.
    Dialled,
    /// The peer.
    Accepted,
}

/// All peers with a connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: BTreeMap<NodeId, Lines>,
    /// Counts connections.
    serial: u64,
}

/// At most one connection of each direction: a new one replaces the old, which its peer has given up.
#[derive(Debug, Default)]
struct Lines {
    dialled: Option<Line>,
    accepted: Option<Line>,
}

#[derive(Debug)]
struct Line {
    serial: u64,
    /// The newest that the peer knows.
    feature_level: u32,
    outbox: Arc<Outbox>,
}

/// A connection in the table; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    table: &'t Table,
    core: &'t Inputs,
    node: NodeId,
    direction: Direction,
    serial: u64,
}

impl Table {
    /// Enters a connection that is up. From now on frames to the peer may go over it.
    pub fn enter<'t>(
        &'t self,
        node: NodeId,
        direction: Direction,
        outbox: &Arc<Outbox>,
        feature_level: u32,
        core: &'t Inputs,
    ) -> Entry<'t> {
        let mut state = self.lock();
        state.serial += 1;
        let serial = state.serial;
        let lines = state.lines.entry(node).or_default();
        let first = lines.dialled.is_none() && lines.accepted.is_none();
        let line = Line { serial, feature_level, outbox: Arc::clone(outbox) };
        let replaced = lines.of(direction).replace(line);
        if let Some(old) = &replaced {
            old.outbox.close();
            core.event(Event::LinkDown(node));
        }
        // Told under the lock, so that the core hears of all links in the order in which they changed.
        if first || replaced.is_some() {
            core.event(Event::LinkUp { node, feature_level });
        }
        Entry { table: self, core, node, direction, serial }
    }

    /// Sends a frame to a peer that can be reached, over the connection that this node made if it is up.
    pub fn send(&self, to: NodeId, frame: Frame, metrics: &Metrics) {
        let Some(outbox) = self.outbox(to) else { return };
        let may_be_lost = matches!(frame, Frame::Raft(_));
        for message in messages(frame) {
            if outbox.push(message) {
                continue;
            }
            if may_be_lost {
                // Raft sends again what matters.
                metrics.link_dropped_frames.inc();
            } else {
                // A request or an answer that is lost without a word would be waited for in vain. When the
                // connection ends, both sides know.
                outbox.close();
            }
        }
    }

    fn outbox(&self, to: NodeId) -> Option<Arc<Outbox>> {
        let state = self.lock();
        let lines = state.lines.get(&to)?;
        let line = lines.dialled.as_ref().or(lines.accepted.as_ref())?;
        Some(Arc::clone(&line.outbox))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn of(&mut self, direction: Direction) -> &mut Option<Line> {
        match direction {
            Direction::Dialled => &mut self.dialled,
            Direction::Accepted => &mut self.accepted,
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let Some(lines) = state.lines.get_mut(&self.node) else { return };
        // One that replaced it has said all there is to say.
        if lines.of(self.direction).take_if(|line| line.serial == self.serial).is_none() {
            return;
        }
        // What was under way on this connection may be lost even if there is another.
        self.core.event(Event::LinkDown(self.node));
        if let Some(Line { feature_level, .. }) = lines.dialled.as_ref().or(lines.accepted.as_ref()) {
            self.core.event(Event::LinkUp { node: self.node, feature_level: *feature_level });
        } else {
            state.lines.remove(&self.node);
        }
    }
}

/// The frame as it is sent; Raft messages for many groups may need several of them.
fn messages(frame: Frame) -> Vec<Vec<u8>> {
    match frame {
        Frame::Raft(mut envelopes)
            if envelopes.len() > 1 && raft_bytes_at_most(&envelopes) > PAYLOAD_BYTES_MAX =>
        {
            let rest = envelopes.split_off(envelopes.len() / 2);
            let mut all = messages(Frame::Raft(envelopes));
            all.extend(messages(Frame::Raft(rest)));
            all
        }
        frame => {
            let message = wire::message(Kind::Frame, |out| frame.encode_behind(out));
            if message.len() > HEADER_BYTES + PAYLOAD_BYTES_MAX {
                tracing::error!(bytes = message.len(), "a message is too long for a link and is not sent");
                return Vec::new();
            }
            vec![message]
        }
    }
}

#[cfg(test)]
mod tests {
    use hcube_broker::frame::{Answered, Forwarded};
    use hcube_broker::{Answer, Error, Request};
    use hcube_core::ids::GroupId;
    use hcube_log::SortedFileId;

    use super::*;
    use crate::engine::{Input, InputQueue};

    const PEER: NodeId = NodeId(5);

    fn fixture() -> (Table, Inputs, InputQueue, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        let (inputs, queue) = Inputs::new(Arc::clone(&metrics));
        (Table::default(), inputs, queue, metrics)
    }

    /// Ups and downs that the core was told since the last look.
    fn told(queue: &InputQueue) -> String {
        let events = queue.receiver.try_iter().map(|input| match input {
            Input::Event(Event::LinkUp { node: PEER, feature_level: 1 }) => 'u',
            Input::Event(Event::LinkDown(PEER)) => 'd',
            other => panic!("{other:?}"),
        });
        events.collect()
    }

    fn request() -> Frame {
        let file = SortedFileId { group: GroupId(1), ..SortedFileId::default() };
        let request = Request::ReadFile { node: PEER, file, at: 0, length: 1 };
        Frame::Request(Forwarded { id: 1, target: PEER, path: Vec::new(), ttl: 1, patience_ms: 1, request })
    }

    fn answer(bytes: usize) -> Frame {
        let result: Result<_, Error> = Ok(Answer::FilePart(vec![0; bytes].into()));
        Frame::Response(Answered { id: 1, result, path: Vec::new() })
    }

    #[tokio::test]
    async fn the_core_hears_of_every_loss() {
        let (table, inputs, queue, metrics) = fixture();
        let (dialled, accepted) = (Arc::new(Outbox::new(1000)), Arc::new(Outbox::new(1000)));
        let first = table.enter(PEER, Direction::Accepted, &accepted, 1, &inputs);
        assert_eq!(told(&queue), "u");
        let second = table.enter(PEER, Direction::Dialled, &dialled, 1, &inputs);
        assert_eq!(told(&queue), "");
        table.send(PEER, request(), &metrics);
        assert_eq!(
            dialled.take().await.map(|all| all.messages.len()),
            Some(1),
            "the own connection is preferred"
        );
        drop(second);
        // What was on its way over the lost one is lost, though the peer can still be reached.
        assert_eq!(told(&queue), "du");
        table.send(PEER, request(), &metrics);
        assert_eq!(accepted.take().await.map(|all| all.messages.len()), Some(1));
        drop(first);
        assert_eq!(told(&queue), "d");
        table.send(PEER, request(), &metrics);
    }

    #[tokio::test]
    async fn a_new_connection_replaces_the_old_of_its_direction() {
        let (table, inputs, queue, _) = fixture();
        let (old, new) = (Arc::new(Outbox::new(1000)), Arc::new(Outbox::new(1000)));
        let first = table.enter(PEER, Direction::Accepted, &old, 1, &inputs);
        let second = table.enter(PEER, Direction::Accepted, &new, 1, &inputs);
        assert_eq!(told(&queue), "udu");
        assert_eq!(old.take().await, None);
        drop(first);
        assert_eq!(told(&queue), "");
        drop(second);
        assert_eq!(told(&queue), "d");
    }

    #[tokio::test]
    async fn a_full_queue_drops_raft_and_ends_connections_with_requests() {
        let (table, inputs, _queue, metrics) = fixture();
        let outbox = Arc::new(Outbox::new(127));
        let _entry = table.enter(PEER, Direction::Dialled, &outbox, 1, &inputs);
        table.send(PEER, answer(80), &metrics);
        // An empty frame takes five bytes, and nine for its header.
        (0..4).for_each(|_| table.send(PEER, Frame::Raft(Vec::new()), &metrics));
        assert_eq!(metrics.link_dropped_frames.get(), 2);
        assert!(outbox.push(Vec::new()), "the connection is still there");
        table.send(PEER, answer(80), &metrics);
        assert_eq!(outbox.take().await, None);
    }
}
