//! The thread that writes, receives and removes sorted files.
//!
//! A failed sync of a sorted file does not end the process, unlike one of the log: the file is thrown away,
//! nothing refers to it yet, and its records are still where they came from.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use hcube_broker::storage::Storage;
use hcube_broker::{Compaction, Event};
use hcube_core::ids::GroupId;
use hcube_log::disk::RealDisk;
use hcube_log::{SortedFileId, SortedFileMeta};

use super::inputs::Inputs;
use super::pace::Pace;
use crate::metrics::{Metrics, Queue};

/// With nothing to do for so long it looks what the log's segments are kept for.
const IDLE_AFTER: Duration = Duration::from_millis(500);

/// Something to do with sorted files, in order.
#[derive(Debug)]
pub(super) enum Job {
    /// Write one.
    Compact(Compaction),
    /// Take a part of one.
    Stage { group: GroupId, file: SortedFileMeta, at: u64, part: Bytes },
    /// Remove some.
    Remove(Vec<SortedFileId>),
}

/// Works until the core has ended.
pub(super) fn run(
    jobs: &Receiver<Job>,
    storage: &Storage<RealDisk>,
    core: &Inputs,
    metrics: &Metrics,
    pace: &Pace,
) {
    loop {
        let job = match jobs.recv_timeout(IDLE_AFTER) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                let_segment_go(storage, pace);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        metrics.taken(Queue::Maintenance);
        if !matches!(job, Job::Compact(_)) {
            pace.end_waiting();
        }
        match job {
            Job::Compact(compaction) => {
                let group = compaction.group;
                let mut pacer = pace.begin();
                let result = storage.compact(&compaction, |bytes| pacer.write(bytes));
                match &result {
                    Ok(file) => tracing::debug!(%group, file = %file.id, bytes = file.bytes, "compacted"),
                    Err(error) => tracing::warn!(%group, %error, "compaction failed"),
                }
                core.event(Event::Compacted { group, result });
            }
            Job::Stage { group, file, at, part } => {
                let result = storage.stage(&file, at, &part);
                if let Err(error) = &result {
                    tracing::warn!(%group, file = %file.id, at, %error, "a snapshot's part was not taken");
                }
                core.event(Event::Staged { group, file: file.id, at, result });
            }
            Job::Remove(files) => {
                if let Err(error) = storage.remove(&files) {
                    tracing::warn!(%error, "a sorted file could not be removed; the next start will");
                }
            }
        }
    }
}

fn let_segment_go(storage: &Storage<RealDisk>, pace: &Pace) {
    let mut pacer = pace.begin();
    match storage.let_segment_go(|bytes| pacer.write(bytes)) {
        Ok(None) => {}
        Ok(Some(file)) => tracing::debug!(%file, "made whole"),
        Err(error) => tracing::warn!(%error, "a sorted file keeps more of the log than it needs"),
    }
}
