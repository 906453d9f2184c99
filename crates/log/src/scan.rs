//! The scan of all segments when a log is opened: tells what is there, what is torn and what is damaged.
//!
//! Frames are taken in order. At the first place where the chain of frames ends, a survey looks at everything
//! behind it. A frontier frame there that names a place above the bad one says that the bad place had been
//! durable: that is damage, noted and stepped over. Otherwise it is the torn tail of a batch that was never
//! acknowledged, or simply the end.

use hcube_core::ids::GroupId;

use crate::disk::{Disk, File};
use crate::error::OpenError;
use crate::frame::{self, ALIGNMENT, HEAD_BYTES, Head, Kind, Parsed, Salt};
use crate::ops::Position;
use crate::recovery::Place;
use crate::segment;

mod state;

pub(crate) use state::{Hit, State};

const PAGE_BYTES: usize = 4096;

/// A segment in memory.
pub(crate) struct Loaded {
    pub(crate) number: u64,
    salt: Salt,
    pub(crate) raw: Vec<u8>,
    /// Its header and size are what they were when it was made.
    pub(crate) sound: bool,
}

/// How the scan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Here the log goes on; what lies behind is cut. Each segment with the end of the last frame that has its head.
    Cut(Place, Vec<(u64, u64)>),
    /// In damage, with nothing behind it: the log cannot go on in any of its segments.
    Damaged,
}

/// Everything that the scan found.
pub(crate) struct Scanned {
    pub(crate) state: State,
    pub(crate) end: End,
    /// The CRC of the last frame.
    pub(crate) chain: u32,
    /// Whether the last frame is a frontier frame, or there is none at all.
    pub(crate) idle_marked: bool,
    /// Bytes read.
    pub(crate) bytes: u64,
}

/// What lies behind the first bad place.
#[derive(Debug, Default)]
struct Survey {
    /// The highest place known to have been durable.
    durable: Option<Place>,
    /// Each segment with the end of the last frame that has its head.
    ends: Vec<(u64, u64)>,
}

struct Scan<'d, D: Disk> {
    disk: &'d D,
    log_salt: u64,
    numbers: &'d [u64],
    at: usize,
    current: Loaded,
    offset: u32,
    /// What the next frame must be chained to; either of two, behind a frame whose own CRC is in doubt.
    chain: Option<[u32; 2]>,
    survey: Option<Survey>,
    state: State,
    idle_marked: bool,
    bytes: u64,
}

/// Scans the segments of these numbers, in order; there must be at least one.
pub(crate) fn scan<D: Disk>(disk: &D, log_salt: u64, numbers: &[u64]) -> Result<Scanned, OpenError> {
    let current = load(disk, log_salt, numbers[0])?;
    let mut scan = Scan {
        disk,
        log_salt,
        numbers,
        at: 0,
        bytes: current.raw.len() as u64,
        current,
        offset: segment::HEADER_BYTES,
        chain: None,
        survey: None,
        state: State::new(),
        idle_marked: true,
    };
    scan.note_unsound();
    let end = loop {
        if let Some(end) = scan.step()? {
            break end;
        }
    };
    if scan.state.low < numbers[0] {
        scan.state.hit(Place { segment: scan.state.low, offset: 0 }, Hit::All);
    }
    let chain = scan.chain.map_or(0, |[stored, _]| stored);
    Ok(Scanned { state: scan.state, end, chain, idle_marked: scan.idle_marked, bytes: scan.bytes })
}

/// Reads a segment whole.
pub(crate) fn load<D: Disk>(disk: &D, log_salt: u64, number: u64) -> Result<Loaded, OpenError> {
    let file = disk.open(&segment::path(number))?;
    let length = file.len()?;
    // A file that has grown beyond what an offset can name is none that this log wrote.
    let read = usize::try_from(length.min(segment::BYTES_MAX)).unwrap_or(usize::MAX);
    let mut raw = segment::blank(read);
    file.read_exact_at(&mut raw, 0)?;
    let header = segment::decode_header(&raw, number)?;
    let sound = header.is_some_and(|header| header.bytes == length);
    Ok(Loaded { number, salt: Salt::new(log_salt, number), raw, sound })
}

impl Loaded {
    /// The end of the bytes that are not zero, at least the header's end.
    fn written(&self) -> u64 {
        let mut frames = self.raw.get(segment::HEADER_BYTES as usize..).unwrap_or_default();
        // Whole pages first: the rest of a segment is mostly blank.
        while let Some((rest, page)) = frames.split_last_chunk::<PAGE_BYTES>()
            && *page == [0; PAGE_BYTES]
        {
            frames = rest;
        }
        let last = frames.iter().rposition(|byte| *byte != 0);
        u64::from(segment::HEADER_BYTES) + last.map_or(0, |last| last as u64 + 1)
    }

    /// Whether nothing was ever written to it: no frame where the first one would be, nor any other of its own.
    fn is_blank(&self) -> bool {
        let first = self.raw.iter().skip(segment::HEADER_BYTES as usize).take(HEAD_BYTES);
        first.copied().all(|byte| byte == 0) && self.heads_from(segment::HEADER_BYTES).next().is_none()
    }

    /// What has a frame's head from `offset` on, wherever it begins, and whether it is valid.
    fn heads_from(&self, offset: u32) -> impl Iterator<Item = (u32, Head, bool)> {
        let start = (offset as usize).next_multiple_of(ALIGNMENT);
        let end = usize::try_from(self.written()).unwrap_or(usize::MAX);
        (start..end).step_by(ALIGNMENT).filter_map(|at| {
            let at = u32::try_from(at).ok()?;
            match frame::parse(&self.raw, self.salt, at) {
                Parsed::Valid(head, _) => Some((at, head, true)),
                Parsed::BadPayload(head, ..) => Some((at, head, false)),
                _ => None,
            }
        })
    }
}

impl<D: Disk> Scan<'_, D> {
    /// Takes one frame, or deals with what is there instead. Returns the end, once reached.
    fn step(&mut self) -> Result<Option<End>, OpenError> {
        match frame::parse(&self.current.raw, self.current.salt, self.offset) {
            Parsed::Valid(head, crc) if self.is_chained(&head) => {
                self.take(&head, [crc, crc])?;
                Ok(None)
            }
            Parsed::Blank => {
                if self.goes_on_in_next()? {
                    Ok(None)
                } else {
                    self.bad(Parsed::Blank)
                }
            }
            parsed => self.bad(parsed),
        }
    }

    fn is_chained(&self, head: &Head) -> bool {
        self.chain.is_none_or(|chain| chain.contains(&head.chain))
    }

    fn place(&self) -> Place {
        Place { segment: self.current.number, offset: self.offset }
    }

    /// Applies the frame at the current place and steps behind it.
    fn take(&mut self, head: &Head, chain: [u32; 2]) -> Result<(), OpenError> {
        let Place { segment, offset } = self.place();
        let kind = head.kind().ok_or(OpenError::FrameKind { segment, offset, kind: head.kind })?;
        let payload_at = self.offset as usize + HEAD_BYTES;
        let payload = &self.current.raw[payload_at..payload_at + head.length as usize];
        let data_offset = u32::try_from(payload_at).expect("a segment has less than 4 GiB");
        let position = Position { segment, offset: data_offset, length: head.length };
        self.state.apply(kind, head, payload, position).map_err(|source| OpenError::Malformed {
            segment,
            offset,
            source,
        })?;
        self.idle_marked = kind == Kind::Frontier;
        self.step_behind(head, chain);
        Ok(())
    }

    fn step_behind(&mut self, head: &Head, chain: [u32; 2]) {
        self.offset += u32::try_from(head.frame_bytes()).expect("the frame lies in the segment");
        self.chain = Some(chain);
    }

    /// Moves to the next segment if its first frame follows on the last one.
    fn goes_on_in_next(&mut self) -> Result<bool, OpenError> {
        let Some(next) = self.numbers.get(self.at + 1) else { return Ok(false) };
        let next = load(self.disk, self.log_salt, *next)?;
        let first = next.raw.get(segment::HEADER_BYTES as usize..).and_then(<[u8]>::first_chunk);
        let head = first.and_then(|raw| frame::parse_head(raw, next.salt, segment::HEADER_BYTES));
        let goes_on = head.is_some_and(|head| self.is_chained(&head));
        if goes_on {
            self.enter(self.at + 1, next);
        }
        Ok(goes_on)
    }

    fn enter(&mut self, at: usize, segment: Loaded) {
        self.bytes += segment.raw.len() as u64;
        (self.at, self.current, self.offset) = (at, segment, segment::HEADER_BYTES);
        self.note_unsound();
    }

    /// A segment is made whole before it gets its name, so a bad header or size is damage in any case.
    fn note_unsound(&mut self) {
        if !self.current.sound {
            let hit = if self.current.is_blank() { Hit::Log } else { Hit::All };
            self.state.hit(Place { segment: self.current.number, offset: 0 }, hit);
        }
    }

    /// Tells damage from the torn tail.
    fn bad(&mut self, parsed: Parsed) -> Result<Option<End>, OpenError> {
        if self.survey.is_none() {
            self.survey = Some(self.survey()?);
        }
        let place = self.place();
        if let Some(survey) =
            self.survey.take_if(|survey| survey.durable.is_none_or(|durable| durable <= place))
        {
            // The survey began at the first bad place, which may be far in front of the end.
            let ends = survey.ends.into_iter().filter(|(number, _)| *number >= place.segment);
            return Ok(Some(End::Cut(place, ends.collect())));
        }
        match parsed {
            Parsed::BadPayload(head, stored, computed) if self.is_chained(&head) => {
                self.step_over(&head, [stored, computed])?;
                Ok(None)
            }
            // Only the blank rest of the segment is hit: no frame is missing in between.
            _ if self.chain.is_some() && self.goes_on_in_next()? => {
                self.state.hit(place, Hit::Log);
                Ok(None)
            }
            _ => {
                self.state.hit(place, Hit::All);
                self.chain = None;
                Ok(if self.find_next_valid()? { None } else { Some(End::Damaged) })
            }
        }
    }

    /// Steps over a damaged frame whose head is intact.
    fn step_over(&mut self, head: &Head, chain: [u32; 2]) -> Result<(), OpenError> {
        if head.length == 0 {
            // All that it says is in its head; only its other CRC is hit.
            self.state.hit(self.place(), Hit::Log);
            return self.take(head, chain);
        }
        self.state.hit(self.place(), Hit::Group(GroupId(head.group)));
        self.step_behind(head, chain);
        Ok(())
    }

    /// Moves to the next valid frame at or behind this place, in this segment or a later one.
    fn find_next_valid(&mut self) -> Result<bool, OpenError> {
        loop {
            let next = self.current.heads_from(self.offset).find(|(_, _, valid)| *valid);
            if let Some((offset, ..)) = next {
                self.offset = offset;
                return Ok(true);
            }
            let Some(next) = self.numbers.get(self.at + 1) else { return Ok(false) };
            let next = load(self.disk, self.log_salt, *next)?;
            self.enter(self.at + 1, next);
        }
    }

    fn survey(&mut self) -> Result<Survey, OpenError> {
        let mut survey = Survey::default();
        survey.look_at(&self.current, self.offset);
        let mut before = self.current.number;
        for number in &self.numbers[self.at + 1..] {
            let segment = load(self.disk, self.log_salt, *number)?;
            self.bytes += segment.raw.len() as u64;
            survey.look_at(&segment, segment::HEADER_BYTES);
            if before + 1 != *number && !segment.is_blank() {
                // Segments are made and deleted in order, so one is missing in between.
                survey.raise(Place { segment: before + 1, offset: u32::MAX });
            }
            before = *number;
        }
        Ok(survey)
    }
}

impl Survey {
    fn look_at(&mut self, segment: &Loaded, offset: u32) {
        if !segment.sound && !segment.is_blank() {
            self.raise(Place { segment: segment.number, offset: u32::MAX });
        }
        let mut end = u64::from(offset);
        for (at, head, valid) in segment.heads_from(offset) {
            end = end.max(u64::from(at) + head.frame_bytes() as u64);
            if valid
                && head.kind() == Some(Kind::Frontier)
                && let Ok(place) = state::frontier(&head)
            {
                self.raise(place);
            }
        }
        self.ends.push((segment.number, end.min(segment.raw.len() as u64)));
    }

    fn raise(&mut self, place: Place) {
        self.durable = self.durable.max(Some(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    /// A log of one frame, correct but for what it says.
    fn scan_frame(kind: u8, index: u64, payload: &[u8]) -> Result<Scanned, OpenError> {
        let disk = FaultyDisk::new();
        disk.create_dir_all(segment::DIR).unwrap();
        let file = segment::create(&disk, 1, 7, 4096, segment::Make::Filled).unwrap();
        let length = u32::try_from(payload.len()).unwrap();
        let head = Head { length, kind, flags: 0, group: 1, chain: 0, term: 1, index };
        let mut raw = Vec::new();
        head.encode(&mut raw, Salt::new(7, 1), segment::HEADER_BYTES, [payload, &[]]);
        file.write_at(&raw, segment::HEADER_BYTES.into()).unwrap();
        scan(&disk, 7, &[1])
    }

    #[test]
    fn frame_of_an_unknown_kind_is_refused_by_name() {
        for kind in [8, 99, 255] {
            let refused = scan_frame(kind, 1, b"");
            assert!(matches!(refused, Err(OpenError::FrameKind { kind: k, .. }) if k == kind));
        }
    }

    #[test]
    fn frame_that_makes_no_sense_is_refused_and_never_panics() {
        let frames =
            [(Kind::Frontier, u64::MAX, &b""[..]), (Kind::HardState, 1, b"short"), (Kind::Base, 1, b"?")];
        for (kind, index, payload) in frames {
            let refused = scan_frame(kind as u8, index, payload);
            assert!(matches!(refused, Err(OpenError::Malformed { segment: 1, offset: 64, .. })), "{kind:?}");
        }
        for index in [0, 5, u64::MAX] {
            let damage = scan_frame(Kind::Entry as u8, index, b"no base").unwrap().state.finish().damage;
            assert!(damage.is_some_and(|damage| damage.concerns(GroupId(1))));
        }
    }
}
