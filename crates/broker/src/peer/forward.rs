//! Any peer takes any request: who can serve it, and the way there over the hypercube.

use hcube_core::ids::{GroupId, NodeId, Vertex};
use hcube_core::meta::Changed;

use super::Peer;
use super::call::{Call, CallId, Origin, Waits};
use crate::Action;
use crate::frame::{Answered, Forwarded, Frame};
use crate::request::{Answer, Error, Pull, Request};

/// How long an answer may take on its way back, in milliseconds.
const ANSWER_MS: u64 = 250;

/// Where a request can be served.
enum Server {
    Here,
    /// At this node.
    At(NodeId),
    /// Nowhere for the moment.
    Nobody,
}

impl Peer {
    /// Takes a call one step on: serves it, forwards it, or parks it.
    pub(super) fn dispatch(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let group = call.request.group(&self.meta);
        if self.meta.placement_of(group).is_none() {
            return self.finish(id, Err(Error::UnknownTopic));
        }
        match self.server(call, group) {
            Server::Here => self.serve(id, group),
            Server::At(node) => self.forward(id, node),
            Server::Nobody => self.park(id),
        }
    }

    fn server(&self, call: &Call, group: GroupId) -> Server {
        let leads = self.groups.role(group).is_some_and(|role| role.leads);
        // Requests that name a node, or that any replica may serve, do not look for a leader.
        match &call.request {
            Request::ReadFile { node, .. }
            | Request::NodeStatus { node }
            | Request::MetadataStatus { node }
            | Request::ForceMetadata { node, .. }
            | Request::Pull(Pull { replica: Some(node), .. }) => {
                let absent = !self.meta.members.contains_key(node);
                return if *node == self.node || absent { Server::Here } else { Server::At(*node) };
            }
            Request::Pull(pull) if !pull.leader && self.can_read(group) => return Server::Here,
            _ if leads => return Server::Here,
            _ => {}
        }
        match call.target {
            // The sender took this peer for the leader: it decides what to do next, so that nothing circles.
            Some(target) if target == self.node => Server::Here,
            Some(target) => Server::At(target),
            None => {
                let near = self.near_reader(call, group);
                let server = near.or_else(|| self.likely_leader(group, call.tries));
                server.map_or(Server::Nobody, Server::At)
            }
        }
    }

    /// The nearest replica of a slot with replicas that only read, for a pull that any replica may serve.
    fn near_reader(&self, call: &Call, group: GroupId) -> Option<NodeId> {
        let any = matches!(&call.request, Request::Pull(pull) if !pull.leader);
        let placement = self.meta.placement_of(group).filter(|placement| !placement.learners.is_empty())?;
        let cube = self.meta.cube();
        let distance = |node: &NodeId| {
            self.meta
                .members
                .get(node)
                .map(|member| (cube.distance(self.vertex, member.vertex), member.vertex))
        };
        let others = placement.replicas().map(|replica| replica.node).filter(|node| *node != self.node);
        others.filter(|_| any).filter(|node| distance(node).is_some()).min_by_key(distance)
    }

    /// Who leads as far as this peer knows, or else whom to ask for the `tries`-th time.
    fn likely_leader(&self, group: GroupId, tries: u32) -> Option<NodeId> {
        let others = |node: &NodeId| *node != self.node;
        // A replica that hears of no leader may be the only one: its link to the leader may be cut.
        if let Some(leader) = self.groups.role(group).and_then(|role| role.leader) {
            return Some(leader).filter(others);
        }
        if let Some(hint) = self.hints.get(&group) {
            return Some(*hint);
        }
        let placement = self.meta.placement_of(group)?;
        let voters: Vec<NodeId> = placement.voters.iter().map(|voter| voter.node).filter(others).collect();
        if tries == 0 && placement.leader != self.node {
            return Some(placement.leader);
        }
        (!voters.is_empty()).then(|| voters[tries as usize % voters.len()])
    }

    /// Sends a call on towards a node: over a link of its own where there is one, otherwise over the edges of the
    /// hypercube; polls keep to the edges, where they meet.
    fn forward(&mut self, id: CallId, target: NodeId) {
        self.part(id);
        let branch = self.branch(id, target);
        if branch.is_some_and(|(meeting, _)| self.meet(id, meeting)) {
            return;
        }
        let Some(via) = branch.map(|(_, via)| via).or_else(|| self.hop_towards(id, target)) else {
            let transit = self.calls.get(id).is_some_and(|call| matches!(call.origin, Origin::Peer(..)));
            if transit {
                let may_be_done = self.calls.get(id).is_some_and(|call| call.may_be_done);
                // Where nothing was done, the peer that was asked first tries another way.
                let error = if may_be_done { Error::Unknown } else { Error::NotLeader(None) };
                return self.finish(id, Err(error));
            }
            if let Some(call) = self.calls.get_mut(id) {
                call.tries += 1;
            }
            self.hints.retain(|_, node| *node != target);
            return self.park(id);
        };
        let cube = self.meta.cube();
        let Some(call) = self.calls.get_mut(id) else { return };
        let ttl = match call.origin {
            Origin::Peer(..) => call.ttl - 1,
            _ => u16::try_from(cube.ttl()).unwrap_or(u16::MAX),
        };
        let patience = call.deadline_ms.saturating_sub(self.now.mono_ms);
        let mut onward = call.request.clone();
        if let Request::Pull(pull) = &mut onward {
            // A poll that ends over there in time still finds its way back.
            let longest = patience.saturating_sub(ANSWER_MS);
            pull.wait_ms = pull.wait_ms.min(u32::try_from(longest).unwrap_or(u32::MAX));
        }
        call.may_be_done |= call.request.changes();
        let request = Forwarded {
            id,
            target,
            path: call.path.clone(),
            ttl,
            patience_ms: u32::try_from(patience).unwrap_or(u32::MAX),
            request: onward,
        };
        call.tries += 1;
        self.calls.waits(id, Waits::Peer(via));
        self.actions.push(Action::Send { to: via, frame: Frame::Request(request) });
    }

    fn hop_towards(&self, id: CallId, target: NodeId) -> Option<NodeId> {
        let call = self.calls.get(id)?;
        if matches!(call.origin, Origin::Peer(..)) && call.ttl == 0 {
            return None;
        }
        if self.links.contains_key(&target) {
            return Some(target);
        }
        let cube = self.meta.cube();
        let to = self.meta.members.get(&target)?.vertex;
        let usable = |vertex: Vertex| {
            self.meta.member_at(vertex).is_some_and(|member| self.links.contains_key(&member.node))
        };
        let straight = cube.next_hop(self.vertex, to).filter(|hop| usable(*hop) && !call.path.contains(hop));
        let hop = straight.or_else(|| cube.detour(self.vertex, to, &call.path, usable))?;
        self.meta.member_at(hop).map(|member| member.node)
    }

    /// A request arrived from another peer.
    pub(super) fn forwarded(&mut self, from: NodeId, forwarded: Forwarded) {
        let Forwarded { id, target, mut path, ttl, patience_ms, request } = forwarded;
        path.push(self.vertex);
        let deadline_ms = self.now.mono_ms + u64::from(patience_ms);
        let mut call = Call::new(Origin::Peer(from, id), request, deadline_ms, path);
        call.ttl = ttl;
        call.target = Some(target);
        self.begin(call);
    }

    /// An answer arrived for a call that was forwarded.
    pub(super) fn answered(&mut self, from: NodeId, answered: Answered) {
        let Answered { id, result, path } = answered;
        let Some(call) = self.calls.get_mut(id).filter(|call| call.waits == Waits::Peer(from)) else {
            return;
        };
        let group = call.request.group(&self.meta);
        let transit = matches!(call.origin, Origin::Peer(..));
        match result {
            Err(Error::NotLeader(leader)) if !transit => {
                // Certainly nothing was done, so the call may go elsewhere.
                call.may_be_done = false;
                if let Request::Pull(pull) = &mut call.request {
                    pull.leader = true;
                }
                let again = leader.is_some() && call.tries < 4;
                match leader {
                    Some(leader) => self.hints.insert(group, leader),
                    None => self.hints.remove(&group),
                };
                self.park(id);
                if again {
                    self.dispatch(id);
                }
            }
            result => {
                self.learn_leader(group, &result, &path);
                self.pass_on(id, &result, &path);
                self.finish_with(id, result, path);
            }
        }
    }

    /// Remembers who answered what only a leader answers.
    fn learn_leader(&mut self, group: GroupId, result: &Result<Answer, Error>, path: &[Vertex]) {
        let by_leader = !matches!(
            result,
            Err(_)
                | Ok(Answer::Pulled { .. }
                    | Answer::FilePart(_)
                    | Answer::NodeStatus(_)
                    | Answer::MetadataStatus(_)
                    | Answer::Changed(Changed::GivenUp { .. }))
        );
        let server = path.last().and_then(|vertex| self.meta.member_at(*vertex)).map(|member| member.node);
        if let (true, Some(node)) = (by_leader, server) {
            self.hints.insert(group, node);
        }
    }

    /// Whatever was forwarded over a link that broke has an unknown end, or goes another way.
    pub(super) fn link_down(&mut self, node: NodeId) {
        self.links.remove(&node);
        self.broken_links.insert(node, self.ticks);
        for origin in self.calls.reads_of(node) {
            self.abandon(origin);
        }
        self.hints.retain(|_, hint| *hint != node);
        for id in self.calls.where_waits(|call| call.waits == Waits::Peer(node)) {
            let harm = self.calls.get(id).is_some_and(|call| call.request.repeats_harm());
            if harm {
                self.finish(id, Err(Error::Unknown));
            } else {
                self.park(id);
            }
        }
    }
}
