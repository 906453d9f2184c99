//! What hcube accepts at most. Every limit is checked at the edge, before memory is spent on its excess.

/// Peers in one hypercube.
pub const PEERS_MAX: u16 = 1024;
/// Slots of one hypercube; a power of two.
pub const SLOTS_MAX: u16 = 4096;
/// Slots of a hypercube for which nothing else was asked.
pub const SLOTS_DEFAULT: u16 = 64;
/// Replication factor of a hypercube for which nothing else was asked.
pub const REPLICATION_DEFAULT: u8 = 3;
/// Topics of one hypercube.
pub const TOPICS_MAX: usize = 100_000;
/// Partitions of one topic.
pub const PARTITIONS_MAX: u16 = 1024;
/// Bytes of a topic's, publisher's or subscriber's name.
pub const NAME_BYTES_MAX: usize = 255;
/// Key, headers and value of one message together, unless configured otherwise.
pub const MESSAGE_BYTES_DEFAULT: usize = 1 << 20;
/// One record batch, which is one entry of a replicated log.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Records of one batch.
pub const BATCH_RECORDS_MAX: u32 = 65_536;
/// Headers of one message.
pub const HEADERS_MAX: usize = 64;
/// Batches remembered for each producer and partition, so that a retry gets its first answer.
pub const DEDUPLICATION_BATCHES: usize = 5;
/// Producers remembered in one partition; beyond it, the one idle longest is forgotten.
pub const PRODUCERS_MAX: usize = 1024;
/// Publishers registered in one slot, and likewise subscribers.
pub const REGISTRATIONS_MAX: usize = 50_000;
/// Cursors of one partition.
pub const CURSORS_MAX: usize = 10_000;
/// Peers that may be drained at the same time.
pub const DRAINS_MAX: usize = 2;
/// Replicas that only read which a topic may have beside those that vote.
pub const READ_REPLICAS_MAX: u8 = 16;
/// Bytes of an address or a zone; a DNS name has at most 253.
pub const ADDRESS_BYTES_MAX: usize = 300;
