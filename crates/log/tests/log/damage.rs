//! Flipped bits: damage is named and never repaired in silence.

use std::collections::BTreeSet;

use hcube_core::ids::{GroupId, Incarnation, ReplicaId};
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::disk::{Disk, File};
use hcube_log::identity::Identity;
use hcube_log::{DamageScope, Log, Op, OpenError, Recovery, WriteError};

use crate::model::{Model, SMALL, State, append, compact, create, open, vote};

const SEGMENT: u64 = SMALL.segment_bytes;

/// Two filled segments and a bit, of three groups in small batches; idle at the end.
fn recorded() -> (FaultyDisk, Model) {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    let mut model = Model::default();
    let mut write = |ops: &[Op]| {
        model.write(ops);
        log.write(ops).unwrap();
        log.sync().unwrap();
    };
    write(&[create(1, 11), create(2, 21), create(3, 31)]);
    for at in 0..6 {
        let first = at * 2 + 1;
        write(&[append(1, first..=first + 1, 350), vote(2, at, 2)]);
        write(&[append(2, first..=first + 1, 60), vote(1, at, 1)]);
        write(&[append(3, at + 1..=at + 1, 100)]);
    }
    write(&[Op::Destroy { group: GroupId(3), replica: ReplicaId(31) }, compact(2, 21, 3)]);
    assert!(log.mark_idle().unwrap());
    assert!(!log.mark_idle().unwrap());
    (disk, model)
}

fn bytes_of(disk: &FaultyDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut raw = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut raw, 0).unwrap();
    raw
}

fn path(segment: u64) -> String {
    format!("log/{segment:020}.wal")
}

fn open_damaged(disk: &FaultyDisk) -> (Log<FaultyDisk>, Recovery) {
    Log::open(disk.clone(), SMALL).unwrap()
}

/// The end of the frames in a segment.
fn end(disk: &FaultyDisk, segment: u64) -> u64 {
    let last = bytes_of(disk, &path(segment)).iter().rposition(|byte| *byte != 0).unwrap() as u64;
    (last + 1).next_multiple_of(8)
}

#[test]
fn every_flip_before_the_idle_frame_is_damage_that_names_whom_it_hits() {
    let (disk, model) = recorded();
    let (mut named, mut all, mut harmless) = (0, 0, 0);
    for segment in 1..=3 {
        // The last frame of the log is the idle frame itself, which loses nothing.
        let end = if segment == 3 { end(&disk, 3) - 40 } else { end(&disk, segment) };
        assert!(end > 200, "segment {segment} has only {end} bytes");
        for byte in (0..end).step_by(3) {
            let copy = disk.fork();
            copy.flip_bit(&path(segment), byte, (byte % 8) as u8);
            let recovery = match Log::open(copy.clone(), SMALL) {
                Ok((log, recovery)) => {
                    check(&log, &recovery, &model.now, segment, byte);
                    recovery
                }
                Err(error) => panic!("segment {segment}, byte {byte}: {error}"),
            };
            // What was destroyed since cannot be hurt any more.
            let Some(damage) = recovery.damage else { continue };
            match damage.scope {
                DamageScope::All => all += 1,
                DamageScope::Groups(groups) if groups.is_empty() => harmless += 1,
                DamageScope::Groups(groups) => {
                    assert_eq!(groups.len(), 1);
                    named += 1;
                }
            }
        }
    }
    assert!(named > all && all > 0 && harmless > 0, "named {named}, all {all}, harmless {harmless}");
}

/// Whoever is not concerned is complete.
fn check(log: &Log<FaultyDisk>, recovery: &Recovery, model: &State, segment: u64, byte: u64) {
    assert_eq!(recovery.torn_bytes, 0, "segment {segment}, byte {byte}");
    let found = State::of(log, recovery);
    let Some(damage) = recovery.damage.as_ref() else {
        assert_eq!(found, *model, "segment {segment}, byte {byte} goes unnoticed");
        return;
    };
    // A damaged first frame is missed at the end of the segment before.
    assert!(damage.places.iter().all(|place| (segment - 1..=segment).contains(&place.segment)));
    for (id, group) in &model.groups {
        if !damage.concerns(*id) {
            assert_eq!(found.groups.get(id), Some(group), "segment {segment}, byte {byte}");
        }
    }
}

#[test]
fn flip_in_the_last_batch_is_cut_as_a_torn_tail_until_the_log_was_idle() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), append(1, 1..=2, 100)]).unwrap();
    log.sync().unwrap();
    let positions = log.write(&[append(1, 3..=4, 100)]).unwrap();
    log.sync().unwrap();
    let last = positions[1];
    let flip = |disk: &FaultyDisk| disk.flip_bit(&path(last.segment), u64::from(last.offset) + 7, 3);
    let copy = disk.fork();
    flip(&copy);
    let (_, recovery) = Log::open(copy, SMALL).unwrap();
    assert_eq!(recovery.damage, None);
    assert_eq!(recovery.groups[&GroupId(1)].entries.len(), 3);
    assert!(recovery.torn_bytes > 100);
    assert!(log.mark_idle().unwrap());
    flip(&disk);
    let (_, recovery) = Log::open(disk, SMALL).unwrap();
    assert!(recovery.damage.unwrap().concerns(GroupId(1)));
}

#[test]
fn damaged_group_can_only_be_replaced_and_is_forgiven_then() {
    let (disk, model) = recorded();
    let reader_position = {
        let (log, recovery) = open_damaged(&disk.fork());
        drop(log);
        recovery.groups[&GroupId(1)].entries[0].position
    };
    disk.flip_bit(&path(reader_position.segment), reader_position.offset.into(), 0);
    let (mut log, recovery) = open_damaged(&disk);
    assert_eq!(recovery.damage.unwrap().scope, DamageScope::Groups(BTreeSet::from([GroupId(1)])));
    assert!(log.reader().read(reader_position).is_err());
    for op in [append(1, 13..=13, 5), vote(1, 9, 1), compact(1, 11, 12)] {
        assert!(matches!(log.write(&[op]), Err(WriteError::Damaged(GroupId(1)))));
    }
    log.write(&[append(2, 13..=13, 5)]).unwrap();
    assert_eq!(log.reclaim().unwrap(), 0, "damage pins its segment");
    log.write(&[Op::Destroy { group: GroupId(1), replica: ReplicaId(11) }]).unwrap();
    assert!(matches!(log.write(&[create(1, 11)]), Err(WriteError::Tombstoned { .. })));
    log.write(&[create(1, 12), append(1, 1..=1, 5), compact(2, 21, 13)]).unwrap();
    log.sync().unwrap();
    let (mut log, state) = open(&disk);
    assert_eq!(state.groups[&GroupId(1)].entries.len(), 1);
    assert_eq!(state.groups[&GroupId(2)].hard_state, model.now.groups[&GroupId(2)].hard_state);
    assert!(log.reclaim().unwrap() > 0);
    assert_eq!(open(&disk).1, state);
}

#[test]
fn damage_to_all_stays_until_everything_was_replaced_and_settled() {
    let (disk, _) = recorded();
    let (_, recovery) = open_damaged(&disk.fork());
    let position = recovery.groups[&GroupId(1)].entries[1].position;
    // The length field of its frame: the head cannot be read.
    disk.flip_bit(&path(position.segment), u64::from(position.offset) - 40, 0);
    for _ in 0..2 {
        let (_, recovery) = open_damaged(&disk);
        assert_eq!(recovery.damage.unwrap().scope, DamageScope::All);
    }
    let (mut log, _) = open_damaged(&disk);
    assert!(matches!(log.settle_damage(), Err(WriteError::Damaged(_))));
    for (group, replica) in [(1, 11), (2, 21), (3, 31)] {
        log.write(&[Op::Destroy { group: GroupId(group), replica: ReplicaId(replica) }]).unwrap();
    }
    log.write(&[create(1, 12)]).unwrap();
    log.sync().unwrap();
    let (mut log, recovery) = open_damaged(&disk);
    assert_eq!(recovery.damage.unwrap().scope, DamageScope::All);
    assert_eq!(log.reclaim().unwrap(), 0, "damage pins its segment");
    log.settle_damage().unwrap();
    let (mut log, state) = open(&disk);
    assert_eq!(state.groups.len(), 1);
    assert!(log.reclaim().unwrap() > 0);
    assert_eq!(open(&disk).1, state);
}

#[test]
fn missing_segment_is_damage() {
    for segment in 1..=2 {
        let (disk, _) = recorded();
        disk.remove(&path(segment)).unwrap();
        let (_, recovery) = open_damaged(&disk);
        assert_eq!(recovery.damage.unwrap().scope, DamageScope::All, "segment {segment}");
        let (_, recovery) = open_damaged(&disk);
        assert_eq!(recovery.damage.unwrap().scope, DamageScope::All, "segment {segment} again");
    }
}

#[test]
fn log_goes_on_behind_a_damaged_end() {
    let (disk, _) = recorded();
    // The header of the last segment and its first frame: nothing there can be told from a tear but by the header.
    for byte in [20, 64] {
        disk.flip_bit(&path(3), byte, 1);
    }
    for byte in (64..SEGMENT).step_by(4) {
        disk.flip_bit(&path(3), byte, 2);
    }
    let (mut log, recovery) = open_damaged(&disk);
    assert_eq!(recovery.damage.unwrap().scope, DamageScope::All);
    for (group, replica) in [(1, 11), (2, 21), (3, 31)] {
        log.write(&[Op::Destroy { group: GroupId(group), replica: ReplicaId(replica) }]).unwrap();
    }
    log.write(&[create(1, 12), append(1, 1..=2, 50)]).unwrap();
    log.sync().unwrap();
    let (mut log, recovery) = open_damaged(&disk);
    assert_eq!(recovery.damage.as_ref().unwrap().scope, DamageScope::All);
    assert_eq!(recovery.groups[&GroupId(1)].entries.len(), 2);
    log.settle_damage().unwrap();
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 2);
}

#[test]
fn log_of_another_incarnation_is_refused() {
    let disk = FaultyDisk::new();
    Identity { incarnation: Incarnation(5), member: None }.store(&disk).unwrap();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    log.sync().unwrap();
    open(&disk);
    Identity { incarnation: Incarnation(6), member: None }.store(&disk).unwrap();
    assert!(matches!(Log::open(disk.clone(), SMALL), Err(OpenError::Foreign { segment: 1 })));
    disk.remove("identity").unwrap();
    assert!(matches!(Log::open(disk, SMALL), Err(OpenError::Foreign { segment: 1 })));
}

#[test]
fn random_bytes_on_the_disk_never_panic() {
    let (disk, _) = recorded();
    let mut choices = hcube_log::disk::faulty::Choices::new(1);
    for _ in 0..150 {
        let copy = disk.fork();
        for _ in 0..=choices.below(40) {
            let (segment, byte) = (1 + choices.below(3), choices.below(SEGMENT));
            let file = copy.open(&path(segment)).unwrap();
            let junk: Vec<u8> = (0..choices.below(64)).map(|_| choices.below(256) as u8).collect();
            file.write_at(&junk, byte).unwrap();
        }
        let _ = Log::open(copy, SMALL);
    }
}

#[test]
fn flip_in_a_blank_segment_costs_nothing() {
    for byte in (0..SEGMENT).step_by(5) {
        let disk = FaultyDisk::new();
        drop(open(&disk));
        disk.flip_bit(&path(1 + byte % 2), byte, 6);
        let (mut log, recovery) = open_damaged(&disk);
        assert!(recovery.groups.is_empty());
        log.write(&[create(1, 11), append(1, 1..=9, 700)]).unwrap();
        log.sync().unwrap();
        for _ in 0..2 {
            let (_, recovery) = open_damaged(&disk);
            assert_eq!(recovery.groups[&GroupId(1)].entries.len(), 9, "byte {byte}");
            assert!(recovery.damage.is_none_or(|damage| !damage.concerns(GroupId(1))), "byte {byte}");
        }
    }
}

#[test]
fn flip_in_the_other_crc_of_an_empty_entry_costs_nothing() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    let positions = log.write(&[create(1, 11), append(1, 1..=1, 0), append(1, 2..=2, 50)]).unwrap();
    assert!(log.mark_idle().unwrap());
    let empty = positions[0];
    // The last four bytes of its head; all that it says is before them.
    for byte in 1..=4 {
        let copy = disk.fork();
        copy.flip_bit(&path(empty.segment), u64::from(empty.offset) - byte, 2);
        let (log, recovery) = open_damaged(&copy);
        assert!(recovery.damage.is_none_or(|damage| !damage.concerns(GroupId(1))), "byte {byte}");
        assert_eq!(recovery.groups[&GroupId(1)].entries.len(), 2, "byte {byte}");
        assert!(log.reader().read(empty).unwrap().is_empty(), "byte {byte}");
    }
}
