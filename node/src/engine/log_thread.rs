//! The thread that owns the write-ahead log.
//!
//! It takes every write that is queued, hands all of them to the disk and makes them durable with one sync;
//! what arrives meanwhile is the next batch. There is no timer: the sync itself is the time to gather.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hcube_broker::Event;
use hcube_consensus::Write;
use hcube_core::ids::GroupId;
use hcube_log::disk::Disk;
use hcube_log::{Log, Op, Prepare, Prepared, WriteError};

use super::fatal::fatal;
use super::inputs::{Input, Inputs};
use super::pace::Pace;
use crate::metrics::{Metrics, Queue};

/// A log that had nothing to do for so long marks its end, so that damage there can be told from a tear.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// A log that had nothing to do for so long gives the room of files back that it keeps to use them again.
const RELEASE_AFTER: Duration = Duration::from_secs(30);
/// How often the disk's state is looked at and told.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A log that grows by so many bytes a second is fast.
const FAST_BYTES_PER_S: f64 = (5 << 20) as f64;
/// With so many sealed segments sorting has fallen behind, and is not held up any more.
const HURRY_SEGMENTS: usize = 8;
/// How long filling a mebibyte of a segment takes at least: one of 64 MiB is ready after two and a half seconds.
const FILLING_A_MIB: Duration = Duration::from_millis(40);

/// Something for the log.
#[derive(Debug)]
pub(super) enum Job<D: Disk> {
    /// Write, in order, and report.
    Write(Write),
    /// A segment was made, or not.
    Prepared(Prepared<D>),
    /// End once everything before is done.
    Stop,
}

/// Makes segments ahead, until the log has ended. Apart from the other upkeep, which may take long.
pub(super) fn make_segments<D: Disk>(orders: &Receiver<Prepare<D>>, log: &Sender<Job<D>>, pace: &Pace) {
    // How much is left of the segment that is in use when the log begins nobody knows: the first one is made at once.
    let mut is_paced = false;
    while let Ok(order) = orders.recv() {
        let prepared = order.run(|bytes| {
            if is_paced {
                thread::sleep(FILLING_A_MIB.mul_f64(bytes as f64 / f64::from(1 << 20)));
            }
            if pace.has_ended() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        is_paced = true;
        if pace.has_ended() {
            return;
        }
        if log.send(Job::Prepared(prepared)).is_err() {
            return;
        }
    }
}

/// The log thread's state.
pub(super) struct LogThread<D: Disk> {
    log: Log<D>,
    jobs: Receiver<Job<D>>,
    orders: Sender<Prepare<D>>,
    core: Inputs,
    metrics: Arc<Metrics>,
    abandoned: Arc<AtomicBool>,
    pace: Arc<Pace>,
    /// Writes not done yet. What stays here after a batch waits for room on the disk.
    waiting: VecDeque<Write>,
    idle: bool,
    looked: Instant,
    /// Bytes that the log had got then.
    looked_bytes: u64,
    /// When the last write was done.
    wrote: Instant,
    /// Whether the core was told last that the disk is full.
    told_full: bool,
}

impl<D: Disk> LogThread<D> {
    pub fn new(
        log: Log<D>,
        jobs: Receiver<Job<D>>,
        orders: Sender<Prepare<D>>,
        core: Inputs,
        metrics: Arc<Metrics>,
        abandoned: Arc<AtomicBool>,
        pace: Arc<Pace>,
    ) -> Self {
        let looked = Instant::now();
        let waiting = VecDeque::new();
        let looked_bytes = log.written_bytes();
        pace.log_reached(looked_bytes);
        Self {
            log,
            jobs,
            orders,
            core,
            metrics,
            abandoned,
            pace,
            waiting,
            idle: false,
            looked,
            looked_bytes,
            wrote: looked,
            told_full: false,
        }
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        self.order_segment();
        let mut going = true;
        while going {
            match self.jobs.recv_timeout(if self.idle { LOOK_EVERY } else { IDLE_AFTER }) {
                Ok(job) => going = self.take(job),
                Err(RecvTimeoutError::Timeout) => self.mark_idle(),
                Err(RecvTimeoutError::Disconnected) => going = false,
            }
            while let Ok(job) = self.jobs.try_recv() {
                going &= self.take(job);
            }
            if self.abandoned.load(Ordering::Acquire) {
                return;
            }
            self.write();
            self.look_after_the_disk();
        }
        self.mark_idle();
    }

    /// Takes one job. Returns whether to go on.
    fn take(&mut self, job: Job<D>) -> bool {
        match job {
            Job::Write(write) => {
                self.metrics.taken(Queue::Log);
                self.waiting.push_back(write);
            }
            Job::Prepared(prepared) => {
                if let Err(error) = self.log.prepared(prepared) {
                    fatal("a log segment cannot be made", &error);
                }
            }
            Job::Stop => {
                self.metrics.taken(Queue::Log);
                return false;
            }
        }
        true
    }

    /// Writes what waits, makes it durable where anything asks for that, and reports in order.
    fn write(&mut self) {
        let mut done = Vec::new();
        let mut sync = false;
        while let Some(write) = self.waiting.front() {
            match self.log.write(&write.ops) {
                Ok(positions) => {
                    sync |= write.sync;
                    self.metrics.wal_written_bytes.inc_by(write.ops.iter().map(payload_bytes).sum());
                    done.push(Event::Written { number: write.number, positions });
                    self.waiting.pop_front();
                }
                // It stays first in the queue, and nothing overtakes it, until there is room again.
                Err(WriteError::Full) => break,
                Err(error) => fatal("the log", &error),
            }
        }
        if done.is_empty() {
            return;
        }
        self.idle = false;
        self.wrote = Instant::now();
        self.pace.log_reached(self.log.written_bytes());
        if sync {
            let began = self.wrote;
            self.pace.syncing(true);
            if let Err(error) = self.log.sync() {
                fatal("the log", &error);
            }
            self.pace.syncing(false);
            self.metrics.wal_sync_seconds.observe(began.elapsed().as_secs_f64());
            self.metrics.wal_sync_writes.observe(f64::from(u32::try_from(done.len()).unwrap_or(u32::MAX)));
        }
        self.core.send(Input::Events(done));
        if !self.log.is_full() {
            self.order_segment();
        }
    }

    fn order_segment(&mut self) {
        if let Some(order) = self.log.prepare() {
            // Should that thread be gone, then the log makes its segments itself.
            let _without = self.orders.send(order);
        }
    }

    fn mark_idle(&mut self) {
        if self.idle {
            return;
        }
        match self.log.mark_idle() {
            Ok(_) | Err(WriteError::Full) => self.idle = true,
            Err(error) => fatal("the log", &error),
        }
    }

    /// Tells the core how the disk stands, and deletes what is not needed any more.
    fn look_after_the_disk(&mut self) {
        let now = Instant::now();
        // A disk that fills up is told at once: what is left serves votes and deletions, not another 200 ms of
        // publishes.
        let full = self.log.is_full() || !self.waiting.is_empty();
        if now < self.looked + LOOK_EVERY && full == self.told_full {
            return;
        }
        let elapsed = now - std::mem::replace(&mut self.looked, now);
        let written = self.log.written_bytes();
        let grown = written - std::mem::replace(&mut self.looked_bytes, written);
        self.log.set_fast(grown as f64 >= FAST_BYTES_PER_S * elapsed.as_secs_f64());
        let stats = self.log.stats();
        if stats.reclaimable_segments > 0 {
            match self.log.reclaim() {
                Ok(segments) => tracing::debug!(segments, "log segments are not needed any more"),
                // Their content has to be copied first, and there is no room for it yet.
                Err(WriteError::Full) => {}
                Err(error) => fatal("the log", &error),
            }
        }
        // Also when the disk is full: this is how it is found out that there is room again.
        self.order_segment();
        if now > self.wrote + RELEASE_AFTER
            && let Err(error) = self.log.release_retired()
        {
            tracing::warn!(%error, "a file of the log that is not needed cannot be deleted");
        }
        let full = self.log.is_full() || !self.waiting.is_empty();
        let pressure: Vec<GroupId> = self.log.pressure();
        if full != self.told_full || !pressure.is_empty() {
            if full != self.told_full {
                tracing::warn!(full, "the disk");
            }
            self.told_full = full;
            self.core.event(Event::Disk { pressure, full });
        }
        let stats = self.log.stats();
        self.pace.hurry(full || stats.sealed_segments >= HURRY_SEGMENTS);
        self.metrics.show_log(&stats);
    }
}

fn payload_bytes(op: &Op) -> u64 {
    match op {
        Op::Append { entries, .. } => entries.iter().map(|entry| entry.data.len() as u64).sum(),
        Op::Base { base, .. } => base.state.len() as u64,
        Op::HardState { .. } | Op::Destroy { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use hcube_core::ids::ReplicaId;
    use hcube_log::disk::faulty::FaultyDisk;
    use hcube_log::{Base, Config, Entry};

    use super::*;
    use crate::engine::Input;
    use crate::engine::inputs::InputQueue;

    const GROUP: GroupId = GroupId(1);
    const SEGMENT: u64 = 64 << 10;

    struct Fixture {
        disk: FaultyDisk,
        jobs: Sender<Job<FaultyDisk>>,
        core: InputQueue,
        events: std::cell::RefCell<VecDeque<Event>>,
        threads: Vec<thread::JoinHandle<()>>,
        abandoned: Arc<AtomicBool>,
        index: u64,
    }

    /// A log thread whose first jobs are queued before it looks.
    fn fixture(queued: impl FnOnce(&mut Fixture)) -> Fixture {
        let disk = FaultyDisk::new();
        let config = Config { segment_bytes: SEGMENT, sealed_segments_target: 1 };
        let (mut log, _) = Log::open(disk.clone(), config).unwrap();
        log.write(&[Op::Base { group: GROUP, replica: ReplicaId(1), base: Base::default() }]).unwrap();
        log.sync().unwrap();
        let (jobs, queue) = mpsc::channel();
        let (orders, order_queue) = mpsc::channel();
        let metrics = Arc::new(Metrics::new());
        let (inputs, core) = Inputs::new(Arc::clone(&metrics));
        let abandoned = Arc::new(AtomicBool::new(false));
        let prepared = jobs.clone();
        let log_thread =
            LogThread::new(log, queue, orders, inputs, metrics, Arc::clone(&abandoned), Arc::default());
        let (events, threads) = (VecDeque::new().into(), Vec::new());
        let mut fixture = Fixture { disk, jobs, core, events, threads, abandoned, index: 0 };
        queued(&mut fixture);
        fixture.threads.push(thread::spawn(move || make_segments(&order_queue, &prepared, &Pace::default())));
        fixture.threads.push(thread::spawn(move || log_thread.run()));
        fixture
    }

    impl Fixture {
        fn append(&mut self, bytes: usize, sync: bool) {
            self.index += 1;
            let entry = Entry { index: self.index, term: 1, kind: 0, data: vec![7; bytes].into() };
            let ops = vec![Op::Append { group: GROUP, entries: vec![entry] }];
            self.jobs.send(Job::Write(Write { number: self.index, ops, sync })).unwrap();
        }

        fn event(&self) -> Event {
            let mut events = self.events.borrow_mut();
            while events.is_empty() {
                match self.core.receiver.recv_timeout(Duration::from_secs(10)).unwrap() {
                    Input::Event(event) => events.push_back(event),
                    Input::Events(all) => events.extend(all),
                    other => panic!("{other:?}"),
                }
            }
            events.pop_front().unwrap()
        }

        /// Passes over everything else.
        fn written(&self) -> u64 {
            loop {
                if let Event::Written { number, positions } = self.event() {
                    assert_eq!(positions.len(), 1);
                    return number;
                }
            }
        }

        fn full(&self) -> bool {
            loop {
                if let Event::Disk { full, .. } = self.event() {
                    return full;
                }
            }
        }

        fn stop(self) -> FaultyDisk {
            // A thread that was told to abandon everything may have ended before it could be told to stop.
            let _ended = self.jobs.send(Job::Stop);
            self.threads.into_iter().for_each(|thread| thread.join().unwrap());
            self.disk
        }
    }

    fn entries(disk: FaultyDisk) -> usize {
        let config = Config { segment_bytes: SEGMENT, sealed_segments_target: 1 };
        Log::open(disk, config).unwrap().1.groups[&GROUP].entries.len()
    }

    #[test]
    fn writes_that_wait_share_one_sync_and_are_reported_in_order() {
        let mut before = 0;
        let fixture = fixture(|fixture| {
            before = fixture.disk.counters().syncs;
            (0..20).for_each(|count| fixture.append(100, count != 19));
        });
        assert_eq!((0..20).map(|_| fixture.written()).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
        // One for the batch; the segment ahead and the mark of an idle log may have come in between.
        let syncs = fixture.disk.counters().syncs - before;
        assert!(syncs <= 4, "{syncs} syncs for one batch");
        let disk = fixture.stop();
        disk.crash(1);
        assert_eq!(entries(disk), 20);
    }

    #[test]
    fn full_disk_is_told_and_what_did_not_fit_is_written_once_there_is_room() {
        let mut fixture = fixture(|_| {});
        fixture.append(10, true);
        assert_eq!(fixture.written(), 1);
        fixture.disk.set_capacity(Some(2 * SEGMENT));
        (0..4).for_each(|_| fixture.append(50_000, true));
        while !fixture.full() {}
        fixture.disk.set_capacity(None);
        while fixture.written() < 5 {}
        while fixture.full() {}
        assert_eq!(entries(fixture.stop()), 5);
    }

    #[test]
    fn what_is_abandoned_is_not_written() {
        let mut fixture = fixture(|_| {});
        fixture.append(10, true);
        assert_eq!(fixture.written(), 1);
        fixture.abandoned.store(true, Ordering::Release);
        fixture.append(10, true);
        assert_eq!(entries(fixture.stop()), 1);
    }

    #[test]
    fn pressure_is_told_while_segments_wait_for_compaction() {
        let mut fixture = fixture(|_| {});
        (0..6).for_each(|_| fixture.append(40_000, true));
        loop {
            if let Event::Disk { pressure, full } = fixture.event() {
                assert!(!full);
                assert_eq!(pressure, [GROUP]);
                break;
            }
        }
        fixture.stop();
    }
}
