//! Every metric of the node process, each with its meaning and labels.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hcube_api::cluster::{MemberState, Rebalance};
use hcube_broker::{Answer, Error, Reply, Request, Status};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of a finished request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// What was asked, such as `publish`.
    kind: &'static str,
    /// `ok`, or why not, such as `no-leader`.
    result: &'static str,
}

/// The label of a request's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    /// What was asked, such as `publish`.
    kind: &'static str,
}

/// The label of members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    /// `up`, `down`, `unknown`, `joining` or `leaving`.
    state: &'static str,
}

/// The node's metrics. All parts of the node hold the same ones.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    /// Time of one `fdatasync` of the log.
    pub(crate) wal_sync_seconds: Histogram,
    /// Writes made durable by one sync.
    pub(crate) wal_sync_writes: Histogram,
    /// Bytes of entries and bases handed to the log.
    pub(crate) wal_written_bytes: Counter,
    wal_segments: Gauge,
    wal_queue: Gauge,
    core_queue: Gauge,
    read_queue: Gauge,
    maintenance_queue: Gauge,
    groups: Gauge,
    groups_led: Gauge,
    groups_without_leader: Gauge,
    replicas_lagging: Gauge,
    snapshots_incoming: Gauge,
    requests_under_way: Gauge,
    polls_shared: Counter,
    links_up: Gauge,
    members: Family<StateLabel, Gauge>,
    drains: Gauge,
    slots_moving: Gauge,
    slots_waiting: Gauge,
    slots_under_replicated: Gauge,
    slots_without_majority: Gauge,
    losses: Gauge,
    moves_paused: Gauge,
    /// Bytes written to links.
    pub(crate) link_sent_bytes: Counter,
    /// Bytes read from links.
    pub(crate) link_received_bytes: Counter,
    /// Raft frames that did not fit a link's queue.
    pub(crate) link_dropped_frames: Counter,
    /// Links refused or closed for a reason other than their end.
    pub(crate) link_refusals: Counter,
    disk_full: Gauge,
    clock_sane: Gauge,
}

/// A queue whose length is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Queue {
    /// What the core has not taken yet.
    Core,
    /// Writes that the log has not taken yet.
    Log,
    /// Reads that wait for a thread.
    Reads,
    /// Compactions, staged parts and removals that wait.
    Maintenance,
}

impl Metrics {
    /// Metrics that have counted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        // 50 microseconds to 13 seconds.
        let seconds = || Histogram::new(exponential_buckets(50e-6, 2.0, 19));
        let mut metrics = Self {
            registry: Registry::with_prefix("hcube"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            wal_sync_seconds: seconds(),
            wal_sync_writes: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            wal_written_bytes: Counter::default(),
            wal_segments: Gauge::default(),
            wal_queue: Gauge::default(),
            core_queue: Gauge::default(),
            read_queue: Gauge::default(),
            maintenance_queue: Gauge::default(),
            groups: Gauge::default(),
            groups_led: Gauge::default(),
            groups_without_leader: Gauge::default(),
            replicas_lagging: Gauge::default(),
            snapshots_incoming: Gauge::default(),
            requests_under_way: Gauge::default(),
            polls_shared: Counter::default(),
            links_up: Gauge::default(),
            members: Family::default(),
            drains: Gauge::default(),
            slots_moving: Gauge::default(),
            slots_waiting: Gauge::default(),
            slots_under_replicated: Gauge::default(),
            slots_without_majority: Gauge::default(),
            losses: Gauge::default(),
            moves_paused: Gauge::default(),
            link_sent_bytes: Counter::default(),
            link_received_bytes: Counter::default(),
            link_dropped_frames: Counter::default(),
            link_refusals: Counter::default(),
            disk_full: Gauge::default(),
            clock_sane: Gauge::default(),
        };
        metrics.clock_sane.set(1);
        metrics.register();
        metrics
    }

    #[rustfmt::skip] // One metric a line.
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Requests of this peer's own clients that ended, by kind and result", self.requests.clone());
        r.register_with_unit("request", "From a request's arrival to its answer, by kind", Unit::Seconds, self.request_seconds.clone());
        r.register_with_unit("wal_sync", "Time of one fdatasync of the write-ahead log", Unit::Seconds, self.wal_sync_seconds.clone());
        r.register("wal_sync_writes", "Writes made durable by one sync of the write-ahead log", self.wal_sync_writes.clone());
        r.register_with_unit("wal_written", "Entries and bases handed to the write-ahead log", Unit::Bytes, self.wal_written_bytes.clone());
        r.register("wal_segments", "Segments of the write-ahead log, prepared ones included", self.wal_segments.clone());
        r.register("wal_queue", "Writes that the log has not taken yet", self.wal_queue.clone());
        r.register("core_queue", "Events that the core has not taken yet", self.core_queue.clone());
        r.register("read_queue", "Reads that wait for a thread", self.read_queue.clone());
        r.register("maintenance_queue", "Compactions, snapshot parts and removals that wait", self.maintenance_queue.clone());
        r.register("groups", "Raft groups with a replica here", self.groups.clone());
        r.register("groups_led", "Raft groups that this peer leads", self.groups_led.clone());
        r.register("groups_without_leader", "Raft groups here whose leader is not known", self.groups_without_leader.clone());
        r.register("replicas_lagging", "Replicas that are not in sync, of groups that this peer leads", self.replicas_lagging.clone());
        r.register("snapshots_incoming", "Groups here that are being restored from a snapshot", self.snapshots_incoming.clone());
        r.register("requests_under_way", "Requests under way, forwarded ones included", self.requests_under_way.clone());
        r.register("polls_shared", "Polls of any peer that were answered by what another poll had brought here", self.polls_shared.clone());
        r.register("links_up", "Peers to which frames can be sent", self.links_up.clone());
        r.register("members", "Members of the hypercube by state, as this peer sees them", self.members.clone());
        r.register("drains", "Members that are being drained", self.drains.clone());
        r.register("slots_moving", "Slots of the hypercube whose replicas are on their way", self.slots_moving.clone());
        r.register("slots_waiting", "Slots of the hypercube that still have to move", self.slots_waiting.clone());
        r.register("slots_under_replicated", "Slots of the hypercube with fewer replicas than they should have", self.slots_under_replicated.clone());
        r.register("slots_without_majority", "Slots of the hypercube that lost the disks of most of their voters and wait for unsafe-recover", self.slots_without_majority.clone());
        r.register("losses", "Slots of the hypercube, and its metadata, that were made to go on without their majority, ever", self.losses.clone());
        r.register("moves_paused", "1 while slots stay where they are, whatever is wished", self.moves_paused.clone());
        r.register_with_unit("link_sent", "Written to links", Unit::Bytes, self.link_sent_bytes.clone());
        r.register_with_unit("link_received", "Read from links", Unit::Bytes, self.link_received_bytes.clone());
        r.register("link_dropped_frames", "Raft frames that did not fit a link's queue", self.link_dropped_frames.clone());
        r.register("link_refusals", "Links refused or closed for a reason other than their end", self.link_refusals.clone());
        r.register("disk_full", "1 while publishes are refused for lack of space", self.disk_full.clone());
        r.register("clock_sane", "0 after the wall clock jumped ahead by more than an hour", self.clock_sane.clone());
    }

    /// The metrics in Prometheus' text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let fmt::Result::Ok(()) = text::encode(&mut out, &self.registry) else { return String::new() };
        out
    }

    /// Counts a request that ended.
    pub(crate) fn request_ended(&self, kind: &'static str, reply: &Reply, took: Duration) {
        let result = reply.result.as_ref().map_or_else(error_label, |_: &Answer| "ok");
        self.requests.get_or_create(&RequestLabels { kind, result }).inc();
        self.request_seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }

    /// Shows how the peer stands.
    pub(crate) fn show(&self, status: &Status) {
        let groups = status.groups.values();
        let figure = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.groups.set(figure(status.groups.len()));
        self.groups_led.set(figure(groups.clone().filter(|g| g.leader == Some(status.node)).count()));
        self.groups_without_leader.set(figure(groups.clone().filter(|g| g.leader.is_none()).count()));
        self.replicas_lagging.set(figure(groups.map(|g| g.lagging).sum()));
        self.snapshots_incoming.set(figure(status.restoring.len()));
        self.requests_under_way.set(figure(status.calls));
        self.polls_shared.inner().store(status.polls_shared, Ordering::Relaxed);
        self.links_up.set(figure(status.links.len()));
        self.disk_full.set(status.disk_full.into());
        self.clock_sane.set(status.clock_is_sane.into());
    }

    /// Shows how the hypercube stands, as this peer sees it.
    pub(crate) fn show_members(
        &self,
        members: impl Iterator<Item = MemberState>,
        rebalance: Rebalance,
        losses: usize,
    ) {
        let states: Vec<MemberState> = members.collect();
        let count = |state: MemberState| {
            i64::try_from(states.iter().filter(|other| **other == state).count()).unwrap_or(i64::MAX)
        };
        for (state, text) in MEMBER_STATES {
            self.members.get_or_create(&StateLabel { state: text }).set(count(state));
        }
        self.drains.set(count(MemberState::Leaving));
        self.slots_moving.set(rebalance.moving.into());
        self.slots_waiting.set(rebalance.waiting.into());
        self.slots_under_replicated.set(rebalance.under_replicated.into());
        self.slots_without_majority.set(rebalance.without_majority.into());
        self.losses.set(i64::try_from(losses).unwrap_or(i64::MAX));
        self.moves_paused.set(rebalance.paused.into());
    }

    /// Shows the log's size.
    pub(crate) fn show_log(&self, stats: &hcube_log::Stats) {
        self.wal_segments.set(i64::try_from(stats.segments).unwrap_or(i64::MAX));
    }

    /// Something was put into a queue.
    pub(crate) fn queued(&self, queue: Queue) {
        self.queue(queue).inc();
    }

    /// Something was taken out of a queue.
    pub(crate) fn taken(&self, queue: Queue) {
        self.queue(queue).dec();
    }

    fn queue(&self, queue: Queue) -> &Gauge {
        match queue {
            Queue::Core => &self.core_queue,
            Queue::Log => &self.wal_queue,
            Queue::Reads => &self.read_queue,
            Queue::Maintenance => &self.maintenance_queue,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Every state of a member and its label.
const MEMBER_STATES: [(MemberState, &str); 5] = [
    (MemberState::Up, "up"),
    (MemberState::Down, "down"),
    (MemberState::Unknown, "unknown"),
    (MemberState::Joining, "joining"),
    (MemberState::Leaving, "leaving"),
];

/// The `kind` of a request.
pub(crate) fn kind_label(request: &Request) -> &'static str {
    match request {
        Request::CreateTopic { .. } => "create-topic",
        Request::AlterTopic { .. } => "alter-topic",
        Request::DeleteTopic { .. } => "delete-topic",
        Request::FindTopic { .. } => "find-topic",
        Request::Publish { .. } => "publish",
        Request::Pull(_) => "pull",
        Request::Describe { .. } => "describe",
        Request::RegisterPublisher { .. } => "register-publisher",
        Request::RegisterSubscriber { .. } => "register-subscriber",
        Request::FindSubscriber { .. } => "find-subscriber",
        Request::CommitCursor { .. } => "commit-cursor",
        Request::FetchCursor { .. } => "fetch-cursor",
        Request::ReadFile { .. } => "read-file",
        Request::Change(_) => "change",
        Request::NodeStatus { .. } => "node-status",
        Request::MetadataStatus { .. } => "metadata-status",
        Request::ForceMetadata { .. } => "force-metadata",
    }
}

fn error_label(error: &Error) -> &'static str {
    match error {
        Error::UnknownTopic => "unknown-topic",
        Error::TopicExists(_) => "topic-exists",
        Error::TooManyTopics => "too-many-topics",
        Error::TooMany => "too-many",
        Error::Invalid(_) => "invalid",
        Error::OutOfRange { .. } => "out-of-range",
        Error::InvalidBatch(_) => "invalid-batch",
        Error::SequenceGap { .. } => "sequence-gap",
        Error::SequenceTooOld => "sequence-too-old",
        Error::Fenced { .. } => "fenced",
        Error::UnknownProducer => "unknown-producer",
        Error::NoLeader => "no-leader",
        Error::Unknown => "unknown",
        Error::NotHere => "not-here",
        Error::Overloaded => "overloaded",
        Error::DiskFull => "disk-full",
        Error::Read(_) => "read",
        Error::NotLeader(_) => "not-leader",
        Error::Change(_) => "change-refused",
        Error::Left => "left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_kind_and_result() {
        let metrics = Metrics::new();
        let reply = Reply { result: Err(Error::NoLeader), path: Vec::new() };
        metrics.request_ended("publish", &reply, Duration::from_millis(3));
        let text = metrics.text();
        assert!(text.contains("hcube_requests_total{kind=\"publish\",result=\"no-leader\"} 1"), "{text}");
        assert!(text.contains("hcube_request_seconds_count{kind=\"publish\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn members_are_counted_by_state() {
        let metrics = Metrics::new();
        let states = [MemberState::Up, MemberState::Up, MemberState::Leaving];
        let rebalance = Rebalance {
            moving: 3,
            waiting: 7,
            under_replicated: 1,
            without_majority: 2,
            paused: true,
            epoch: 9,
        };
        metrics.show_members(states.into_iter(), rebalance, 5);
        let text = metrics.text();
        for line in [
            "hcube_members{state=\"up\"} 2",
            "hcube_members{state=\"down\"} 0",
            "hcube_drains 1",
            "hcube_slots_moving 3",
            "hcube_slots_waiting 7",
            "hcube_slots_under_replicated 1",
            "hcube_slots_without_majority 2",
            "hcube_losses 5",
            "hcube_moves_paused 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn queues_show_their_length() {
        let metrics = Metrics::new();
        metrics.queued(Queue::Log);
        metrics.queued(Queue::Log);
        metrics.taken(Queue::Log);
        assert!(metrics.text().contains("hcube_wal_queue 1\n"));
    }
}
