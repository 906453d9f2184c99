//! The threads that read from the disk.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use hcube_broker::storage::Storage;
use hcube_broker::{Event, ReadPlan, ReadToken};
use hcube_consensus::Fetch;
use hcube_log::SortedFileMeta;
use hcube_log::disk::RealDisk;

use super::inputs::Inputs;
use crate::metrics::{self, Metrics};

/// Something to read.
#[derive(Debug)]
pub(super) enum Job {
    /// Batches for a pull.
    Read { token: ReadToken, plan: ReadPlan },
    /// Entries for a follower far behind.
    Fetch(Fetch),
    /// A part of a sorted file for a snapshot.
    File { token: ReadToken, file: SortedFileMeta, at: u64, length: u32 },
}

/// The jobs, shared by the threads.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    jobs: Arc<Mutex<Receiver<Job>>>,
    metrics: Arc<Metrics>,
}

impl Queue {
    pub fn new(jobs: Receiver<Job>, metrics: Arc<Metrics>) -> Self {
        Self { jobs: Arc::new(Mutex::new(jobs)), metrics }
    }

    /// The next job; none when the core has ended.
    fn next(&self) -> Option<Job> {
        // One thread waits in the channel, the others for the lock: each job wakes exactly one of them.
        let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()?;
        self.metrics.taken(metrics::Queue::Reads);
        Some(job)
    }
}

/// Reads until the core has ended.
pub(super) fn run(queue: &Queue, storage: &Storage<RealDisk>, core: &Inputs) {
    while let Some(job) = queue.next() {
        core.event(match job {
            Job::Read { token, plan } => Event::ReadDone { token, result: storage.read(&plan) },
            Job::Fetch(fetch) => {
                let entries = storage.fetch(&fetch);
                Event::Fetched { group: fetch.group, token: fetch.token, entries }
            }
            Job::File { token, file, at, length } => {
                Event::FileRead { token, result: storage.read_file(&file, at, length) }
            }
        });
    }
}
