//! From what is placed now to a placement that is spread and balanced, in few moves.
//!
//! Replicas that cannot stay are dropped, missing ones are added where there is room, and then peers with too
//! many hand over to peers with too few: directly where one slot can move, otherwise along a chain of moves. A
//! balanced placement within the zone bounds is a flow from slots to peers, and between two flows there always is
//! such a chain, so this ends with every peer at its quota. At last, moves that proved needless are undone.

mod chain;
mod regret;

use std::cmp::Reverse;

use chain::Search;

use super::ground::Ground;
use super::table::Table;

/// Works out who holds what.
pub(super) fn settle(ground: &Ground) -> Table<'_> {
    let mut table = Table::current(ground);
    let quota = table.quotas();
    for slot in 0..ground.slots() {
        trim(&mut table, slot, &quota);
    }
    let mut room: Vec<u64> = (0..ground.places.len()).map(|place| room_rank(&table, place, &quota)).collect();
    for slot in 0..ground.slots() {
        fill(&mut table, slot, &quota, &mut room);
    }
    // Filling may have raised another peer than foreseen by one; where that is as balanced, it stays.
    let quota = table.quotas();
    for search in [Search::Free, Search::Cheapest, Search::Shortest] {
        for place in 0..ground.places.len() {
            while table.load(place) > quota[place] && hand_over(&mut table, place, &quota, search) {}
        }
        while chain::shift(&mut table, &quota, search) {}
    }
    let settled = (0..ground.places.len()).all(|place| table.load(place) == quota[place]);
    assert!(settled, "a chain of moves leads to every quota that the spreads allow");
    regret::undo(&mut table);
    table
}

/// Drops replicas that the spread over the zones has no use for, first those of peers with too many.
fn trim(table: &mut Table<'_>, slot: usize, quota: &[usize]) {
    let ground = table.ground;
    let spread = ground.spread(slot);
    let spare: usize = spread.replicas - spread.low.iter().sum::<usize>();
    loop {
        let held: Vec<usize> = (0..ground.zones).map(|zone| table.in_zone(slot, zone)).collect();
        let above_low: usize =
            held.iter().zip(&spread.low).map(|(held, low)| held.saturating_sub(*low)).sum();
        let full = held.iter().zip(&spread.high).any(|(held, high)| held > high);
        if !full && above_low <= spare {
            return;
        }
        let bound = if full { &spread.high } else { &spread.low };
        let excess = |place: usize| Reverse(table.load(place) as i64 - quota[place] as i64);
        let drop = table
            .replicas(slot)
            .iter()
            .copied()
            .filter(|place| held[ground.places[*place].zone] > bound[ground.places[*place].zone])
            .min_by_key(|place| (excess(*place), Reverse(ground.hops_from_home(slot, *place)), *place))
            .expect("a zone above its bound has a replica");
        table.remove(slot, drop);
    }
}

/// Marks a rank of a place that cannot be chosen, beyond that of any that can.
const CLOSED: u64 = 1 << 63;

/// Adds the slot's missing replicas where its spread allows, first at peers with room, then close to its home.
fn fill(table: &mut Table<'_>, slot: usize, quota: &[usize], room: &mut [u64]) {
    let ground = table.ground;
    let spread = ground.spread(slot);
    if table.replicas(slot).len() >= spread.replicas {
        return;
    }
    let mut free: Vec<u64> = room
        .iter()
        .zip(ground.hops_to_places(slot))
        .map(|(room, hops)| room | u64::from(hops) << 52)
        .collect();
    table.replicas(slot).iter().for_each(|place| free[*place] |= CLOSED);
    while table.replicas(slot).len() < spread.replicas {
        let held: Vec<usize> = (0..ground.zones).map(|zone| table.in_zone(slot, zone)).collect();
        let owed: usize = spread.low.iter().zip(&held).map(|(low, held)| low.saturating_sub(*held)).sum();
        let spare = spread.replicas - table.replicas(slot).len() > owed;
        let bound = if spare { &spread.high } else { &spread.low };
        let zones = held.iter().zip(bound);
        let closed: Vec<u64> = zones.map(|(held, bound)| if held < bound { 0 } else { CLOSED }).collect();
        // Without a branch a zone, as no processor foresees which zone comes next.
        let best = free.iter().map(|rank| rank | closed[usize::from(*rank as u16)]).min();
        let best = best.filter(|rank| *rank < CLOSED).expect("a zone below its bound has a place left");
        let place = usize::from((best >> 16) as u16);
        table.add(slot, place);
        room[place] = room_rank(table, place, quota);
        free[place] |= CLOSED;
    }
}

/// How well a place suits one more replica of a slot, the lower the better: it has room, is close to home, has more
/// room than others, has a lower vertex. One integer, because a plan compares millions of them; it ends with the
/// numbers of the place and of its zone, 16 bits each. The 5 bits from the 52nd are left for the hops from the
/// slot's home; everything else changes with the place's load only.
fn room_rank(table: &Table<'_>, place: usize, quota: &[usize]) -> u64 {
    let (load, quota) = (table.load(place), quota[place]);
    let crowded = u64::from(load >= quota) << 57;
    // Room lies between minus and plus the number of slots, which fits 16 bits.
    let full = ((1 << 17) + load as u64 - quota as u64) << 32;
    crowded | full | (place as u64) << 16 | table.ground.places[place].zone as u64
}

/// Moves one slot from a peer with too many to one with too few; false when no single move within the search does.
fn hand_over(table: &mut Table<'_>, from: usize, quota: &[usize], search: Search) -> bool {
    let ground = table.ground;
    let short: Vec<usize> =
        (0..ground.places.len()).filter(|place| table.load(*place) < quota[*place]).collect();
    let options = table.slots_of(from).iter().flat_map(|slot| short.iter().map(move |to| (*slot, *to)));
    let possible = options.filter(|(slot, to)| {
        search.allows(chain::price(ground, *slot, from, *to)) && table.can_move(*slot, from, *to)
    });
    let best = possible.min_by_key(|(slot, to)| {
        let farther =
            i64::from(ground.hops_from_home(*slot, *to)) - i64::from(ground.hops_from_home(*slot, from));
        let room = quota[*to] - table.load(*to);
        (chain::price(ground, *slot, from, *to), farther, Reverse(room), *slot, *to)
    });
    if let Some((slot, to)) = best {
        table.remove(slot, from);
        table.add(slot, to);
    }
    best.is_some()
}
