//! What peers do: their actions carried out, their frames sent.

use hcube_broker::{Action, Event, Frame};
use hcube_core::ids::NodeId;
use hcube_log::Op;

use super::disk::{Job, let_segment_go};
use super::{Due, World};
use crate::planted::Planted;
use crate::streams::once_in;

impl World {
    pub(super) fn event(&mut self, at: usize, event: Event) {
        let (now, tick) = (self.now(at), matches!(event, Event::Tick));
        let Some(process) = self.machines[at].process_mut() else { return };
        process.peer.take(now, event);
        // A peer that is busy takes several events before it acts; the next tick ends that, if nothing does before.
        if !tick && once_in(&mut self.streams.machines, 4) {
            return;
        }
        let Some(process) = self.machines[at].process_mut() else { return };
        let actions = process.peer.act();
        self.events(at, actions);
    }

    /// Carries out what a peer wants.
    pub(super) fn events(&mut self, at: usize, actions: Vec<Action>) {
        self.invariants.handled(at, &self.machines[at]);
        for action in actions {
            self.act(at, action);
        }
        self.invariants.acted(at, &self.machines[at]);
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Write(mut write) => {
                self.invariants.writes(at, &self.machines[at], &write);
                if self.plants(Planted::VoteNotWritten) {
                    forget_votes(&mut write.ops);
                }
                let Some(process) = self.machines[at].process_mut() else { return };
                process.queue.push_back(write);
                if process.writing.is_empty() && process.queue.len() == 1 {
                    self.due(at, 20, Due::DiskBegins);
                }
            }
            Action::Send { to, frame } => self.send(at, to, &frame),
            Action::Reply { id, reply } => {
                self.replies.insert(id, reply);
            }
            Action::RemoveFiles(files) => {
                let Some(process) = self.machines[at].process() else { return };
                // A failure leaves them as orphans, which the next start finds.
                let _left_for_later = process.storage.remove(&files);
                self.counts.made_whole += let_segment_go(&process.storage);
            }
            Action::Read { token, plan } => self.later(at, Job::Read(token, plan)),
            Action::Fetch(fetch) => self.later(at, Job::Fetch(fetch)),
            Action::ReadFile { token, file, at: from, length } => {
                self.later(at, Job::ReadFile(token, file, from, length));
            }
            Action::Compact(compaction) => self.later(at, Job::Compact(compaction)),
            Action::Stage { group, file, at: from, part } => {
                self.later(at, Job::Stage(group, file, from, part));
            }
        }
    }

    fn later(&mut self, at: usize, job: Job) {
        let delay = 50 + self.streams.disk.below(self.machines[at].disk_us);
        self.due(at, delay, Due::Storage(job));
    }

    fn send(&mut self, from: usize, to: NodeId, frame: &Frame) {
        let is_raft = if let Frame::Raft(envelopes) = frame {
            for envelope in envelopes {
                self.invariants.sends(&self.machines[from], envelope);
            }
            true
        } else {
            false
        };
        #[cfg(test)]
        self.gives(from, to, frame);
        // Whom the sender's own metadata names; nobody else is dialled.
        let Some(at) = self.machine_of(from, to) else { return };
        let deliveries = if is_raft {
            self.network.deliveries(from, at)
        } else {
            self.network.delivery(from, at, self.time_us).into_iter().collect()
        };
        for delay in deliveries {
            let bytes = frame.encode();
            self.due(at, delay, Due::Deliver { from, bytes });
        }
    }

    #[cfg(test)]
    fn gives(&mut self, from: usize, to: NodeId, frame: &Frame) {
        use hcube_broker::Answer;
        let Frame::Response(answered) = frame else { return };
        let Ok(Answer::Pulled { batches, .. }) = &answered.result else { return };
        for stored in batches {
            *self.given.entry((from, to, stored.base_offset)).or_default() += 1;
        }
    }

    pub(super) fn delivered(&mut self, at: usize, from: usize, bytes: Vec<u8>) {
        let Some(sender) = self.machines[from].node else { return };
        if !self.admits(at, from) {
            self.counts.refused_frames += 1;
            return;
        }
        let frame = Frame::decode(bytes.into()).expect("peers send frames that decode");
        self.event(at, Event::Frame { from: sender, frame });
    }
}

/// The planted mistake: terms reach the disk, votes do not.
fn forget_votes(ops: &mut [Op]) {
    for op in ops {
        if let Op::HardState { hard_state, .. } = op {
            hard_state.vote = 0;
        }
    }
}
