//! Chains of moves, for when no single one takes load from a peer with too much to one with too little.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::placement::ground::Ground;
use crate::placement::table::{Hop, Table};

/// What a search for moves minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// Their number, among those that replace only what is new anyway.
    Free,
    /// The replicas that become new, then their number.
    Cheapest,
    /// Their number, whatever they cost.
    Shortest,
}

impl Search {
    /// Whether moves of that price are considered at all.
    pub fn allows(self, price: u32) -> bool {
        self != Self::Free || price == 0
    }

    fn weight(self, price: u32) -> u32 {
        // No chain has as many moves as one price outweighs, because it visits no peer twice.
        if self == Self::Shortest { 1 } else { 1 + price * (1 << 16) }
    }
}

/// 1 for a move that gives up a replica which is there now for one that is not, else 0.
pub(super) fn price(ground: &Ground, slot: usize, from: usize, to: usize) -> u32 {
    u32::from(ground.holds_now(slot, from) && !ground.holds_now(slot, to))
}

/// Shifts one replica's worth of load from a peer above its quota to one below, along the best chain of moves.
/// False when there is no peer above its quota or no such chain.
///
/// Each move of a chain keeps its slot well spread; two that take the same slot across zones may not do so
/// together. Then nothing is moved. A shortest chain has no two such moves, as one move would replace them and
/// all between, so [`Search::Shortest`] never fails for that reason.
pub(super) fn shift(table: &mut Table<'_>, quota: &[usize], search: Search) -> bool {
    let places = table.ground.places.len();
    let mut cost = vec![u32::MAX; places];
    let mut came_by: Vec<Option<Hop>> = vec![None; places];
    let mut open = BinaryHeap::new();
    // The cost of the best chain found so far: whatever costs as much need not be looked at.
    let mut limit = u32::MAX;
    for place in (0..places).filter(|place| table.load(*place) > quota[*place]) {
        cost[place] = 0;
        open.push(Reverse((0, place)));
    }
    while let Some(Reverse((paid, from))) = open.pop() {
        if table.load(from) < quota[from] {
            let hops = std::iter::successors(came_by[from], |hop| came_by[hop.from]);
            return table.make(&hops.collect::<Vec<_>>());
        }
        if paid > cost[from] {
            continue;
        }
        for slot in table.slots_of(from) {
            for to in 0..places {
                let bound = limit.min(cost[to]);
                if paid + search.weight(0) >= bound {
                    continue;
                }
                let price = price(table.ground, *slot, from, to);
                let sum = paid + search.weight(price);
                if sum < bound && search.allows(price) && table.can_move(*slot, from, to) {
                    cost[to] = sum;
                    if table.load(to) < quota[to] {
                        limit = sum;
                    }
                    came_by[to] = Some(Hop { slot: *slot, from, to });
                    open.push(Reverse((sum, to)));
                }
            }
        }
    }
    false
}
