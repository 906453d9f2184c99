//! Waiting for conditions, never for time alone.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Calls `attempt` until it gives something.
///
/// # Panics
/// When it has given nothing within `patience`; the message names `what` was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Seconds as a duration, because stories are full of them.
#[must_use]
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
