//! Preparing segments ahead, which is also the ballast for a full disk.
//!
//! The segment behind the active one is made early, and in its own time: a batch for which there is none yet reserves the
//! room of one, and does not wait. When it cannot be
//! made for lack of space the log is *full*: publishes are to be refused, while the rest of the active segment
//! is there for votes, retention and deletes. As much again as a segment is left to the sorted files, without
//! which no segment could be reclaimed.

use std::io;
use std::sync::{Arc, PoisonError};

use super::{Log, Retired};
use crate::disk::Disk;
use crate::error::WriteError;
use crate::segment::{self, Make};

/// The order to make a segment, for any thread.
#[derive(Debug)]
pub struct Prepare<D: Disk> {
    disk: D,
    number: u64,
    salt: u64,
    bytes: u64,
    /// The file to make it of, where there is one.
    retired: Option<Retired<D>>,
    /// Without one, its room is only to be reserved.
    reserves: bool,
}

/// What became of a [`Prepare`].
#[derive(Debug)]
pub struct Prepared<D: Disk> {
    /// The path until it gets its name.
    path: String,
    number: u64,
    bytes: u64,
    made: io::Result<Arc<D::File>>,
    /// Whether its room is only reserved.
    reserved: bool,
}

impl<D: Disk> Prepare<D> {
    /// Makes the segment: a sync, and some ten milliseconds of writing where there is no file to make it of. `pace` is told
    /// how many bytes are written next; it may wait before they are, or have the whole given up by an error.
    #[must_use]
    pub fn run(self, mut pace: impl FnMut(u64) -> io::Result<()>) -> Prepared<D> {
        let Self { disk, number, salt, bytes, retired, reserves } = self;
        let reserved = reserves && retired.is_none();
        let needed = if retired.is_some() { bytes } else { bytes.saturating_mul(2) };
        let has_room = disk.free_bytes().map(|free| free >= needed);
        // Not the path that a batch uses which cannot wait: both may be at it at once.
        let ahead = || format!("{}/{number:020}-ahead{}", segment::DIR, segment::TEMPORARY);
        let path = retired.as_ref().map_or_else(ahead, |retired| retired.path.clone());
        let made = match (has_room, retired) {
            (Ok(true), Some(retired)) => retired.refit(&disk, number, salt, bytes),
            (Ok(true), None) if reserves => segment::make(&disk, &path, number, salt, bytes, Make::Reserved),
            (Ok(true), None) => segment::make(&disk, &path, number, salt, bytes, Make::Paced(&mut pace)),
            // Its room is worth more now than the file.
            (Ok(false), Some(_)) => disk.remove(&path).and(Err(io::ErrorKind::StorageFull.into())),
            (Ok(false), None) => Err(io::ErrorKind::StorageFull.into()),
            (Err(error), _) => Err(error),
        };
        Prepared { path, number, bytes, made, reserved }
    }
}

impl<D: Disk> Log<D> {
    /// Whether no further segment can be made for lack of space. Publishes must be refused now, so that what
    /// is left serves votes, retention and deletes. Ends when a segment can be made again: [`Log::reclaim`] tries
    /// that by itself; who frees room in another way calls [`Log::prepare_segment`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Says whether the log grows fast. One that does has the room of its segments reserved: it writes so much with each
    /// sync that these may cost more, and filling segments would only take the disk from it. One that does not would pay
    /// for that with each sync and for long: it has a segment filled instead, and goes on there as soon as it can.
    pub fn set_fast(&mut self, fast: bool) {
        self.fast = fast;
        let (active, newest) = (self.head.segment, self.newest());
        // One without a frame would be a gap.
        let has_frames = self.head.offset > segment::HEADER_BYTES;
        self.leaves = !fast
            && has_frames
            && self.reserved.contains(&active)
            && newest > active
            && !self.reserved.contains(&(active + 1));
    }

    /// The order to make the next segment, if there is none ahead, or none that will do, and none is being made.
    ///
    /// To be asked after each [`Log::write`], run on another thread, and handed back to [`Log::prepared`]. Who
    /// does not ask has the log make its segments itself, within `write`.
    pub fn prepare(&mut self) -> Option<Prepare<D>> {
        if self.preparing || self.poisoned {
            return None;
        }
        let next = self.head.segment + 1;
        let number = match self.has_spare() {
            false => self.newest() + 1,
            true if !self.fast && self.reserved.contains(&next) => next,
            true => return None,
        };
        self.preparing = true;
        Some(Prepare {
            disk: self.disk.clone(),
            number,
            salt: self.salt,
            bytes: self.config.segment_bytes,
            retired: self.take_retired(),
            reserves: self.fast,
        })
    }

    /// Takes what became of a [`Prepare`]. An error other than a full disk is returned; it does no harm yet.
    pub fn prepared(&mut self, prepared: Prepared<D>) -> io::Result<()> {
        self.preparing = false;
        match prepared.made {
            Ok(file) if self.has_use_for(prepared.number, prepared.reserved) => {
                segment::publish(&self.disk, &prepared.path, prepared.number)?;
                self.install(prepared.number, prepared.bytes, file, prepared.reserved);
                self.full = false;
                Ok(())
            }
            // A batch that could not wait has made that segment meanwhile. The file will do for the next, unless it is as
            // easily made again.
            Ok(_) if prepared.reserved => self.disk.remove(&prepared.path),
            Ok(file) => {
                self.retired.push(Retired { path: prepared.path, file });
                Ok(())
            }
            // There is room as soon as these go; the next order shows whether it is enough.
            Err(error) if error.kind() == io::ErrorKind::StorageFull && !self.retired.is_empty() => {
                self.release_retired()
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // The one that is only reserved has to do.
                self.full = !self.has_spare();
                self.reserved.remove(&prepared.number);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the next segment now, if there is none ahead. Returns whether there is one afterwards.
    pub fn prepare_segment(&mut self) -> io::Result<bool> {
        if let Some(order) = self.prepare() {
            self.prepared(order.run(|_| Ok(())))?;
        }
        Ok(self.has_spare())
    }

    /// Makes the next segment once the active one is half full, unless somebody else is at it.
    pub(super) fn prepare_when_half_full(&mut self) {
        if !self.has_spare() && u64::from(self.head.offset) * 2 > self.segment_size(self.head.segment) {
            // The batch is written and counts; a disk that really fails will say so at the next call.
            let _ = self.prepare_segment();
        }
    }

    /// Makes the segments that a batch needs, whatever is left of the disk.
    pub(super) fn make_segments_up_to(&mut self, last: u64) -> Result<(), WriteError> {
        while self.newest() < last {
            let number = self.newest() + 1;
            match self.make_segment(number) {
                Ok((file, reserved)) => self.install(number, self.config.segment_bytes, file, reserved),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    self.full = true;
                    return Err(WriteError::Full);
                }
                Err(error) => {
                    self.poisoned = true;
                    return Err(WriteError::Io(error));
                }
            }
        }
        Ok(())
    }

    /// Makes a segment, and says whether its room is only reserved.
    fn make_segment(&mut self, number: u64) -> io::Result<(Arc<D::File>, bool)> {
        let (salt, bytes) = (self.salt, self.config.segment_bytes);
        let Some(retired) = self.take_retired() else {
            // Filling it would keep everybody waiting.
            let file = segment::create(&self.disk, number, salt, bytes, Make::Reserved)?;
            return Ok((file, true));
        };
        let path = retired.path.clone();
        let file = retired.refit(&self.disk, number, salt, bytes)?;
        segment::publish(&self.disk, &path, number)?;
        Ok((file, false))
    }

    /// Whether a segment that was made has a place in the log: as the next one, or instead of a blank one that is only
    /// reserved.
    fn has_use_for(&self, number: u64, reserved: bool) -> bool {
        let replaces = number > self.head.segment && !reserved && self.reserved.contains(&number);
        replaces || number > self.newest()
    }

    pub(super) fn install(&mut self, number: u64, bytes: u64, file: Arc<D::File>, reserved: bool) {
        self.sizes.insert(number, bytes);
        if reserved {
            self.reserved.insert(number);
        } else {
            self.reserved.remove(&number);
        }
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(number, file);
    }

    /// The newest segment, prepared ones included.
    pub(super) fn newest(&self) -> u64 {
        self.sizes.last_key_value().map_or(self.head.segment, |(number, _)| *number)
    }

    fn has_spare(&self) -> bool {
        self.newest() > self.head.segment
    }
}
