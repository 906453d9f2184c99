//! Runs the simulator: one seed, or many for as long as there is time.
//!
//! ```text
//! hcube-sim SEED                                      one seed, with what it did
//! hcube-sim --seeds A..B --minutes M --threads N      seeds from A on, each once, until B or the time is up
//! ```

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hcube_sim::{Scenario, run};

/// What is asked for.
struct Asked {
    first: u64,
    end: u64,
    minutes: u64,
    threads: usize,
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [seed] = &arguments[..]
        && let Ok(seed) = seed.parse()
    {
        return writeln!(std::io::stdout(), "{:#?}", run(&Scenario::from_seed(seed)));
    }
    match parse(&arguments) {
        Some(asked) if !arguments.is_empty() => run_many(&asked),
        _ => writeln!(std::io::stderr(), "usage: hcube-sim SEED | --seeds A..B [--minutes M] [--threads N]"),
    }
}

fn parse(arguments: &[String]) -> Option<Asked> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut asked = Asked { first: 0, end: u64::MAX, minutes: u64::MAX / 60, threads };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--seeds" => {
                let (first, end) = value.split_once("..")?;
                (asked.first, asked.end) = (first.parse().ok()?, end.parse().unwrap_or(u64::MAX));
            }
            "--minutes" => asked.minutes = value.parse().ok()?,
            "--threads" => asked.threads = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(asked)
}

fn run_many(asked: &Asked) -> std::io::Result<()> {
    let started = Instant::now();
    let (next, failed) = (AtomicU64::new(asked.first), AtomicBool::new(false));
    let commits = AtomicU64::new(0);
    let out = Mutex::new(std::io::stdout());
    let say = |line: &str| {
        let mut out = out.lock().expect("no run panics while it holds the lock");
        let _broken_pipe = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.threads {
            scope.spawn(|| {
                while started.elapsed() < Duration::from_secs(asked.minutes * 60) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= asked.end {
                        break;
                    }
                    match catch_unwind(AssertUnwindSafe(|| run(&Scenario::from_seed(seed)))) {
                        Ok(report) => _ = commits.fetch_add(report.commits, Ordering::Relaxed),
                        Err(_) => {
                            failed.store(true, Ordering::Relaxed);
                            say(&format!("seed {seed} failed; again with: hcube-sim {seed}"));
                        }
                    }
                }
            });
        }
    });
    let runs = next.load(Ordering::Relaxed).min(asked.end) - asked.first;
    say(&format!(
        "{runs} seeds from {}, {} batches acknowledged, {} s",
        asked.first,
        commits.load(Ordering::Relaxed),
        started.elapsed().as_secs()
    ));
    if failed.load(Ordering::Relaxed) {
        return Err(std::io::Error::other("some seeds failed"));
    }
    Ok(())
}
