//! The administrator: a client that wants other members, other numbers of replicas, moves paused; and repeats each
//! request until its end is known, as an operator would.

mod task;

use std::collections::BTreeMap;

use hcube_broker::{Answer, Error, Request, RequestId};
use hcube_core::ids::NodeId;
use hcube_core::meta::{Change, Meta};
use hcube_core::placement::Standing;
use hcube_core::topic::Name;

use crate::report::Changes;
use crate::streams::pick;
use crate::world::World;

use task::{Next, Task, Want};

/// Peers that the hypercube may have.
const PEERS_MAX: usize = 9;
/// How long after a request for single replicas no disk may be lost, in microseconds: while slots are on their way to
/// one that is there no more, nobody knows it yet.
const SHRINKING_US: u64 = 10_000_000;
/// How long a request may take, in milliseconds.
const PATIENCE_MS: u32 = 2_000;

/// The administrator.
#[derive(Default)]
pub(crate) struct Admin {
    tasks: Vec<Task>,
    asked: BTreeMap<RequestId, usize>,
    next_task: usize,
    /// Whether nothing new is wanted any more.
    finishing: bool,
    pub changes: Changes,
}

impl Admin {
    /// Wants something new, if there is not too much under way.
    pub fn wish(&mut self, world: &mut World, topics: &[Name]) {
        if self.tasks.len() >= 6 {
            return;
        }
        let meta = world.newest().clone();
        let resizes = self.tasks.iter().any(|task| task.want.resizes());
        let sets = self.tasks.iter().any(|task| matches!(task.want, Want::Set(_)));
        match world.streams.admin.below(10) {
            0..=3 if !resizes && meta.members.len() < PEERS_MAX => self.join(world),
            4..=6 if !resizes => self.drain(world, &meta),
            7 if !sets => {
                let replication = pick(&mut world.streams.admin, &[1, 3, 3, 5]).unwrap_or(3);
                // To a single replica on a disk that is lost, which the metadata cannot know yet, there is no way.
                if replication == 1 && world.mourns() {
                    return;
                }
                self.want(world, Want::Set(Change::SetReplication { replication }));
            }
            8 if !sets => {
                let topic = topics
                    [usize::try_from(world.streams.admin.below(topics.len() as u64)).unwrap_or(0)]
                .clone();
                let count = u8::try_from(world.streams.admin.below(3)).unwrap_or(0);
                self.want(world, Want::Set(Change::SetReadReplicas { topic, count }));
            }
            9 if !sets => self.want(world, Want::Set(Change::SetPaused { paused: true })),
            _ => {}
        }
    }

    fn want(&mut self, world: &World, want: Want) {
        self.next_task += 1;
        self.tasks.push(Task { id: self.next_task, want, not_before_us: world.time_us, gives_up_us: None });
    }

    fn join(&mut self, world: &mut World) {
        let machine = world.provide();
        world.start(machine);
        self.want(world, Want::Join { machine, vertex: None });
    }

    fn drain(&mut self, world: &mut World, meta: &Meta) {
        let active = meta.members.values().filter(|member| member.standing == Standing::Active);
        let Some(highest) = active.max_by_key(|member| member.vertex) else { return };
        let cancel = world.streams.admin.below(4) == 0;
        self.want(world, Want::Drain { node: highest.node, cancel });
    }

    /// A peer's disk is lost: another machine takes its place.
    pub fn replace(&mut self, world: &mut World, node: NodeId) {
        let known = |task: &Task| matches!(task.want, Want::Replace { node: other, .. } if other == node);
        let Some(member) = world.newest().members.get(&node) else { return };
        if self.tasks.iter().any(known) {
            return;
        }
        let vertex = member.vertex;
        let machine = world.provide();
        world.start(machine);
        self.want(world, Want::Replace { machine, node, vertex });
    }

    /// Sends what is due.
    pub fn run(&mut self, world: &mut World, ask: &[usize]) {
        let now = world.time_us;
        let meta = world.newest().clone();
        if self.finishing {
            self.tidy_up(world, &meta);
        }
        for at in 0..self.tasks.len() {
            let task = &self.tasks[at];
            if task.gives_up_us.is_some_and(|gives_up| gives_up > now) || task.not_before_us > now {
                continue;
            }
            let change = task.want.change(&meta);
            let Some(peer) = pick(&mut world.streams.admin, ask) else { return };
            if change == (Change::SetReplication { replication: 1 }) {
                world.no_losses_before_us = now + SHRINKING_US;
            }
            let id = world.ask(peer, Request::Change(change), PATIENCE_MS);
            self.asked.insert(id, self.tasks[at].id);
            let task = &mut self.tasks[at];
            self.changes.repeats += u64::from(task.gives_up_us.is_some());
            task.gives_up_us = Some(now + 1000 * u64::from(PATIENCE_MS) + 500_000);
        }
    }

    /// A request that was late undoes what was asked for after it: a drain that was cancelled, a pause that was ended.
    fn tidy_up(&mut self, world: &World, meta: &Meta) {
        let resume = Want::Set(Change::SetPaused { paused: false });
        if meta.paused && !self.tasks.iter().any(|task| task.want == resume) {
            self.want(world, resume);
        }
        if self.tasks.iter().any(|task| matches!(task.want, Want::Drain { .. } | Want::Cancel { .. })) {
            return;
        }
        for member in meta.members.values().filter(|member| member.standing == Standing::Draining) {
            let node = member.node;
            if !self.tasks.iter().any(|task| task.want == Want::Remove { node }) {
                self.want(world, Want::Cancel { node });
            }
        }
    }

    /// Takes an answer, if it is one to the administrator.
    pub fn answered(&mut self, world: &mut World, id: RequestId, result: Result<Answer, Error>) -> bool {
        let Some(task) = self.asked.remove(&id) else { return false };
        let Some(at) = self.tasks.iter().position(|other| other.id == task) else { return true };
        let next = self.tasks[at].want.answered(result, &mut self.changes, self.finishing);
        let now = world.time_us;
        let task = &mut self.tasks[at];
        task.gives_up_us = None;
        match next {
            Next::Again { after_us } => task.not_before_us = now + after_us,
            Next::Then { want, after_us } => (task.want, task.not_before_us) = (want, now + after_us),
            Next::Done => _ = self.tasks.remove(at),
        }
        true
    }

    /// Wants nothing new, and everything under way to end well.
    pub fn finish(&mut self, world: &World) {
        self.finishing = true;
        for task in &mut self.tasks {
            task.not_before_us = world.time_us;
        }
        self.want(world, Want::Set(Change::SetPaused { paused: false }));
    }

    /// What is left to do, for the message of a failure.
    pub fn open(&self) -> Vec<String> {
        self.tasks.iter().map(|task| format!("{:?}", task.want)).collect()
    }
}
