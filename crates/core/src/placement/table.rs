//! The placement while it is being worked out: which place holds which slot, and how loaded that makes it.

use super::ground::Ground;
use super::spread::quotas;

/// One replica going from one place to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    pub slot: usize,
    pub from: usize,
    pub to: usize,
}

/// Replicas by slot and by place. Slots may have too few or too many of them until they are settled.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub ground: &'a Ground,
    /// Each slot's places, in the order in which they came.
    replicas: Vec<Vec<usize>>,
    /// Each place's slots, in the order in which they came.
    slots_of: Vec<Vec<usize>>,
}

impl<'a> Table<'a> {
    /// What is placed now.
    pub fn current(ground: &'a Ground) -> Self {
        let mut slots_of = vec![Vec::new(); ground.places.len()];
        for (slot, places) in ground.current.iter().enumerate() {
            places.iter().for_each(|place| slots_of[*place].push(slot));
        }
        Self { ground, replicas: ground.current.clone(), slots_of }
    }

    /// The places of a slot.
    pub fn replicas(&self, slot: usize) -> &[usize] {
        &self.replicas[slot]
    }

    /// The slots at a place.
    pub fn slots_of(&self, place: usize) -> &[usize] {
        &self.slots_of[place]
    }

    /// The number of slots at a place.
    pub fn load(&self, place: usize) -> usize {
        self.slots_of[place].len()
    }

    /// Whether the slot has a replica at the place.
    pub fn holds(&self, slot: usize, place: usize) -> bool {
        self.replicas[slot].contains(&place)
    }

    /// The number of the slot's replicas in a zone.
    pub fn in_zone(&self, slot: usize, zone: usize) -> usize {
        self.replicas[slot].iter().filter(|place| self.ground.places[**place].zone == zone).count()
    }

    /// Gives the slot a replica at the place.
    pub fn add(&mut self, slot: usize, place: usize) {
        self.replicas[slot].push(place);
        self.slots_of[place].push(slot);
    }

    /// Takes the slot's replica from the place.
    pub fn remove(&mut self, slot: usize, place: usize) {
        self.replicas[slot].retain(|held| *held != place);
        self.slots_of[place].retain(|held| *held != slot);
    }

    /// Whether the slot's replica can go from one place to another and leave the slot as well spread as before.
    pub fn can_move(&self, slot: usize, from: usize, to: usize) -> bool {
        if self.holds(slot, to) {
            return false;
        }
        let (source, target) = (self.ground.places[from].zone, self.ground.places[to].zone);
        let spread = self.ground.spread(slot);
        source == target
            || (spread.low[source] < spread.high[source]
                && spread.low[target] < spread.high[target]
                && self.in_zone(slot, source) > spread.low[source]
                && self.in_zone(slot, target) < spread.high[target])
    }

    /// Whether the slot is spread as it should be.
    pub fn is_spread(&self, slot: usize) -> bool {
        let spread = self.ground.spread(slot);
        (0..self.ground.zones)
            .all(|zone| (spread.low[zone]..=spread.high[zone]).contains(&self.in_zone(slot, zone)))
    }

    /// Makes all of these moves, unless they leave a slot not spread as it should be; whether they were made.
    pub fn make(&mut self, hops: &[Hop]) -> bool {
        for hop in hops {
            self.remove(hop.slot, hop.from);
            self.add(hop.slot, hop.to);
        }
        let good = hops.iter().all(|hop| self.is_spread(hop.slot));
        if !good {
            for hop in hops.iter().rev() {
                self.remove(hop.slot, hop.to);
                self.add(hop.slot, hop.from);
            }
        }
        good
    }

    /// The load that each place should have, and keeps where it has it already.
    pub fn quotas(&self) -> Vec<usize> {
        let (mut low, mut high, mut total) = (vec![0; self.ground.zones], vec![0; self.ground.zones], 0);
        for slot in 0..self.ground.slots() {
            let spread = self.ground.spread(slot);
            total += spread.replicas;
            for zone in 0..self.ground.zones {
                low[zone] += spread.low[zone];
                high[zone] += spread.high[zone];
            }
        }
        let zone_of: Vec<usize> = self.ground.places.iter().map(|place| place.zone).collect();
        let held: Vec<usize> = self.slots_of.iter().map(Vec::len).collect();
        quotas(&zone_of, &held, &low, &high, total)
    }
}
