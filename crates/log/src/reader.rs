//! Reads of entries, from any thread.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{Buf, Bytes};

use crate::disk::{Disk, File};
use crate::frame::{self, HEAD_BYTES, Parsed, Salt};
use crate::ops::Position;

/// The open segments, shared between the log and its readers.
pub(crate) type Files<D> = Arc<RwLock<BTreeMap<u64, Arc<<D as Disk>::File>>>>;

/// Reads entries while the log goes on.
#[derive(Debug)]
pub struct Reader<D: Disk> {
    files: Files<D>,
    salt: u64,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self { files: Arc::clone(&self.files), salt: self.salt }
    }
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(files: Files<D>, salt: u64) -> Self {
        Self { files, salt }
    }

    /// Bytes of a segment; none when the log does not need it any more.
    #[must_use]
    pub fn segment_bytes(&self, number: u64) -> Option<u64> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&number)?.len().ok()
    }

    /// The data at a position, its checksums verified.
    ///
    /// Fails with `NotFound` when the segment has been reclaimed, and with `InvalidData` when it is damaged.
    pub fn read(&self, position: Position) -> io::Result<Bytes> {
        let file = {
            let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            files.get(&position.segment).cloned()
        };
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        // The frame is read whole, because only its head and padding together with the data can be verified.
        let head_bytes = u32::try_from(HEAD_BYTES).expect("a head is small");
        let offset = position.offset.checked_sub(head_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let mut raw = vec![0; frame::frame_bytes(position.length as usize)];
        file.read_exact_at(&mut raw, offset.into())?;
        match frame::parse_at(&raw, Salt::new(self.salt, position.segment), offset) {
            Parsed::Valid(head, _) if head.length == position.length => {
                let mut data = Bytes::from(raw);
                data.advance(HEAD_BYTES);
                data.truncate(position.length as usize);
                Ok(data)
            }
            // All that an empty entry says is in its head; only its other CRC is hit, which the scan forgives too.
            Parsed::BadPayload(head, ..) if head.length == 0 && position.length == 0 => Ok(Bytes::new()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log segment {} is damaged at byte {offset}", position.segment),
            )),
        }
    }
}
