//! Tests of the storage, on a disk in memory.

use hcube_core::ids::{ReplicaId, TopicId};
use hcube_core::record::{Producer, Record};
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::{Base, Config, Entry, Log, Op, Position};

use super::*;
use crate::command::Command;

const GROUP: GroupId = GroupId(3);
const PARTITION: PartitionId = (TopicId(9), 1);

/// Batches of two records in a log: the base offset of the i-th is `2 i`, its stamp `100 i`.
struct Fixture {
    disk: FaultyDisk,
    log: Log<FaultyDisk>,
    storage: Storage<FaultyDisk>,
    batches: Vec<StoredBatch>,
    positions: Vec<Position>,
}

fn fixture(count: u64) -> Fixture {
    let disk = FaultyDisk::new();
    let config = Config { segment_bytes: 64 << 10, sealed_segments_target: 3 };
    let (mut log, _) = Log::open(disk.clone(), config).unwrap();
    let base = Op::Base { group: GROUP, replica: ReplicaId(5), base: Base::default() };
    log.write(&[base]).unwrap();
    let batches: Vec<_> = (0..count)
        .map(|i| {
            let record = |n| Record { value: format!("{i}-{n}").into(), ..Record::default() };
            let batch = Batch::build(Producer::default(), &[record(0), record(1)]).unwrap();
            StoredBatch { base_offset: 2 * i, stamp_ms: 100 * i, batch: batch.bytes().clone() }
        })
        .collect();
    let entries = (1..).zip(&batches).map(|(index, stored)| {
        let StoredBatch { base_offset, stamp_ms, batch } = stored.clone();
        let data = Command::Publish { partition: PARTITION, base_offset, stamp_ms, batch }.encode();
        Entry { index, term: 1, kind: 0, data }
    });
    let positions = log.write(&[Op::Append { group: GROUP, entries: entries.collect() }]).unwrap();
    log.sync().unwrap();
    let storage = Storage::new(disk.clone(), log.reader());
    Fixture { disk, log, storage, batches, positions }
}

impl Fixture {
    fn in_log(&self, i: usize) -> Piece {
        let StoredBatch { base_offset, stamp_ms, .. } = self.batches[i];
        Piece::Log { base_offset, stamp_ms, position: self.positions[i] }
    }

    fn compaction(&self, generation: u64, range: std::ops::Range<usize>) -> Compaction {
        let row = |i| CompactionRow { partition: PARTITION, records: 2, piece: self.in_log(i) };
        let file = SortedFileId { group: GROUP, replica: ReplicaId(5), generation };
        Compaction { group: GROUP, file, rows: range.map(row).collect(), may_keep_segments: false }
    }

    fn in_file(&self, generation: u64, range: std::ops::Range<usize>) -> Piece {
        let end = 2 * range.end as u64;
        Piece::File { file: self.storage.compact(&self.compaction(generation, range), |_| ()).unwrap(), end }
    }
}

fn plan(from: u64, pieces: Vec<Piece>) -> ReadPlan {
    ReadPlan { partition: PARTITION, from, stamp_ms: 0, max_bytes: 1 << 20, max_records: 1000, pieces }
}

#[test]
fn one_plan_reads_files_log_and_memory_in_order() {
    let f = fixture(8);
    let pieces =
        vec![f.in_file(1, 0..3), f.in_file(2, 3..6), f.in_log(6), Piece::Memory(f.batches[7].clone())];
    assert_eq!(f.storage.read(&plan(0, pieces.clone())).unwrap(), f.batches);
    // The batch that holds the offset comes first, in whatever place it is.
    assert_eq!(f.storage.read(&plan(3, pieces.clone())).unwrap(), f.batches[1..]);
    assert_eq!(f.storage.read(&plan(8, pieces[1..].to_vec())).unwrap(), f.batches[4..]);
}

#[test]
fn a_read_ends_at_its_limits_but_not_before_one_batch() {
    let f = fixture(8);
    let pieces = vec![f.in_file(1, 0..6), f.in_log(6), f.in_log(7)];
    let bytes = f.batches[0].batch.len() as u64;
    let read = |max_bytes, max_records, from| {
        f.storage.read(&ReadPlan { max_bytes, max_records, ..plan(from, pieces.clone()) }).unwrap().len()
    };
    assert_eq!(read(1, 1000, 0), 1);
    assert_eq!(read(3 * bytes, 1000, 0), 3);
    assert_eq!(read(4 * bytes - 1, 1000, 0), 3);
    assert_eq!(read(1 << 20, 1, 0), 1);
    assert_eq!(read(1 << 20, 4, 0), 2);
    // The record before `from` does not count.
    assert_eq!(read(1 << 20, 4, 1), 3);
    assert_eq!(read(1 << 20, 14, 0), 7);
}

#[test]
fn batches_with_older_stamps_are_left_out() {
    let f = fixture(6);
    let pieces = vec![f.in_file(1, 0..4), f.in_log(4), f.in_log(5)];
    for (stamp_ms, first) in [(100, 1), (101, 2), (301, 4), (500, 5), (501, 6)] {
        let plan = ReadPlan { stamp_ms, ..plan(0, pieces.clone()) };
        assert_eq!(f.storage.read(&plan).unwrap(), f.batches[first..], "stamp {stamp_ms}");
    }
}

#[test]
fn a_file_is_not_read_beyond_the_end_of_its_run() {
    let f = fixture(6);
    let Piece::File { file, .. } = f.in_file(1, 0..6) else { unreachable!() };
    let pieces = vec![Piece::File { file, end: 6 }, f.in_log(3)];
    assert_eq!(f.storage.read(&plan(0, pieces)).unwrap(), f.batches[..4]);
}

#[test]
fn what_is_gone_and_what_is_damaged_are_told_apart() {
    let f = fixture(4);
    let piece = f.in_file(1, 0..2);
    let Piece::File { file, .. } = piece.clone() else { unreachable!() };
    assert!(f.storage.read(&plan(0, vec![piece.clone()])).is_ok());
    f.storage.remove(&[file.id]).unwrap();
    assert_eq!(f.storage.read(&plan(0, vec![piece])), Err(ReadError::Gone));
    assert_eq!(f.storage.read_file(&file, 0, 10), Err(ReadError::Gone));
    let elsewhere = Position { segment: 99, ..f.positions[0] };
    let lost = Piece::Log { base_offset: 0, stamp_ms: 0, position: elsewhere };
    assert_eq!(f.storage.read(&plan(0, vec![lost])), Err(ReadError::Gone));
    // A missing run between two pieces is never passed over in silence.
    let gap = plan(0, vec![f.in_log(0), f.in_log(2)]);
    assert!(matches!(f.storage.read(&gap), Err(ReadError::Failed(_))));
    let (segment, _) = f.disk.files().into_iter().find(|(path, _)| path.contains("00001.")).unwrap();
    f.disk.flip_bit(&segment, u64::from(f.positions[1].offset) + 50, 3);
    assert!(matches!(f.storage.read(&plan(2, vec![f.in_log(1)])), Err(ReadError::Failed(_))));
    assert!(f.storage.compact(&f.compaction(7, 0..3), |_| ()).is_err());
    assert!(!f.disk.files().iter().any(|(path, _)| path.ends_with("-7.sorted")));
}

#[test]
fn fetched_entries_are_the_log_s_bytes() {
    let f = fixture(3);
    let fetch = |positions| Fetch { group: GROUP, token: 1, positions };
    let entries = f.storage.fetch(&fetch(f.positions.clone())).unwrap();
    assert_eq!(batch_of(&entries[2]), Some(f.batches[2].batch.clone()));
    let lost = Position { segment: 99, ..f.positions[0] };
    assert_eq!(f.storage.fetch(&fetch(vec![f.positions[0], lost])), None);
    assert_eq!(f.log.stats().groups, 1);
}

#[test]
fn a_file_travels_in_parts_and_may_begin_again() {
    let f = fixture(6);
    let Piece::File { file, end } = f.in_file(1, 0..6) else { unreachable!() };
    let other = fixture(0);
    let part = |at| f.storage.read_file(&file, at, 100).unwrap();
    assert!(other.storage.stage(&file, 100, &part(100)).is_err());
    for at in (0..300).step_by(100) {
        other.storage.stage(&file, at, &part(at)).unwrap();
    }
    // From the start again, as after a lost answer.
    let mut at = 0;
    while at < file.bytes {
        let part = part(at);
        other.storage.stage(&file, at, &part).unwrap();
        at += part.len() as u64;
    }
    let read = plan(0, vec![Piece::File { file, end }]);
    assert_eq!(other.storage.read(&read).unwrap(), f.batches);
}

#[test]
fn a_file_that_arrives_wrong_is_never_put_in_place() {
    let f = fixture(6);
    let Piece::File { file, .. } = f.in_file(1, 0..6) else { unreachable!() };
    let other = fixture(0);
    let whole = f.storage.read_file(&file, 0, u32::MAX).unwrap();
    let mut wrong = whole.to_vec();
    wrong[90] ^= 1;
    assert!(other.storage.stage(&file, 0, &wrong.into()).is_err());
    assert_eq!(other.storage.read_file(&file, 0, 1), Err(ReadError::Gone));
    other.storage.stage(&file, 0, &whole).unwrap();
    assert_eq!(other.storage.read_file(&file, 0, u32::MAX).unwrap(), whole);
}

#[test]
fn a_failed_sync_is_not_tried_again_on_the_same_bytes() {
    let f = fixture(6);
    let Piece::File { file, .. } = f.in_file(1, 0..6) else { unreachable!() };
    let other = fixture(0);
    let whole = f.storage.read_file(&file, 0, u32::MAX).unwrap();
    let half = whole.len() / 2;
    other.storage.stage(&file, 0, &whole.slice(..half)).unwrap();
    other.disk.fail_next_sync();
    assert!(other.storage.stage(&file, half as u64, &whole.slice(half..)).is_err());
    assert!(other.storage.stage(&file, half as u64, &whole.slice(half..)).is_err());
    other.storage.stage(&file, 0, &whole).unwrap();
    assert_eq!(other.storage.read_file(&file, 0, u32::MAX).unwrap(), whole);
}

/// A log of small segments in which one group has a batch of 600 bytes in every entry, and another one in every tenth.
struct Mixed {
    disk: FaultyDisk,
    log: Log<FaultyDisk>,
    storage: Storage<FaultyDisk>,
    rows: [Vec<CompactionRow>; 2],
    batches: [Vec<StoredBatch>; 2],
}

const GROUPS: [GroupId; 2] = [GROUP, GroupId(8)];
const SEGMENT: u64 = 16 << 10;

fn mixed() -> Mixed {
    let disk = FaultyDisk::new();
    let (mut log, _) =
        Log::open(disk.clone(), Config { segment_bytes: SEGMENT, sealed_segments_target: 1 }).unwrap();
    for group in GROUPS {
        log.write(&[Op::Base { group, replica: ReplicaId(5), base: Base::default() }]).unwrap();
    }
    let (mut rows, mut batches) = ([vec![], vec![]], [vec![], vec![]]);
    for step in 0..100 {
        for (of, group) in GROUPS.into_iter().enumerate().filter(|(of, _)| *of == 0 || step % 10 == 0) {
            let base_offset = rows[of].len() as u64;
            let record = Record { value: vec![step; 600].into(), ..Record::default() };
            let batch = Batch::build(Producer::default(), &[record]).unwrap().bytes().clone();
            let publish =
                Command::Publish { partition: PARTITION, base_offset, stamp_ms: 7, batch: batch.clone() };
            let entry = Entry { index: base_offset + 1, term: 1, kind: 0, data: publish.encode() };
            let position = log.write(&[Op::Append { group, entries: vec![entry] }]).unwrap()[0];
            let piece = Piece::Log { base_offset, stamp_ms: 7, position };
            rows[of].push(CompactionRow { partition: PARTITION, records: 1, piece });
            batches[of].push(StoredBatch { base_offset, stamp_ms: 7, batch });
        }
    }
    log.sync().unwrap();
    let storage = Storage::new(disk.clone(), log.reader()).keeping_batches_of(500);
    Mixed { disk, log, storage, rows, batches }
}

impl Mixed {
    fn file(of: usize) -> SortedFileId {
        SortedFileId { group: GROUPS[of], replica: ReplicaId(5), generation: 1 }
    }

    fn compaction(&self, of: usize) -> Compaction {
        Compaction {
            group: GROUPS[of],
            file: Self::file(of),
            rows: self.rows[of].clone(),
            may_keep_segments: true,
        }
    }

    /// Has a group's batches leave the log, as far as that is concerned.
    fn compact(&mut self, of: usize) -> SortedFileMeta {
        let file = self.storage.compact(&self.compaction(of), |_| ()).unwrap();
        let index = self.rows[of].len() as u64;
        let base = Base { index, term: 1, files: vec![file], keep_tail: true, ..Base::default() };
        self.log.write(&[Op::Base { group: GROUPS[of], replica: ReplicaId(5), base }]).unwrap();
        self.log.reclaim().unwrap();
        file
    }

    fn read(&self, of: usize, file: SortedFileMeta) -> Vec<StoredBatch> {
        let end = self.rows[of].len() as u64;
        self.storage.read(&plan(0, vec![Piece::File { file, end }])).unwrap()
    }

    fn names(&self, end: &str) -> usize {
        self.disk.files().iter().filter(|(path, _)| path.ends_with(end)).count()
    }
}

#[test]
fn batches_stay_where_they_are_until_hardly_any_are_left() {
    let mut f = mixed();
    let bytes_before = f.disk.counters().written_bytes;
    let files = [f.compact(0), f.compact(1)];
    assert!(f.disk.counters().written_bytes - bytes_before < 20 << 10, "batches were copied");
    assert_eq!((f.names(".index"), f.names(".sorted"), f.names(".wal")), (2, 0, 1));
    let segments = f.names(".kept");
    assert!(segments >= 8, "{segments} names of segments");
    for (of, file) in files.into_iter().enumerate() {
        assert_eq!(f.read(of, file), f.batches[of]);
    }
    // A peer that starts knows of them.
    f.storage = Storage::new(f.disk.clone(), f.log.reader());
    assert_eq!(f.storage.let_segment_go(|_| ()).unwrap(), None);
    f.storage.remove(&[files[0].id]).unwrap();
    assert_eq!(f.read(1, files[1]), f.batches[1]);
    assert_eq!(f.storage.let_segment_go(|_| ()).unwrap(), Some(files[1].id));
    assert_eq!(f.storage.let_segment_go(|_| ()).unwrap(), None);
    assert_eq!((f.names(".index"), f.names(".sorted"), f.names(".kept")), (0, 1, 0));
    assert_eq!(f.read(1, files[1]), f.batches[1]);
    f.storage.remove(&[files[1].id]).unwrap();
    assert!(f.disk.files().iter().all(|(path, _)| path.starts_with("log/")));
}

#[test]
fn batches_are_copied_where_keeping_them_is_not_worth_it_or_cannot_be() {
    let f = mixed();
    let not_allowed = Compaction { may_keep_segments: false, ..f.compaction(0) };
    let whole = f.storage.compact(&not_allowed, |_| ()).unwrap();
    assert_eq!((f.names(".index"), f.names(".kept")), (0, 0));
    f.storage.remove(&[whole.id]).unwrap();

    let small = Storage::new(f.disk.clone(), f.log.reader());
    assert_eq!(small.compact(&f.compaction(0), |_| ()).unwrap(), whole);
    assert_eq!((f.names(".index"), f.names(".kept")), (0, 0));
    f.storage.remove(&[whole.id]).unwrap();

    // A name is taken, as on a file system that has one for each file only.
    f.disk.create_new(&format!("sorted/{}-{:020}.kept", whole.id, 3)).unwrap();
    assert_eq!(f.storage.compact(&f.compaction(0), |_| ()).unwrap(), whole);
    assert_eq!((f.names(".index"), f.names(".sorted")), (0, 1));
    f.storage.remove(&[whole.id]).unwrap();

    let orphans = clean(&f.disk, &Recovery::default()).unwrap();
    assert_eq!((orphans.len(), f.names(".kept")), (0, 0));
    assert_eq!(f.storage.compact(&f.compaction(0), |_| ()).unwrap(), whole, "the form is nobody's business");
    assert_eq!((f.names(".index"), f.names(".sorted")), (1, 0));
}

#[test]
fn damage_in_a_segment_that_is_kept_is_found_and_not_copied() {
    let mut f = mixed();
    let files = [f.compact(0), f.compact(1)];
    f.storage.remove(&[files[0].id]).unwrap();
    let Piece::Log { position, .. } = f.rows[1][5].piece else { unreachable!() };
    let path = format!("sorted/{}-{:020}.kept", files[1].id, position.segment);
    f.disk.flip_bit(&path, u64::from(position.offset + position.length) - 9, 3);
    assert!(f.storage.let_segment_go(|_| ()).is_err());
    assert_eq!(f.storage.let_segment_go(|_| ()).unwrap(), None, "it is not tried again and again");
    let end = f.rows[1].len() as u64;
    let read = f.storage.read(&plan(0, vec![Piece::File { file: files[1], end }]));
    assert!(matches!(read, Err(ReadError::Failed(_))), "{read:?}");
}
