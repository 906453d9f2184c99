//! The core thread: it owns the [`Peer`], hands it every event and carries out every action.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use hcube_broker::storage::Storage;
use hcube_broker::{Action, Event, Peer, Piece, ReadPlan, Reply, RequestId, Status};
use hcube_core::meta::Meta;
use hcube_log::disk::RealDisk;
use tokio::sync::{oneshot, watch};

use super::clock::Clock;
use super::inputs::{Asking, Input, InputQueue};
use super::pace::Pace;
use super::{log_thread, maintenance, readers};
use crate::links::Links;
use crate::metrics::{Metrics, Queue};

/// Inputs taken together at most: what follows from the first must not wait long for the last.
const BATCH_MAX: usize = 64;
/// The status is published no more often than this.
const STATUS_EVERY: Duration = Duration::from_millis(50);

/// Where actions go.
#[derive(Debug)]
pub(super) struct Outputs {
    pub log: Sender<log_thread::Job<RealDisk>>,
    pub reads: Sender<readers::Job>,
    pub maintenance: Sender<maintenance::Job>,
    pub links: Links,
    pub storage: Arc<Storage<RealDisk>>,
    pub pace: Arc<Pace>,
    pub metrics: Arc<Metrics>,
}

/// The core thread's state.
pub(super) struct Core {
    peer: Peer,
    clock: Clock,
    tick: Duration,
    next_tick: Instant,
    inputs: InputQueue,
    /// Results of actions that the core carried out itself.
    own: VecDeque<Event>,
    outputs: Outputs,
    replies: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    /// Answers that are due: given one right after the other, for whoever waits wakes up at the first.
    answers: Vec<(RequestId, Reply)>,
    status: watch::Sender<Arc<Status>>,
    /// When the status was published last.
    published: Instant,
    /// Whether anything happened since.
    changed: bool,
    meta: watch::Sender<Arc<Meta>>,
}

impl Core {
    pub fn new(
        peer: Peer,
        clock: Clock,
        tick_ms: u64,
        inputs: InputQueue,
        outputs: Outputs,
        status: watch::Sender<Arc<Status>>,
        meta: watch::Sender<Arc<Meta>>,
    ) -> Self {
        let tick = Duration::from_millis(tick_ms);
        let published = Instant::now();
        Self {
            peer,
            clock,
            tick,
            next_tick: published + tick,
            inputs,
            own: VecDeque::new(),
            outputs,
            replies: BTreeMap::new(),
            answers: Vec::new(),
            status,
            published,
            changed: true,
            meta,
        }
    }

    /// Runs until it is told to stop. Whoever waits for an answer then learns that its outcome is unknown.
    pub fn run(mut self) {
        while self.turn() {}
        // Behind every write that was asked for, so that all of them are done before the log ends.
        self.outputs.log_job(log_thread::Job::Stop);
    }

    /// Waits for the next thing to do, and does what there is. Returns whether to go on.
    fn turn(&mut self) -> bool {
        let mut due =
            if self.changed { self.next_tick.min(self.published + STATUS_EVERY) } else { self.next_tick };
        if let Some(at_ms) = self.peer.due_ms() {
            due = due.min(self.clock.instant(at_ms));
        }
        let wait = due.saturating_duration_since(Instant::now());
        match self.inputs.receiver.recv_timeout(wait) {
            Ok(input) => {
                let mut going = self.take(input);
                for _ in 1..BATCH_MAX {
                    // Heartbeats do not wait for a burst of large reads.
                    if !going || Instant::now() >= self.next_tick {
                        break;
                    }
                    let Ok(input) = self.inputs.receiver.try_recv() else { break };
                    going = self.take(input);
                }
                self.settle();
                if !going {
                    return false;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        let now = Instant::now();
        if now >= self.next_tick {
            // A process that was suspended does not catch up on ticks: the time has passed for all of it.
            self.next_tick = (self.next_tick + self.tick).max(now);
            self.note(Event::Tick);
            self.settle();
        }
        if self.peer.due_ms().is_some_and(|at_ms| self.clock.instant(at_ms) <= now) {
            self.note(Event::Due);
            self.settle();
        }
        self.publish(now);
        true
    }

    /// Takes one input. Returns whether to go on.
    fn take(&mut self, input: Input) -> bool {
        self.outputs.metrics.taken(Queue::Core);
        match input {
            Input::Event(Event::Cancel(id)) => {
                self.replies.remove(&id);
                self.note(Event::Cancel(id));
            }
            Input::Event(event) => self.note(event),
            Input::Frame { from, frame, room } => {
                self.note(Event::Frame { from, frame });
                drop(room);
            }
            Input::Events(events) => events.into_iter().for_each(|event| self.note(event)),
            Input::Request(asking) => self.ask(asking),
            Input::Requests(all) => all.into_iter().for_each(|asking| self.ask(asking)),
            Input::Invitation { incarnation, reply } => {
                // Nobody is there any more when the connection has just gone.
                let _gone = reply.send(self.peer.invitation(incarnation));
            }
            Input::Stop => return false,
        }
        true
    }

    fn ask(&mut self, asking: Asking) {
        let Asking { id, request, patience_ms, reply } = asking;
        self.replies.insert(id, reply);
        self.note(Event::Request { id, request, patience_ms });
    }

    fn note(&mut self, event: Event) {
        self.changed = true;
        self.peer.take(self.clock.now(), event);
    }

    /// Carries out what follows from everything noted.
    fn settle(&mut self) {
        loop {
            for action in self.peer.act() {
                self.carry_out(action);
            }
            if self.own.is_empty() {
                break;
            }
            for event in std::mem::take(&mut self.own) {
                self.note(event);
            }
        }
        // Known before anybody hears that it was changed.
        if !Arc::ptr_eq(&self.meta.borrow(), self.peer.meta()) {
            self.meta.send_replace(Arc::clone(self.peer.meta()));
        }
        for (id, reply) in self.answers.drain(..) {
            if let Some(sender) = self.replies.remove(&id) {
                // Nobody is there any more when the client has just gone.
                let _gone = sender.send(reply);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        let outputs = &self.outputs;
        match action {
            Action::Write(write) => outputs.log_job(log_thread::Job::Write(write)),
            Action::Send { to, frame } => outputs.links.send(to, frame),
            Action::Reply { id, reply } => self.answers.push((id, reply)),
            // What is in memory is at hand; another thread would only add its waking up.
            Action::Read { token, plan } if in_memory(&plan) => {
                self.own.push_back(Event::ReadDone { token, result: outputs.storage.read(&plan) });
            }
            Action::Read { token, plan } => outputs.read_job(readers::Job::Read { token, plan }),
            Action::Fetch(fetch) => outputs.read_job(readers::Job::Fetch(fetch)),
            Action::ReadFile { token, file, at, length } => {
                outputs.read_job(readers::Job::File { token, file, at, length });
            }
            Action::Compact(compaction) => outputs.maintain(maintenance::Job::Compact(compaction)),
            Action::Stage { group, file, at, part } => {
                outputs.maintain(maintenance::Job::Stage { group, file, at, part });
            }
            Action::RemoveFiles(files) => outputs.maintain(maintenance::Job::Remove(files)),
        }
    }

    fn publish(&mut self, now: Instant) {
        if !self.changed || now < self.published + STATUS_EVERY {
            return;
        }
        let status = Arc::new(self.peer.status());
        self.outputs.metrics.show(&status);
        self.status.send_replace(status);
        self.published = now;
        self.changed = false;
    }
}

impl Outputs {
    // The threads behind these channels end after the core, or end the process: a send that fails has
    // nobody left to miss it.

    fn log_job(&self, job: log_thread::Job<RealDisk>) {
        if self.log.send(job).is_ok() {
            self.metrics.queued(Queue::Log);
        }
    }

    fn read_job(&self, job: readers::Job) {
        if self.reads.send(job).is_ok() {
            self.metrics.queued(Queue::Reads);
        }
    }

    fn maintain(&self, job: maintenance::Job) {
        if !matches!(job, maintenance::Job::Compact(_)) {
            self.pace.begin_waiting();
        }
        if self.maintenance.send(job).is_ok() {
            self.metrics.queued(Queue::Maintenance);
        }
    }
}

fn in_memory(plan: &ReadPlan) -> bool {
    plan.pieces.iter().all(|piece| matches!(piece, Piece::Memory(_)))
}
