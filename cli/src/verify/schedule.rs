//! Seed in, events out: what happens to the peers, and when.

use std::collections::BTreeSet;

use hcube_core::ids::Vertex;

/// Time before the first event, so that there is a quiet stretch to compare with.
pub const WARM_UP_MS: u64 = 2_000;
/// Shortest and longest time that something is left as it is.
const HOLD_MS: (u64, u64) = (1_500, 4_000);
/// Shortest and longest time between the end of one event and the next.
const REST_MS: (u64, u64) = (1_500, 3_000);
/// What must be left of the run after the last event.
const COOL_DOWN_MS: u64 = 1_000;

/// Which kinds of faults a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds {
    /// Processes are killed.
    pub kill: bool,
    /// Processes are stopped.
    pub pause: bool,
    /// Links are cut.
    pub partition: bool,
    /// Disks are wiped.
    pub wipe: bool,
}

/// What is done to peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// One is killed, and started again.
    Kill,
    /// All are killed at once, and started again.
    KillAll,
    /// One is stopped, and goes on.
    Pause,
    /// What one sends to another does not arrive; the other way round it does.
    CutOneWay,
    /// Two do not reach each other; the others reach both.
    CutPair,
    /// One is reached by nobody.
    Isolate,
    /// Less than half are cut from the rest.
    Split,
    /// One is cut off so that nobody is told: connections stay and carry nothing.
    Stall,
    /// One is killed, its disk is lost, and it comes back with an empty one.
    Wipe,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds from the beginning; later where the one before takes longer.
    pub at_ms: u64,
    /// How long it is left so.
    pub hold_ms: u64,
    /// What.
    pub act: Act,
    /// To whom; see [`Event::victims`].
    picks: [u64; 2],
}

impl Event {
    /// Two peers of those given; the same one twice where there is no other.
    pub fn victims(&self, among: &[Vertex]) -> Option<(Vertex, Vertex)> {
        let [first, second] = self.picks.map(|pick| usize::try_from(pick % (1 << 31)).unwrap_or(0));
        let first = first.checked_rem(among.len())?;
        let second = match among.len() {
            1 => first,
            peers => (first + 1 + second % (peers - 1)) % peers,
        };
        Some((among[first], among[second]))
    }

    /// Less than half of those given, with the first of [`Event::victims`] among them where that is possible.
    pub fn minority(&self, among: &[Vertex]) -> BTreeSet<Vertex> {
        let Some((first, _)) = self.victims(among) else { return BTreeSet::new() };
        let from = among.iter().position(|vertex| *vertex == first).unwrap_or(0);
        among.iter().cycle().skip(from).take(among.len().saturating_sub(1) / 2).copied().collect()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): every seed gives another row of numbers, the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.roll() % (most - least + 1)
    }
}

/// The events of a run. Each kind comes before any comes again.
pub fn events(seed: u64, kinds: Kinds, duration_ms: u64) -> Vec<Event> {
    let acts = acts(kinds);
    let mut dice = Dice(seed);
    let (mut events, mut hat, mut at_ms) = (Vec::new(), Vec::new(), WARM_UP_MS);
    loop {
        if hat.is_empty() {
            hat.clone_from(&acts);
        }
        if hat.is_empty() {
            return events;
        }
        let drawn = usize::try_from(dice.roll() % hat.len() as u64).unwrap_or(0);
        let act = hat.swap_remove(drawn);
        let hold_ms = dice.within(HOLD_MS);
        if at_ms + hold_ms + COOL_DOWN_MS > duration_ms {
            return events;
        }
        events.push(Event { at_ms, hold_ms, act, picks: [dice.roll(), dice.roll()] });
        at_ms += hold_ms + dice.within(REST_MS);
    }
}

fn acts(kinds: Kinds) -> Vec<Act> {
    let Kinds { kill, pause, partition, wipe } = kinds;
    let of = |wanted: bool, acts: &'static [Act]| if wanted { acts } else { &[] };
    [
        of(kill, &[Act::Kill, Act::Kill, Act::KillAll]),
        of(pause, &[Act::Pause]),
        of(partition, &[Act::CutOneWay, Act::CutPair, Act::Isolate, Act::Split, Act::Stall]),
        of(wipe, &[Act::Wipe]),
    ]
    .concat()
}

/// The numbers of peers, one after the other, that lead from the least to the most and back.
pub fn sizes(least: u16, most: u16) -> Vec<u16> {
    (least + 1..=most).chain((least..most).rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Kinds = Kinds { kill: true, pause: true, partition: true, wipe: true };

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_one_others() {
        let of = |seed| events(seed, ALL, 120_000);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn events_fit_into_the_run_one_after_the_other() {
        for seed in 0..50 {
            let events = events(seed, ALL, 60_000);
            assert!(events.len() >= 8, "{} events", events.len());
            for pair in events.windows(2) {
                assert!(pair[0].at_ms + pair[0].hold_ms < pair[1].at_ms);
            }
            assert!(events.iter().all(|event| event.at_ms + event.hold_ms <= 59_000));
        }
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        let first: BTreeSet<Act> = events(3, ALL, 600_000).iter().take(10).map(|event| event.act).collect();
        assert_eq!(first.len(), 9, "one of ten is a second kill");
        let pauses = events(3, Kinds { pause: true, ..Kinds::default() }, 60_000);
        assert!(pauses.iter().all(|event| event.act == Act::Pause) && !pauses.is_empty());
        assert!(events(3, Kinds::default(), 60_000).is_empty());
    }

    #[test]
    fn victims_are_two_and_minorities_are_less_than_half() {
        for event in events(5, ALL, 120_000) {
            for peers in 1..9u16 {
                let among: Vec<Vertex> = (0..peers).map(Vertex).collect();
                let (first, second) = event.victims(&among).unwrap();
                assert_eq!(first == second, peers == 1);
                let minority = event.minority(&among);
                assert!(2 * minority.len() < among.len());
                assert_eq!(minority.len(), usize::from(peers - 1) / 2);
            }
            assert_eq!(event.victims(&[]), None);
        }
    }

    #[test]
    fn a_hypercube_grows_and_shrinks_one_at_a_time() {
        assert_eq!(sizes(3, 6), [4, 5, 6, 5, 4, 3]);
    }
}
