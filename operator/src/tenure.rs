//! Which of several operators looks after a Hypercube: the one whose name its status holds.
//!
//! Two operators that watch the same namespace would undo each other's work for ever, since each makes objects in its
//! own way. An operator that finds another's name claims the Hypercube, and acts only when that stood for a while:
//! whoever is still alive takes it back at once. Then both know that there are two, and the one whose name comes later
//! leaves the Hypercube alone, until it tries again in case the other is gone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a claim has to stand: another operator may be changing its acting replica, which takes as long as a Lease.
const CAUTION: Duration = Duration::from_secs(30);
/// How long an operator leaves a Hypercube alone before it tries whether the other one is still there.
const PATIENCE: Duration = Duration::from_secs(300);

/// What an operator may do with a Hypercube.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Look after it.
    Act,
    /// Put its own name into the status, and nothing else.
    Claim {
        /// Whether another operator has taken it while this one looked after it.
        is_contested: bool,
    },
    /// Wait, as its claim is young.
    Wait(Duration),
    /// Leave it alone.
    Leave {
        /// For how long.
        pause: Duration,
        /// Whether that is new.
        is_news: bool,
    },
}

/// What an operator remembers of one Hypercube.
#[derive(Debug, Default)]
struct Memory {
    /// Whether it has been its own.
    held: bool,
    /// When it was claimed, unless that was long ago.
    claimed: Option<Instant>,
    /// Since when it is left alone.
    left: Option<Instant>,
}

impl Memory {
    fn turn(&mut self, own: &str, holder: Option<&str>, now: Instant) -> Turn {
        let left = |since: Instant, span: Duration| span.checked_sub(now.duration_since(since));
        let Some(holder) = holder else { return Turn::Act };
        if holder == own {
            self.held = true;
            self.left = None;
            if let Some(rest) = self.claimed.and_then(|since| left(since, CAUTION)) {
                return Turn::Wait(rest);
            }
            self.claimed = None;
            return Turn::Act;
        }
        if let Some(pause) = self.left.and_then(|since| left(since, PATIENCE)) {
            return Turn::Leave { pause, is_news: false };
        }
        // Its own name may have stood there so shortly that no look has seen it.
        let is_contested = self.held || self.claimed.is_some();
        if is_contested && own > holder {
            *self = Self { left: Some(now), ..Self::default() };
            return Turn::Leave { pause: PATIENCE, is_news: true };
        }
        Turn::Claim { is_contested }
    }
}

/// What an operator remembers of all Hypercubes, by their uid.
#[derive(Debug, Default)]
pub struct Tenure(Mutex<HashMap<String, Memory>>);

impl Tenure {
    /// What may be done with a Hypercube whose status names an operator, or none.
    #[must_use]
    pub fn turn(&self, uid: &str, own: &str, holder: Option<&str>, now: Instant) -> Turn {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(uid.to_owned()).or_default().turn(own, holder, now)
    }

    /// Remembers a claim that was written. One that answers another's takes effect at once: the other waits.
    pub fn claimed(&self, uid: &str, is_contested: bool, now: Instant) {
        let claimed = (!is_contested).then_some(now);
        let memory = Memory { held: is_contested, claimed, left: None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two operators and the name in the status; each looks, and what it may do is written down.
    struct Two {
        start: Instant,
        holder: Option<&'static str>,
        tenures: [Tenure; 2],
    }

    const NAMES: [&str; 2] = ["a/operator", "b/operator"];

    impl Two {
        fn new(holder: Option<&'static str>) -> Self {
            Self { start: Instant::now(), holder, tenures: Default::default() }
        }

        fn look(&mut self, who: usize, second: u64) -> &'static str {
            let now = self.start + Duration::from_secs(second);
            match self.tenures[who].turn("u", NAMES[who], self.holder, now) {
                Turn::Act => {
                    self.holder = Some(NAMES[who]);
                    "acts"
                }
                Turn::Claim { is_contested } => {
                    self.holder = Some(NAMES[who]);
                    self.tenures[who].claimed("u", is_contested, now);
                    if is_contested { "takes back" } else { "claims" }
                }
                Turn::Wait(_) => "waits",
                Turn::Leave { is_news: true, .. } => "notices",
                Turn::Leave { .. } => "leaves",
            }
        }
    }

    #[test]
    fn one_operator_alone_never_waits() {
        let mut two = Two::new(None);
        for second in [0, 1, 500, 501] {
            assert_eq!(two.look(0, second), "acts");
        }
    }

    #[test]
    fn a_successor_claims_waits_and_acts() {
        for who in [0, 1] {
            let mut two = Two::new(Some(NAMES[1 - who]));
            let looks = [0, 1, 29, 31, 60].map(|second| two.look(who, second));
            assert_eq!(looks, ["claims", "waits", "waits", "acts", "acts"]);
        }
    }

    #[test]
    fn of_two_that_live_one_acts_and_the_other_tries_now_and_then() {
        let mut two = Two::new(None);
        assert_eq!(two.look(1, 0), "acts");
        assert_eq!(two.look(1, 1), "acts", "it sees its own name");
        assert_eq!(two.look(0, 2), "claims");
        assert_eq!(two.look(1, 3), "notices");
        let looks = [4, 20, 33, 40].map(|second| (two.look(0, second), two.look(1, second)));
        assert_eq!(looks, [("waits", "leaves"), ("waits", "leaves"), ("acts", "leaves"), ("acts", "leaves")]);
        // It tries again, and is answered at once.
        assert_eq!(two.look(1, 310), "claims");
        assert_eq!(two.look(0, 311), "takes back");
        assert_eq!(two.look(1, 312), "notices", "even if it never saw its own name");
        assert_eq!(two.look(0, 313), "acts");
        // The other one is gone.
        assert_eq!(two.look(1, 620), "claims");
        assert_eq!(two.look(1, 652), "acts");
    }
}
