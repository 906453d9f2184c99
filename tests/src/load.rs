//! Publishers at work while something happens to the hypercube.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::history::{Acked, value};
use crate::publisher::Publisher;
use crate::wait::eventually;

/// A pause between two messages of a publisher, so that a story of a minute stays readable in seconds.
const PAUSE: Duration = Duration::from_millis(4);

/// How far each publisher has come.
#[derive(Debug)]
pub struct Progress(Vec<AtomicU64>);

impl Progress {
    /// Waits until every publisher has so many more acknowledgements than now.
    ///
    /// # Panics
    /// When one has not in time.
    #[track_caller]
    pub fn advances(&self, by: u64, patience: Duration) {
        let now = || self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = now();
        eventually(&format!("{by} more acknowledgements for every publisher"), patience, || {
            now().iter().zip(&before).all(|(now, before)| *now >= before + by).then_some(())
        });
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
    let progress = Progress((0..publishers).map(|_| AtomicU64::new(0)).collect());
    let (done, abandoned) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let ends = Ends { done: &done, abandoned: &abandoned };
        let workers: Vec<_> = (0..publishers)
            .zip(&progress.0)
            .map(|(number, count)| {
                let mut publisher = Publisher::register(endpoints, None, topic, number % partitions);
                publisher.abandoned = Arc::clone(&abandoned);
                let done = &done;
                scope.spawn(move || work(publisher, number, number % partitions, count, done))
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
    count: &AtomicU64,
    done: &AtomicBool,
) -> Vec<Acked> {
    let mut acked = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let value = value(&format!("http-{number}"), publisher.sequence);
        let ack = publisher.publish(&value);
        acked.push(Acked { partition, offset: ack.offset, value });
        count.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    acked
}
