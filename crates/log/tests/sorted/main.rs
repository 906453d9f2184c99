//! Sorted files from outside: round trips, damage, crashes, and the way in from another peer.

#![allow(clippy::unwrap_used, reason = "clippy knows the tests, but not the functions that they share")]

mod in_place;

use std::collections::BTreeSet;
use std::io::ErrorKind;

use bytes::Bytes;
use hcube_core::ids::{GroupId, ReplicaId, TopicId};
use hcube_log::disk::faulty::{Choices, FaultyDisk};
use hcube_log::disk::{Disk, File};
use hcube_log::sorted::{
    Row, SortedError, SortedFile, Staging, StagingError, list_orphans, remove_sorted, write_sorted,
};
use hcube_log::{SortedFileId, SortedFileMeta};

const ID: SortedFileId = SortedFileId { group: GroupId(4), replica: ReplicaId(40), generation: 2 };

fn row(topic: u128, partition: u16, base_offset: u64, records: u32, bytes: usize) -> Row {
    let batch = Bytes::from(vec![(base_offset % 251) as u8; bytes]);
    let stamp_ms = 1_000_000 + base_offset * 10;
    Row { topic: TopicId(topic), partition, base_offset, records, stamp_ms, batch }
}

/// Three partitions of two topics, some 200 KiB.
fn rows() -> Vec<Row> {
    let mut choices = Choices::new(5);
    let mut rows = Vec::new();
    for (topic, partition) in [(1, 0), (1, 3), (u128::MAX, 0)] {
        let mut offset = choices.below(100);
        for _ in 0..70 {
            let records = 1 + choices.below(20) as u32;
            rows.push(row(topic, partition, offset, records, choices.below(2000) as usize));
            offset += u64::from(records);
        }
    }
    rows
}

fn written() -> (FaultyDisk, SortedFileMeta) {
    let disk = FaultyDisk::new();
    let meta = write_sorted(&disk, ID, rows().into_iter()).unwrap();
    (disk, meta)
}

fn path() -> String {
    format!("sorted/{ID}.sorted")
}

#[test]
fn every_row_is_found_by_offset_and_by_stamp() {
    let (disk, meta) = written();
    let file = SortedFile::open(&disk, meta).unwrap();
    let rows = rows();
    let all: Result<Vec<_>, _> = file.rows().collect();
    assert_eq!(all.unwrap(), rows);
    assert_eq!(file.partitions().len(), 3);
    assert!(file.partitions().values().all(|range| range.index.len() > 2));
    file.verify().unwrap();
    for expected in &rows {
        let (topic, partition) = (expected.topic, expected.partition);
        for offset in [expected.base_offset, expected.end_offset() - 1] {
            let found = file.scan(topic, partition, offset, 1).unwrap();
            assert_eq!(found, std::slice::from_ref(expected));
            assert!(file.find(topic, partition, offset).is_some());
        }
        for stamp in [expected.stamp_ms, expected.stamp_ms - 1] {
            assert_eq!(file.find_stamp(topic, partition, stamp).unwrap(), Some(expected.base_offset));
        }
    }
}

#[test]
fn scan_respects_its_limit_and_the_partition_end() {
    let (disk, meta) = written();
    let file = SortedFile::open(&disk, meta).unwrap();
    let partition: Vec<Row> =
        rows().into_iter().filter(|row| row.topic == TopicId(1) && row.partition == 3).collect();
    let scanned = file.scan(TopicId(1), 3, 0, usize::MAX).unwrap();
    assert_eq!(scanned, partition);
    let some = file.scan(TopicId(1), 3, 0, 5000).unwrap();
    assert!(some.iter().map(|row| row.batch.len()).sum::<usize>() <= 5000 && some.len() > 1);
    let end = partition.last().unwrap().end_offset();
    assert_eq!(file.scan(TopicId(1), 3, end, 5000).unwrap(), []);
    assert_eq!(file.find(TopicId(1), 3, end), None);
    assert_eq!(file.find(TopicId(2), 0, 0), None);
    assert_eq!(file.find_stamp(TopicId(1), 3, u64::MAX).unwrap(), None);
}

#[test]
fn every_flip_is_noticed_when_it_is_read() {
    let disk = FaultyDisk::new();
    let rows: Vec<Row> = (0..4).map(|at| row(1, 0, at, 1, 30)).collect();
    let meta = write_sorted(&disk, ID, rows.iter().cloned()).unwrap();
    for byte in 0..meta.bytes {
        let copy = disk.fork();
        copy.flip_bit(&path(), byte, (byte % 8) as u8);
        let read = SortedFile::open(&copy, meta).and_then(|file| {
            let rows: Result<Vec<_>, _> = file.rows().collect();
            assert!(rows.is_err(), "byte {byte}");
            assert!(file.verify().is_err(), "byte {byte}");
            rows
        });
        assert!(read.is_err(), "byte {byte}");
    }
}

#[test]
fn other_file_and_other_version_are_refused_by_name() {
    let (disk, meta) = written();
    let refused = |meta| SortedFile::open(&disk, meta).unwrap_err();
    assert!(matches!(refused(SortedFileMeta { crc: 1, ..meta }), SortedError::Other { .. }));
    assert!(matches!(refused(SortedFileMeta { bytes: 9, ..meta }), SortedError::Other { .. }));
    let missing = SortedFileMeta { id: SortedFileId { generation: 3, ..ID }, ..meta };
    assert!(matches!(refused(missing), SortedError::Io { .. }));
    let file = disk.open(&path()).unwrap();
    let mut header = [0; 36];
    file.read_exact_at(&mut header, 0).unwrap();
    header[8] = 9;
    file.write_at(&header, 0).unwrap();
    file.write_at(&crc32c_of(&header), 36).unwrap();
    assert!(matches!(refused(meta), SortedError::Version { found: 9, .. }));
}

fn crc32c_of(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).to_le_bytes()
}

#[test]
fn rows_out_of_order_are_refused_and_leave_nothing() {
    let wrong = [
        vec![row(1, 0, 5, 2, 9), row(1, 0, 6, 1, 9)],
        vec![row(1, 1, 5, 1, 9), row(1, 0, 6, 1, 9)],
        vec![row(2, 0, 5, 1, 9), row(1, 0, 6, 1, 9)],
        vec![row(1, 0, 5, 0, 9)],
        vec![row(1, 0, 5, 1, 9), Row { stamp_ms: 1, ..row(1, 0, 6, 1, 9) }],
    ];
    for rows in wrong {
        let disk = FaultyDisk::new();
        let refused = write_sorted(&disk, ID, rows.into_iter()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(disk.files(), []);
    }
}

#[test]
fn file_is_there_whole_or_not_at_all_after_every_crash() {
    let small: Vec<Row> = (0..20).map(|at| row(1, 0, at, 1, 300)).collect();
    for fuse in 0..12 {
        for seed in 0..10 {
            let disk = FaultyDisk::new();
            disk.set_fuse(Some(fuse));
            let meta = write_sorted(&disk, ID, small.iter().cloned());
            disk.crash(seed);
            let orphans = list_orphans(&disk, &BTreeSet::new()).unwrap();
            if let Ok(meta) = meta {
                assert_eq!(orphans, [ID]);
                SortedFile::open(&disk, meta).unwrap().verify().unwrap();
            }
            assert!(disk.files().iter().all(|(path, _)| path.ends_with(".sorted")));
            write_sorted(&disk, ID, small.iter().cloned()).unwrap();
        }
    }
}

#[test]
fn orphans_are_those_nobody_names_and_removal_is_durable() {
    let (disk, _) = written();
    let other = SortedFileId { generation: 3, ..ID };
    write_sorted(&disk, other, rows().into_iter().take(3)).unwrap();
    assert_eq!(list_orphans(&disk, &BTreeSet::from([ID])).unwrap(), [other]);
    remove_sorted(&disk, other).unwrap();
    remove_sorted(&disk, other).unwrap();
    disk.crash(1);
    assert_eq!(list_orphans(&disk, &BTreeSet::from([ID])).unwrap(), []);
    assert_eq!(list_orphans(&FaultyDisk::new(), &BTreeSet::new()).unwrap(), []);
}

/// Copies the file over in chunks, from where the receiver stands.
fn send(file: &SortedFile<FaultyDisk>, staging: &mut Staging<FaultyDisk>, chunks: usize) {
    for _ in 0..chunks {
        let at = staging.received();
        let chunk = file.read_chunk(at, 10_000).unwrap();
        staging.append(at, &chunk).unwrap();
    }
}

#[test]
fn file_arrives_in_chunks_and_resumes() {
    let (disk, meta) = written();
    let file = SortedFile::open(&disk, meta).unwrap();
    let receiver = FaultyDisk::new();
    let mut staging = Staging::create(&receiver, ID).unwrap();
    send(&file, &mut staging, 3);
    drop(staging);
    let mut staging = Staging::create(&receiver, ID).unwrap();
    assert_eq!(staging.received(), 30_000);
    let misplaced = staging.append(0, b"x").unwrap_err();
    assert!(matches!(misplaced, StagingError::OutOfPlace { expected: 30_000, .. }));
    send(&file, &mut staging, 50);
    let arrived = staging.finish(meta).unwrap();
    assert_eq!(arrived.meta(), meta);
    receiver.crash(4);
    let arrived = SortedFile::open(&receiver, meta).unwrap();
    arrived.verify().unwrap();
    assert_eq!(arrived.rows().count(), rows().len());
}

#[test]
fn file_that_arrives_wrong_is_thrown_away() {
    let (disk, meta) = written();
    let file = SortedFile::open(&disk, meta).unwrap();
    for byte in [3, 50, 5000, meta.bytes - 30, meta.bytes - 1] {
        let receiver = FaultyDisk::new();
        let mut staging = Staging::create(&receiver, ID).unwrap();
        send(&file, &mut staging, 50);
        receiver.flip_bit(&format!("staging/{ID}.part"), byte, 1);
        assert!(matches!(staging.finish(meta), Err(StagingError::Rejected { .. })), "byte {byte}");
        assert_eq!(receiver.files(), []);
    }
    let receiver = FaultyDisk::new();
    let mut staging = Staging::create(&receiver, ID).unwrap();
    send(&file, &mut staging, 2);
    assert!(staging.finish(meta).is_err());
    let mut staging = Staging::create(&receiver, ID).unwrap();
    send(&file, &mut staging, 1);
    Staging::clear(&receiver).unwrap();
    assert_eq!(receiver.files(), []);
}

#[test]
fn random_bytes_never_panic() {
    let (disk, meta) = written();
    let mut choices = Choices::new(9);
    for _ in 0..300 {
        let copy = disk.fork();
        let file = copy.open(&path()).unwrap();
        let junk: Vec<u8> = (0..choices.below(40)).map(|_| choices.below(256) as u8).collect();
        let at = choices.below(meta.bytes - 40);
        let near_end = meta.bytes - 40 - choices.below(200);
        file.write_at(&junk, if choices.below(2) == 0 { at } else { near_end }).unwrap();
        if let Ok(file) = SortedFile::open(&copy, meta) {
            let _ = file.rows().count();
            let _ = file.scan(TopicId(1), 3, 50, 1 << 20);
        }
    }
}
