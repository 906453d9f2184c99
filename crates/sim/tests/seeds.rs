//! The simulator over many seeds: nothing acknowledged is lost, offsets are dense and equal on all replicas.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hcube_sim::{Report, Scenario, run};

/// Seeds in the ordinary run; `HCUBE_SIM_SEEDS` asks for another number.
const SEEDS: u64 = 1000;

fn seeds() -> u64 {
    std::env::var("HCUBE_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

fn run_all(seeds: u64) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let report =
                        std::panic::catch_unwind(|| run(&Scenario::from_seed(seed))).unwrap_or_else(|_| {
                            panic!("seed {seed} failed; run it alone with `hcube-sim {seed}`")
                        });
                    reports.lock().expect("no run panics while it holds the lock").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("no run panics while it holds the lock")
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens() {
    let reports = run_all(seeds());
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let runs = reports.len() as u64;
    let per_seed = |of: fn(&Report) -> u64| sum(of) / runs.max(1);
    println!(
        "simulation: {runs} seeds; {} batches acknowledged ({} a seed), {} records found again, lost 0, twice 0",
        sum(|r| r.commits),
        per_seed(|r| r.commits),
        sum(|r| r.records),
    );
    println!(
        "  a seed: {} crashes, {} elections, {} links cut, {} pauses, {} frames lost, {} repeated, {} publishes repeated",
        per_seed(|r| r.counts.crashes),
        per_seed(|r| r.elections),
        per_seed(|r| r.counts.cuts),
        per_seed(|r| r.counts.pauses),
        per_seed(|r| r.frames_lost),
        per_seed(|r| r.frames_repeated),
        per_seed(|r| r.repeats),
    );
    println!(
        "  in all: {} disks filled up, {} lives of topics, {} majorities of disks looked at",
        sum(|r| r.counts.full),
        sum(|r| r.lives),
        sum(|r| r.durability_checks),
    );
    println!(
        "  in all: {} compactions, {} snapshot parts, {} segments deleted, {} old entries fetched, {} bytes torn off",
        sum(|r| r.counts.compactions),
        sum(|r| r.counts.staged_parts),
        sum(|r| r.counts.reclaimed),
        sum(|r| r.counts.fetches),
        sum(|r| r.counts.torn_bytes),
    );
    // A run in which nothing happened shows nothing.
    assert!(per_seed(|r| r.commits) > 100 && per_seed(|r| r.counts.crashes) > 3, "too little happened");
    assert!(
        sum(|r| r.counts.compactions) > 0 && sum(|r| r.counts.staged_parts) > 0,
        "no snapshot was needed"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2, 7] {
        let scenario = Scenario::from_seed(seed);
        assert_eq!(run(&scenario), run(&scenario));
    }
    assert_ne!(
        run(&Scenario::from_seed(0)).trace,
        run(&Scenario { seed: 8, ..Scenario::from_seed(0) }).trace
    );
}
