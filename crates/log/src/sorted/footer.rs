//! The footer of a sorted file: what is in it and where.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::TopicId;

/// One point of the sparse index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexPoint {
    /// Base offset of the row.
    pub base_offset: u64,
    /// Stamp of the row, milliseconds since 1970.
    pub stamp_ms: u64,
    /// Where the row begins in the file.
    pub position: u64,
}

/// What a sorted file holds of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRange {
    /// Offset of the first record.
    pub first_offset: u64,
    /// Offset behind the last record.
    pub end_offset: u64,
    /// Stamp of the first row, milliseconds since 1970.
    pub first_stamp_ms: u64,
    /// Stamp of the last row.
    pub last_stamp_ms: u64,
    /// Bytes of all batches, without what the file adds to them.
    pub batch_bytes: u64,
    /// Where the first row begins in the file.
    pub start: u64,
    /// Where the last row ends.
    pub end: u64,
    /// The first row, and then about one every 16 KiB.
    pub index: Vec<IndexPoint>,
}

/// Everything in the footer. In the file: the rows' CRC `u32`, then a `u32` count of partitions, each as topic
/// `u128`, partition `u16`, the eight fields of [`PartitionRange`] in order, its index a `u32` count of points.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Footer {
    /// crc32c of the header and all rows.
    pub(super) rows_crc: u32,
    /// By topic and partition, which is the order of the rows.
    pub(super) partitions: BTreeMap<(TopicId, u16), PartitionRange>,
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        raw.u32(self.rows_crc);
        raw.list(self.partitions.iter(), |raw, ((topic, partition), range)| {
            raw.u128(topic.0);
            raw.u16(*partition);
            raw.u64(range.first_offset);
            raw.u64(range.end_offset);
            raw.u64(range.first_stamp_ms);
            raw.u64(range.last_stamp_ms);
            raw.u64(range.batch_bytes);
            raw.u64(range.start);
            raw.u64(range.end);
            raw.list(range.index.iter(), |raw, point| {
                raw.u64(point.base_offset);
                raw.u64(point.stamp_ms);
                raw.u64(point.position);
            });
        });
        raw
    }

    pub(super) fn decode(raw: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(raw);
        let rows_crc = reader.u32("rows' crc")?;
        let partitions = reader.list("partitions", |reader| {
            let key = (TopicId(reader.u128("topic")?), reader.u16("partition")?);
            let range = PartitionRange {
                first_offset: reader.u64("first offset")?,
                end_offset: reader.u64("end offset")?,
                first_stamp_ms: reader.u64("first stamp")?,
                last_stamp_ms: reader.u64("last stamp")?,
                batch_bytes: reader.u64("batch bytes")?,
                start: reader.u64("start")?,
                end: reader.u64("end")?,
                index: reader.list("index", |reader| {
                    Ok(IndexPoint {
                        base_offset: reader.u64("index offset")?,
                        stamp_ms: reader.u64("index stamp")?,
                        position: reader.u64("index position")?,
                    })
                })?,
            };
            let inside = |point: &IndexPoint| (range.start..range.end).contains(&point.position);
            if range.index.is_empty() || !range.index.iter().all(inside) {
                return Err(DecodeError::Invalid("index"));
            }
            Ok((key, range))
        })?;
        reader.finish()?;
        if !partitions.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(DecodeError::Invalid("order of partitions"));
        }
        Ok(Self { rows_crc, partitions: partitions.into_iter().collect() })
    }
}
