//! Record batches: what a publisher sends, a log stores and a reader receives, byte for byte.
//!
//! A batch is built once, by the client (or by the peer that took a plain HTTP publish); the leader checks
//! it once and gives it a base offset *beside* the batch, so that followers, disks and readers hold the same
//! bytes. Layout, little-endian:
//!
//! ```text
//!  0  u32   magic "HCB" and the format version, 1
//!  4  u32   length of the whole batch in bytes, this header included
//!  8  u32   CRC-32C of bytes 12..length
//! 12  u32   records, at least 1
//! 16  u128  producer id, 0 for none
//! 32  u64   sequence of the first record, 0 for no producer
//! 40  u32   producer epoch
//! 44  u32   reserved, 0
//! 48  records, each:
//!       u32  length of the rest of the record
//!       u32  key length, 0xFFFF_FFFF for no key
//!       u32  headers
//!       key
//!       headers, each: u32 name length, name (UTF-8), u32 value length, value
//!       value, up to the record's end
//! ```

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{DecodeError, Reader, Writer, length_u32};
use crate::ids::ProducerId;
use crate::limits;

/// "HCB" and the version of the format.
const MAGIC: u32 = u32::from_le_bytes(*b"HCB\x01");
/// Bytes before the first record.
pub const HEADER_BYTES: usize = 48;
const CHECKED_FROM: usize = 12;
const NO_KEY: u32 = u32::MAX;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Chooses the partition; any bytes.
    pub key: Option<Bytes>,
    /// Names and values, in the publisher's order; names may repeat.
    pub headers: Vec<(String, Bytes)>,
    /// The message itself; any bytes.
    pub value: Bytes,
}

impl Record {
    /// Bytes that the record takes in a batch.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        12 + self.payload_bytes() + 8 * self.headers.len()
    }

    /// Bytes of key, headers and value: what the limit on a message counts.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + headers + self.value.len()
    }
}

/// Who published a batch, for deduplication. Sequences count records, per producer and partition, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Producer {
    /// The producer, or [`ProducerId::NONE`].
    pub id: ProducerId,
    /// Rises when a registered publisher registers again; lower ones are fenced.
    pub epoch: u32,
    /// Sequence of the batch's first record.
    pub sequence: u64,
}

/// Why bytes are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not a batch, or of a format that this version does not know.
    #[error("not a record batch of format 1")]
    Magic,
    /// The length field disagrees with the bytes.
    #[error("the batch says it has {said} bytes and has {has}")]
    Length {
        /// Bytes by the header.
        said: usize,
        /// Bytes given.
        has: usize,
    },
    /// The bytes changed on their way.
    #[error("the batch's checksum does not match its bytes")]
    Checksum,
    /// No records, or more than a batch may hold.
    #[error("a batch has 1 to {max} records, not {0}", max = limits::BATCH_RECORDS_MAX)]
    Count(u32),
    /// More bytes than a batch may have.
    #[error("a batch has at most {max} bytes, not {0}", max = limits::BATCH_BYTES_MAX)]
    TooLarge(usize),
    /// A record inside does not decode.
    #[error("record {index} of the batch: {source}")]
    Record {
        /// Which, from 0.
        index: u32,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// What is said of records without taking them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Bytes of key, headers and value of the largest.
    pub payload_bytes_max: usize,
    /// Whether any has a header.
    pub has_headers: bool,
}

/// A batch whose header, length and checksum have been checked; its records too where another peer sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
}

impl Batch {
    /// Builds a batch of these records.
    ///
    /// # Errors
    /// [`BatchError::Count`] and [`BatchError::TooLarge`].
    pub fn build<'a>(
        producer: Producer,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, BatchError> {
        let mut out = vec![0; HEADER_BYTES];
        let mut count = 0u32;
        for record in records {
            let total = out.len() + record.encoded_bytes();
            if total > limits::BATCH_BYTES_MAX {
                return Err(BatchError::TooLarge(total));
            }
            write_record(&mut out, record);
            count += 1;
        }
        check_count(count)?;
        let mut head = Vec::with_capacity(HEADER_BYTES);
        head.u32(MAGIC);
        head.u32(length_u32(out.len()));
        head.u32(0);
        head.u32(count);
        head.u128(producer.id.0);
        head.u64(producer.sequence);
        head.u32(producer.epoch);
        head.u32(0);
        out[..HEADER_BYTES].copy_from_slice(&head);
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        Ok(Self { bytes: out.into() })
    }

    /// Takes bytes from outside after checking header, length and checksum, but not each record.
    ///
    /// # Errors
    /// Every [`BatchError`] but `Record`.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        if bytes.len() < HEADER_BYTES || field_u32(&bytes, 0) != MAGIC {
            return Err(BatchError::Magic);
        }
        if bytes.len() > limits::BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge(bytes.len()));
        }
        let said = field_u32(&bytes, 4) as usize;
        if said != bytes.len() {
            return Err(BatchError::Length { said, has: bytes.len() });
        }
        if crc32c::crc32c(&bytes[CHECKED_FROM..]) != field_u32(&bytes, 8) {
            return Err(BatchError::Checksum);
        }
        let batch = Self { bytes };
        check_count(batch.records_count())?;
        Ok(batch)
    }

    /// Walks every record, so that a batch from outside is known to decode before it is stored for ever. Takes nothing
    /// apart: batches have thousands of records.
    ///
    /// # Errors
    /// [`BatchError::Record`] for the first record that does not decode.
    pub fn check_records(&self) -> Result<Extent, BatchError> {
        let mut rest = &self.bytes[HEADER_BYTES..];
        let mut extent = Extent::default();
        for index in 0..self.records_count() {
            let record = skip_record(&mut rest).map_err(|source| BatchError::Record { index, source })?;
            extent.payload_bytes_max = extent.payload_bytes_max.max(record.payload_bytes_max);
            extent.has_headers |= record.has_headers;
        }
        if rest.is_empty() {
            return Ok(extent);
        }
        let source = DecodeError::Trailing(rest.len());
        Err(BatchError::Record { index: self.records_count(), source })
    }

    /// The batch as it is stored and sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Records in the batch, at least 1.
    #[must_use]
    pub fn records_count(&self) -> u32 {
        field_u32(&self.bytes, 12)
    }

    /// Who published it; [`ProducerId::NONE`] when nobody said.
    #[must_use]
    pub fn producer(&self) -> Producer {
        let raw = |at: usize, width: usize| {
            let mut wide = [0; 16];
            wide[..width].copy_from_slice(&self.bytes[at..at + width]);
            u128::from_le_bytes(wide)
        };
        Producer {
            id: ProducerId(raw(16, 16)),
            sequence: u64::try_from(raw(32, 8)).expect("eight bytes are a u64"),
            epoch: field_u32(&self.bytes, 40),
        }
    }

    /// The records in order; each shares the batch's memory.
    ///
    /// # Errors
    /// [`BatchError::Record`] for the first record that does not decode.
    pub fn records(&self) -> Result<Vec<Record>, BatchError> {
        let mut reader = Reader::new(self.bytes.slice(HEADER_BYTES..));
        (0..self.records_count())
            .map(|index| read_record(&mut reader).map_err(|source| BatchError::Record { index, source }))
            .collect()
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let batch = Self::parse(Bytes::deserialize(deserializer)?).map_err(D::Error::custom)?;
        batch.check_records().map_err(D::Error::custom)?;
        Ok(batch)
    }
}

fn check_count(count: u32) -> Result<(), BatchError> {
    if (1..=limits::BATCH_RECORDS_MAX).contains(&count) { Ok(()) } else { Err(BatchError::Count(count)) }
}

fn field_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn write_record(out: &mut Vec<u8>, record: &Record) {
    out.u32(length_u32(record.encoded_bytes() - 4));
    out.u32(record.key.as_ref().map_or(NO_KEY, |key| length_u32(key.len())));
    out.u32(length_u32(record.headers.len()));
    if let Some(key) = &record.key {
        out.extend_from_slice(key);
    }
    for (name, value) in &record.headers {
        out.text(name);
        out.bytes(value);
    }
    out.extend_from_slice(&record.value);
}

fn read_record(reader: &mut Reader) -> Result<Record, DecodeError> {
    let mut body = Reader::new(reader.bytes("record")?);
    let key_length = body.u32("key length")?;
    let headers = body.u32("header count")?;
    if headers as usize > limits::HEADERS_MAX {
        return Err(DecodeError::Invalid("header count"));
    }
    let key = match key_length {
        NO_KEY => None,
        length => Some(body.take(length as usize, "key")?),
    };
    let headers = (0..headers)
        .map(|_| Ok((body.text("header name")?, body.bytes("header value")?)))
        .collect::<Result<_, DecodeError>>()?;
    Ok(Record { key, headers, value: body.rest() })
}

/// Moves past a record, with the same demands as [`read_record`].
fn skip_record(rest: &mut &[u8]) -> Result<Extent, DecodeError> {
    let mut body = skip_bytes(rest, "record")?;
    let key_length = skip_u32(&mut body, "key length")?;
    let headers = skip_u32(&mut body, "header count")?;
    if headers as usize > limits::HEADERS_MAX {
        return Err(DecodeError::Invalid("header count"));
    }
    // What is left is key, headers and value, and the lengths of the headers' parts.
    let payload_bytes_max = body.len().saturating_sub(8 * headers as usize);
    if key_length != NO_KEY {
        skip(&mut body, key_length as usize, "key")?;
    }
    for _ in 0..headers {
        let name = skip_bytes(&mut body, "header name")?;
        std::str::from_utf8(name).map_err(|_| DecodeError::Invalid("header name"))?;
        skip_bytes(&mut body, "header value")?;
    }
    Ok(Extent { payload_bytes_max, has_headers: headers > 0 })
}

fn skip<'b>(rest: &mut &'b [u8], length: usize, what: &'static str) -> Result<&'b [u8], DecodeError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(DecodeError::Truncated(what))?;
    *rest = left;
    Ok(taken)
}

fn skip_u32(rest: &mut &[u8], what: &'static str) -> Result<u32, DecodeError> {
    Ok(field_u32(skip(rest, 4, what)?, 0))
}

fn skip_bytes<'b>(rest: &mut &'b [u8], what: &'static str) -> Result<&'b [u8], DecodeError> {
    let length = skip_u32(rest, what)?;
    skip(rest, length as usize, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
    }

    fn record() -> impl Strategy<Value = Record> {
        let header = ("[a-z-]{1,12}", bytes(20));
        (prop::option::of(bytes(20)), prop::collection::vec(header, 0..4), bytes(200))
            .prop_map(|(key, headers, value)| Record { key, headers, value })
    }

    proptest! {
        #[test]
        fn batches_round_trip(records in prop::collection::vec(record(), 1..20), id: u128, sequence: u64, epoch: u32) {
            let producer = Producer { id: ProducerId(id), sequence, epoch };
            let built = Batch::build(producer, &records).unwrap();
            let parsed = Batch::parse(built.bytes().clone()).unwrap();
            let extent = parsed.check_records().unwrap();
            prop_assert_eq!(Some(extent.payload_bytes_max), records.iter().map(Record::payload_bytes).max());
            prop_assert_eq!(extent.has_headers, records.iter().any(|record| !record.headers.is_empty()));
            prop_assert_eq!(parsed.producer(), producer);
            prop_assert_eq!(parsed.records().unwrap(), records);
        }

        #[test]
        fn any_changed_byte_is_noticed(records in prop::collection::vec(record(), 1..5), at: prop::sample::Index, by in 1u8..) {
            let built = Batch::build(Producer::default(), &records).unwrap();
            let mut changed = built.bytes().to_vec();
            let at = at.index(changed.len());
            changed[at] = changed[at].wrapping_add(by);
            prop_assert!(Batch::parse(changed.into()).is_err());
        }

        #[test]
        fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300), count in 0u32..5) {
            let _ = Batch::parse(input.clone().into());
            // The same bytes behind a right header: the records' decoder sees them.
            let mut out = Batch::build(Producer::default(), &[Record::default()]).unwrap().bytes()[..HEADER_BYTES].to_vec();
            out.extend_from_slice(&input);
            let length = length_u32(out.len());
            out[4..8].copy_from_slice(&length.to_le_bytes());
            out[12..16].copy_from_slice(&count.to_le_bytes());
            let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
            out[8..12].copy_from_slice(&crc.to_le_bytes());
            if let Ok(batch) = Batch::parse(out.into()) {
                prop_assert_eq!(batch.check_records().is_ok(), batch.records().is_ok() && {
                    let mut rest = Reader::new(batch.bytes().slice(HEADER_BYTES..));
                    (0..count).all(|_| read_record(&mut rest).is_ok()) && rest.remaining() == 0
                });
            }
        }
    }

    #[test]
    fn empty_and_oversized_batches_are_refused() {
        assert_eq!(Batch::build(Producer::default(), &[]), Err(BatchError::Count(0)));
        let big = Record { value: vec![0; limits::BATCH_BYTES_MAX].into(), ..Record::default() };
        assert!(matches!(Batch::build(Producer::default(), &[big]), Err(BatchError::TooLarge(_))));
    }
}
