//! Random runs with crashes, over hundreds of seeds.

use hcube_core::ids::GroupId;
use hcube_log::disk::faulty::{Choices, FaultyDisk};
use hcube_log::{Log, Op, WriteError};

use crate::model::{self, Model, State, compact, open, random_op};

const SEEDS: u64 = 600;
const STEPS: u64 = 120;

/// Compacts whatever pins old segments, as the log's owner would.
fn compaction(log: &Log<FaultyDisk>, state: &State) -> Vec<Op> {
    let last = |id: &GroupId| {
        let held = &state.groups[id];
        let last = held.entries.last().map_or(held.base.index, |entry| entry.index);
        compact(id.0, held.replica.0, last)
    };
    log.pressure().iter().map(last).collect()
}

/// One step; an error is only fine when the disk's fuse has blown.
fn step(log: &mut Log<FaultyDisk>, model: &mut Model, choices: &mut Choices) -> Result<(), WriteError> {
    match choices.below(12) {
        0..=5 => {
            let ops = random_op(&model.now, choices);
            model.write(&ops);
            log.write(&ops)?;
        }
        6..=8 => {
            log.sync()?;
            model.sync();
        }
        9 => {
            log.mark_idle()?;
            model.sync();
            log.set_fast(choices.below(2) == 0);
        }
        _ => {
            let ops = compaction(log, &model.now);
            model.write(&ops);
            log.write(&ops)?;
            log.reclaim()?;
            model.sync();
        }
    }
    Ok(())
}

/// Crashes, segments, and how often a file became a segment again.
fn run(seed: u64) -> (u64, usize, usize) {
    let mut choices = Choices::new(seed);
    let disk = FaultyDisk::new();
    let mut model = Model::default();
    let (mut log, state) = open(&disk);
    assert_eq!(state, model.now);
    let (mut crashes, mut reused, mut retired) = (0, 0, 0_usize);
    for number in 0..STEPS {
        if choices.below(15) == 0 {
            disk.set_fuse(Some(choices.below(12)));
        }
        let waiting = model::retired(&disk);
        reused += retired.saturating_sub(waiting);
        retired = waiting;
        let stopped = step(&mut log, &mut model, &mut choices).is_err() || choices.below(15) == 0;
        if stopped {
            crashes += 1;
            disk.crash(choices.below(u64::MAX));
            // The power may go again while the log is opened.
            if choices.below(3) == 0 {
                disk.set_fuse(Some(choices.below(8)));
                let _ = Log::open(disk.clone(), crate::model::SMALL);
                disk.crash(choices.below(u64::MAX));
            }
            let (reopened, state) = open(&disk);
            assert_eq!(model::retired(&disk), 0, "an open begins anew");
            (log, retired) = (reopened, 0);
            model.recover(state, &format!("seed {seed}, step {number}"));
        }
    }
    (crashes, log.stats().segments, reused)
}

#[test]
fn every_crash_leaves_a_prefix_with_everything_synced() {
    let outcomes: Vec<_> = (0..SEEDS).map(run).collect();
    let crashes: u64 = outcomes.iter().map(|(crashes, ..)| crashes).sum();
    assert!(crashes > SEEDS * 5, "only {crashes} crashes");
    assert!(outcomes.iter().all(|(_, segments, _)| *segments < 30), "{outcomes:?}");
    let reused: usize = outcomes.iter().map(|(.., reused)| reused).sum();
    assert!(reused > 100, "only {reused} files became segments again");
}

#[test]
fn same_seed_leaves_the_same_disk() {
    assert_eq!(run(3), run(3));
}
