//! Publishers at work while something happens to the hypercube.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::history::{Acked, value};
use crate::publisher::Publisher;
use crate::wait::eventually;

/// A pause between two messages of a publisher, so that a story of a minute stays readable in seconds.
const PAUSE: Duration = Duration::from_millis(4);

/// How far each publisher has come, and how long its messages took.
#[derive(Debug)]
pub struct Progress {
    counts: Vec<AtomicU64>,
    took: Mutex<Vec<Duration>>,
}

impl Progress {
    /// Waits until every publisher has so many more acknowledgements than now.
    ///
    /// # Panics
    /// When one has not in time.
    #[track_caller]
    pub fn advances(&self, by: u64, patience: Duration) {
        let now = || self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = now();
        eventually(&format!("{by} more acknowledgements for every publisher"), patience, || {
            now().iter().zip(&before).all(|(now, before)| *now >= before + by).then_some(())
        });
    }

    /// Waits until every publisher has got further, by enough messages to show that none was just lucky.
    ///
    /// # Panics
    /// When one has not within a minute.
    #[track_caller]
    pub fn goes_on(&self) {
        self.advances(15, Duration::from_secs(60));
    }

    /// How long the messages took that were acknowledged since this was last asked, the slowest last.
    #[must_use]
    pub fn times(&self) -> Vec<Duration> {
        let mut times = std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        times
    }

    fn note(&self, publisher: u16, took: Duration) {
        self.counts[usize::from(publisher)].fetch_add(1, Ordering::Relaxed);
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

/// Ends the publishers also where the story panics, or nobody would ever join them.
struct Ends<'a> {
    done: &'a AtomicBool,
    abandoned: &'a AtomicBool,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        self.abandoned.store(std::thread::panicking(), Ordering::Relaxed);
    }
}

/// Runs `story` while publishers work, each at its own partition `i % partitions` and with all endpoints in turn.
/// Returns what the story does, and everything that was acknowledged.
///
/// # Panics
/// When the story does, or a publisher is refused.
pub fn during<T>(
    endpoints: &[String],
    topic: &str,
    partitions: u16,
    publishers: u16,
    story: impl FnOnce(&Progress) -> T,
) -> (T, Vec<Acked>) {
    let progress =
        Progress { counts: (0..publishers).map(|_| AtomicU64::new(0)).collect(), took: Mutex::default() };
    let (done, abandoned) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let ends = Ends { done: &done, abandoned: &abandoned };
        let workers: Vec<_> = (0..publishers)
            .map(|number| {
                let mut publisher = Publisher::register(endpoints, None, topic, number % partitions);
                publisher.abandoned = Arc::clone(&abandoned);
                let (progress, done) = (&progress, &done);
                scope.spawn(move || work(publisher, number, number % partitions, progress, done))
            })
            .collect();
        let told = story(&progress);
        drop(ends);
        let mut acked = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(all) => acked.extend(all),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (told, acked)
    })
}

fn work(
    mut publisher: Publisher,
    number: u16,
    partition: u16,
    progress: &Progress,
    done: &AtomicBool,
) -> Vec<Acked> {
    let mut acked = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let value = value(&format!("http-{number}"), publisher.sequence);
        let ack = publisher.publish(&value);
        acked.push(Acked { partition, offset: ack.offset, value });
        progress.note(number, ack.took);
        std::thread::sleep(PAUSE);
    }
    acked
}
