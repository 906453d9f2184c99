//! How much a listener takes on at a time; what goes beyond is refused at once, with a time to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hcube_api::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Config;

/// Milliseconds after which a refused client may try again.
const RETRY_AFTER_MS: u64 = 1_000;
/// Room for bodies is counted in units of so many bytes, because a semaphore counts in `u32`.
const ROOM_UNIT_BYTES: usize = 1024;

/// What all connections of one listener share.
#[derive(Debug)]
pub(super) struct Limits {
    pub connections: Arc<Semaphore>,
    /// Connections that are only told that there are too many.
    pub refusals: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    room: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    connection_requests_max: usize,
}

impl Limits {
    pub fn new(config: &Config) -> Self {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            connections: semaphore(config.connections_max),
            refusals: semaphore(64),
            requests: semaphore(config.requests_max),
            subscriptions: semaphore(config.subscriptions_max),
            room: semaphore(config.body_bytes_max / ROOM_UNIT_BYTES),
            answers: semaphore(config.answer_bytes_max / ROOM_UNIT_BYTES),
            connection_requests_max: config.connection_requests_max,
        }
    }

    /// Takes up a request.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn request(&self) -> Result<OwnedSemaphorePermit, Problem> {
        take(&self.requests, "requests")
    }

    /// Takes up a subscription to so many partitions, each of which waits for its next record at all times.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn subscription(&self, partitions: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let partitions = u32::try_from(partitions).map_err(|_| overloaded("subscriptions"))?;
        let permit = Arc::clone(&self.subscriptions).try_acquire_many_owned(partitions);
        permit.map_err(|_| overloaded("subscriptions"))
    }

    /// Room for a request's body, which has none yet.
    pub fn room(&self) -> BodyRoom {
        BodyRoom { all: Arc::clone(&self.room), permits: Vec::new(), units: 0 }
    }

    /// Room for an answer's body, which has none yet.
    pub fn answer_room(&self) -> BodyRoom {
        BodyRoom { all: Arc::clone(&self.answers), permits: Vec::new(), units: 0 }
    }

    /// Takes up a request of one connection.
    ///
    /// # Errors
    /// `too-many-requests`.
    pub fn of_connection(&self, under_way: &Arc<AtomicUsize>) -> Result<OfConnection, Problem> {
        let guard = OfConnection(Arc::clone(under_way));
        if under_way.fetch_add(1, Ordering::Relaxed) < self.connection_requests_max {
            return Ok(guard);
        }
        let most = self.connection_requests_max;
        let detail = format!("a connection has at most {most} requests under way");
        Err(Problem::new(Code::TooManyRequests, detail).retry_after_ms(RETRY_AFTER_MS))
    }
}

/// The refusal of what exceeds a limit.
pub(super) fn overloaded(what: &str) -> Problem {
    let detail = format!("this peer has as many {what} under way as it takes");
    Problem::new(Code::Overloaded, detail).retry_after_ms(RETRY_AFTER_MS)
}

fn take(from: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(from).try_acquire_owned().map_err(|_| overloaded(what))
}

/// A request of a connection, counted.
#[derive(Debug)]
pub(super) struct OfConnection(Arc<AtomicUsize>);

impl Drop for OfConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Memory that a body takes, given back when this is dropped.
#[derive(Debug)]
pub(super) struct BodyRoom {
    all: Arc<Semaphore>,
    permits: Vec<OwnedSemaphorePermit>,
    units: usize,
}

impl BodyRoom {
    /// Makes the room so many bytes in all; it never shrinks.
    ///
    /// # Errors
    /// `overloaded` when other bodies take too much.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let units = bytes.div_ceil(ROOM_UNIT_BYTES);
        let Some(more) = units.checked_sub(self.units).filter(|more| *more > 0) else { return Ok(()) };
        let more_units = u32::try_from(more).map_err(|_| overloaded("bytes"))?;
        let permit = Arc::clone(&self.all).try_acquire_many_owned(more_units);
        self.permits.push(permit.map_err(|_| overloaded("bytes"))?);
        self.units = units;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(&Config {
            requests_max: 1,
            subscriptions_max: 1,
            body_bytes_max: 4096,
            connection_requests_max: 2,
            ..Config::default()
        })
    }

    #[test]
    fn what_ends_makes_room_for_the_next() {
        let limits = limits();
        let first = limits.request().unwrap();
        let refused = limits.request().unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (Code::Overloaded, Some(RETRY_AFTER_MS)));
        drop(first);
        assert!(limits.request().is_ok());
    }

    #[test]
    fn a_subscription_counts_by_its_partitions() {
        let limits = Limits::new(&Config { subscriptions_max: 8, ..Config::default() });
        let wide = limits.subscription(6).unwrap();
        assert_eq!(limits.subscription(3).unwrap_err().code, Code::Overloaded);
        let narrow = limits.subscription(2).unwrap();
        drop((wide, narrow));
        assert!(limits.subscription(8).is_ok());
    }

    #[test]
    fn bodies_take_their_bytes_and_give_them_back() {
        let limits = limits();
        let mut one = limits.room();
        one.grow(1000).unwrap();
        one.grow(1024).unwrap();
        one.grow(3000).unwrap();
        let mut other = limits.room();
        other.grow(1024).unwrap();
        assert_eq!(other.grow(1025).unwrap_err().code, Code::Overloaded);
        drop(one);
        other.grow(4096).unwrap();
    }

    #[test]
    fn one_connection_cannot_take_everything() {
        let limits = limits();
        let connection = Arc::new(AtomicUsize::new(0));
        let held = [limits.of_connection(&connection).unwrap(), limits.of_connection(&connection).unwrap()];
        assert_eq!(limits.of_connection(&connection).unwrap_err().code, Code::TooManyRequests);
        drop(held);
        assert!(limits.of_connection(&connection).is_ok());
        assert_eq!(connection.load(Ordering::Relaxed), 0);
    }
}
