//! Undoing moves that proved needless: cycles of moves after which every peer is as loaded as before, or two have
//! changed loads, and fewer replicas are new.

use crate::placement::table::{Hop, Table};

/// Places beyond which a few moves more than needed cost less than searching for them.
const PLACES_MAX: usize = 64;
/// Likewise for the pairs of replicas and places.
const PAIRS_MAX: usize = 1 << 17;

/// Above any number of moves, so that no saving in them outweighs balance.
const BALANCE: i64 = 1 << 20;

/// Undoes moves while any can be saved, which (Klein 1967) ends at the fewest that the spread and the balance allow.
pub(super) fn undo(table: &mut Table<'_>) {
    let ground = table.ground;
    let replicas: usize = (0..ground.slots()).map(|slot| table.replicas(slot).len()).sum();
    let small = ground.places.len() <= PLACES_MAX && replicas * ground.places.len() <= PAIRS_MAX;
    while small && new_replicas(table) > fewest(table) {
        let Some(cycle) = saving(table) else { return };
        if !table.make(&cycle) {
            return;
        }
    }
}

fn new_replicas(table: &Table<'_>) -> usize {
    let new =
        |slot: &usize| table.replicas(*slot).iter().filter(|p| !table.ground.holds_now(*slot, **p)).count();
    (0..table.ground.slots()).map(|slot| new(&slot)).sum()
}

/// The replicas that must be new at the least, as slots have too few now.
fn fewest(table: &Table<'_>) -> usize {
    let short = |slot: usize| table.replicas(slot).len().saturating_sub(table.ground.current[slot].len());
    (0..table.ground.slots()).map(short).sum()
}

/// What leads from one point of the search to the next: a move, or a change of a place's own load.
#[derive(Clone, Copy)]
struct Arc {
    from: usize,
    to: usize,
    slot: Option<usize>,
    cost: i64,
}

/// A cycle of negative cost by the Bellman-Ford method, as the moves on it.
///
/// Its points are the places and one more, the pool: a place hands load to the pool when it ends with one slot
/// more than before, and takes from it when it ends with one less. The costs of these make up for each other
/// exactly where the balance stays the same.
fn saving(table: &Table<'_>) -> Option<Vec<Hop>> {
    let arcs = arcs(table);
    let points = table.ground.places.len() + 1;
    let mut cost = vec![0; points];
    let mut came_by: Vec<Option<Arc>> = vec![None; points];
    let mut last = None;
    for _ in 0..points {
        last = None;
        for arc in &arcs {
            if cost[arc.from] + arc.cost < cost[arc.to] {
                cost[arc.to] = cost[arc.from] + arc.cost;
                came_by[arc.to] = Some(*arc);
                last = Some(arc.to);
            }
        }
        last?;
    }
    let back = |point: usize| came_by[point].map_or(point, |arc| arc.from);
    // As many steps back as there are points surely end on the cycle.
    let on_cycle = (0..points).fold(last?, |point, _| back(point));
    let mut hops = Vec::new();
    let mut at = on_cycle;
    while let Some(arc) = came_by[at] {
        hops.extend(arc.slot.map(|slot| Hop { slot, from: arc.from, to: arc.to }));
        at = arc.from;
        if at == on_cycle {
            break;
        }
    }
    Some(hops)
}

fn arcs(table: &Table<'_>) -> Vec<Arc> {
    let ground = table.ground;
    let pool = ground.places.len();
    let mut arcs = Vec::new();
    for from in 0..pool {
        let mut best: Vec<Option<Arc>> = vec![None; pool];
        for slot in table.slots_of(from) {
            for (to, best) in best.iter_mut().enumerate() {
                let new = |place| i64::from(!ground.holds_now(*slot, place));
                let cost = new(to) - new(from);
                if best.is_none_or(|best| cost < best.cost) && table.can_move(*slot, from, to) {
                    *best = Some(Arc { from, to, slot: Some(*slot), cost });
                }
            }
        }
        arcs.extend(best.into_iter().flatten());
        // One more or one less changes the square of the load by this much.
        let load = i64::try_from(table.load(from)).expect("not more slots than fit a u16");
        arcs.push(Arc { from, to: pool, slot: None, cost: BALANCE * (2 * load + 1) });
        if load > 0 {
            arcs.push(Arc { from: pool, to: from, slot: None, cost: -BALANCE * (2 * load - 1) });
        }
    }
    arcs
}
