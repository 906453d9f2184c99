//! Which replica of each slot should lead.

use std::collections::VecDeque;

use super::Assignment;
use super::ground::Ground;
use super::table::Table;

/// Names the leaders and writes the plan out. Leaders stay where they are, or start at home, and are then
/// shifted along chains of slots until no chain makes the peers' numbers of leaders more even.
pub(super) fn appoint(ground: &Ground, table: &Table<'_>, current: &[Assignment]) -> Vec<Assignment> {
    let mut leaders = first_choice(ground, table, current);
    level(ground, table, &mut leaders);
    (0..ground.slots())
        .map(|slot| {
            let active = table.replicas(slot).iter().map(|place| ground.places[*place].node);
            let mut replicas: Vec<_> = active.chain(ground.stays[slot].iter().copied()).collect();
            replicas.sort_unstable();
            // A slot without an active replica is led by the best that is left of it.
            let led_by = leaders[slot].map(|place| ground.places[place].node);
            let leader = led_by.or(ground.stays[slot].first().copied()).expect("every slot has a replica");
            Assignment { replicas, leader }
        })
        .collect()
}

/// The leader that stays, else the replica closest to home; none for a slot without an active replica.
fn first_choice(ground: &Ground, table: &Table<'_>, current: &[Assignment]) -> Vec<Option<usize>> {
    let choose = |slot: usize| {
        let led_by = current.get(slot).map(|assignment| assignment.leader);
        let key = |place: &&usize| {
            (Some(ground.places[**place].node) != led_by, ground.hops_from_home(slot, **place), **place)
        };
        table.replicas(slot).iter().min_by_key(key).copied()
    };
    (0..ground.slots()).map(choose).collect()
}

/// Takes leadership from the peers that have the most, to any with at least two less, while a chain exists.
///
/// Peers without such a chain, and all that they reach, are as even as they get: no later chain passes
/// through them, as none leads out of them.
fn level(ground: &Ground, table: &Table<'_>, leaders: &mut [Option<usize>]) {
    let mut led: Vec<Vec<usize>> = vec![Vec::new(); ground.places.len()];
    for (slot, leader) in leaders.iter().enumerate() {
        leader.iter().for_each(|place| led[*place].push(slot));
    }
    let mut open: Vec<usize> = (0..ground.places.len()).collect();
    while let Some(most) = open.iter().map(|place| led[*place].len()).max() {
        let sources: Vec<usize> = open.iter().copied().filter(|place| led[*place].len() == most).collect();
        let (came_by, lower) = search(table, &led, &sources, most);
        match lower {
            Some(mut to) => {
                while let CameBy::Step(from, slot) = came_by[to] {
                    led[from].retain(|held| *held != slot);
                    led[to].push(slot);
                    leaders[slot] = Some(to);
                    to = from;
                }
            }
            None => open.retain(|place| matches!(came_by[*place], CameBy::Nothing)),
        }
    }
}

/// How a search came to a place.
#[derive(Clone, Copy)]
enum CameBy {
    Nothing,
    Source,
    /// From that place, by that slot.
    Step(usize, usize),
}

/// Looks, in the fewest steps, for a place that leads at least two slots fewer than `most`.
fn search(
    table: &Table<'_>,
    led: &[Vec<usize>],
    sources: &[usize],
    most: usize,
) -> (Vec<CameBy>, Option<usize>) {
    let mut came_by = vec![CameBy::Nothing; led.len()];
    sources.iter().for_each(|place| came_by[*place] = CameBy::Source);
    let mut queue: VecDeque<usize> = sources.iter().copied().collect();
    while let Some(from) = queue.pop_front() {
        if led[from].len() + 2 <= most {
            return (came_by, Some(from));
        }
        for slot in &led[from] {
            for to in table.replicas(*slot) {
                if matches!(came_by[*to], CameBy::Nothing) {
                    came_by[*to] = CameBy::Step(from, *slot);
                    queue.push_back(*to);
                }
            }
        }
    }
    (came_by, None)
}
