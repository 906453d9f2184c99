//! Much data and many requests at once, for benchmarks.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder};
use serde_json::json;

use crate::answer::{self, Answer};

/// Clients at once; more than a peer needs to fill its batches.
const CLIENTS: u64 = 16;
/// Bytes of a message of [`batch`].
const MESSAGE_BYTES: usize = 1000;
/// Messages of a [`batch`]: near 3 MiB, below the 4 MiB of a publish.
const BATCH_MESSAGES: usize = 3000;
/// Bytes of all messages of a [`batch`].
pub const BATCH_BYTES: u64 = (MESSAGE_BYTES * BATCH_MESSAGES) as u64;
/// Before a busy peer is asked again.
pub const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A publish of many messages, one a line. Every message is another one, so that nothing on the way can make little of
/// much.
#[must_use]
pub fn batch(number: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(BATCH_MESSAGES * (MESSAGE_BYTES + 20));
    for message in 0..BATCH_MESSAGES {
        let head = format!("{number}-{message}-");
        let rest: String = (head.len()..MESSAGE_BYTES)
            .map(|at| char::from(b'a' + ((at * 7 + message) % 26) as u8))
            .collect();
        body.extend_from_slice(json!({ "value": head + &rest }).to_string().as_bytes());
        body.push(b'\n');
    }
    body
}

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
