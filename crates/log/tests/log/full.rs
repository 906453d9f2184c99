//! A disk without room.

use hcube_core::ids::GroupId;
use hcube_log::WriteError;
use hcube_log::disk::faulty::FaultyDisk;

use crate::model::{SMALL, append, compact, create, open, vote};

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
    log.write(&[append(1, 1..=6, 700)]).unwrap();
    let order = log.prepare().unwrap();
    assert!(log.prepare().is_none(), "one is being made already");
    log.prepared(std::thread::spawn(|| order.run()).join().unwrap()).unwrap();
    assert_eq!(log.stats().segments, 3);
    log.write(&[append(1, 7..=11, 700)]).unwrap();
    let late = log.prepare().unwrap().run();
    log.write(&[append(1, 12..=20, 700)]).unwrap();
    log.prepared(late).unwrap();
    log.sync().unwrap();
    assert_eq!(open(&disk).1.groups[&GroupId(1)].entries.len(), 20);
    assert!(disk.files().iter().all(|(path, _)| path.ends_with(".wal")), "{:?}", disk.files());
}
