//! What a peer decides, without a socket, a file or a clock: events in, actions out.
//!
//! [`Peer`] is one node of the hypercube. It holds the metadata and the slots that are placed on it, proposes,
//! applies, answers, forwards, and says what is to be written, sent and read. The node process and the
//! simulator drive the same code.

pub mod command;
pub mod frame;
mod peer;
mod proposals;
pub mod recovery;
pub mod request;
pub mod slot;
pub mod start;
pub mod storage;

use bytes::Bytes;
use hcube_consensus::{Fetch, Write};
use hcube_core::feature;
use hcube_core::ids::{GroupId, NodeId};
use hcube_core::meta::mover::Limits;
use hcube_log::{Position, SortedFileId, SortedFileMeta};

pub use command::PartitionId;
pub use frame::Frame;
pub use peer::{Peer, Status, given_up};
pub use request::{Answer, Error, Reply, Request};

use request::StoredBatch;

/// How a peer behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long followers may wait for news of what is committed, where no entries bring them, in milliseconds.
    pub commits_ms: u64,
    /// How the Raft groups behave; their ticks come with [`Event::Tick`].
    pub consensus: hcube_consensus::Config,
    /// Requests under way at most; beyond it they are refused.
    pub calls_max: usize,
    /// Bytes of requests under way at most.
    pub calls_bytes_max: usize,
    /// Ticks between looks at what retention lets go.
    pub retention_ticks: u64,
    /// Ticks after which a leader that is not the preferred one hands over, when that can take over.
    pub hand_over_ticks: u64,
    /// Ticks after a link broke in which a leader behind it must be heard from, or another is elected. Longer than
    /// between heartbeats.
    pub doubt_ticks: usize,
    /// Bytes of a snapshot's file asked for at a time.
    pub file_part_bytes: u32,
    /// Bytes of batches in one answer to a pull, whatever it asks for.
    pub pull_bytes_max: u32,
    /// Bytes that the log takes as the state of a group; a group with more is not compacted.
    pub base_bytes_max: usize,
    /// The newest feature level that this peer lets itself know.
    pub feature_level: u32,
    /// How much may move between peers at the same time.
    pub moves: Limits,
    /// Ticks between looks at what is to move.
    pub mover_ticks: u64,
    /// Bytes of snapshots' files asked for in a tick: what catching up may take of network and disk.
    pub staging_bytes_per_tick: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            consensus: hcube_consensus::Config::default(),
            commits_ms: 4,
            calls_max: 20_000,
            calls_bytes_max: 256 << 20,
            retention_ticks: 100,
            hand_over_ticks: 30,
            doubt_ticks: 3,
            file_part_bytes: 256 << 10,
            pull_bytes_max: 8 << 20,
            base_bytes_max: 15 << 20,
            feature_level: feature::NEWEST,
            moves: Limits::default(),
            mover_ticks: 2,
            staging_bytes_per_tick: 8 << 20,
        }
    }
}

/// The time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Never goes back; for timeouts. Milliseconds.
    pub mono_ms: u64,
    /// What people call the time; for stamps. Milliseconds since 1970.
    pub wall_ms: u64,
}

/// Names a request of this peer's own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a read in [`Action::Read`] and its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A tick's worth of time passed.
    Tick,
    /// The time of [`Peer::due_ms`] has come.
    Due,
    /// A frame arrived from a peer whose cluster, node id and incarnation the link has proved.
    Frame {
        /// The sender.
        from: NodeId,
        /// What it sent.
        frame: Frame,
    },
    /// Frames can be sent to a peer.
    LinkUp {
        /// Which.
        node: NodeId,
        /// The newest that it knows.
        feature_level: u32,
    },
    /// Frames to a peer since the last `LinkUp` may be lost, and none can be sent.
    LinkDown(NodeId),
    /// A client of this peer asks for something.
    Request {
        /// Names it in the reply.
        id: RequestId,
        /// What is asked.
        request: Request,
        /// How long the client waits, in milliseconds.
        patience_ms: u32,
    },
    /// The client is gone; nothing needs an answer any more.
    Cancel(RequestId),
    /// The process is about to end: others are to lead what this peer leads.
    HandOff,
    /// A write is done: durable, if it asked for that. Reported in order.
    Written {
        /// [`Write::number`].
        number: u64,
        /// Where its entries lie, in order.
        positions: Vec<Position>,
    },
    /// How the disk stands.
    Disk {
        /// Groups whose old entries keep segments from being deleted.
        pressure: Vec<GroupId>,
        /// Whether there is no room for more records.
        full: bool,
    },
    /// A [`Fetch`] is done; none when it failed.
    Fetched {
        /// [`Fetch::group`].
        group: GroupId,
        /// [`Fetch::token`].
        token: u64,
        /// The entries' data.
        entries: Option<Vec<Bytes>>,
    },
    /// An [`Action::Read`] is done.
    ReadDone {
        /// Its token.
        token: ReadToken,
        /// The batches.
        result: Result<Vec<StoredBatch>, ReadError>,
    },
    /// An [`Action::ReadFile`] is done.
    FileRead {
        /// Its token.
        token: ReadToken,
        /// The bytes.
        result: Result<Bytes, ReadError>,
    },
    /// An [`Action::Compact`] is done.
    Compacted {
        /// Its group.
        group: GroupId,
        /// The file that was written.
        result: Result<SortedFileMeta, String>,
    },
    /// An [`Action::Stage`] is done.
    Staged {
        /// Its group.
        group: GroupId,
        /// Its file.
        file: SortedFileId,
        /// Where the part began.
        at: u64,
        /// Whether the part is safe.
        result: Result<(), String>,
    },
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It has moved or was removed meanwhile: look again where it is now.
    #[error("it is not where it was")]
    Gone,
    /// The disk or the data is at fault.
    #[error("{0}")]
    Failed(String),
}

/// Something to be done. Actions of one event are in the order in which they must begin.
#[derive(Debug)]
pub enum Action {
    /// Write to the log; then [`Event::Written`].
    Write(Write),
    /// Send a frame; it may be lost.
    Send {
        /// The receiver.
        to: NodeId,
        /// What it gets.
        frame: Frame,
    },
    /// Answer a client.
    Reply {
        /// Whom.
        id: RequestId,
        /// What.
        reply: Reply,
    },
    /// Read batches; then [`Event::ReadDone`].
    Read {
        /// Names the read.
        token: ReadToken,
        /// What to read.
        plan: ReadPlan,
    },
    /// Read entries of the log for a follower; then [`Event::Fetched`].
    Fetch(Fetch),
    /// Read a part of a sorted file; then [`Event::FileRead`].
    ReadFile {
        /// Names the read.
        token: ReadToken,
        /// The file.
        file: SortedFileMeta,
        /// From this byte.
        at: u64,
        /// So many bytes at most.
        length: u32,
    },
    /// Write batches into a sorted file; then [`Event::Compacted`].
    Compact(Compaction),
    /// Add a part to a file that a snapshot needs; the last part checks the file and puts it in its place.
    /// Then [`Event::Staged`].
    Stage {
        /// The group it is for.
        group: GroupId,
        /// The file.
        file: SortedFileMeta,
        /// Where the part begins.
        at: u64,
        /// The part.
        part: Bytes,
    },
    /// Delete files that nothing refers to.
    RemoveFiles(Vec<SortedFileId>),
}

/// What to read for a pull, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset wanted.
    pub from: u64,
    /// Batches with older stamps are left out.
    pub stamp_ms: u64,
    /// Stop after this many bytes of batches, but not before one.
    pub max_bytes: u64,
    /// Stop after this many records from `from` on.
    pub max_records: u64,
    /// Where to read.
    pub pieces: Vec<Piece>,
}

/// One place to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A batch that is in memory.
    Memory(StoredBatch),
    /// A batch in the log: the entry that holds it, see [`command::batch_of`].
    Log {
        /// Offset of its first record.
        base_offset: u64,
        /// Its stamp.
        stamp_ms: u64,
        /// The entry.
        position: Position,
    },
    /// A run of batches in a sorted file.
    File {
        /// The file.
        file: SortedFileMeta,
        /// Not beyond this offset.
        end: u64,
    },
}

/// Batches to be sorted into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// The group.
    pub group: GroupId,
    /// The file to write.
    pub file: SortedFileId,
    /// The batches, by partition and offset.
    pub rows: Vec<CompactionRow>,
    /// Whether batches may stay in the log's segments.
    pub may_keep_segments: bool,
}

/// One batch to be sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionRow {
    /// Its partition.
    pub partition: PartitionId,
    /// Its records.
    pub records: u32,
    /// Where it is: [`Piece::Memory`] or [`Piece::Log`].
    pub piece: Piece,
}
