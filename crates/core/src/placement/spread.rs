//! How many replicas each zone may hold of a slot, and how many in all each peer should hold.

/// The bounds within which one slot's replicas are spread as evenly over the zones as their sizes allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    /// Replicas that each zone holds at least, by zone.
    pub low: Vec<usize>,
    /// Replicas that each zone holds at most: `low` or one more.
    pub high: Vec<usize>,
    /// Replicas in all.
    pub replicas: usize,
}

impl Spread {
    /// Fills the zones like vessels: each gets the same number, or all that it can hold. The zones' sizes sum up
    /// to at least `replicas`.
    pub fn even(zone_sizes: &[usize], replicas: usize) -> Self {
        let filled = |level: usize| zone_sizes.iter().map(|size| level.min(*size)).collect::<Vec<_>>();
        let level = (0..=replicas)
            .find(|level| filled(*level).iter().sum::<usize>() >= replicas)
            .expect("a level of all replicas holds them in any zone that can");
        Self { low: filled(level.saturating_sub(1)), high: filled(level), replicas }
    }
}

/// The load that each peer should have in the most balanced placement that keeps to the spreads, and the ceilings
/// handed to the peers that `held` most, who then need not give away.
///
/// `zone_of[p]` is the zone of peer p, `held[p]` its load now, `low[z]` and `high[z]` the sums of the slots'
/// bounds for zone z, `total` the replicas of all slots.
pub(super) fn quotas(
    zone_of: &[usize],
    held: &[usize],
    low: &[usize],
    high: &[usize],
    total: usize,
) -> Vec<usize> {
    let mut sizes = vec![0; low.len()];
    zone_of.iter().for_each(|zone| sizes[*zone] += 1);
    let zone_total = |zone: usize, level: usize| (sizes[zone] * level).clamp(low[zone], high[zone]);
    let sum = |level: usize| (0..sizes.len()).map(|zone| zone_total(zone, level)).sum::<usize>();

    // The highest level at which all peers can stand without exceeding the total. Bounds apply per zone: a zone
    // may be held above the level, or below it.
    let (mut level, mut beyond) = (0, total + 1);
    while beyond - level > 1 {
        let middle = level.midpoint(beyond);
        if sum(middle) <= total { level = middle } else { beyond = middle }
    }

    let base: Vec<usize> = (0..sizes.len()).map(|zone| zone_total(zone, level)).collect();
    let mut quota: Vec<usize> = zone_of.iter().map(|zone| base[*zone] / sizes[*zone]).collect();
    let mut by_held: Vec<usize> = (0..held.len()).collect();
    by_held.sort_by_key(|peer| (std::cmp::Reverse(held[*peer]), *peer));

    // Replicas of a zone that do not divide by its peers, then those that may go to any zone with room.
    let mut uneven: Vec<usize> = (0..sizes.len()).map(|zone| base[zone] % sizes[zone]).collect();
    let mut room: Vec<usize> =
        (0..sizes.len()).map(|zone| zone_total(zone, level + 1).saturating_sub(base[zone])).collect();
    let mut rest = total - base.iter().sum::<usize>();
    by_held.retain(|peer| !take(&mut uneven[zone_of[*peer]], &mut quota[*peer]));
    for peer in by_held {
        if rest > 0 && take(&mut room[zone_of[peer]], &mut quota[peer]) {
            rest -= 1;
        }
    }
    quota
}

/// Takes one from `source`, where there is one, and adds it to `quota`.
fn take(source: &mut usize, quota: &mut usize) -> bool {
    let some = *source > 0;
    if some {
        *source -= 1;
        *quota += 1;
    }
    some
}
