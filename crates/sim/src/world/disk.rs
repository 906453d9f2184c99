//! A machine's disk at work: the log's writes and syncs, and what is done beside them.

use hcube_broker::storage::Storage;
use hcube_broker::{Compaction, Event, ReadPlan, ReadToken};
use hcube_core::ids::GroupId;
use hcube_log::disk::faulty::{FaultyDisk, Lies};
use hcube_log::{SortedFileMeta, WriteError, sorted};

use super::{Due, World};
use crate::planted::Planted;
use crate::report::Counts;

/// How long it takes until a full disk is tried again, in microseconds.
const FULL_DISK_US: u64 = 200_000;

/// Work for the disk beside the log.
#[derive(Debug)]
pub(crate) enum Job {
    Read(ReadToken, ReadPlan),
    Fetch(hcube_consensus::Fetch),
    ReadFile(ReadToken, SortedFileMeta, u64, u32),
    Compact(Compaction),
    Stage(GroupId, SortedFileMeta, u64, bytes::Bytes),
}

impl World {
    /// Hands everything that waits to the disk: written, but lost if the power fails before the sync. What a full
    /// disk does not take stays first in the queue.
    pub(super) fn disk_begins(&mut self, at: usize) {
        let Some(process) = self.machines[at].process_mut() else { return };
        if !process.writing.is_empty() {
            return;
        }
        process.stuck = false;
        while let Some(write) = process.queue.front() {
            match process.log.write(&write.ops) {
                Ok(positions) => {
                    let Some(write) = process.queue.pop_front() else { break };
                    process.wrote(write, positions);
                }
                Err(WriteError::Full) => {
                    process.stuck = true;
                    break;
                }
                Err(error) => return self.disk_failed(at, &error),
            }
        }
        let nothing = process.writing.is_empty();
        let slowest = self.machines[at].disk_us;
        let takes = if nothing { FULL_DISK_US } else { 100 + self.streams.disk.below(slowest) };
        self.due(at, takes, Due::DiskEnds);
        if self.plants(Planted::AcknowledgeBeforeSync) {
            self.report_written(at, true);
        }
    }

    pub(super) fn disk_ends(&mut self, at: usize) {
        let Some(process) = self.machines[at].process_mut() else { return };
        if std::mem::take(&mut process.sync) {
            match process.log.sync() {
                Ok(()) => {
                    let buried = process.synced();
                    self.invariants.synced(buried);
                }
                Err(error) => return self.disk_failed(at, &error.into()),
            }
        }
        self.report_written(at, false);
        self.tend_log(at);
        let Some(process) = self.machines[at].process_mut() else { return };
        if !process.queue.is_empty() {
            return self.due(at, 20, Due::DiskBegins);
        }
        match process.log.mark_idle() {
            Ok(true) => {
                let buried = process.synced();
                self.invariants.synced(buried);
            }
            Ok(false) | Err(WriteError::Full) => {}
            Err(error) => self.disk_failed(at, &error),
        }
    }

    /// Tells the peer what is written; with the planted mistake, before it is synced.
    fn report_written(&mut self, at: usize, too_early: bool) {
        let Some(process) = self.machines[at].process_mut() else { return };
        let done: Vec<(u64, Vec<hcube_log::Position>)> = process
            .writing
            .iter_mut()
            .filter(|(write, _)| !process.told.contains(&write.number))
            .map(|(write, positions)| (write.number, positions.clone()))
            .collect();
        if too_early {
            process.told.extend(done.iter().map(|(number, _)| *number));
        } else {
            process.writing.clear();
            process.told.clear();
        }
        for (number, positions) in done {
            self.event(at, Event::Written { number, positions });
        }
    }

    /// The process ends, as a node does: what was written may be lost, and a sync is never tried again.
    fn disk_failed(&mut self, at: usize, error: &WriteError) {
        let expected = matches!(error, WriteError::Io(_) | WriteError::Sync(_) | WriteError::Poisoned);
        assert!(expected, "machine {at}: the log refuses a write: {error}");
        self.counts.sync_errors += 1;
        self.end(at);
    }

    pub(super) fn disk_looked_at(&mut self, at: usize) {
        // While a write is under way, its end looks.
        if self.machines[at].process().is_some_and(|process| process.writing.is_empty()) {
            self.tend_log(at);
        }
    }

    /// What the node's log thread does beside writing.
    fn tend_log(&mut self, at: usize) {
        let fast = self.streams.disk.below(2) == 0;
        let Some(process) = self.machines[at].process_mut() else { return };
        process.log.set_fast(fast);
        let mut reclaimed = 0;
        let tended = process.tend(&mut reclaimed);
        self.counts.reclaimed += reclaimed;
        if let Err(error) = tended {
            return self.disk_failed(at, &error);
        }
        let Some(process) = self.machines[at].process_mut() else { return };
        let full = process.log.is_full() || process.stuck;
        let pressure = process.log.pressure();
        let news = full != process.told_full || !pressure.is_empty();
        self.counts.full += u64::from(full && !process.told_full);
        process.told_full = full;
        if full {
            // Somebody has to look again even where nothing is written any more.
            self.due(at, FULL_DISK_US, Due::DiskLook);
        }
        if news {
            self.event(at, Event::Disk { pressure, full });
        }
    }

    pub(super) fn storage(&mut self, at: usize, job: Job) {
        let Some(process) = self.machines[at].process() else { return };
        let event = carry_out(&process.storage, &self.machines[at].disk, job, &mut self.counts);
        self.event(at, event);
    }

    /// The planted mistakes of a disk, which it has for life.
    pub(super) fn spoil(&self, disk: &FaultyDisk) {
        disk.lie(Lies {
            about_dir_syncs: self.plants(Planted::NoDirectorySync),
            about_syncs_in: self.plants(Planted::SnapshotNotSynced).then_some("staging"),
            about_sync_errors: self.plants(Planted::SyncErrorIgnored),
            about_links: self.plants(Planted::KeptSegmentUsedAgain),
        });
    }

    /// The planted mistakes that show in a restart.
    pub(super) fn spoil_after_crash(&mut self, at: usize) {
        if self.plants(Planted::EmptyDiskVotes) && self.streams.disk.below(8) == 0 {
            self.forget_everything(at);
        }
        if self.plants(Planted::DurableTailCut) {
            self.machines[at].disk.cut_newest("log/", 4096);
        }
    }
}

/// What the node does when it has nothing else to do with its files. Returns how many were made whole.
pub(super) fn let_segment_go(storage: &Storage<FaultyDisk>) -> u64 {
    // A failure leaves a file as it was.
    storage.let_segment_go(|_| ()).map_or(0, |whole| u64::from(whole.is_some()))
}

fn carry_out(storage: &Storage<FaultyDisk>, disk: &FaultyDisk, job: Job, counts: &mut Counts) -> Event {
    match job {
        Job::Read(token, plan) => Event::ReadDone { token, result: storage.read(&plan) },
        Job::Fetch(fetch) => {
            counts.fetches += 1;
            Event::Fetched { group: fetch.group, token: fetch.token, entries: storage.fetch(&fetch) }
        }
        Job::ReadFile(token, file, at, length) => {
            Event::FileRead { token, result: storage.read_file(&file, at, length) }
        }
        Job::Compact(compaction) => {
            counts.compactions += 1;
            let result = storage.compact(&compaction, |_| ());
            counts.left_in_segments += u64::from(sorted::kept_by(disk, compaction.file).is_some());
            counts.made_whole += let_segment_go(storage);
            Event::Compacted { group: compaction.group, result }
        }
        Job::Stage(group, file, at, part) => {
            counts.staged_parts += 1;
            Event::Staged { group, file: file.id, at, result: storage.stage(&file, at, &part) }
        }
    }
}
