//! The publish stream: record batches and their outcomes over one connection, as many under way as fit.
//!
//! A client asks `GET /v1/publish` with `Upgrade: hcube-publish`; after the answer 101 both sides send frames, each
//! behind its length, little-endian:
//!
//! ```text
//! u32 length of the rest, u32 number, then
//!   from the client: u16 partition, u8 length of the topic's name, the name, the batch (hcube_core::record)
//!   from the peer:   u8 0 = stored: u64 offset of the first message, u32 messages, u64 the leader's stamp in
//!                    milliseconds since 1970, u8 whether it had been stored before, u8 replicas, u16 the leader's
//!                    vertex
//!                    u8 1 = refused: a problem document
//! ```
//!
//! The number is the client's, and names the batch in its outcome. Batches are taken up in the order in which they
//! come, outcomes come in any order. A connection that ends leaves the outcome of what was under way unknown.

use bytes::{Buf as _, Bytes, BytesMut};
use hcube_core::codec::{DecodeError, Reader, Writer as _, length_u32};
use hcube_core::ids::Vertex;
use hcube_core::limits;
use hcube_core::topic::Name;

use crate::error::Problem;
use crate::messages::PublishAck;

/// The protocol's name in the header `Upgrade`.
pub const PROTOCOL: &str = "hcube-publish";
/// Bytes of a frame at most, its length left out.
pub const FRAME_BYTES_MAX: usize = limits::BATCH_BYTES_MAX + 512;
const LENGTH_BYTES: usize = 4;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Names the batch in its outcome.
    pub number: u32,
    /// The topic.
    pub topic: Name,
    /// Its partition.
    pub partition: u16,
    /// A record batch; not checked.
    pub batch: Bytes,
}

/// What a peer answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The batch's number.
    pub number: u32,
    /// What became of it.
    pub result: Result<Stored, Box<Problem>>,
}

/// A batch is stored and synced by a majority of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Offset of its first message.
    pub offset: u64,
    /// Its messages.
    pub count: u32,
    /// The leader's stamp, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Whether an earlier attempt had stored it.
    pub duplicate: bool,
    /// Replicas that the slot has; a majority of them has the batch on disk.
    pub replicas: u8,
    /// Where the slot's leader stands.
    pub leader: Vertex,
}

impl Stored {
    /// The acknowledgement, as HTTP gives it.
    #[must_use]
    pub fn ack(&self, partition: u16) -> PublishAck {
        let Self { offset, count, timestamp_ms, duplicate, .. } = *self;
        PublishAck { partition, offset, count, timestamp_ms, duplicate }
    }
}

impl Publish {
    /// Everything before the batch, whose own bytes follow on the wire, so that nobody need copy them.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let name = self.topic.as_str();
        let rest = 4 + 2 + 1 + name.len() + self.batch.len();
        let mut out = Vec::with_capacity(LENGTH_BYTES + rest - self.batch.len());
        out.u32(length_u32(rest));
        out.u32(self.number);
        out.u16(self.partition);
        out.u8(u8::try_from(name.len()).expect("names have at most 255 bytes"));
        out.extend_from_slice(name.as_bytes());
        out
    }

    /// Reads a frame; the batch shares its memory.
    ///
    /// # Errors
    /// When it is none. A name that no topic has is such a frame.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let number = reader.u32("number")?;
        let partition = reader.u16("partition")?;
        let length = reader.u8("length of the name")?;
        let name = reader.take(length.into(), "name")?;
        let topic = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok());
        let topic = topic.ok_or(DecodeError::Invalid("name"))?;
        Ok(Self { number, topic, partition, batch: reader.rest() })
    }
}

impl Outcome {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.u32(0);
        out.u32(self.number);
        match &self.result {
            Ok(stored) => {
                out.u8(0);
                out.u64(stored.offset);
                out.u32(stored.count);
                out.u64(stored.timestamp_ms);
                out.flag(stored.duplicate);
                out.u8(stored.replicas);
                out.u16(stored.leader.0);
            }
            Err(problem) => {
                out.u8(1);
                out.extend_from_slice(&problem.to_json());
            }
        }
        let length = length_u32(out.len() - at - LENGTH_BYTES);
        out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let number = reader.u32("number")?;
        let result = match reader.u8("outcome")? {
            0 => {
                let stored = Stored {
                    offset: reader.u64("offset")?,
                    count: reader.u32("count")?,
                    timestamp_ms: reader.u64("stamp")?,
                    duplicate: reader.flag("duplicate")?,
                    replicas: reader.u8("replicas")?,
                    leader: Vertex(reader.u16("leader")?),
                };
                reader.finish()?;
                Ok(stored)
            }
            1 => {
                let problem = serde_json::from_slice(&reader.rest());
                Err(problem.map_err(|_| DecodeError::Invalid("problem"))?)
            }
            value => return Err(DecodeError::Unknown { what: "outcome", value: value.into() }),
        };
        Ok(Self { number, result })
    }
}

/// Cuts what arrives into frames.
#[derive(Debug, Default)]
pub struct Frames {
    arrived: BytesMut,
}

/// A frame is longer than any can be: the other side speaks something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes, more than there can be")]
pub struct TooLong(pub usize);

impl Frames {
    /// Read from a socket at once at least, where there is so much.
    const READ_BYTES: usize = 64 << 10;
    /// With less room than this a read would bring too little.
    const SPARE_BYTES: usize = 4 << 10;

    /// Where to put what arrives next, behind what is there, with room for it.
    pub fn room(&mut self) -> &mut BytesMut {
        let wanted = self.announced().unwrap_or(0).min(FRAME_BYTES_MAX) + LENGTH_BYTES;
        let missing = wanted.saturating_sub(self.arrived.len());
        // Frames share the memory in which they came: a new piece only where the old one is nearly used up.
        if self.arrived.capacity() - self.arrived.len() < missing.max(Self::SPARE_BYTES) {
            self.arrived.reserve(missing.max(Self::READ_BYTES));
        }
        &mut self.arrived
    }

    /// Bytes of a frame that has not come whole, its length included.
    #[must_use]
    pub fn rest_bytes(&self) -> usize {
        self.arrived.len()
    }

    /// The next whole frame without its length; none until more has arrived.
    ///
    /// # Errors
    /// [`TooLong`], before anything of such a frame is kept.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(length) = self.announced() else { return Ok(None) };
        if length > FRAME_BYTES_MAX {
            return Err(TooLong(length));
        }
        if self.arrived.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.arrived.advance(LENGTH_BYTES);
        Ok(Some(self.arrived.split_to(length).freeze()))
    }

    /// The length of the frame at the front.
    fn announced(&self) -> Option<usize> {
        let length = self.arrived.first_chunk::<LENGTH_BYTES>()?;
        Some(u32::from_le_bytes(*length) as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Code;

    fn frames(mut bytes: &[u8], step: usize) -> Result<Vec<Bytes>, TooLong> {
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(step.clamp(1, bytes.len()));
            frames.room().extend_from_slice(now);
            bytes = later;
            while let Some(frame) = frames.next_frame()? {
                all.push(frame);
            }
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn publishes_round_trip(numbers in prop::collection::vec(any::<u32>(), 1..5), partition: u16, batch: Vec<u8>, step in 1usize..300) {
            let publish = |number| {
                let (topic, batch) = ("orders".parse().unwrap(), batch.clone().into());
                Publish { number, topic, partition, batch }
            };
            let all: Vec<Publish> = numbers.into_iter().map(publish).collect();
            let wire: Vec<u8> = all.iter().flat_map(|one| [one.head(), one.batch.to_vec()].concat()).collect();
            let read: Result<Vec<_>, _> = frames(&wire, step).unwrap().into_iter().map(Publish::decode).collect();
            prop_assert_eq!(read.unwrap(), all);
        }

        #[test]
        fn outcomes_round_trip(number: u32, offset: u64, count: u32, timestamp_ms: u64, duplicate: bool, replicas: u8, leader: u16, step in 1usize..50) {
            let stored = Stored { offset, count, timestamp_ms, duplicate, replicas, leader: Vertex(leader) };
            let refused = Problem::new(Code::NoLeader, "none yet").retry_after_ms(5);
            let both = [Ok(stored), Err(Box::new(refused))].map(|result| Outcome { number, result });
            let mut wire = Vec::new();
            both.iter().for_each(|outcome| outcome.write(&mut wire));
            let read: Result<Vec<_>, _> = frames(&wire, step).unwrap().into_iter().map(Outcome::decode).collect();
            prop_assert_eq!(read.unwrap(), both);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, step in 1usize..50) {
            let _ = Publish::decode(bytes.clone().into());
            let _ = Outcome::decode(bytes.clone().into());
            let _ = frames(&bytes, step);
        }
    }

    #[test]
    fn a_frame_that_cannot_be_is_refused_before_memory_is_spent_on_it() {
        assert_eq!(frames(&u32::MAX.to_le_bytes(), 4), Err(TooLong(u32::MAX as usize)));
        let mut frames = Frames::default();
        frames.room().extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(frames.room().capacity() < 2 * FRAME_BYTES_MAX);
    }
}
