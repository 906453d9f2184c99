//! Much data and many requests at once, for benchmarks.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder};

use crate::answer::{self, Answer};

/// Clients at once; more than a peer needs to fill its batches.
const CLIENTS: u64 = 16;

/// A line on stderr.
pub fn say(text: &str) {
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Carries out jobs `0..count` on several threads, and says how far they are every few seconds.
pub fn in_parallel(what: &str, count: u64, job: impl Fn(&Client, u64) + Sync) {
    let next = AtomicU64::new(0);
    let (next, job) = (&next, &job);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..CLIENTS {
            scope.spawn(move || {
                let client = answer::client();
                let mut said = Instant::now();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    job(&client, number);
                    if worker == 0 && said.elapsed() > Duration::from_secs(10) {
                        said = Instant::now();
                        say(&format!("{what}: {number} of {count}"));
                    }
                }
            });
        }
    });
    say(&format!("{what}: {count} in {:.1} s", began.elapsed().as_secs_f64()));
}

/// Sends until it is answered well; a peer that is busy says when to come back.
///
/// # Panics
///
/// When it is refused, or not answered well for two minutes.
pub fn insist(client: &Client, pause: Duration, request: impl Fn() -> RequestBuilder) {
    let began = Instant::now();
    loop {
        match Answer::of(client, request()) {
            Ok(answer) if answer.status < 300 => return,
            Ok(answer) if [429, 503, 504].contains(&answer.status) && began.elapsed().as_secs() < 120 => {}
            Ok(answer) => panic!("{answer}"),
            Err(error) if began.elapsed().as_secs() > 120 => panic!("{error}"),
            Err(_) => {}
        }
        std::thread::sleep(pause);
    }
}
