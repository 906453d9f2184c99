//! What the frames say, put together in the log's order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader};
use hcube_core::ids::{GroupId, ReplicaId};

use crate::frame::{COPY, CREATE, Head, KEEP_TAIL, Kind, base};
use crate::log::Group;
use crate::ops::{Base, HardState, Position};
use crate::recovery::{Damage, DamageScope, Place, RecoveredEntry, RecoveredGroup};

/// A group as far as it is known. Its base may come late: a checkpoint writes it behind entries that are older.
#[derive(Debug, Default)]
struct Partial {
    base: Option<(ReplicaId, Base, Position)>,
    hard_state: Option<(HardState, u64)>,
    entries: Vec<RecoveredEntry>,
    /// The first damage that concerns it.
    broken: Option<Place>,
}

/// Whom one damaged place concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    /// A frame of this group.
    Group(GroupId),
    /// The log's bookkeeping only.
    Log,
    /// Nobody knows.
    All,
}

/// The content of the frames so far.
#[derive(Debug)]
pub(crate) struct State {
    groups: BTreeMap<GroupId, Partial>,
    tombstones: BTreeMap<(GroupId, ReplicaId), u64>,
    broken_all: Option<Place>,
    hits: Vec<(Place, Hit)>,
    /// Segments below this one are not needed.
    pub(crate) low: u64,
    /// The highest place known durable before the frames that follow it.
    pub(crate) frontier: Option<Place>,
}

/// The state, sorted for the log and for its owner.
pub(crate) struct Finished {
    pub(crate) recovered: BTreeMap<GroupId, RecoveredGroup>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) tombstones: BTreeMap<(GroupId, ReplicaId), u64>,
    pub(crate) broken: BTreeMap<GroupId, u64>,
    pub(crate) broken_all: Option<u64>,
    pub(crate) damage: Option<Damage>,
}

impl Partial {
    /// Where something is missing that must be there, in a log whose first segment is `low`: the base, or the
    /// entry that follows on it or on another entry.
    fn gap(&self, low: u64) -> Option<Place> {
        if self.broken.is_some() {
            return None;
        }
        let Some((_, base, _)) = &self.base else {
            let lost = self.hard_state.is_some() || !self.entries.is_empty();
            return lost.then_some(Place { segment: low, offset: 0 });
        };
        let expected = (0..).map(|at| base.index.saturating_add(1 + at));
        let mut pairs = self.entries.iter().zip(expected);
        pairs.find(|(entry, expected)| entry.index != *expected).map(|(entry, _)| place_of(entry.position))
    }
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            groups: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            broken_all: None,
            hits: Vec::new(),
            low: 1,
            frontier: None,
        }
    }

    /// Takes in a frame whose payload lies at `at`.
    pub(crate) fn apply(
        &mut self,
        kind: Kind,
        head: &Head,
        payload: &[u8],
        at: Position,
    ) -> Result<(), DecodeError> {
        let id = GroupId(head.group);
        match kind {
            Kind::Frontier => self.frontier = self.frontier.max(Some(frontier(head)?)),
            Kind::Entry => self.entry(id, head, at),
            Kind::HardState => {
                let mut reader = Reader::new(Bytes::copy_from_slice(payload));
                let hard_state = HardState { term: head.term, vote: reader.u64("vote")?, commit: head.index };
                reader.finish()?;
                let partial = self.partial(id);
                if partial.broken.is_none() {
                    partial.hard_state = Some((hard_state, at.segment));
                }
            }
            Kind::Base => {
                let (replica, base) = base::decode(head, Bytes::copy_from_slice(payload))?;
                self.base(id, head.flags, replica, base, at);
            }
            Kind::Destroy => {
                self.tombstones.insert((id, ReplicaId(head.index)), at.segment);
                if head.flags & COPY == 0 {
                    // A damaged group is healed by this, hence kept as an empty one rather than forgotten.
                    self.groups.insert(id, Partial::default());
                }
            }
            Kind::Low => self.low = self.low.max(head.index),
            Kind::Settled => {
                self.broken_all = None;
                self.hits.clear();
                self.groups.values_mut().for_each(|partial| partial.broken = None);
            }
        }
        Ok(())
    }

    /// Notes a damaged place.
    pub(crate) fn hit(&mut self, place: Place, hit: Hit) {
        self.hits.push((place, hit));
        match hit {
            Hit::Log => {}
            Hit::Group(id) => _ = self.partial(id).broken.get_or_insert(place),
            Hit::All => {
                self.broken_all.get_or_insert(place);
                for partial in self.groups.values_mut() {
                    partial.broken.get_or_insert(place);
                }
            }
        }
    }

    fn partial(&mut self, id: GroupId) -> &mut Partial {
        let broken = self.broken_all;
        self.groups.entry(id).or_insert_with(|| Partial { broken, ..Partial::default() })
    }

    fn entry(&mut self, id: GroupId, head: &Head, position: Position) {
        let partial = self.partial(id);
        if partial.broken.is_some() {
            return;
        }
        // Entries in between may be missing as long as a base above them follows: see `gap`.
        let index = head.index;
        let keep = partial.entries.partition_point(|entry| entry.index < index);
        partial.entries.truncate(keep);
        let (term, kind) = (head.term, head.flags);
        partial.entries.push(RecoveredEntry { index, term, kind, position });
    }

    fn base(&mut self, id: GroupId, flags: u8, replica: ReplicaId, base: Base, at: Position) {
        if flags & CREATE != 0 {
            self.groups.insert(id, Partial::default());
        }
        let partial = self.partial(id);
        if partial.broken.is_some() {
            return;
        }
        if flags & KEEP_TAIL != 0 {
            let dead = partial.entries.partition_point(|entry| entry.index <= base.index);
            partial.entries.drain(..dead);
        } else {
            partial.entries.clear();
        }
        partial.base = Some((replica, base, at));
    }

    /// Sorts out what is there, what is damaged, and what has been replaced since.
    pub(crate) fn finish(mut self) -> Finished {
        let gaps: Vec<_> =
            self.groups.iter().filter_map(|(id, partial)| Some((*id, partial.gap(self.low)?))).collect();
        for (id, place) in gaps {
            self.hit(place, Hit::Group(id));
        }
        let broken: BTreeMap<GroupId, u64> = self
            .groups
            .iter()
            .filter_map(|(id, partial)| partial.broken.map(|place| (*id, place.segment)))
            .collect();
        let damage = self.damage(broken.keys().copied().collect());
        let mut recovered = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (id, partial) in self.groups {
            if let Some((replica, mut base, position)) = partial.base {
                base.keep_tail = true;
                groups.insert(id, group(replica, &base, position, partial.hard_state, &partial.entries));
                let hard_state = partial.hard_state.map(|(hard_state, _)| hard_state).unwrap_or_default();
                recovered.insert(id, RecoveredGroup { replica, hard_state, base, entries: partial.entries });
            }
        }
        let broken_all = self.broken_all.map(|place| place.segment);
        Finished { recovered, groups, tombstones: self.tombstones, broken, broken_all, damage }
    }

    fn damage(&self, broken: BTreeSet<GroupId>) -> Option<Damage> {
        let concerns = |hit: &Hit| match hit {
            Hit::Group(id) => broken.contains(id),
            Hit::Log => true,
            Hit::All => self.broken_all.is_some(),
        };
        let mut places: Vec<Place> =
            self.hits.iter().filter(|(_, hit)| concerns(hit)).map(|(place, _)| *place).collect();
        places.sort_unstable();
        places.dedup();
        let scope = if self.broken_all.is_some() { DamageScope::All } else { DamageScope::Groups(broken) };
        (!places.is_empty()).then_some(Damage { scope, places })
    }
}

/// The place that a frontier frame names.
pub(crate) fn frontier(head: &Head) -> Result<Place, DecodeError> {
    let offset = u32::try_from(head.index).map_err(|_| DecodeError::Invalid("frontier offset"))?;
    Ok(Place { segment: head.term, offset })
}

fn place_of(position: Position) -> Place {
    Place { segment: position.segment, offset: position.offset }
}

fn group(
    replica: ReplicaId,
    base: &Base,
    position: Position,
    hard_state: Option<(HardState, u64)>,
    entries: &[RecoveredEntry],
) -> Group {
    let (base_index, base_term) = (base.index, base.term);
    let mut group = Group { replica, base_index, base_term, base: position, hard_state, runs: Vec::new() };
    for entry in entries {
        group.push(entry.index, entry.position.segment);
    }
    group
}
