//! The planner's input, checked and numbered: active places by vertex, zones, and what each slot holds now.

use std::collections::BTreeMap;

use super::spread::Spread;
use super::{Assignment, Candidate, PlanError, Standing, effective_replication};
use crate::cube::Cube;
use crate::ids::{NodeId, Slot, Vertex};
use crate::limits;

/// An active node, which may receive replicas.
#[derive(Debug)]
pub(super) struct Place {
    pub node: NodeId,
    pub vertex: Vertex,
    /// An index of [`Ground::zones`].
    pub zone: usize,
}

/// What is to be placed, and where that is possible. Places, zones and slots are numbers from 0.
#[derive(Debug)]
pub(super) struct Ground {
    /// In order of their vertices.
    pub places: Vec<Place>,
    /// The number of zones that have an active place.
    pub zones: usize,
    /// Each slot's places now, sorted.
    pub current: Vec<Vec<usize>>,
    /// The draining or dead nodes that each slot has to stay on, as active places are too few.
    pub stays: Vec<Vec<NodeId>>,
    /// The bounds of each slot's spread over the zones, an index of [`Ground::spreads`].
    spread_of: Vec<usize>,
    spreads: Vec<Spread>,
    homes: Vec<Vertex>,
    /// The vertex of each place, close together: plans go through them for each slot.
    vertices: Vec<u16>,
}

impl Ground {
    /// Checks and numbers the input; `current` is empty or as long as there are slots.
    pub fn survey(
        candidates: &[Candidate],
        slots: u16,
        want: u8,
        current: &[Assignment],
    ) -> Result<Self, PlanError> {
        check(candidates)?;
        let (places, zones) = places(candidates);
        let mut zone_sizes = vec![0; zones];
        places.iter().for_each(|place| zone_sizes[place.zone] += 1);

        let number: BTreeMap<NodeId, usize> =
            places.iter().enumerate().map(|(number, place)| (place.node, number)).collect();
        let shelters = shelters(candidates, &places);
        let cube = cube(candidates)?;
        let vertices = places.iter().map(|place| place.vertex.0).collect();
        let mut ground = Self {
            places,
            zones,
            current: Vec::new(),
            stays: Vec::new(),
            spread_of: Vec::new(),
            spreads: Vec::new(),
            homes: (0..slots).map(|slot| cube.home(slot.into())).collect(),
            vertices,
        };
        for slot in 0..slots {
            let held = current.get(usize::from(slot)).map_or(&[][..], |assignment| &assignment.replicas);
            let mut now: Vec<usize> = held.iter().filter_map(|node| number.get(node).copied()).collect();
            now.sort_unstable();
            now.dedup();
            ground.current.push(now);

            let active = ground.places.len();
            let mut stays = if usize::from(want) > active { stays(&shelters, held) } else { Vec::new() };
            let replicas = usize::from(effective_replication(want, active + stays.len()));
            if replicas == 0 {
                return Err(PlanError::Nowhere(Slot(slot)));
            }
            stays.truncate(replicas.saturating_sub(active));
            ground.stays.push(stays);
            let on_active = replicas.min(active);
            let known = ground.spreads.iter().position(|spread| spread.replicas == on_active);
            ground.spread_of.push(known.unwrap_or(ground.spreads.len()));
            if known.is_none() {
                ground.spreads.push(Spread::even(&zone_sizes, on_active));
            }
        }
        Ok(ground)
    }

    /// The number of slots.
    pub fn slots(&self) -> usize {
        self.spread_of.len()
    }

    /// How a slot's replicas are to be spread over the zones.
    pub fn spread(&self, slot: usize) -> &Spread {
        &self.spreads[self.spread_of[slot]]
    }

    /// Whether the slot has a replica at the place now.
    pub fn holds_now(&self, slot: usize, place: usize) -> bool {
        self.current[slot].contains(&place)
    }

    /// Hops from the slot's home to each place.
    pub fn hops_to_places(&self, slot: usize) -> impl Iterator<Item = u32> {
        let home = self.homes[slot].0;
        self.vertices.iter().map(move |vertex| (home ^ vertex).count_ones())
    }

    /// Hops from the slot's home to the place.
    pub fn hops_from_home(&self, slot: usize, place: usize) -> u32 {
        (self.homes[slot].0 ^ self.places[place].vertex.0).count_ones()
    }
}

fn check(candidates: &[Candidate]) -> Result<(), PlanError> {
    let mut nodes = BTreeMap::new();
    let mut active = BTreeMap::new();
    for candidate in candidates {
        if candidate.vertex.0 >= limits::PEERS_MAX {
            return Err(PlanError::Vertex(candidate.vertex));
        }
        if nodes.insert(candidate.node, ()).is_some() {
            return Err(PlanError::SharedNode(candidate.node));
        }
        if candidate.standing == Standing::Active && active.insert(candidate.vertex, ()).is_some() {
            return Err(PlanError::SharedVertex(candidate.vertex));
        }
    }
    Ok(())
}

/// The active places by vertex, and the number of their zones, which are numbered by name.
fn places(candidates: &[Candidate]) -> (Vec<Place>, usize) {
    let mut active: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.standing == Standing::Active).collect();
    active.sort_by_key(|candidate| candidate.vertex);
    let mut zones: BTreeMap<&str, usize> = active.iter().map(|c| (c.zone.as_str(), 0)).collect();
    zones.values_mut().enumerate().for_each(|(number, zone)| *zone = number);
    let place = |c: &&Candidate| Place { node: c.node, vertex: c.vertex, zone: zones[c.zone.as_str()] };
    (active.iter().map(place).collect(), zones.len())
}

/// The nodes on which a slot may stay, best first: draining before dead ones, none at a vertex where an active
/// node stands, which would be the same place twice.
fn shelters<'a>(candidates: &'a [Candidate], places: &[Place]) -> Vec<&'a Candidate> {
    let mut shelters: Vec<&Candidate> = candidates
        .iter()
        .filter(|c| c.standing != Standing::Active && places.iter().all(|place| place.vertex != c.vertex))
        .collect();
    shelters.sort_by_key(|candidate| (candidate.standing, candidate.node));
    shelters
}

/// The shelters that hold the slot, one a vertex.
fn stays(shelters: &[&Candidate], held: &[NodeId]) -> Vec<NodeId> {
    let mut stays: Vec<&Candidate> = Vec::new();
    for shelter in shelters {
        if held.contains(&shelter.node) && stays.iter().all(|stay| stay.vertex != shelter.vertex) {
            stays.push(shelter);
        }
    }
    stays.into_iter().map(|stay| stay.node).collect()
}

/// The hypercube whose homes count: the one that is left when draining nodes are gone.
fn cube(candidates: &[Candidate]) -> Result<Cube, PlanError> {
    let highest =
        |of: &dyn Fn(&Candidate) -> bool| candidates.iter().filter(|c| of(c)).map(|c| c.vertex).max();
    let last = highest(&|c| c.standing != Standing::Draining).or_else(|| highest(&|_| true));
    let last = last.ok_or(PlanError::Nowhere(Slot(0)))?;
    Cube::new(last.0 + 1).map_err(|_| PlanError::Vertex(last))
}
