//! Planning a batch: checks every change, gives every frame its place, and only then touches the disk.

use std::collections::BTreeMap;

use hcube_core::ids::{GroupId, ReplicaId};

use super::{Group, Log};
use crate::disk::{Disk, File};
use crate::error::WriteError;
use crate::frame::base;
use crate::frame::{COPY, CREATE, HEAD_BYTES, Head, KEEP_TAIL, Kind, Salt};
use crate::ops::{Base, Entry, HardState, Op, Position};
use crate::recovery::Place;
use crate::segment;

const HEAD: u32 = HEAD_BYTES as u32;
/// Memory for encoding that a batch leaves to the next one.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

/// What a segment of this size can hold in one frame, behind its header and a frontier frame.
pub(super) fn payload_bytes_max(segment_bytes: u64) -> u64 {
    (segment_bytes - u64::from(segment::HEADER_BYTES) - 2 * u64::from(HEAD)) / 8 * 8
}

/// A frame with its place; the chain is filled in while encoding.
pub(super) struct Frame<'a> {
    place: Place,
    head: Head,
    prefix: Vec<u8>,
    payload: &'a [u8],
}

/// What a batch changes in memory, once it is written. `None` stands for a group that is gone.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) groups: BTreeMap<GroupId, Option<Group>>,
    pub(super) tombstones: BTreeMap<(GroupId, ReplicaId), u64>,
}

/// A batch in the making.
pub(super) struct Plan<'l, 'a, D: Disk> {
    log: &'l Log<D>,
    frames: Vec<Frame<'a>>,
    ends: Vec<Place>,
    head: Place,
    changes: Changes,
    positions: Vec<Position>,
}

/// A batch ready to be written.
pub(super) struct Done<'a> {
    frames: Vec<Frame<'a>>,
    /// Where segments end behind which the log goes on.
    ends: Vec<Place>,
    head: Place,
    pub(super) changes: Changes,
    pub(super) positions: Vec<Position>,
}

impl<'a, D: Disk> Plan<'_, 'a, D> {
    /// Adds an op, or says why it cannot be.
    pub(super) fn add(&mut self, op: &'a Op) -> Result<(), WriteError> {
        match op {
            Op::Append { group, entries } => self.append(*group, entries),
            Op::HardState { group, hard_state } => self.hard_state(*group, *hard_state),
            Op::Base { group, replica, base } => self.base(*group, *replica, base),
            Op::Destroy { group, replica } => {
                self.destroy(*group, *replica);
                Ok(())
            }
        }
    }

    /// Adds a frame about the log itself.
    pub(super) fn add_mark(&mut self, kind: Kind, index: u64) {
        self.push(head(kind, 0, GroupId(0), (0, index)), Vec::new(), &[]);
    }

    /// Adds a copy of the group's hard state.
    pub(super) fn copy_hard_state(&mut self, id: GroupId, hard_state: HardState) -> Result<(), WriteError> {
        self.hard_state(id, hard_state)
    }

    /// Adds a copy of the group's base, whose payload was read back.
    pub(super) fn copy_base(&mut self, id: GroupId, payload: &'a [u8]) -> Result<(), WriteError> {
        let mut group = self.group(id)?;
        let at = (group.base_term, group.base_index);
        self.check_bytes(payload.len())?;
        group.base = self.push(head(Kind::Base, KEEP_TAIL | COPY, id, at), Vec::new(), payload);
        self.changes.groups.insert(id, Some(group));
        Ok(())
    }

    /// Adds a copy of a tombstone.
    pub(super) fn copy_tombstone(&mut self, id: GroupId, replica: ReplicaId) {
        let place = self.push(head(Kind::Destroy, COPY, id, (0, replica.0)), Vec::new(), &[]);
        self.changes.tombstones.insert((id, replica), place.segment);
    }

    /// The batch. An empty one writes nothing, not even a frontier.
    pub(super) fn finish(self) -> Done<'a> {
        let Self { frames, ends, head, changes, positions, .. } = self;
        Done { frames, ends, head, changes, positions }
    }

    /// A batch of a frontier frame alone, when there is no other frame.
    pub(super) fn finish_with_frontier(mut self) -> Done<'a> {
        self.open_batch();
        self.finish()
    }

    fn append(&mut self, id: GroupId, entries: &'a [Entry]) -> Result<(), WriteError> {
        let Some(first) = entries.first() else { return Ok(()) };
        let mut group = self.group(id)?;
        let (lowest, next) = (group.base_index.saturating_add(1), group.last().saturating_add(1));
        if !(lowest..=next).contains(&first.index) {
            return Err(WriteError::NotDense { group: id, first: lowest, next, found: first.index });
        }
        group.truncate(first.index);
        for (entry, index) in entries.iter().zip(first.index..) {
            if entry.index != index {
                return Err(WriteError::NotDense {
                    group: id,
                    first: lowest,
                    next: index,
                    found: entry.index,
                });
            }
            self.check_bytes(entry.data.len())?;
            let head = head(Kind::Entry, entry.kind, id, (entry.term, index));
            let position = self.push(head, Vec::new(), &entry.data);
            group.push(index, position.segment);
            self.positions.push(position);
        }
        self.changes.groups.insert(id, Some(group));
        Ok(())
    }

    fn hard_state(&mut self, id: GroupId, hard_state: HardState) -> Result<(), WriteError> {
        let mut group = self.group(id)?;
        let head = head(Kind::HardState, 0, id, (hard_state.term, hard_state.commit));
        let position = self.push(head, hard_state.vote.to_le_bytes().to_vec(), &[]);
        group.hard_state = Some((hard_state, position.segment));
        self.changes.groups.insert(id, Some(group));
        Ok(())
    }

    fn base(&mut self, id: GroupId, replica: ReplicaId, base: &'a Base) -> Result<(), WriteError> {
        let old = match self.group(id) {
            Ok(group) => Some(group),
            Err(WriteError::UnknownGroup(_)) => None,
            Err(error) => return Err(error),
        };
        if self.is_tombstoned(id, replica) {
            return Err(WriteError::Tombstoned { group: id, replica });
        }
        if let Some(old) = &old {
            if old.replica != replica {
                return Err(WriteError::OtherReplica { group: id, held: old.replica, found: replica });
            }
            if base.index < old.base_index {
                return Err(WriteError::BaseRegressed {
                    group: id,
                    current: old.base_index,
                    found: base.index,
                });
            }
        }
        let keep = if base.keep_tail { KEEP_TAIL } else { 0 };
        let create = if old.is_none() { CREATE } else { 0 };
        let prefix = base::encode(replica, base);
        self.check_bytes(prefix.len() + base.state.len())?;
        let position =
            self.push(head(Kind::Base, keep | create, id, (base.term, base.index)), prefix, &base.state);
        let (hard_state, runs) = old.map_or((None, Vec::new()), |old| (old.hard_state, old.runs));
        let (base_index, base_term) = (base.index, base.term);
        let mut group = Group { replica, base_index, base_term, base: position, hard_state, runs };
        if base.keep_tail {
            group.compact(base.index);
        } else {
            group.runs.clear();
        }
        self.changes.groups.insert(id, Some(group));
        Ok(())
    }

    fn destroy(&mut self, id: GroupId, replica: ReplicaId) {
        let gone = self.find(id).is_none_or(|group| group.replica == replica);
        // A tombstone for a replica that is not the one held here must leave that one alone.
        let flags = if gone { 0 } else { COPY };
        let position = self.push(head(Kind::Destroy, flags, id, (0, replica.0)), Vec::new(), &[]);
        self.changes.tombstones.insert((id, replica), position.segment);
        if gone {
            self.changes.groups.insert(id, None);
        }
    }

    /// The group as this batch leaves it so far.
    fn find(&self, id: GroupId) -> Option<&Group> {
        match self.changes.groups.get(&id) {
            Some(changed) => changed.as_ref(),
            None => self.log.groups.get(&id),
        }
    }

    fn group(&self, id: GroupId) -> Result<Group, WriteError> {
        let damaged = self.log.broken.contains_key(&id) && !self.changes.groups.contains_key(&id);
        match self.find(id) {
            _ if damaged => Err(WriteError::Damaged(id)),
            Some(group) => Ok(group.clone()),
            None => Err(WriteError::UnknownGroup(id)),
        }
    }

    fn is_tombstoned(&self, id: GroupId, replica: ReplicaId) -> bool {
        let key = (id, replica);
        self.changes.tombstones.contains_key(&key) || self.log.tombstones.contains_key(&key)
    }

    fn check_bytes(&self, payload: usize) -> Result<(), WriteError> {
        let (bytes, max) = (payload as u64, self.log.payload_bytes_max());
        if bytes > max { Err(WriteError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    fn open_batch(&mut self) {
        if self.frames.is_empty() && !self.log.batch_open {
            let durable = self.log.durable;
            let at = (durable.segment, u64::from(durable.offset));
            self.place(head(Kind::Frontier, 0, GroupId(0), at), Vec::new(), &[]);
        }
    }

    fn push(&mut self, head: Head, prefix: Vec<u8>, payload: &'a [u8]) -> Position {
        self.open_batch();
        self.place(head, prefix, payload)
    }

    fn begin_segment(&mut self) {
        self.ends.push(self.head);
        self.head = Place { segment: self.head.segment + 1, offset: segment::HEADER_BYTES };
    }

    /// Gives the frame the next place that has room for it. Returns where its payload will lie.
    fn place(&mut self, mut head: Head, prefix: Vec<u8>, payload: &'a [u8]) -> Position {
        let length = prefix.len() + payload.len();
        head.length = u32::try_from(length).expect("a payload fits a segment, and that has less than 4 GiB");
        let bytes = head.frame_bytes() as u64;
        while u64::from(self.head.offset) + bytes > self.log.segment_size(self.head.segment) {
            self.begin_segment();
        }
        let place = self.head;
        self.head.offset += u32::try_from(bytes).expect("a frame fits a segment");
        self.frames.push(Frame { place, head, prefix, payload });
        Position { segment: place.segment, offset: place.offset + HEAD, length: head.length }
    }
}

fn head(kind: Kind, flags: u8, group: GroupId, (term, index): (u64, u64)) -> Head {
    Head { length: 0, kind: kind as u8, flags, group: group.0, chain: 0, term, index }
}

impl<D: Disk> Log<D> {
    /// Begins a batch.
    pub(super) fn plan<'a>(&self) -> Result<Plan<'_, 'a, D>, WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned);
        }
        let mut plan = Plan {
            log: self,
            frames: Vec::new(),
            ends: Vec::new(),
            head: self.head,
            changes: Changes::default(),
            positions: Vec::new(),
        };
        if self.leaves {
            plan.begin_segment();
        }
        Ok(plan)
    }

    /// Bytes of a segment; one that does not exist yet will be made by the configuration.
    pub(super) fn segment_size(&self, number: u64) -> u64 {
        self.sizes.get(&number).copied().unwrap_or(self.config.segment_bytes)
    }

    /// Hands the planned frames to the disk: one write for each segment they touch.
    pub(super) fn carry_out(&mut self, done: &Done<'_>) -> Result<(), WriteError> {
        let Done { frames, head, .. } = done;
        self.make_segments_up_to(head.segment)?;
        let mut chain = self.chain;
        let mut buffer = std::mem::take(&mut self.buffer);
        for part in frames.chunk_by(|a, b| a.place.segment == b.place.segment) {
            let Place { segment, offset: start } = part[0].place;
            let salt = Salt::new(self.salt, segment);
            let bytes: usize = part.iter().map(|frame| frame.head.frame_bytes()).sum();
            buffer.clear();
            buffer.reserve(bytes);
            for frame in part {
                let linked = Head { chain, ..frame.head };
                chain = linked.encode(&mut buffer, salt, frame.place.offset, [&frame.prefix, frame.payload]);
            }
            debug_assert_eq!(buffer.len(), bytes, "frames of one part lie side by side");
            self.write_bytes(&buffer, Place { segment, offset: start })?;
        }
        for end in &done.ends {
            // What a file held before it became this segment must not stand where the next frame would.
            let room = self.segment_size(end.segment).saturating_sub(end.offset.into());
            let zeros = &[0; HEAD_BYTES][..HEAD_BYTES.min(usize::try_from(room).unwrap_or(HEAD_BYTES))];
            self.write_bytes(zeros, *end)?;
        }
        buffer.clear();
        buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.buffer = buffer;
        if let Some(last) = frames.last() {
            self.chain = chain;
            self.leaves = false;
            self.head = *head;
            self.batch_open = true;
            self.idle_marked = last.head.kind() == Some(Kind::Frontier);
        }
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8], at: Place) -> Result<(), WriteError> {
        self.dirty.insert(at.segment);
        self.written_bytes += bytes.len() as u64;
        self.file(at.segment).write_at(bytes, at.offset.into()).map_err(|error| {
            // Part of it may have arrived; only a new scan could tell.
            self.poisoned = true;
            WriteError::Io(error)
        })
    }

    /// Takes over what a written batch changed.
    pub(super) fn commit(&mut self, changes: Changes) {
        for (id, group) in changes.groups {
            // A damaged group cannot have got here but by being destroyed or created anew.
            self.broken.remove(&id);
            match group {
                Some(group) => self.groups.insert(id, group),
                None => self.groups.remove(&id),
            };
        }
        self.tombstones.extend(changes.tombstones);
    }
}
