//! Frames of a binary pull or subscription: record batches as they are stored, each behind its place.
//!
//! Layout, little-endian:
//!
//! ```text
//!  0  u32  magic "HCF" and the format version, 1
//!  4  u32  length of the batch in bytes
//!  8  u16  partition
//! 10  u16  reserved, 0
//! 12  u64  offset of the batch's first record
//! 20  u64  the leader's stamp, milliseconds since 1970
//! 28  the batch, see hcube_core::record
//! ```
//!
//! A pull that starts inside a batch gets the whole batch; the reader skips what lies before its offset.
//!
//! Between the frames of a subscription lie notes:
//!
//! ```text
//!  0  u32  magic "HCN" and the format version, 1
//!  4  u32  length of the rest: 0 for a sign of life, now and then
//!  8  u8   what follows, 1: the problem with which the subscription ends, as JSON
//! ```
//!
//! Other notes are passed over, for later versions may have more of them.

use bytes::{Buf as _, Bytes, BytesMut};
use hcube_core::codec::{Reader, Writer as _, length_u32};
use hcube_core::limits;
use hcube_core::record::{Batch, BatchError};

use super::message::Message;
use crate::error::Problem;

/// Bytes before the batch.
pub const HEADER_BYTES: usize = 28;
const MAGIC: u32 = u32::from_le_bytes(*b"HCF\x01");
const NOTE_MAGIC: u32 = u32::from_le_bytes(*b"HCN\x01");
const NOTE_HEADER_BYTES: usize = 8;
/// No note is longer.
const NOTE_BYTES_MAX: usize = 64 << 10;
const PROBLEM: u8 = 1;
/// What a subscription sends while there is nothing to say.
pub const KEEP_ALIVE: &[u8] = b"HCN\x01\0\0\0\0";

/// A stored batch and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its partition.
    pub partition: u16,
    /// Offset of the first record.
    pub base_offset: u64,
    /// The leader's stamp, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The records, byte for byte as they were published.
    pub batch: Batch,
}

/// Why a stream of frames cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a frame, or of a version that this one does not know.
    #[error("not a frame of format 1")]
    Magic,
    /// The batch cannot be as long as the frame says.
    #[error("a frame says that its batch has {0} bytes")]
    Length(usize),
    /// The batch inside is damaged.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A note that is no problem.
    #[error("a note that does not decode")]
    Note,
}

/// What a subscription sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Messages.
    Frame(Frame),
    /// Why there will be no more.
    Problem(Problem),
}

/// Appends the note that ends a subscription.
pub fn write_problem(out: &mut Vec<u8>, problem: &Problem) {
    out.u32(NOTE_MAGIC);
    out.bytes(&[&[PROBLEM], &problem.to_json()[..]].concat());
}

impl Frame {
    /// Bytes before the batch; the batch's own bytes follow on the wire, so that nobody copies them.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.u32(MAGIC);
        out.u32(length_u32(self.batch.bytes().len()));
        out.u16(self.partition);
        out.u16(0);
        out.u64(self.base_offset);
        out.u64(self.timestamp_ms);
        out
    }

    /// The frames of a whole answer, which they share; none where it ends inside a frame. Batches are checked, each record
    /// is not.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn all(mut answer: Bytes) -> Result<Option<Vec<Self>>, FrameError> {
        let mut frames = Vec::new();
        while !answer.is_empty() {
            let Some(head) = Head::parse(answer.clone())? else { return Ok(None) };
            if answer.len() < HEADER_BYTES + head.length {
                return Ok(None);
            }
            answer.advance(HEADER_BYTES);
            frames.push(head.frame(answer.split_to(head.length))?);
        }
        Ok(Some(frames))
    }

    /// The messages at `from` and after.
    ///
    /// # Errors
    /// [`BatchError::Record`] for a record that does not decode.
    pub fn messages(&self, from: u64) -> Result<Vec<Message>, BatchError> {
        let numbered = (self.base_offset..).zip(self.batch.records()?);
        let message = |(offset, record)| {
            let Self { partition, timestamp_ms, .. } = *self;
            Message { partition, offset, timestamp_ms, record }
        };
        Ok(numbered.filter(|(offset, _)| *offset >= from).map(message).collect())
    }
}

/// Takes a subscription in pieces and gives what it sends.
#[derive(Debug, Default)]
pub struct Decoder {
    held: BytesMut,
}

impl Decoder {
    /// What these bytes complete. Batches are checked, each record is not.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is useless afterwards.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Item>, FrameError> {
        self.held.extend_from_slice(bytes);
        let mut items = Vec::new();
        while let Some(prefix) = self.held.first_chunk::<NOTE_HEADER_BYTES>() {
            if prefix.starts_with(&NOTE_MAGIC.to_le_bytes()) {
                let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
                if length > NOTE_BYTES_MAX {
                    return Err(FrameError::Length(length));
                }
                if self.held.len() < NOTE_HEADER_BYTES + length {
                    break;
                }
                self.held.advance(NOTE_HEADER_BYTES);
                if let Some((&PROBLEM, problem)) = self.held.split_to(length).split_first() {
                    let problem = serde_json::from_slice(problem).map_err(|_| FrameError::Note)?;
                    items.push(Item::Problem(problem));
                }
                continue;
            }
            let head = Bytes::copy_from_slice(&self.held[..self.held.len().min(HEADER_BYTES)]);
            let Some(head) = Head::parse(head)? else { break };
            if self.held.len() < HEADER_BYTES + head.length {
                break;
            }
            self.held.advance(HEADER_BYTES);
            items.push(Item::Frame(head.frame(self.held.split_to(head.length).freeze())?));
        }
        Ok(items)
    }
}

struct Head {
    length: usize,
    partition: u16,
    base_offset: u64,
    timestamp_ms: u64,
}

impl Head {
    /// None where the bytes end too early.
    fn parse(bytes: Bytes) -> Result<Option<Self>, FrameError> {
        let mut reader = Reader::new(bytes);
        let mut read = || {
            let fields = (reader.u32("magic")?, reader.u32("length")?, reader.u16("partition")?);
            Ok::<_, hcube_core::codec::DecodeError>((
                fields,
                reader.u16("reserved")?,
                reader.u64("offset")?,
                reader.u64("stamp")?,
            ))
        };
        let Ok(((magic, length, partition), _, base_offset, timestamp_ms)) = read() else { return Ok(None) };
        let length = length as usize;
        if magic != MAGIC {
            return Err(FrameError::Magic);
        }
        // Refused before it is waited for, so that a lying length cannot make a reader hold gigabytes.
        if length > limits::BATCH_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        Ok(Some(Self { length, partition, base_offset, timestamp_ms }))
    }

    fn frame(&self, batch: Bytes) -> Result<Frame, BatchError> {
        let Self { partition, base_offset, timestamp_ms, .. } = *self;
        Ok(Frame { partition, base_offset, timestamp_ms, batch: Batch::parse(batch)? })
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::record::{Producer, Record};
    use proptest::prelude::*;

    use super::*;

    fn frame(partition: u16, base_offset: u64, values: &[String]) -> Frame {
        let records: Vec<Record> =
            values.iter().map(|value| Record { value: value.clone().into(), ..Record::default() }).collect();
        let batch = Batch::build(Producer::default(), &records).unwrap();
        Frame { partition, base_offset, timestamp_ms: 7, batch }
    }

    proptest! {
        #[test]
        fn frames_round_trip_in_any_pieces(
            batches in prop::collection::vec((any::<u16>(), any::<u32>(), prop::collection::vec(".{0,9}", 1..4)), 0..4),
            size in 1usize..60,
        ) {
            let frames: Vec<Frame> = batches.iter().map(|(p, o, values)| frame(*p, (*o).into(), values)).collect();
            let stream: Vec<u8> =
                frames.iter().flat_map(|frame| [&frame.header()[..], &frame.batch.bytes()[..]].concat()).collect();
            let problem = Problem::invalid("no more");
            let unknown = b"HCN\x01\x03\0\0\0\x07??";
            let mut noted = [KEEP_ALIVE, &stream, unknown, KEEP_ALIVE].concat();
            write_problem(&mut noted, &problem);
            let mut decoder = Decoder::default();
            let read: Vec<Item> = noted.chunks(size).flat_map(|piece| decoder.push(piece).unwrap()).collect();
            let sent = frames.iter().cloned().map(Item::Frame).chain([Item::Problem(problem)]);
            prop_assert_eq!(read, sent.collect::<Vec<_>>());
            let stream = Bytes::from(stream);
            prop_assert_eq!(Frame::all(stream.clone()).unwrap(), Some(frames));
            if let Some(end) = stream.len().checked_sub(1) {
                prop_assert_eq!(Frame::all(stream.slice(..end)).unwrap(), None);
            }
        }

        #[test]
        fn random_streams_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Decoder::default().push(&bytes);
            let _ = Frame::all(bytes.clone().into());
            let framed = [&MAGIC.to_le_bytes()[..], &60u32.to_le_bytes(), &bytes].concat();
            let _ = Decoder::default().push(&framed);
            let _ = Frame::all(framed.into());
            let noted = [&NOTE_MAGIC.to_le_bytes()[..], &9u32.to_le_bytes(), &bytes].concat();
            let _ = Decoder::default().push(&noted);
        }
    }

    #[test]
    fn a_reader_skips_to_its_offset() {
        let frame = frame(2, 10, &["a".into(), "b".into(), "c".into()]);
        let read = frame.messages(11).unwrap();
        assert_eq!(read.iter().map(|message| message.offset).collect::<Vec<_>>(), [11, 12]);
        assert_eq!((read[0].partition, read[0].timestamp_ms, &read[0].record.value[..]), (2, 7, &b"b"[..]));
    }

    #[test]
    fn lying_lengths_are_refused_at_once() {
        let mut header = frame(0, 0, &["a".into()]).header();
        header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Decoder::default().push(&header), Err(FrameError::Length(u32::MAX as usize)));
        header[0] = 0;
        assert_eq!(Decoder::default().push(&header), Err(FrameError::Magic));
        let note = [&NOTE_MAGIC.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Decoder::default().push(&note), Err(FrameError::Length(u32::MAX as usize)));
    }
}
