//! How fast upkeep may write.
//!
//! Sorted files are written for later, and nobody waits for them; a sync of the log that stands behind a burst of their
//! bytes in the disk's queue keeps everybody waiting. While the log is busy they are written a little faster than it
//! grows, and no more.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that upkeep may write in a second beside a busy log, however slowly that grows.
const FLOOR_PER_S: u64 = 4 << 20;
/// Percent of the log's bytes that it may write besides. More than 100, or it would never catch up.
const SHARE_PERCENT: u64 = 125;
/// Bytes that it may be ahead of that.
const BURST: u64 = 256 << 10;
/// Bytes between two looks at the clock.
const LOOK_EVERY: u64 = 64 << 10;
/// How long it waits between two looks whether it may go on.
const STEP: Duration = Duration::from_millis(4);
/// A log that got nothing for so long is not busy.
const QUIET_AFTER: Duration = Duration::from_millis(100);

/// What the threads that write tell each other.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Where the log ends, in bytes.
    log_end: AtomicU64,
    /// Whether a sync of the log is under way.
    syncing: AtomicBool,
    hurry: AtomicBool,
    ended: AtomicBool,
    /// Jobs that wait behind a piece of upkeep.
    waiting: AtomicUsize,
}

impl Pace {
    /// The log ends there now, in bytes.
    pub fn log_reached(&self, end: u64) {
        self.log_end.store(end, Relaxed);
    }

    /// A sync of the log begins, or is done.
    pub fn syncing(&self, syncing: bool) {
        self.syncing.store(syncing, Relaxed);
    }

    /// Whether room on the disk is what everybody waits for.
    pub fn hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Relaxed);
    }

    /// Something that somebody waits for has to wait for the upkeep that is under way.
    pub fn begin_waiting(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Its turn has come.
    pub fn end_waiting(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// The peer is to end, and waits for what upkeep is at.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// The measure of one piece of work.
    pub fn begin(&self) -> Pacer<'_> {
        let (now, log_end) = (Instant::now(), self.log_end.load(Relaxed));
        Pacer { pace: self, began: (now, log_end), busy: (now, log_end), wrote: 0, looked: 0 }
    }
}

/// Measures one piece of work.
#[derive(Debug)]
pub(super) struct Pacer<'p> {
    pace: &'p Pace,
    /// When the measure began, and where the log ended then.
    began: (Instant, u64),
    /// When the log was seen to have grown last, and where it ended then.
    busy: (Instant, u64),
    /// Bytes since the measure began.
    wrote: u64,
    /// How many there were at the last look at the clock.
    looked: u64,
}

impl Pacer<'_> {
    /// Waits until so many bytes more may be written.
    pub fn write(&mut self, bytes: u64) {
        self.wrote += bytes;
        if self.wrote < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = self.wrote;
        while !self.may_go_on(Instant::now()) {
            thread::sleep(STEP);
        }
    }

    fn may_go_on(&mut self, now: Instant) -> bool {
        let log_end = self.pace.log_end.load(Relaxed);
        if log_end > self.busy.1 || self.pace.syncing.load(Relaxed) {
            self.busy = (now, log_end);
        }
        let is_quiet = now - self.busy.0 >= QUIET_AFTER;
        if is_quiet || self.is_waited_for() {
            // What is written freely is no debt later.
            (self.began, self.wrote, self.looked) = ((now, log_end), 0, 0);
            return true;
        }
        self.wrote <= allowed(now - self.began.0, log_end.saturating_sub(self.began.1))
    }

    fn is_waited_for(&self) -> bool {
        self.pace.hurry.load(Relaxed) || self.pace.has_ended() || self.pace.waiting.load(Relaxed) > 0
    }
}

/// Bytes that may have been written after a while in which the log got so many.
fn allowed(elapsed: Duration, log_bytes: u64) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let floor = FLOOR_PER_S.saturating_mul(millis) / 1000;
    floor.saturating_add(log_bytes.saturating_mul(SHARE_PERCENT) / 100).saturating_add(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: u64 = 1 << 40;

    #[test]
    fn beside_a_busy_log_upkeep_is_a_little_faster_and_never_stands_still() {
        assert_eq!(allowed(Duration::ZERO, 0), BURST);
        assert_eq!(allowed(Duration::from_secs(2), 0), BURST + 2 * FLOOR_PER_S);
        assert_eq!(allowed(Duration::from_secs(1), 200 << 20), BURST + FLOOR_PER_S + (250 << 20));

        let pace = Pace::default();
        let mut pacer = pace.begin();
        let now = pacer.began.0;
        pace.log_reached(100 << 20);
        pacer.wrote = 120 << 20;
        assert!(pacer.may_go_on(now));
        pacer.wrote = 130 << 20;
        assert!(!pacer.may_go_on(now));
        pace.log_reached(110 << 20);
        assert!(pacer.may_go_on(now));
    }

    #[test]
    fn nothing_is_held_up_for_a_quiet_log_and_no_debt_is_left_of_it() {
        let pace = Pace::default();
        let mut pacer = pace.begin();
        pacer.wrote = MUCH;
        let now = pacer.began.0;
        assert!(!pacer.may_go_on(now + QUIET_AFTER / 2));
        pace.log_reached(1);
        assert!(!pacer.may_go_on(now + QUIET_AFTER));
        pace.syncing(true);
        assert!(!pacer.may_go_on(now + 3 * QUIET_AFTER), "a slow sync is no quiet log");
        pace.syncing(false);
        assert!(pacer.may_go_on(now + 4 * QUIET_AFTER));
        pace.log_reached(2);
        assert!(pacer.may_go_on(now + 4 * QUIET_AFTER));
        pacer.wrote = 2 * BURST;
        assert!(!pacer.may_go_on(now + 4 * QUIET_AFTER));
    }

    #[test]
    fn nothing_is_held_up_where_it_is_what_is_waited_for() {
        let pace = Pace::default();
        let goes_on = || {
            let mut pacer = pace.begin();
            pacer.wrote = MUCH;
            pacer.may_go_on(pacer.began.0)
        };
        pace.hurry(true);
        assert!(goes_on());
        pace.hurry(false);
        assert!(!goes_on());
        pace.begin_waiting();
        assert!(goes_on());
        pace.end_waiting();
        assert!(!goes_on());
        pace.end();
        assert!(goes_on());
    }
}
