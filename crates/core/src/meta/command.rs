//! What the metadata log holds, and what applying it answers.

use std::sync::Arc;

use bytes::Bytes;

use super::change::{Change, ChangeRefusal, Changed};
use super::{Meta, Topic};
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::TopicId;
use crate::limits;
use crate::topic::{Name, Retention};

/// One change of the metadata. Encoded as a tag byte and the fields in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tag 1: begins a topic.
    CreateTopic(Topic),
    /// Tag 2: changes how long a topic keeps records.
    AlterTopic {
        /// Which.
        name: Name,
        /// From now on.
        retention: Retention,
    },
    /// Tag 3: ends a topic for ever.
    DeleteTopic {
        /// Which.
        name: Name,
        /// Only this life of it; any when none is given.
        id: Option<TopicId>,
    },
    /// Tag 4: changes members or placement.
    Change(Change),
}

/// What a [`Command`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A topic was created, altered or deleted, or is as wished already.
    Topic(Arc<Topic>),
    /// Members or placement are as wished.
    Changed(Changed),
}

/// What became of a [`Command`].
pub type Outcome = Result<Effect, Refusal>;

/// Why a [`Command`] changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is taken by a topic with other properties.
    #[error("the topic exists")]
    Exists(Arc<Topic>),
    /// No topic of this name, or not in this life.
    #[error("there is no such topic")]
    Unknown,
    /// The hypercube has as many topics as it may.
    #[error("a hypercube has at most {} topics", limits::TOPICS_MAX)]
    TooMany,
    /// A change of members or placement that cannot be made.
    #[error(transparent)]
    Change(#[from] ChangeRefusal),
}

impl Meta {
    /// Applies one command. Creating a topic that exists with the same properties answers the one that exists.
    pub fn apply(&mut self, command: Command) -> Outcome {
        match command {
            Command::CreateTopic(topic) => self.create(topic).map(Effect::Topic),
            Command::AlterTopic { name, retention } => self.alter(&name, retention).map(Effect::Topic),
            Command::DeleteTopic { name, id } => self.delete(&name, id).map(Effect::Topic),
            Command::Change(change) => Ok(Effect::Changed(self.change(change)?)),
        }
    }

    fn alter(&mut self, name: &Name, retention: Retention) -> Result<Arc<Topic>, Refusal> {
        let mut topic = self.remove_topic(name).ok_or(Refusal::Unknown)?.as_ref().clone();
        topic.retention = retention;
        self.insert_topic(topic);
        self.topic(name).cloned().ok_or(Refusal::Unknown)
    }

    fn delete(&mut self, name: &Name, id: Option<TopicId>) -> Result<Arc<Topic>, Refusal> {
        let topic = self.topic(name).ok_or(Refusal::Unknown)?;
        if id.is_some_and(|id| id != topic.id) {
            return Err(Refusal::Unknown);
        }
        let topic = self.remove_topic(name).ok_or(Refusal::Unknown)?;
        // The epoch tells whoever places replicas that there is less to place.
        self.epoch += u64::from(self.read_replicas.remove(&topic.id).is_some());
        self.deleted.insert_mut(topic.id, topic.clone());
        Ok(topic)
    }

    fn create(&mut self, topic: Topic) -> Result<Arc<Topic>, Refusal> {
        if let Some(existing) = self.topic(&topic.name) {
            // The same id is the same request arriving twice; the same properties are the same wish.
            let same = existing.id == topic.id
                || (existing.partitions, existing.retention) == (topic.partitions, topic.retention);
            return if same { Ok(existing.clone()) } else { Err(Refusal::Exists(existing.clone())) };
        }
        if self.topic_count() >= limits::TOPICS_MAX {
            return Err(Refusal::TooMany);
        }
        if let Some(ended) = self.deleted.get(&topic.id) {
            // A request repeated after its topic was deleted must not bring the life back.
            return Err(Refusal::Exists(ended.clone()));
        }
        let name = topic.name.clone();
        self.insert_topic(topic);
        self.topic(&name).cloned().ok_or(Refusal::Unknown)
    }
}

impl Command {
    /// The command's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::CreateTopic(topic) => {
                out.u8(1);
                write_topic(&mut out, topic);
            }
            Self::AlterTopic { name, retention } => {
                out.u8(2);
                out.text(name.as_str());
                write_retention(&mut out, *retention);
            }
            Self::DeleteTopic { name, id } => {
                out.u8(3);
                out.text(name.as_str());
                out.option(*id, |out, id| out.u128(id.0));
            }
            Self::Change(change) => {
                out.u8(4);
                change.write(&mut out);
            }
        }
        out.into()
    }

    /// The command in these bytes.
    ///
    /// # Errors
    /// When they are not one.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let command = match reader.u8("metadata command")? {
            1 => Self::CreateTopic(read_topic(&mut reader)?),
            2 => Self::AlterTopic { name: read_name(&mut reader)?, retention: read_retention(&mut reader)? },
            3 => Self::DeleteTopic {
                name: read_name(&mut reader)?,
                id: reader.option("topic id", |reader| reader.u128("topic id").map(TopicId))?,
            },
            4 => Self::Change(Change::read(&mut reader)?),
            tag => return Err(DecodeError::Unknown { what: "metadata command", value: tag.into() }),
        };
        reader.finish()?;
        Ok(command)
    }
}

pub(super) fn write_topic(out: &mut Vec<u8>, topic: &Topic) {
    out.u128(topic.id.0);
    out.text(topic.name.as_str());
    out.u16(topic.partitions);
    write_retention(out, topic.retention);
}

pub(super) fn read_topic(reader: &mut Reader) -> Result<Topic, DecodeError> {
    Ok(Topic {
        id: TopicId(reader.u128("topic id")?),
        name: read_name(reader)?,
        partitions: match reader.u16("partitions")? {
            count @ 1..=limits::PARTITIONS_MAX => count,
            _ => return Err(DecodeError::Invalid("partitions")),
        },
        retention: read_retention(reader)?,
    })
}

/// Writes a [`Retention`].
pub fn write_retention(out: &mut Vec<u8>, retention: Retention) {
    out.option(retention.age_ms, |out, age| out.u64(age));
    out.option(retention.bytes, |out, bytes| out.u64(bytes));
}

/// Reads a [`Retention`].
///
/// # Errors
/// When the input ends or holds something else.
pub fn read_retention(reader: &mut Reader) -> Result<Retention, DecodeError> {
    Ok(Retention {
        age_ms: reader.option("retention age", |reader| reader.u64("retention age"))?,
        bytes: reader.option("retention bytes", |reader| reader.u64("retention bytes"))?,
    })
}

/// Reads a [`Name`].
///
/// # Errors
/// When the input ends or holds something else.
pub fn read_name(reader: &mut Reader) -> Result<Name, DecodeError> {
    reader.text("name")?.parse().map_err(|_| DecodeError::Invalid("name"))
}
