//! The simulator over many seeds: nothing acknowledged is lost, offsets are dense and equal on all replicas, and the
//! hypercube comes to rest, whatever happens.

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hcube_sim::{Fault, Report, Scenario, run};

/// Seeds in the ordinary run; `HCUBE_SIM_SEEDS` asks for another number.
const SEEDS: u64 = 500;

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
                    let report = catch_unwind(|| run(&Scenario::from_seed(seed))).unwrap_or_else(|_| {
                        panic!("seed {seed} failed; run it alone with `cargo run --release -p hcube-sim -- {seed}`")
                    });
                    reports.lock().expect("no run panics while it holds the lock").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("no run panics while it holds the lock")
}

/// Something that a run counts.
type Count = fn(&Report) -> u64;

#[test]
fn nothing_acknowledged_is_lost_whatever_happens() {
    let reports = run_all(seeds());
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let runs = reports.len() as u64;
    let per_seed = |of: fn(&Report) -> u64| sum(of) / runs.max(1);
    println!(
        "simulation: {runs} seeds; {} batches acknowledged ({} a seed), {} records found again, lost 0, duplicated 0",
        sum(|r| r.commits),
        per_seed(|r| r.commits),
        sum(|r| r.records),
    );
    let kinds = Fault::ALL.iter().enumerate().map(|(kind, fault)| {
        let count: u64 = reports.iter().map(|report| report.counts.faults[kind]).sum();
        (fault.name(), count)
    });
    let kinds: Vec<(&str, u64)> = kinds.collect();
    let listed: Vec<String> = kinds.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("  faults: {}", listed.join(", "));
    println!(
        "  faults: {} frames lost, {} frames twice, {} bytes torn off, {} replicas damaged, {} disks found full, {} starts refused, {} frames of strangers refused",
        sum(|r| r.frames_lost),
        sum(|r| r.frames_repeated),
        sum(|r| r.counts.torn_bytes),
        sum(|r| r.counts.damaged),
        sum(|r| r.counts.full),
        sum(|r| r.counts.refused_starts),
        sum(|r| r.counts.refused_frames),
    );
    println!(
        "  members: {} joins, {} drained and removed, {} drains cancelled, {} replaced, {} joins cut short and begun anew, {} feature levels raised",
        sum(|r| r.changes.joins),
        sum(|r| r.changes.leaves),
        sum(|r| r.changes.cancels),
        sum(|r| r.changes.replacements),
        sum(|r| r.counts.interrupted_joins),
        sum(|r| r.raises),
    );
    println!(
        "  placement: {} moves, {} configurations, {} of them joint; {} changes of R, {} of read replicas, {} pauses; {} refusals, {} requests repeated",
        sum(|r| r.moves),
        sum(|r| r.configurations),
        sum(|r| r.joint),
        sum(|r| r.changes.replications),
        sum(|r| r.changes.readers),
        sum(|r| r.changes.pauses),
        sum(|r| r.changes.refusals),
        sum(|r| r.changes.repeats),
    );
    println!(
        "  load: {} elections, {} publishes repeated, {} lives of topics, {} polls answered by others, {} majorities of disks looked at",
        sum(|r| r.elections),
        sum(|r| r.repeats),
        sum(|r| r.lives),
        sum(|r| r.polls_shared),
        sum(|r| r.durability_checks),
    );
    println!(
        "  storage: {} compactions, {} of them left batches in segments and {} were made whole, {} snapshot parts, {} segments deleted, {} old entries fetched",
        sum(|r| r.counts.compactions),
        sum(|r| r.counts.left_in_segments),
        sum(|r| r.counts.made_whole),
        sum(|r| r.counts.staged_parts),
        sum(|r| r.counts.reclaimed),
        sum(|r| r.counts.fetches),
    );
    // A run in which nothing happened shows nothing.
    assert!(per_seed(|r| r.commits) > 100 && per_seed(|r| r.elections) > 9, "too little happened");
    for (name, count) in kinds {
        assert!(count > 0, "there were no {name}");
    }
    let happened: [(&str, Count); 20] = [
        ("compactions", |r| r.counts.compactions),
        ("batches left in segments", |r| r.counts.left_in_segments),
        ("files made whole", |r| r.counts.made_whole),
        ("snapshot parts", |r| r.counts.staged_parts),
        ("fetches", |r| r.counts.fetches),
        ("ends by a failed sync", |r| r.counts.sync_errors),
        ("damaged replicas", |r| r.counts.damaged),
        ("refused starts", |r| r.counts.refused_starts),
        ("refused frames", |r| r.counts.refused_frames),
        ("invitations", |r| r.counts.invitations),
        ("interrupted joins", |r| r.counts.interrupted_joins),
        ("joins", |r| r.changes.joins),
        ("leaves", |r| r.changes.leaves),
        ("cancelled drains", |r| r.changes.cancels),
        ("replacements", |r| r.changes.replacements),
        ("changes of R", |r| r.changes.replications),
        ("read replicas", |r| r.changes.readers),
        ("joint configurations", |r| r.joint),
        ("raised feature levels", |r| r.raises),
        ("shared polls", |r| r.polls_shared),
    ];
    for (name, of) in happened {
        assert!(sum(of) > 0, "there were no {name}");
    }
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
