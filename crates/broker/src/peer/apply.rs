//! Committed entries take effect, and whoever waited for them is answered.

use hcube_consensus::{Committed, CommittedEntry, EntryKind, Restored, Role};
use hcube_core::ids::GroupId;
use hcube_core::meta::command::{Effect, Refusal};
use hcube_core::meta::{Command as MetaCommand, Meta};

use super::call::Waits;
use super::{Commit, Peer};
use crate::command::Command;
use crate::proposals::Proposals;
use crate::request::{Answer, Error, TopicInfo};
use crate::slot::{Applied, Slot};
use crate::start::StartError;

impl Peer {
    pub(super) fn apply(&mut self, committed: Committed) {
        let group = committed.group;
        let last = committed.entries.last().map_or(0, |entry| entry.index);
        for entry in committed.entries {
            let result = if let EntryKind::Conf { version } = entry.kind {
                self.apply_conf(group, version);
                Ok(Answer::Cursor(None))
            } else if entry.data.is_empty() {
                Ok(Answer::Cursor(None))
            } else if group == GroupId::META {
                self.apply_metadata(&entry)
            } else {
                self.apply_slot(group, &entry)
            };
            self.answer_commits(group, &entry, &result);
            if self.leading_mut(group).is_some_and(|leading| leading.applied(entry.term)) {
                self.leadership_began(group);
            }
        }
        let confirmed = self.confirmed.remove(&group).unwrap_or_default();
        let (due, later): (Vec<_>, Vec<_>) = confirmed.into_iter().partition(|(index, _)| *index <= last);
        if !later.is_empty() {
            self.confirmed.insert(group, later);
        }
        for (_, id) in due {
            if self.calls.get(id).is_some_and(|call| call.waits == Waits::Confirmation) {
                self.answer_confirmed(id, group);
            }
        }
    }

    fn apply_conf(&mut self, group: GroupId, version: u64) {
        if let Some(replica) = self.slots.get_mut(&group) {
            replica.slot.apply_conf(version);
        }
        self.conf_changed.insert(group);
    }

    fn apply_metadata(&mut self, entry: &CommittedEntry) -> Result<Answer, Error> {
        let command = MetaCommand::decode(entry.data.clone()).expect("only valid commands enter the log");
        let deletes = matches!(command, MetaCommand::DeleteTopic { .. });
        let outcome = std::sync::Arc::make_mut(&mut self.meta).apply(command);
        // Whoever asked for it saw that every member knows it. After the next start this is refused by name.
        let (level, known) = (self.meta.feature_level, self.config.feature_level);
        assert!(level <= known, "{}", StartError::FeatureLevel { level, known });
        match outcome {
            Ok(Effect::Changed(changed)) => Ok(Answer::Changed(changed)),
            Ok(Effect::Topic(topic)) => {
                if deletes {
                    self.topic_deleted(topic.id);
                }
                Ok(Answer::Topic(TopicInfo::from(&topic)))
            }
            Err(Refusal::Exists(topic)) => Err(Error::TopicExists(TopicInfo::from(&topic))),
            Err(Refusal::Unknown) => Err(Error::UnknownTopic),
            Err(Refusal::TooMany) => Err(Error::TooManyTopics),
            Err(Refusal::Change(refusal)) => Err(Error::Change(refusal)),
        }
    }

    fn apply_slot(&mut self, group: GroupId, entry: &CommittedEntry) -> Result<Answer, Error> {
        let command = Command::decode(entry.data.clone()).expect("only valid commands enter the log");
        let replica = self.slots.get_mut(&group).expect("a group without its state applies nothing");
        let applied = replica.slot.apply(entry.index, &command);
        replica.proposals.applied(entry.index);
        match (&command, &applied) {
            (Command::Publish { partition, base_offset, .. }, _) => {
                replica.proposals.batch_applied(*partition, *base_offset);
                self.wake_polls(*partition);
            }
            (Command::Open(partition), Applied::Done) => self.partition_opened(group, partition.0),
            (Command::Close(topic), _) => {
                let ended: Vec<_> = self.polls.keys().filter(|(id, _)| id == topic).copied().collect();
                for at in ended {
                    self.wake_polls(at);
                }
                self.look_for_dead_files(group);
            }
            (Command::LogStart { .. }, _) => self.look_for_dead_files(group),
            _ => {}
        }
        match applied {
            Applied::NotOpen => Err(Error::UnknownTopic),
            Applied::Publisher(publisher) => Ok(Answer::Publisher(publisher)),
            Applied::Published { .. } | Applied::Done => Ok(Answer::Cursor(None)),
        }
    }

    /// Answers the calls whose entry this is, and sends on those whose entry it is not.
    fn answer_commits(&mut self, group: GroupId, entry: &CommittedEntry, result: &Result<Answer, Error>) {
        let Some(waiting) = self.commits.get_mut(&group) else { return };
        // Whatever waited for an earlier index would have been answered by it.
        let later = waiting.split_off(&(entry.index + 1));
        let due = std::mem::replace(waiting, later);
        for Commit { term, call, answer } in due.into_values().flatten() {
            if term == entry.term {
                let result = result.clone().map(|found| answer.unwrap_or(found));
                self.finish(call, result);
            } else {
                // Another leader's entry is there, so this call's never will be: it may be tried again.
                self.park(call);
            }
        }
    }

    /// A snapshot replaced the state of a group.
    pub(super) fn restored(&mut self, restored: Restored) {
        let group = restored.group;
        for Commit { call, .. } in self.commits.remove(&group).unwrap_or_default().into_values().flatten() {
            // The entry may be inside the snapshot, or not.
            self.finish(call, Err(Error::Unknown));
        }
        if group == GroupId::META {
            let meta = Meta::decode(restored.data.state).expect("a metadata leader sends its own state");
            self.meta = std::sync::Arc::new(meta);
            self.close_all_deleted();
            return;
        }
        let life = self.next_life();
        let replica = self.slots.get_mut(&group).expect("a group without its state restores nothing");
        replica.slot = Slot::decode(&restored.data.state).expect("a slot's leader sends its own state");
        let files = restored.data.files.into_iter().map(|file| (file.id, file)).collect();
        let before = std::mem::replace(&mut replica.files, files);
        let dead = before.into_keys().filter(|id| !replica.files.contains_key(id)).collect();
        replica.proposals = Proposals::default();
        replica.life = life;
        self.compacting.doom(dead);
        let waiting: Vec<_> = self.polls.keys().copied().collect();
        for at in waiting {
            self.wake_polls(at);
        }
    }

    pub(super) fn role_changed(&mut self, role: Role) {
        let group = role.group;
        let term = role.leads.then_some(role.term);
        let ticks = self.ticks;
        let changed = self.leading_mut(group).is_some_and(|leading| leading.set(term, ticks));
        if let Some(replica) = self.slots.get_mut(&group).filter(|_| changed) {
            // What was proposed in an earlier term is either applied or void before the next begins.
            replica.proposals = Proposals::default();
        }
        if !role.leads {
            let confirming: Vec<_> = self.calls.where_waits(|call| call.waits == Waits::Confirmation);
            for id in confirming {
                if self.calls.get(id).is_some_and(|call| call.request.group(&self.meta) == group) {
                    self.park(id);
                }
            }
        }
        self.retry_parked(Some(group));
    }

    /// An entry of this peer's own term is applied: it knows the whole log and may propose.
    fn leadership_began(&mut self, group: GroupId) {
        self.close_deleted(group);
        self.retry_parked(Some(group));
    }
}
