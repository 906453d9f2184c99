//! Every deliberate mistake is found within so many seeds. Only in builds with the feature `planted`.
#![cfg(feature = "planted")]

use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hcube_core::planted::plant;
use hcube_sim::planted::Planted;
use hcube_sim::{Scenario, run};

/// Seeds in which a mistake must be found.
const SEEDS: u64 = 300;

/// The first seed that shows the mistake, and what was noticed. Without the mistake, the same seed shows nothing.
fn find(planted: Planted) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        let failure = fails(seed, Some(planted))?;
        assert_eq!(fails(seed, None), None, "seed {seed} fails without any mistake");
        Some((seed, failure))
    })
}

fn fails(seed: u64, planted: Option<Planted>) -> Option<String> {
    let scenario = Scenario { planted, ..Scenario::from_seed(seed) };
    let outcome = catch_unwind(|| {
        plant(planted.and_then(Planted::bug));
        run(&scenario)
    });
    outcome.err().map(|failure| what(failure.as_ref()))
}

/// The invariant in a failure's message, or the product's own assertion.
fn what(failure: &(dyn std::any::Any + Send)) -> String {
    let text = failure.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| failure.downcast_ref::<&str>().copied()).unwrap_or("a failure without words");
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((invariant, _)) => invariant.to_owned(),
        None => format!("the product's own check: {}", text.lines().next().unwrap_or_default()),
    }
}

#[test]
fn every_planted_bug_is_found() {
    let all = Planted::all();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    // What is found is expected to fail; a backtrace for each would bury the rest.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(planted) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = find(*planted);
                    found.lock().expect("no search panics").push((*planted, result));
                }
            });
        }
    });
    set_hook(hook);
    let found = found.into_inner().expect("no search panics");
    for planted in &all {
        match found.iter().find(|(other, _)| other == planted) {
            Some((_, Some((seed, what)))) => println!("  {planted:?}: seed {seed}, {what}"),
            _ => println!("  {planted:?}: not found in {SEEDS} seeds"),
        }
    }
    let count = found.iter().filter(|(_, result)| result.is_some()).count();
    println!("planted bugs found: {count} of {}", all.len());
    assert_eq!(count, all.len(), "a deliberate mistake was not noticed");
}
