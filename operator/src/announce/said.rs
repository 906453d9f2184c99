//! What was said of which resource, so that it is not said again while it stays so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An obstacle that comes and goes is said once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// What was said, by the uid of the resource.
#[derive(Debug, Default)]
pub struct Said {
    obstacles: Mutex<HashMap<String, BTreeMap<String, Obstacle>>>,
    decisions: Mutex<HashMap<String, BTreeSet<String>>>,
}

#[derive(Debug)]
struct Obstacle {
    at: Instant,
    holds: bool,
}

impl Said {
    /// Those of the reasons, which are all that hold now, that are to be said.
    pub(super) fn news(&self, uid: &str, reasons: BTreeSet<String>, now: Instant) -> BTreeSet<String> {
        let mut all = self.obstacles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = all.remove(uid).unwrap_or_default();
        known.retain(|reason, obstacle| {
            obstacle.holds = reasons.contains(reason);
            obstacle.holds || now.duration_since(obstacle.at) < QUIET
        });
        let news: BTreeSet<String> =
            reasons.into_iter().filter(|reason| !known.contains_key(reason)).collect();
        known.extend(news.iter().map(|reason| (reason.clone(), Obstacle { at: now, holds: true })));
        if !known.is_empty() {
            all.insert(uid.to_owned(), known);
        }
        news
    }

    /// The decisions of the look before. One that is taken again at once is repeated, because its effect is not seen
    /// yet, and not taken anew.
    pub fn before(&self, uid: &str) -> BTreeSet<String> {
        let mut all = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(uid).unwrap_or_default()
    }

    /// Remembers the decisions of a look.
    pub fn remember(&self, uid: &str, decisions: BTreeSet<String>) {
        if !decisions.is_empty() {
            let mut all = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(uid.to_owned(), decisions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn an_obstacle_is_said_once_and_again_when_it_was_over_for_long() {
        let (said, start) = (Said::default(), Instant::now());
        let after = |seconds: u64, reasons: &[&str]| {
            said.news("u", set(reasons), start + Duration::from_secs(seconds))
        };
        assert_eq!(after(0, &["A"]), set(&["A"]));
        assert_eq!(after(2, &["A", "B"]), set(&["B"]));
        assert_eq!(said.news("other", set(&["A"]), start), set(&["A"]));
        assert_eq!(after(90, &["A", "B"]), set(&[]), "while it holds it is not said again");
        assert_eq!(after(92, &["B"]), set(&[]));
        assert_eq!(after(94, &["A", "B"]), set(&["A"]));
        assert_eq!(after(96, &["B"]), set(&[]));
        assert_eq!(after(98, &["A", "B"]), set(&[]), "it comes and goes");
    }

    #[test]
    fn decisions_are_remembered_for_one_look() {
        let said = Said::default();
        said.remember("u", set(&["A"]));
        assert_eq!(said.before("u"), set(&["A"]));
        assert_eq!(said.before("u"), set(&[]));
    }
}
