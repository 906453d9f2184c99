//! Who is linked to whom: what the network lets through, and whom each side's metadata admits.

use hcube_broker::Event;
use hcube_broker::start::Invitation;
use hcube_core::ids::{Incarnation, NodeId};
use hcube_core::meta::Meta;

use super::{Due, World};
use crate::machine::Link;
use crate::streams::once_in;

impl World {
    /// The machine behind a node id, as one machine's own metadata has it, or as it has been shown: only who was away
    /// while others joined does not know them.
    pub(super) fn machine_of(&self, at: usize, node: NodeId) -> Option<usize> {
        let meta = self.machines[at].peer()?.meta();
        if meta.is_unheard(node) {
            return self.machines.iter().position(|machine| machine.node == Some(node));
        }
        let disk = disk_of(meta, node)?;
        self.machines.iter().position(|machine| machine.incarnation == disk)
    }

    /// Whether one machine's process takes frames of the other's, as `node/src/links/admission.rs` decides: from a
    /// member with the disk that it is bound to, from one that left and has yet to hear of it, and from one that it
    /// has not heard of yet.
    pub(super) fn admits(&self, at: usize, from: usize) -> bool {
        let (Some(peer), Some(own)) = (self.machines[at].peer(), self.machines[at].node) else {
            return false;
        };
        let (meta, sender) = (peer.meta(), &self.machines[from]);
        let Some(node) = sender.node else { return false };
        let admitted = disk_of(meta, node).map_or(meta.is_unheard(node), |disk| disk == sender.incarnation);
        meta.members.contains_key(&own) && admitted && sender.feature_level >= meta.feature_level
    }

    /// Whether requests may go between two machines: over every pair, or over edges of the cube alone.
    fn are_joined(&self, meta: &Meta, one: usize, other: usize) -> bool {
        if !self.edges_only {
            return true;
        }
        let vertex = |at: usize| {
            let node = self.machines[at].node?;
            Some(meta.members.get(&node)?.vertex)
        };
        let (Some(one), Some(other)) = (vertex(one), vertex(other)) else { return false };
        meta.cube().folded_neighbours(one).contains(&other)
    }

    /// Whether there was ever a link between the two.
    pub fn were_linked(&self, one: usize, other: usize) -> bool {
        self.ever_linked.contains(&(one.min(other), one.max(other)))
    }

    /// The machine notices which links it has, and which it has no more.
    pub(super) fn tend_links(&mut self, at: usize) {
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            self.tend_link(at, other);
        }
    }

    fn tend_link(&mut self, at: usize, other: usize) {
        let Some(process) = self.machines[at].process() else { return };
        let known = process.links.get(&other).copied();
        let works = self.machines[other].process().is_some()
            && self.network.connects(at, other)
            && self.admits(at, other)
            && self.admits(other, at)
            && self.are_joined(process.peer.meta(), at, other);
        let life = self.machines[other].life;
        let Some(node) = self.machines[other].node else { return };
        let (next, event) = match known {
            None if works => {
                self.ever_linked.insert((at.min(other), at.max(other)));
                let feature_level = self.machines[other].feature_level;
                (Some(Link { life, ends_us: None }), Some(Event::LinkUp { node, feature_level }))
            }
            None => (None, None),
            // Another process answers now: whatever was under way to the one before is lost.
            Some(link) if link.life != life => (None, Some(Event::LinkDown(node))),
            Some(link) if works => (Some(Link { ends_us: None, ..link }), None),
            Some(Link { ends_us: Some(ends_us), .. }) if ends_us <= self.time_us => {
                (None, Some(Event::LinkDown(node)))
            }
            Some(link @ Link { ends_us: Some(_), .. }) => (Some(link), None),
            Some(link) => {
                let ends_us = Some(self.time_us + self.network.notice());
                (Some(Link { ends_us, ..link }), None)
            }
        };
        let Some(process) = self.machines[at].process_mut() else { return };
        match next {
            Some(link) => _ = process.links.insert(other, link),
            None => _ = process.links.remove(&other),
        }
        if let Some(event) = event {
            self.event(at, event);
        }
    }

    /// A member that reaches the process of one that does not know yet that it is one, tells it.
    pub(super) fn invite_strangers(&mut self, at: usize) {
        for other in 0..self.machines.len() {
            if !self.machines[other].is_unbound() || !once_in(&mut self.streams.machines, 3) {
                continue;
            }
            let incarnation = self.machines[other].incarnation;
            let invitation = self.machines[at].peer().and_then(|peer| peer.invitation(incarnation));
            let Some(invitation) = invitation else { continue };
            if let Some(delay) = self.network.delivery(at, other, self.time_us) {
                let bytes = invitation.encode().to_vec();
                self.due(other, delay, Due::Invited(bytes));
            }
        }
    }

    /// An unbound machine learns who it is. It may lose power at any step of writing that down.
    pub(super) fn invited(&mut self, at: usize, bytes: Vec<u8>) {
        if !self.machines[at].is_unbound() {
            return;
        }
        let invitation = Invitation::decode(bytes.into()).expect("peers send invitations that decode");
        self.counts.invitations += 1;
        if once_in(&mut self.streams.disk, 4) {
            let fuse = self.streams.disk.below(30);
            self.machines[at].disk.set_fuse(Some(fuse));
        }
        let accepted = self.machines[at].accept(&invitation, &self.log_config);
        match accepted {
            Ok(()) => {
                self.counts.joined += 1;
                self.machines[at].disk.set_fuse(None);
                self.machines[at].end();
            }
            Err(_) => {
                self.counts.interrupted_joins += 1;
                self.crash(at);
            }
        }
        self.start(at);
    }
}

/// The disk of a member, or of one that was removed and may not have heard of it.
fn disk_of(meta: &Meta, node: NodeId) -> Option<Incarnation> {
    let known = meta.members.contains_key(&node) || meta.lost.contains_key(&node);
    let leaves = meta.metadata.leaving.iter().any(|replica| replica.node == node);
    let retired = || {
        let mut retired = meta.retired.iter().filter(|_| !known && leaves);
        retired.find(|(_, retired)| **retired == node).map(|(disk, _)| *disk)
    };
    let member = meta.members.get(&node).filter(|_| !meta.is_lost(node));
    member.map(|member| member.incarnation).or_else(retired)
}
