//! Sorted files whose batches stay in segments.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use hcube_log::disk::faulty::{Choices, FaultyDisk};
use hcube_log::disk::{Disk, File};
use hcube_log::sorted::{
    Kept, KeptSegment, Row, SortedError, SortedFile, Staging, kept_by, list_kept, list_orphans, make_whole,
    remove_sorted, write_index, write_sorted,
};
use hcube_log::{SortedFileId, SortedFileMeta};

use super::{ID, row, rows, send};

const SEGMENTS: [u64; 2] = [7, 9];

fn segment(number: u64) -> String {
    format!("log/{number:020}.wal")
}

fn kept(id: SortedFileId, number: u64) -> String {
    format!("sorted/{id}-{number:020}.kept")
}

fn index() -> String {
    format!("sorted/{ID}.index")
}

/// Puts each batch at a place of its own in a segment, but for one in three.
fn lay_out(disk: &FaultyDisk, rows: Vec<Row>) -> Vec<(Row, Option<Kept>)> {
    disk.create_dir_all("log").unwrap();
    let files = SEGMENTS.map(|number| disk.create_new(&segment(number)).unwrap());
    let mut ends = [100, 3];
    let laid = rows.into_iter().enumerate().map(|(at, row)| {
        let Some(file) = (at % 3).checked_sub(1) else { return (row, None) };
        let place = Kept { segment: SEGMENTS[file], offset: ends[file] };
        files[file].write_at(&row.batch, ends[file]).unwrap();
        ends[file] += row.batch.len() as u64 + 5;
        (row, Some(place))
    });
    let laid = laid.collect();
    files.iter().for_each(|file| file.sync_data().unwrap());
    disk.sync_dir("").unwrap();
    disk.sync_dir("log").unwrap();
    laid
}

fn write(disk: &FaultyDisk, rows: Vec<(Row, Option<Kept>)>) -> io::Result<SortedFileMeta> {
    write_index(disk, ID, &BTreeSet::from(SEGMENTS), rows.into_iter())
}

fn left(rows: Vec<Row>) -> (FaultyDisk, SortedFileMeta) {
    let disk = FaultyDisk::new();
    let rows = lay_out(&disk, rows);
    let meta = write(&disk, rows).unwrap();
    // The log needs them no more.
    SEGMENTS.iter().for_each(|number| disk.remove(&segment(*number)).unwrap());
    disk.sync_dir("log").unwrap();
    (disk, meta)
}

/// A small one.
fn few() -> Vec<Row> {
    (0..7).map(|at| row(1, 0, at, 1, 30)).collect()
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    let sorted = disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("sorted/"));
    sorted.collect()
}

#[test]
fn an_index_reads_as_the_whole_file_byte_for_byte() {
    let whole = FaultyDisk::new();
    let expected = write_sorted(&whole, ID, rows().into_iter()).unwrap();
    let (disk, meta) = left(rows());
    assert_eq!(meta, expected);
    let [whole, left] = [whole, disk].map(|disk| SortedFile::open(&disk, meta).unwrap());
    let mut choices = Choices::new(3);
    for _ in 0..500 {
        let (at, length) = (choices.below(meta.bytes), choices.below(9_000) as usize);
        assert_eq!(left.read_chunk(at, length).unwrap(), whole.read_chunk(at, length).unwrap());
    }
    assert_eq!(left.read_chunk(0, usize::MAX).unwrap(), whole.read_chunk(0, usize::MAX).unwrap());
    left.verify().unwrap();
    assert_eq!(left.rows().collect::<Result<Vec<_>, _>>().unwrap(), rows());
    for row in rows() {
        let found = left.scan(row.topic, row.partition, row.base_offset, 1).unwrap();
        assert_eq!(found, [row]);
    }
}

#[test]
fn an_index_is_sent_to_another_peer_as_a_whole_file() {
    let (disk, meta) = left(rows());
    let receiver = FaultyDisk::new();
    let mut staging = Staging::create(&receiver, ID).unwrap();
    send(&SortedFile::open(&disk, meta).unwrap(), &mut staging, 50);
    staging.finish(meta).unwrap();
    assert_eq!(names(&receiver), [format!("sorted/{ID}.sorted")]);
}

#[test]
fn what_is_kept_is_told_and_goes_with_the_file() {
    let (disk, meta) = left(rows());
    let bytes = |file: usize| -> u64 {
        let there = rows().into_iter().enumerate().filter(|(at, _)| at % 3 == file + 1);
        there.map(|(_, row)| row.batch.len() as u64).sum()
    };
    let expected: Vec<_> =
        (0..2).map(|file| KeptSegment { number: SEGMENTS[file], bytes: bytes(file) }).collect();
    assert_eq!(kept_by(&disk, ID).unwrap(), expected);
    assert_eq!(list_kept(&disk).unwrap(), [(ID, expected)].into());
    assert_eq!(names(&disk), [kept(ID, 7), kept(ID, 9), index()]);
    let open = SortedFile::open(&disk, meta).unwrap();
    assert_eq!(open.handles(), 3);
    remove_sorted(&disk, ID).unwrap();
    assert_eq!(disk.files(), []);
    // Whoever has it open goes on.
    open.verify().unwrap();
    remove_sorted(&disk, ID).unwrap();
    assert_eq!(list_kept(&disk).unwrap(), [].into());
}

#[test]
fn every_flip_is_noticed_when_it_is_read() {
    let (disk, meta) = left(few());
    for (path, bytes) in disk.files() {
        let mut unnoticed = 0;
        for byte in 0..bytes {
            let copy = disk.fork();
            copy.flip_bit(&path, byte, (byte % 8) as u8);
            let read = SortedFile::open(&copy, meta).and_then(|file| {
                let rows: Result<Vec<_>, _> = file.rows().collect();
                assert_eq!(rows.is_err(), file.verify().is_err(), "byte {byte} of {path}");
                rows
            });
            unnoticed += u64::from(read.is_ok());
        }
        // Between its batches a segment has what the log needs, and a sorted file does not.
        let segments = kept_by(&disk, ID).unwrap();
        let segment = segments.iter().find(|segment| path == kept(ID, segment.number));
        assert_eq!(unnoticed, segment.map_or(0, |segment| bytes - segment.bytes), "{path}");
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let (disk, meta) = left(few());
    let file = disk.open(&index()).unwrap();
    let at = file.len().unwrap() - 32;
    let mut covered = vec![0; 32 + 36];
    file.read_exact_at(&mut covered, at + 16 - 32 - 32).unwrap();
    covered[64] = 9;
    file.write_at(&covered[64..68], at + 16).unwrap();
    file.write_at(&crc32c::crc32c(&covered).to_le_bytes(), at + 20).unwrap();
    let refused = SortedFile::open(&disk, meta).unwrap_err();
    assert!(matches!(refused, SortedError::Version { found: 9, .. }), "{refused}");
}

#[test]
fn index_is_there_with_what_it_keeps_or_not_at_all_after_every_crash() {
    for fuse in 0..16 {
        for seed in 0..10 {
            let disk = FaultyDisk::new();
            let rows = lay_out(&disk, few());
            disk.set_fuse(Some(fuse));
            let meta = write(&disk, rows.clone());
            disk.crash(seed);
            let orphans = list_orphans(&disk, &BTreeSet::new()).unwrap();
            if let Ok(meta) = meta {
                assert_eq!(orphans, [ID]);
                SortedFile::open(&disk, meta).unwrap().verify().unwrap();
            }
            orphans.iter().for_each(|id| remove_sorted(&disk, *id).unwrap());
            assert_eq!(names(&disk), Vec::<String>::new(), "fuse {fuse}, seed {seed}");
            write(&disk, rows).unwrap();
        }
    }
}

#[test]
fn an_index_that_is_made_whole_is_the_same_file_after_every_crash() {
    let mut finished = 0;
    for fuse in 0..16 {
        for seed in 0..10 {
            let (disk, meta) = left(few());
            disk.set_fuse(Some(fuse));
            let made = make_whole(&disk, ID, |_| ());
            disk.crash(seed);
            assert_eq!(list_orphans(&disk, &BTreeSet::from([ID])).unwrap(), []);
            SortedFile::open(&disk, meta).unwrap().verify().unwrap();
            let whole = [format!("sorted/{ID}.sorted")];
            if made.is_ok() || names(&disk).len() == 1 {
                assert_eq!(names(&disk), whole, "fuse {fuse}, seed {seed}");
                finished += 1;
            } else {
                assert_eq!(names(&disk), [kept(ID, 7), kept(ID, 9), index()], "fuse {fuse}, seed {seed}");
                make_whole(&disk, ID, |_| ()).unwrap();
            }
            make_whole(&disk, ID, |_| panic!("it is whole already")).unwrap();
            assert_eq!(disk.files().iter().map(|(_, bytes)| bytes).sum::<u64>(), meta.bytes);
        }
    }
    assert!((30..150).contains(&finished), "{finished}");
}

#[test]
fn the_last_room_is_not_taken_for_nothing() {
    let (disk, meta) = left(few());
    let used: u64 = BTreeMap::from_iter(disk.files()).values().sum();
    disk.set_capacity(Some(used + meta.bytes - 1));
    let refused = make_whole(&disk, ID, |_| ()).unwrap_err();
    assert!(matches!(refused, SortedError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull));
    assert_eq!(names(&disk), [kept(ID, 7), kept(ID, 9), index()]);
    disk.set_capacity(Some(used + meta.bytes));
    make_whole(&disk, ID, |_| ()).unwrap();
}

#[test]
fn damage_is_not_made_whole() {
    let (disk, meta) = left(few());
    disk.flip_bit(&kept(ID, 7), 105, 1);
    assert!(matches!(make_whole(&disk, ID, |_| ()), Err(SortedError::Damaged { .. })));
    assert_eq!(names(&disk), [kept(ID, 7), kept(ID, 9), index()]);
    assert!(SortedFile::open(&disk, meta).unwrap().verify().is_err());
}

#[test]
fn rows_in_segments_that_are_not_there_leave_nothing() {
    let disk = FaultyDisk::new();
    let rows = lay_out(&disk, few());
    let absent = BTreeSet::from([7, 8, 9]);
    let refused = write_index(&disk, ID, &absent, rows.clone().into_iter()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    let refused = write_index(&disk, ID, &BTreeSet::from([7]), rows.into_iter()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(names(&disk), Vec::<String>::new());
}

#[test]
fn random_bytes_never_panic() {
    let (disk, meta) = left(rows());
    let bytes = disk.open(&index()).unwrap().len().unwrap();
    let mut choices = Choices::new(9);
    for _ in 0..400 {
        let copy = disk.fork();
        let file = copy.open(&index()).unwrap();
        let junk: Vec<u8> = (0..choices.below(40)).map(|_| choices.below(256) as u8).collect();
        let near_end = bytes - 40 - choices.below(200);
        file.write_at(&junk, if choices.below(2) == 0 { choices.below(bytes - 40) } else { near_end })
            .unwrap();
        if let Ok(file) = SortedFile::open(&copy, meta) {
            let _ = file.rows().count();
            let _ = file.verify();
        }
        let _ = make_whole(&copy, ID, |_| ());
    }
}
