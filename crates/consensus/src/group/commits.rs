//! What becomes of a commit index besides being applied: it is written, and followers are told.
//!
//! Neither is urgent. A commit index that is lost is found again by the next leader, and whoever is told with the next
//! entries costs nothing: so it goes with the next write that there is anyway, and with the next append. A group that
//! falls silent writes it at the next tick and tells it when [`crate::Groups::tell_commits`] is called. Written and told
//! at once, each commit would cost every replica a write, and a leader two frames to each follower and back.

use std::collections::BTreeMap;

use hcube_core::ids::ReplicaId;
use hcube_log::Op;
use raft::eraftpb::{Message, MessageType};

use super::{Group, Turn};

/// The commit indexes that are not written, or not told, yet.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// The hard state has changed since it was written.
    unwritten: bool,
    /// It is not to wait for another write any longer.
    overdue: bool,
    /// The term in which this replica tells, and the greatest commit index that each follower was sent in it.
    told: (u64, BTreeMap<u64, u64>),
}

impl Commits {
    pub fn changed(&mut self) {
        self.unwritten = true;
    }

    /// What has changed is written now: a tick has passed, or a replica shall know it as soon as it starts again.
    pub fn hurry(&mut self) {
        self.overdue = self.unwritten;
    }

    pub fn must_be_written(&self) -> bool {
        self.overdue
    }

    /// Notes what messages of this term say.
    pub fn sent(&mut self, messages: &[Message], term: u64) {
        let tells = |message: &&Message| {
            matches!(message.msg_type, MessageType::MsgAppend | MessageType::MsgHeartbeat)
        };
        for message in messages.iter().filter(tells) {
            self.tell(message.to, message.commit, term);
        }
    }

    fn tell(&mut self, follower: u64, commit: u64, term: u64) {
        if self.told.0 != term {
            self.told = (term, BTreeMap::new());
        }
        let told = self.told.1.entry(follower).or_default();
        *told = commit.max(*told);
    }
}

impl Group {
    /// Writes the hard state, where it has changed since it was written.
    pub(super) fn write_commit(&mut self, turn: &mut Turn<'_>) {
        if std::mem::take(&mut self.commits.unwritten) {
            self.commits.overdue = false;
            let hard_state = self.raw.store().hard_state();
            turn.ops.push(Op::HardState { group: self.id, hard_state });
        }
    }

    /// The followers that have not been told of what is committed, where this replica leads.
    fn untold(&self) -> impl Iterator<Item = u64> {
        let (term, told) = &self.commits.told;
        let (commit, is_present) = (self.commit(), *term == self.raw.raft.term);
        let knows = move |id: &u64| is_present && told.get(id).is_some_and(|told| *told >= commit);
        let others =
            self.raw.raft.prs().iter().map(|(id, _)| *id).filter(|id| ReplicaId(*id) != self.replica);
        others.filter(move |id| self.leads() && !knows(id))
    }

    pub fn has_untold(&self) -> bool {
        self.untold().next().is_some()
    }

    /// Tells followers what is committed; one that cannot be told now hears it with a heartbeat.
    pub fn tell_commit(&mut self) {
        let (commit, term) = (self.commit(), self.raw.raft.term);
        for follower in self.untold().collect::<Vec<_>>() {
            self.raw.raft.send_append(follower);
            self.commits.tell(follower, commit, term);
        }
    }
}
