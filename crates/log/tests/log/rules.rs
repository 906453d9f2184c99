//! What the log accepts, what it refuses, and that a refusal changes nothing.

use bytes::Bytes;
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::disk::LockError;
use hcube_log::disk::RealDisk;
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::{Config, Log, Op, OpenError, WriteError};

use crate::model::{SMALL, append, base, compact, create, open, vote};

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), append(1, 1..=5, 10), compact(1, 11, 2)]).unwrap();
    log.sync().unwrap();
    let (_, before) = open(&disk.fork());
    let max = log.payload_bytes_max() as usize;
    let with_gap = Op::Append {
        group: GroupId(1),
        entries: vec![
            hcube_log::Entry { index: 6, ..Default::default() },
            hcube_log::Entry { index: 8, ..Default::default() },
        ],
    };
    let large = Op::Base {
        group: GroupId(1),
        replica: ReplicaId(11),
        base: hcube_log::Base { state: vec![0; max].into(), ..base(3, b"", true) },
    };
    for op in [append(2, 1..=1, 1), vote(2, 1, 1)] {
        assert!(matches!(log.write(&[vote(1, 50, 1), op]), Err(WriteError::UnknownGroup(GroupId(2)))));
    }
    for op in [append(1, 7..=7, 1), append(1, 2..=2, 1), with_gap] {
        assert!(matches!(log.write(&[vote(1, 50, 1), op]), Err(WriteError::NotDense { .. })));
    }
    for op in [append(1, 6..=6, max + 1), large] {
        assert!(matches!(log.write(&[vote(1, 50, 1), op]), Err(WriteError::TooLarge { .. })));
    }
    assert!(matches!(log.write(&[compact(1, 11, 1)]), Err(WriteError::BaseRegressed { .. })));
    assert!(matches!(log.write(&[compact(1, 12, 3)]), Err(WriteError::OtherReplica { .. })));
    let destroy = Op::Destroy { group: GroupId(1), replica: ReplicaId(11) };
    assert!(matches!(log.write(&[destroy, create(1, 11)]), Err(WriteError::Tombstoned { .. })));
    assert_eq!(log.write(&[]).unwrap(), []);
    log.sync().unwrap();
    assert_eq!(open(&disk).1, before);
    log.write(&[append(1, 6..=6, max)]).unwrap();
}

#[test]
fn one_batch_may_build_on_itself() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    let destroy = Op::Destroy { group: GroupId(1), replica: ReplicaId(11) };
    let ops =
        [create(1, 11), append(1, 1..=3, 9), destroy, create(1, 12), append(1, 1..=2, 8), vote(1, 2, 2)];
    let positions = log.write(&ops).unwrap();
    log.sync().unwrap();
    assert_eq!(positions.len(), 5);
    let (log, state) = open(&disk);
    assert_eq!(state.groups[&GroupId(1)].replica, ReplicaId(12));
    assert_eq!(state.groups[&GroupId(1)].entries.len(), 2);
    assert!(state.tombstones.contains(&(GroupId(1), ReplicaId(11))));
    assert_eq!(log.reader().read(positions[4]).unwrap(), Bytes::from(vec![2 ^ 1; 8]));
}

#[test]
fn tombstone_of_another_replica_leaves_the_held_one_alone_for_ever() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    let other = |replica| Op::Destroy { group: GroupId(1), replica: ReplicaId(replica) };
    log.write(&[other(10), create(1, 11), append(1, 1..=8, 700), other(9)]).unwrap();
    assert_eq!(open(&disk.fork()).1.groups[&GroupId(1)].entries.len(), 8);
    log.write(&[compact(1, 11, 7), append(1, 9..=9, 3000)]).unwrap();
    for index in 10..40 {
        log.write(&[append(1, index..=index, 900), compact(1, 11, index - 1)]).unwrap();
        log.reclaim().unwrap();
        let (_, state) = open(&disk.fork());
        assert_eq!(state.groups[&GroupId(1)].entries.len(), 1);
        assert_eq!(state.tombstones.len(), 2);
    }
}

#[test]
fn batch_costs_one_write_and_one_sync() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    let before = disk.counters();
    log.write(&[create(1, 11), append(1, 1..=10, 50), vote(1, 1, 1)]).unwrap();
    log.sync().unwrap();
    let after = disk.counters();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
}

#[test]
fn pressure_names_those_who_pin_old_segments_and_no_others() {
    let (mut log, _) = open(&FaultyDisk::new());
    log.write(&[create(1, 11), create(2, 21), append(1, 1..=1, 10)]).unwrap();
    for index in 1..=20 {
        log.write(&[append(2, index..=index, 900), compact(2, 21, index)]).unwrap();
    }
    assert_eq!(log.pressure(), [GroupId(1)]);
    assert_eq!(log.reclaim().unwrap(), 0);
    let position = log.write(&[compact(1, 11, 1), append(1, 2..=2, 10)]).unwrap()[0];
    assert_eq!(log.pressure(), []);
    let reader = log.reader();
    let sealed = log.stats().sealed_segments;
    assert!(sealed >= 4);
    assert_eq!(log.reclaim().unwrap(), sealed);
    assert_eq!(log.stats().sealed_segments, 0);
    assert!(reader.read(position).is_ok());
}

#[test]
fn reader_of_a_reclaimed_segment_finds_nothing() {
    let (mut log, _) = open(&FaultyDisk::new());
    let first = log.write(&[create(1, 11), append(1, 1..=1, 10)]).unwrap()[0];
    log.write(&[append(1, 2..=9, 900), compact(1, 11, 9)]).unwrap();
    let reader = log.reader();
    assert!(reader.read(first).is_ok());
    assert!(log.reclaim().unwrap() > 0);
    assert_eq!(reader.read(first).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn fresh_log_says_so_once() {
    let disk = FaultyDisk::new();
    assert!(Log::open(disk.clone(), SMALL).unwrap().1.fresh);
    assert!(!Log::open(disk.clone(), SMALL).unwrap().1.fresh);
    let odd = Config { segment_bytes: 4000, ..SMALL };
    assert!(matches!(Log::open(disk, odd), Err(OpenError::SegmentBytes { .. })));
}

#[test]
fn real_disk_serves_one_process_at_a_time() {
    let root = std::env::temp_dir().join(format!("hcube-log-test-{}", std::process::id()));
    let disk = RealDisk::open(&root).unwrap();
    assert!(matches!(RealDisk::open(&root), Err(LockError::InUse { .. })));
    let (mut log, recovery) = Log::open(disk.clone(), SMALL).unwrap();
    assert!(recovery.fresh);
    let positions = log.write(&[create(1, 11), append(1, 1..=9, 900)]).unwrap();
    log.sync().unwrap();
    assert_eq!(log.reader().read(positions[8]).unwrap().len(), 900);
    drop((log, disk));
    let disk = RealDisk::open(&root).unwrap();
    let (mut log, recovery) = Log::open(disk, SMALL).unwrap();
    assert_eq!(recovery.groups[&GroupId(1)].entries.len(), 9);
    log.write(&[compact(1, 11, 9)]).unwrap();
    assert!(log.reclaim().unwrap() > 0);
    drop(log);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn segments_of_another_size_are_read_and_written_on() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), append(1, 1..=4, 900)]).unwrap();
    log.sync().unwrap();
    let larger = Config { segment_bytes: 16 << 10, ..SMALL };
    let (mut log, recovery) = Log::open(disk.clone(), larger.clone()).unwrap();
    assert_eq!(recovery.groups[&GroupId(1)].entries.len(), 4);
    log.write(&[append(1, 5..=5, 15_000), append(1, 6..=8, 6_000)]).unwrap();
    log.sync().unwrap();
    let (_, state) = open(&disk);
    assert_eq!(state.groups[&GroupId(1)].entries.len(), 8);
    let (mut log, _) = Log::open(disk.clone(), larger).unwrap();
    log.write(&[append(1, 9..=9, 15_000)]).unwrap();
    log.sync().unwrap();
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 9);
}
