//! A disk without room.

use hcube_core::ids::GroupId;
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::{Log, WriteError};

use crate::model::{SMALL, append, compact, create, open, retired, vote};

const SEGMENT: u64 = SMALL.segment_bytes;

#[test]
fn full_disk_is_announced_while_there_is_room_for_votes_and_ends_with_reclaim() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(6 * SEGMENT));
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    let mut index = 0;
    while !log.is_full() {
        index += 1;
        log.write(&[append(1, index..=index, 400)]).unwrap();
        log.sync().unwrap();
        assert!(index < 100);
    }
    assert!(log.stats().bytes <= 5 * SEGMENT, "a segment's bytes are left to the sorted files");
    // Votes still work, in no small number.
    for term in 0..10 {
        log.write(&[vote(1, term, 1)]).unwrap();
        log.sync().unwrap();
    }
    log.write(&[compact(1, 11, index)]).unwrap();
    assert!(log.reclaim().unwrap() > 0);
    assert!(log.prepare_segment().unwrap());
    assert!(!log.is_full());
    let state = open(&disk).1;
    assert_eq!(state.groups[&GroupId(1)].base.index, index);
    assert_eq!(state.groups[&GroupId(1)].hard_state.term, 9);
}

#[test]
fn write_beyond_the_last_byte_is_refused_whole_and_harms_nothing() {
    let disk = FaultyDisk::new();
    disk.set_capacity(Some(2 * SEGMENT));
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    let mut index = 0;
    let refused = loop {
        match log.write(&[append(1, index + 1..=index + 2, 500)]) {
            Ok(_) => index += 2,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WriteError::Full));
    assert!(log.is_full());
    log.write(&[vote(1, 3, 1)]).unwrap();
    log.sync().unwrap();
    let (mut log, state) = open(&disk);
    assert!(log.is_full(), "an open on a full disk works and says so");
    assert_eq!(state.groups[&GroupId(1)].entries.len() as u64, index);
    log.write(&[vote(1, 4, 1)]).unwrap();
    log.sync().unwrap();
}

#[test]
fn segment_prepared_elsewhere_is_taken_or_dropped_when_it_comes_too_late() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    assert!(log.prepare().is_none(), "one is ahead already");
    // The write moves on to the segment ahead and stays in its first half.
    let end = log.written_bytes();
    log.write(&[append(1, 1..=6, 700)]).unwrap();
    assert!(
        (end + 6 * 700..end + 2 * SEGMENT).contains(&log.written_bytes()),
        "{end} became {}",
        log.written_bytes()
    );
    let order = log.prepare().unwrap();
    assert!(log.prepare().is_none(), "one is being made already");
    let make = || {
        let mut told = 0;
        let prepared = order.run(|bytes| {
            told += bytes;
            Ok(())
        });
        (prepared, told)
    };
    let (prepared, told) = std::thread::spawn(make).join().unwrap();
    assert!((SEGMENT - 100..=SEGMENT).contains(&told), "{told} bytes were told of");
    log.prepared(prepared).unwrap();
    assert_eq!(log.stats().segments, 3);
    log.write(&[append(1, 7..=11, 700)]).unwrap();
    let late = log.prepare().unwrap().run(|_| Ok(()));
    log.write(&[append(1, 12..=20, 700)]).unwrap();
    log.prepared(late).unwrap();
    log.sync().unwrap();
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 20);
    assert!(disk.files().iter().all(|(path, _)| path.ends_with(".wal")), "{:?}", disk.files());
}

#[test]
fn batch_that_cannot_wait_gets_a_segment_and_the_one_that_was_being_made_becomes_the_next() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    log.write(&[append(1, 1..=6, 700)]).unwrap();
    let order = log.prepare().unwrap();
    log.write(&[append(1, 7..=11, 700)]).unwrap();
    assert_eq!(log.stats().segments, 3);
    log.prepared(order.run(|_| Ok(()))).unwrap();
    let before = disk.counters().written_bytes;
    let next = log.prepare().unwrap().run(|_| Ok(()));
    assert!(disk.counters().written_bytes - before < 200, "it was filled already");
    log.prepared(next).unwrap();
    assert_eq!(log.stats().segments, 4);
    log.write(&[append(1, 12..=14, 700)]).unwrap();
    log.sync().unwrap();
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 14);
}

#[test]
fn segment_whose_making_is_broken_off_leaves_nothing_and_can_be_made_later() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11), append(1, 1..=6, 700)]).unwrap();
    let before = disk.files();
    let broken_off = log.prepare().unwrap().run(|_| Err(std::io::ErrorKind::Interrupted.into()));
    assert_eq!(disk.files(), before);
    assert!(log.prepared(broken_off).is_err());
    assert!(log.prepare_segment().unwrap());
}

#[test]
fn slow_log_leaves_a_segment_that_is_only_reserved_once_there_is_a_better_one() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    log.write(&[create(1, 11)]).unwrap();
    log.write(&[append(1, 1..=6, 700)]).unwrap();
    let order = log.prepare().unwrap();
    // The third segment is made at once, and the one that was to be it becomes the fourth.
    let reserved = log.write(&[append(1, 7..=11, 700)]).unwrap()[4].segment;
    assert_eq!(reserved, 3);
    log.prepared(order.run(|_| Ok(()))).unwrap();
    let segment_of = |log: &mut Log<FaultyDisk>, index: u64| {
        let position = log.write(&[append(1, index..=index, 10)]).unwrap()[0];
        log.sync().unwrap();
        position.segment
    };
    log.set_fast(false);
    assert_eq!(segment_of(&mut log, 12), 3, "there is none yet");
    log.prepare_segment().unwrap();
    log.set_fast(true);
    assert_eq!(segment_of(&mut log, 13), 3, "a log that is not slow stays");
    log.set_fast(false);
    assert_eq!(segment_of(&mut log, 14), 4);
    log.set_fast(false);
    assert_eq!(segment_of(&mut log, 15), 4);
    reopens_with(&disk, 15);
}

/// The log has a segment ahead that is only reserved, and behind it two with six entries.
fn reserve_ahead(log: &mut Log<FaultyDisk>) {
    log.set_fast(true);
    log.write(&[create(1, 11)]).unwrap();
    log.write(&[append(1, 1..=6, 700)]).unwrap();
    let order = log.prepare().unwrap();
    log.prepared(order.run(|_| panic!("it is filled"))).unwrap();
}

/// So many entries are found, and once more when the log is opened again.
fn reopens_with(disk: &FaultyDisk, entries: usize) {
    let (log, state) = open(disk);
    assert_eq!(state.groups[&GroupId(1)].entries.len(), entries);
    drop(log);
    assert_eq!(open(disk).1, state);
}

#[test]
fn fast_log_reserves_what_is_ahead_and_has_that_replaced_once_it_is_slow() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    reserve_ahead(&mut log);
    assert!(log.prepare().is_none(), "one is ahead");
    log.set_fast(false);
    let order = log.prepare().unwrap();
    log.prepared(order.run(|_| Ok(()))).unwrap();
    assert!(log.prepare().is_none(), "one is ahead that will do");
    assert_eq!(log.stats().segments, 3);

    // The log makes the next one itself, reserved too. It is in use before the other is filled, which becomes the one
    // behind it.
    log.set_fast(true);
    log.write(&[append(1, 7..=11, 700)]).unwrap();
    log.set_fast(false);
    let late = log.prepare().unwrap();
    log.write(&[append(1, 12..=17, 700)]).unwrap();
    log.prepared(late.run(|_| Ok(()))).unwrap();
    let segments = log.stats().segments;
    log.set_fast(true);
    let next = log.prepare().unwrap();
    log.prepared(next.run(|_| panic!("it was filled already"))).unwrap();
    assert_eq!((log.stats().segments, retired(&disk)), (segments + 1, 0));
    log.sync().unwrap();
    reopens_with(&disk, 17);
}

#[test]
fn segment_that_is_only_reserved_will_do_where_there_is_no_room_for_another() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk);
    reserve_ahead(&mut log);
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    disk.set_capacity(Some(used));
    log.set_fast(false);
    let order = log.prepare().unwrap();
    log.prepared(order.run(|_| Ok(()))).unwrap();
    assert!(!log.is_full() && log.prepare().is_none());
    log.write(&[append(1, 7..=11, 700)]).unwrap();
    log.sync().unwrap();
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 11);
}
