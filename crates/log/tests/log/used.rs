//! Files that become segments again, with what they held before behind the log's end.

use hcube_core::ids::GroupId;
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::disk::{Disk, File};
use hcube_log::{DamageScope, Log, Position};

use crate::model::{SMALL, append, compact, create, open, retired};

const SEGMENT: u64 = SMALL.segment_bytes;
/// Entries that go on where the files are used again.
const ENTRIES: u64 = 34;
/// Files that a log keeps.
const KEPT: usize = 8;

fn path(segment: u64) -> String {
    format!("log/{segment:020}.wal")
}

/// A log that has filled a dozen segments, needs none of them any more, and has eight of the files left.
fn used() -> (FaultyDisk, Log<FaultyDisk>) {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), create(2, 21)]).unwrap();
    for index in 1..=60 {
        log.write(&[append(1, index..=index, 700)]).unwrap();
    }
    log.write(&[compact(1, 11, 60)]).unwrap();
    assert!(log.reclaim().unwrap() > 9);
    assert_eq!(retired(&disk), KEPT);
    (disk, log)
}

/// A log that has gone on in such files and is idle, and where its entries in them are, each of a batch of its own.
fn gone_on() -> (FaultyDisk, Vec<Position>) {
    let (disk, mut log) = used();
    let mut positions = Vec::new();
    for index in 1..=ENTRIES {
        positions.extend(log.write(&[append(2, index..=index, 300)]).unwrap());
        log.sync().unwrap();
    }
    log.mark_idle().unwrap();
    // Before them came the segment in use, and the one made ahead.
    let newer = positions[0].segment + 2;
    positions.retain(|position| position.segment >= newer);
    assert!(positions.len() > 10);
    assert_eq!(positions.last().unwrap().segment, newer + 1, "the second of them is in use");
    (disk, positions)
}

#[test]
fn used_files_are_not_filled_again() {
    let (disk, mut log) = used();
    let before = disk.counters().written_bytes;
    for index in 1..=ENTRIES {
        log.write(&[append(2, index..=index, 300)]).unwrap();
    }
    assert!(retired(&disk) < KEPT - 2);
    let written = disk.counters().written_bytes - before;
    assert!(written < ENTRIES * 400, "{written} bytes, as if one had been filled");
    log.sync().unwrap();
    let (log, state) = open(&disk);
    assert_eq!(state.groups[&GroupId(2)].entries.len() as u64, ENTRIES);
    drop(log);
    assert_eq!(open(&disk).1, state);
}

#[test]
fn files_that_are_not_used_are_let_go() {
    let (disk, mut log) = used();
    let bytes = log.stats().bytes;
    log.release_retired().unwrap();
    assert_eq!(retired(&disk), 0);
    assert_eq!(log.stats().bytes, bytes - KEPT as u64 * SEGMENT);
}

#[test]
fn every_flip_in_a_used_file_is_damage() {
    let (disk, positions) = gone_on();
    for position in positions {
        let frame = u64::from(position.offset) - 40..u64::from(position.offset + position.length);
        for byte in frame.step_by(7) {
            let copy = disk.fork();
            copy.flip_bit(&path(position.segment), byte, (byte % 8) as u8);
            let (_, recovery) = Log::open(copy, SMALL).unwrap();
            let damage = recovery.damage.unwrap_or_else(|| panic!("{position:?}, byte {byte}: unnoticed"));
            assert!(damage.concerns(GroupId(2)), "{position:?}, byte {byte}");
        }
    }
}

#[test]
fn what_a_file_held_before_is_nobodys() {
    let (disk, positions) = gone_on();
    let last = positions.last().unwrap();
    let end_of = |segment| {
        let last = positions.iter().rfind(|position| position.segment == segment).unwrap();
        (u64::from(last.offset + last.length)).next_multiple_of(8)
    };
    // Behind the idle frame; and in the segment before, behind the head of the batch whose entry had no room there, from
    // the zeros on that say so.
    for segment in [last.segment, last.segment - 1] {
        let end = end_of(segment) + 40;
        assert!(end < SEGMENT - 40, "nothing is left of segment {segment}");
        for byte in (end..SEGMENT).step_by(3) {
            let copy = disk.fork();
            copy.flip_bit(&path(segment), byte, (byte % 8) as u8);
            let (log, recovery) = Log::open(copy.clone(), SMALL).unwrap();
            drop(log);
            let harm =
                |damage: &hcube_log::Damage| damage.scope == DamageScope::All || damage.concerns(GroupId(2));
            assert!(!recovery.damage.as_ref().is_some_and(harm), "segment {segment}, byte {byte}");
            assert_eq!(recovery.groups[&GroupId(2)].entries.len() as u64, ENTRIES);
            assert_eq!(recovery.torn_bytes, 0);
        }
    }
}

#[test]
fn the_header_of_a_used_file_that_waits_may_rot() {
    let (disk, mut log) = used();
    let mut index = 0;
    while retired(&disk) == KEPT {
        index += 1;
        log.write(&[append(2, index..=index, 300)]).unwrap();
    }
    log.mark_idle().unwrap();
    let newest =
        disk.files().into_iter().filter(|(path, _)| path.ends_with(".wal")).map(|(path, _)| path).max();
    let newest = newest.unwrap();
    for byte in 0..64 {
        let copy = disk.fork();
        copy.flip_bit(&newest, byte, (byte % 8) as u8);
        let (_, recovery) = Log::open(copy, SMALL).unwrap();
        let harms =
            |damage: hcube_log::Damage| damage.scope == DamageScope::All || damage.concerns(GroupId(2));
        assert!(!recovery.damage.is_some_and(harms), "byte {byte} of {newest}");
        assert_eq!(recovery.groups[&GroupId(2)].entries.len() as u64, index);
    }
}

#[test]
fn a_torn_batch_leaves_nothing_of_itself_in_a_used_file() {
    for seed in 0..60 {
        let (disk, mut log) = used();
        log.sync().unwrap();
        for index in 1..=ENTRIES / 2 {
            log.write(&[append(2, index..=index, 300)]).unwrap();
        }
        log.sync().unwrap();
        log.write(&[append(2, ENTRIES / 2 + 1..=ENTRIES, 310)]).unwrap();
        disk.crash(seed);
        let (log, first) = Log::open(disk.clone(), SMALL).unwrap();
        drop(log);
        assert_eq!(first.damage, None, "seed {seed}");
        assert!(first.groups[&GroupId(2)].entries.len() as u64 >= ENTRIES / 2, "seed {seed}");
        let (mut log, again) = Log::open(disk.clone(), SMALL).unwrap();
        assert_eq!((&again.groups, again.torn_bytes), (&first.groups, 0), "seed {seed}");
        // What follows is of other lengths and must never meet a frame of the torn batch.
        let last = again.groups[&GroupId(2)].entries.len() as u64;
        log.write(&[append(2, last + 1..=last + 1, 10)]).unwrap();
        log.sync().unwrap();
        assert_eq!(open(&disk).1.groups[&GroupId(2)].entries.len() as u64, last + 1, "seed {seed}");
    }
}

#[test]
fn on_a_disk_with_little_room_no_file_is_kept() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    log.write(&[append(1, 1..=20, 700)]).unwrap();
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    disk.set_capacity(Some(used + 6 * SEGMENT));
    log.write(&[compact(1, 11, 20)]).unwrap();
    assert!(log.reclaim().unwrap() > 2);
    // Each that goes makes room, until there is enough to keep the next.
    let before = retired(&disk);
    assert!(before < KEPT, "{before}");
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    disk.set_capacity(Some(used + SEGMENT / 2));
    log.write(&[append(1, 21..=24, 700)]).unwrap();
    log.write(&[append(1, 25..=28, 700)]).unwrap();
    assert!(log.is_full());
    log.sync().unwrap();
    assert!(disk.exists("log").unwrap());
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 8);
}

#[test]
fn a_segment_that_something_else_keeps_is_not_used_again() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), create(2, 21)]).unwrap();
    let positions = log.write(&[append(1, 1..=20, 700)]).unwrap();
    disk.create_dir_all("sorted").unwrap();
    disk.link(&path(2), "sorted/kept").unwrap();
    let read = || {
        let mut bytes = vec![0; SEGMENT as usize];
        disk.open("sorted/kept").unwrap().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let before = read();
    log.write(&[compact(1, 11, 20)]).unwrap();
    let reclaimed = log.reclaim().unwrap();
    assert!(reclaimed >= 3 && positions.iter().any(|position| position.segment == 2));
    assert_eq!(retired(&disk), reclaimed - 1);
    // Another one gets a name while it waits to be used again.
    let waits = disk.files().into_iter().find(|(path, _)| path.ends_with("-retired.tmp"));
    let (waits, _) = waits.unwrap();
    disk.link(&waits, "sorted/late").unwrap();
    for index in 1..=3 * ENTRIES {
        log.write(&[append(2, index..=index, 300)]).unwrap();
    }
    assert!(read() == before);
    assert_eq!(retired(&disk), 1);
    assert!(disk.exists(&waits).unwrap());
}
