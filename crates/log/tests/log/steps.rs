//! A crash at every single operation of the disk.

use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::{Log, Op, WriteError};

use crate::model::{Model, SMALL, append, compact, create, open, vote};

/// Writes, compacts and reclaims; the model always knows what may be there.
fn script(log: &mut Log<FaultyDisk>, model: &mut Model) -> Result<(), WriteError> {
    let destroyed = Op::Destroy { group: GroupId(3), replica: ReplicaId(31) };
    let mut batches: Vec<Vec<Op>> = vec![
        vec![create(1, 11), create(2, 21), create(3, 31), vote(2, 7, 3)],
        vec![append(1, 1..=6, 500), vote(1, 1, 2)],
        vec![append(2, 1..=3, 900), destroyed],
        vec![append(1, 7..=16, 700)],
        vec![append(1, 12..=14, 100), create(3, 32)],
        vec![compact(1, 11, 13), compact(2, 21, 3)],
    ];
    batches.push(vec![append(3, 1..=4, 1500), append(1, 15..=15, 10)]);
    batches.push(vec![compact(3, 32, 4), compact(1, 11, 14)]);
    for ops in &batches {
        model.write(ops);
        log.write(ops)?;
        log.sync()?;
        model.sync();
        log.reclaim()?;
    }
    log.mark_idle()?;
    Ok(())
}

#[test]
fn crash_at_every_disk_operation_loses_nothing_synced() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    let before = disk.counters().operations;
    script(&mut log, &mut Model::default()).unwrap();
    let operations = disk.counters().operations - before;
    assert!(log.stats().segments <= 5, "{:?}", log.stats());
    assert!(operations > 50, "only {operations} operations");
    for fuse in 0..operations {
        for seed in 0..6 {
            let disk = FaultyDisk::new();
            let (mut log, _) = open(&disk);
            let mut model = Model::default();
            disk.set_fuse(Some(fuse));
            assert!(script(&mut log, &mut model).is_err());
            disk.crash(seed);
            let (_, state) = open(&disk);
            model.recover(state, &format!("fuse {fuse}, seed {seed}"));
        }
    }
}

#[test]
fn failed_sync_ends_everything() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    disk.fail_next_sync();
    assert!(log.sync().is_err());
    assert!(log.sync().is_err());
    assert!(matches!(log.write(&[vote(1, 1, 1)]), Err(WriteError::Poisoned)));
    assert!(matches!(log.mark_idle(), Err(WriteError::Poisoned)));
    assert!(log.reclaim().is_err());
}

#[test]
fn bytes_that_only_the_process_had_synced_in_vain_are_written_again() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), append(1, 1..=2, 700)]).unwrap();
    // The process dies, the machine does not: the bytes are in its memory only.
    drop(log);
    let (_, state) = open(&disk);
    assert_eq!(state.groups[&GroupId(1)].entries.len(), 2);
    for seed in 0..20 {
        let copy = FaultyDisk::new();
        let (mut log, _) = open(&copy);
        log.write(&[create(1, 11), append(1, 1..=2, 700)]).unwrap();
        drop(log);
        let (_, state) = open(&copy);
        copy.crash(seed);
        assert_eq!(open(&copy).1, state);
    }
}

#[test]
fn torn_tail_leaves_nothing_stale_behind() {
    for seed in 0..60 {
        let disk = FaultyDisk::new();
        let (mut log, _) = open(&disk);
        log.write(&[create(1, 11)]).unwrap();
        log.sync().unwrap();
        log.write(&[append(1, 1..=10, 650)]).unwrap();
        disk.crash(seed);
        let (log, recovery) = Log::open(disk.clone(), SMALL).unwrap();
        drop(log);
        let (_, again) = Log::open(disk.clone(), SMALL).unwrap();
        assert_eq!(again.groups, recovery.groups);
        assert_eq!(again.torn_bytes, 0, "seed {seed}");
    }
}
