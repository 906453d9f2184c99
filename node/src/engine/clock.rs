//! The time that the peer is told.

use std::time::{Duration, Instant, SystemTime};

use hcube_broker::Now;

/// Tells the time of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// When the monotonic time is so many milliseconds.
    pub fn instant(&self, mono_ms: u64) -> Instant {
        self.started + Duration::from_millis(mono_ms)
    }

    /// The time now.
    pub fn now(&self) -> Now {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let whole = |ms: u128| u64::try_from(ms).unwrap_or(u64::MAX);
        Now { mono_ms: whole(self.started.elapsed().as_millis()), wall_ms: whole(wall.as_millis()) }
    }
}
