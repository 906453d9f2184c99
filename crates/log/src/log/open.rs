//! Opening: scan, cut the torn tail, make durable what was found, and go on behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, RwLock};

use hcube_core::ids::Incarnation;

use super::{Config, Log};
use crate::disk::{Disk, File, zero};
use crate::error::OpenError;
use crate::identity::Identity;
use crate::recovery::{Place, Recovery};
use crate::scan::{self, End, Scanned};
use crate::segment::{self, BYTES_MAX, BYTES_MIN, HEADER_BYTES, Make};

/// The segments that are there, and what their frames are salted with.
struct Found {
    numbers: Vec<u64>,
    salt: u64,
}

impl<D: Disk> Log<D> {
    /// Opens the log on a disk, or makes one where there is none.
    ///
    /// A torn tail, which nobody was ever told about, is cut. Damage to what had been durable is reported in
    /// the [`Recovery`] and left as it is: the groups concerned can only be destroyed here.
    /// Reads every segment that is not reclaimed yet, one at a time.
    pub fn open(disk: D, config: Config) -> Result<(Self, Recovery), OpenError> {
        let found = config.segment_bytes;
        if !(BYTES_MIN..=BYTES_MAX).contains(&found) || !found.is_multiple_of(512) {
            return Err(OpenError::SegmentBytes { found, min: BYTES_MIN, max: BYTES_MAX });
        }
        let found = find_segments(&disk)?;
        if found.numbers.is_empty() {
            let mut log = Self::empty(disk, config, found.salt);
            log.start_segment(1)?;
            log.make_ready()?;
            return Ok((log, Recovery { fresh: true, ..Recovery::default() }));
        }
        let scanned = scan::scan(&disk, found.salt, &found.numbers)?;
        let mut log = Self::empty(disk, config, found.salt);
        let (scanned_bytes, torn_bytes) = (scanned.bytes, torn_bytes(&scanned.end));
        log.settle_end(&scanned, &found.numbers)?;
        log.chain = scanned.chain;
        log.idle_marked = scanned.idle_marked;
        let finished = scanned.state.finish();
        log.groups = finished.groups;
        log.tombstones = finished.tombstones;
        log.broken = finished.broken;
        log.broken_all = finished.broken_all;
        log.make_ready()?;
        let recovery = Recovery {
            groups: finished.recovered,
            tombstones: log.tombstones.keys().copied().collect(),
            damage: finished.damage,
            torn_bytes,
            scanned_bytes,
            fresh: false,
        };
        Ok((log, recovery))
    }

    fn empty(disk: D, config: Config, salt: u64) -> Self {
        let nowhere = Place { segment: 0, offset: 0 };
        Self {
            disk,
            config,
            salt,
            files: Arc::new(RwLock::new(BTreeMap::new())),
            sizes: BTreeMap::new(),
            retired: Vec::new(),
            head: nowhere,
            chain: 0,
            durable: nowhere,
            dirty: BTreeSet::new(),
            batch_open: false,
            idle_marked: true,
            groups: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            broken: BTreeMap::new(),
            broken_all: None,
            reserved: BTreeSet::new(),
            leaves: false,
            fast: false,
            written_bytes: 0,
            full: false,
            preparing: false,
            poisoned: false,
            buffer: Vec::new(),
        }
    }

    /// Makes a segment and begins to write there.
    fn start_segment(&mut self, number: u64) -> io::Result<()> {
        let bytes = self.config.segment_bytes;
        let file = segment::create(&self.disk, number, self.salt, bytes, Make::Filled)?;
        self.install(number, bytes, file, false);
        self.head = Place { segment: number, offset: HEADER_BYTES };
        Ok(())
    }

    /// Opens the segments, cleans up behind the end, and finds the place to go on.
    fn settle_end(&mut self, scanned: &Scanned, numbers: &[u64]) -> io::Result<()> {
        for number in numbers {
            let file = self.disk.open(&segment::path(*number))?;
            self.install(*number, file.len()?.min(BYTES_MAX), Arc::new(file), false);
        }
        let newest = numbers.last().copied().unwrap_or_default();
        match &scanned.end {
            End::Cut(head, ends) => {
                self.head = *head;
                self.cut(ends)?;
                self.write_unsynced_again(scanned.state.frontier, numbers[0])?;
                self.drop_unusable_spares()?;
                if !self.is_sound(head.segment)? {
                    // Only the header of a log without any frame can get here; a blank segment is never passed.
                    self.drop_spares_beyond(head.segment)?;
                    self.start_segment(head.segment + 1)?;
                }
            }
            End::Damaged => self.start_segment(newest + 1)?,
        }
        Ok(())
    }

    /// Overwrites the torn bytes, so that nothing stale can ever be taken for a frame.
    fn cut(&mut self, ends: &[(u64, u64)]) -> io::Result<()> {
        for (number, end) in ends {
            let start = if *number == self.head.segment { self.head.offset } else { HEADER_BYTES };
            if *end > u64::from(start) {
                let file = self.file(*number);
                zero(&*file, start.into(), *end)?;
                file.sync_data()?;
            }
        }
        Ok(())
    }

    /// Writes and syncs what lies between the last known durable place and the end.
    ///
    /// A process that died without the machine leaves bytes that can be read but are not on the disk. If its
    /// last sync failed, the kernel even takes them for clean, so that a sync alone would do nothing.
    fn write_unsynced_again(&mut self, frontier: Option<Place>, oldest: u64) -> io::Result<()> {
        let start = Place { segment: oldest, offset: HEADER_BYTES };
        let start = frontier.map_or(start, |frontier| frontier.max(start));
        let numbers: Vec<u64> =
            self.sizes.range(start.segment..=self.head.segment).map(|(n, _)| *n).collect();
        for number in numbers {
            let from = if number == start.segment { start.offset } else { HEADER_BYTES };
            let size = u32::try_from(self.segment_size(number)).unwrap_or(u32::MAX);
            let to = if number == self.head.segment { self.head.offset } else { size };
            let mut bytes = segment::blank(to.saturating_sub(from) as usize);
            let file = self.file(number);
            file.read_exact_at(&mut bytes, from.into())?;
            file.write_at(&bytes, from.into())?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// Blank segments behind the end are kept as prepared ones, if they are whole, without a gap, and of the size
    /// wanted now: a frame that does not fit one would leave a blank segment in the middle of the log.
    fn drop_unusable_spares(&mut self) -> io::Result<()> {
        let mut last = self.head.segment;
        while self.segment_size(last + 1) == self.config.segment_bytes
            && self.sizes.contains_key(&(last + 1))
            && self.is_sound(last + 1)?
        {
            last += 1;
        }
        self.drop_spares_beyond(last)
    }

    /// Newest first, so that no gap can be left.
    fn drop_spares_beyond(&mut self, last: u64) -> io::Result<()> {
        while self.newest() > last {
            let number = self.newest();
            self.forget(number);
            self.disk.remove(&segment::path(number))?;
            self.disk.sync_dir(segment::DIR)?;
        }
        Ok(())
    }

    fn is_sound(&self, number: u64) -> io::Result<bool> {
        let mut raw = [0; HEADER_BYTES as usize];
        let file = self.file(number);
        if file.len()? < raw.len() as u64 {
            return Ok(false);
        }
        file.read_exact_at(&mut raw, 0)?;
        let header = segment::decode_header(&raw, number).ok().flatten();
        Ok(header.is_some_and(|header| header.bytes == self.segment_size(number)))
    }

    /// Everything found is durable now; a segment is prepared if there is room.
    fn make_ready(&mut self) -> io::Result<()> {
        self.durable = self.head;
        self.prepare_segment()?;
        Ok(())
    }
}

fn torn_bytes(end: &End) -> u64 {
    let End::Cut(head, ends) = end else { return 0 };
    let start = |number| if number == head.segment { head.offset } else { HEADER_BYTES };
    ends.iter().map(|(number, end)| end.saturating_sub(start(*number).into())).sum()
}

/// Lists the segments, removes unfinished ones, and reads all headers.
fn find_segments<D: Disk>(disk: &D) -> Result<Found, OpenError> {
    let identity = Identity::load(disk)?.map(|identity| salt_of(identity.incarnation));
    if !disk.exists(segment::DIR)? {
        disk.create_dir_all(segment::DIR)?;
    }
    // A directory that a crash found not synced yet may be there again only for now.
    disk.sync_dir("")?;
    let names = disk.list(segment::DIR)?;
    for name in names.iter().filter(|name| name.ends_with(segment::TEMPORARY)) {
        disk.remove(&format!("{}/{name}", segment::DIR))?;
    }
    let numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    let mut salt = None;
    for number in &numbers {
        let Some(found) = read_salt(disk, *number)? else { continue };
        // A log that was made before the identity has no salt of its own.
        let foreign = found != 0 && identity != Some(found);
        if foreign || *salt.get_or_insert(found) != found {
            return Err(OpenError::Foreign { segment: *number });
        }
    }
    let salt = match (salt.or(identity), numbers.first()) {
        (Some(salt), _) => salt,
        (None, None) => 0,
        (None, Some(segment)) => return Err(OpenError::Unreadable { segment: *segment }),
    };
    Ok(Found { numbers, salt })
}

/// The salt in a segment's header; none when that is damaged.
fn read_salt<D: Disk>(disk: &D, number: u64) -> Result<Option<u64>, OpenError> {
    let file = disk.open(&segment::path(number))?;
    let mut raw = [0; HEADER_BYTES as usize];
    if file.len()? < raw.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut raw, 0)?;
    Ok(segment::decode_header(&raw, number)?.map(|header| header.salt))
}

/// Folds an incarnation; never 0, which stands for none.
fn salt_of(incarnation: Incarnation) -> u64 {
    let [low, high] = [incarnation.0, incarnation.0 >> 64].map(|half| (half & u128::from(u64::MAX)) as u64);
    (low ^ high).max(1)
}
