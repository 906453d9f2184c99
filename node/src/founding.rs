//! How a node becomes a member: from a genesis to a log that holds it and an identity that is bound to it.
//!
//! The order makes every crash harmless: log, file `genesis`, identity. Until the identity is bound the node
//! has not voted or acknowledged anything, so the next attempt throws the log away and begins anew.
//!
//! The file `genesis` stays for ever, so that any founder can found those that were late: magic `HCUBEGEN`,
//! format version `u32`, the length `u32` and bytes of the encoded [`Meta`], then the crc32c (`u32`) of all
//! before.

use std::io;

use bytes::Bytes;
use hcube_broker::start::genesis_ops;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_core::meta::Meta;
use hcube_log::disk::{Disk, File};
use hcube_log::identity::{Identity, IdentityError, Membership};
use hcube_log::{Log, OpenError, WriteError};

const PATH: &str = "genesis";
const TEMPORARY: &str = "genesis.tmp";
const MAGIC: &[u8; 8] = b"HCUBEGEN";
const VERSION: u32 = 1;
/// More than the genesis of the largest hypercube takes; a longer file is not read into memory.
const BYTES_MAX: u64 = 16 << 20;
/// Where the log keeps its segments.
const LOG_DIR: &str = "log";

/// Why a node does not become a member. Nothing has changed then that the next attempt does not mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk belongs to another hypercube.
    #[error("this node belongs to the cluster {bound} and cannot join {asked}")]
    OtherCluster {
        /// The one it is bound to.
        bound: ClusterId,
        /// The one it was asked to join.
        asked: ClusterId,
    },
    /// The genesis does not name this disk.
    #[error("the founders of cluster {cluster} do not include the incarnation {incarnation}")]
    NotListed {
        /// The cluster.
        cluster: ClusterId,
        /// This disk.
        incarnation: Incarnation,
    },
    /// There is a log but no identity that says whose it is.
    #[error("the data directory holds a log but no identity file; it is not overwritten")]
    LogWithoutIdentity,
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The disk failed.
    #[error("the data directory: {0}")]
    Io(#[from] io::Error),
}

/// Why the file `genesis` is of no use.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The disk failed.
    #[error("the genesis file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is damaged, or of a format that this version does not know.
    #[error("the genesis file does not decode: {0}")]
    Malformed(#[from] DecodeError),
}

/// The identity of a disk; an empty one gets its incarnation now.
///
/// # Errors
/// When the identity cannot be read, or is missing where there is a log.
pub fn identity<D: Disk>(disk: &D, fresh: Incarnation) -> Result<Identity, Error> {
    if let Some(identity) = Identity::load(disk)? {
        return Ok(identity);
    }
    if disk.exists(LOG_DIR)? && !disk.list(LOG_DIR)?.is_empty() {
        return Err(Error::LogWithoutIdentity);
    }
    let identity = Identity { incarnation: fresh, member: None };
    identity.store(disk)?;
    Ok(identity)
}

/// Makes this disk the one of the founder that the genesis lists for it.
///
/// Repeating it with the same cluster changes nothing.
///
/// # Errors
/// See [`Error`].
pub fn found<D: Disk>(disk: &D, log: hcube_log::Config, genesis: &Meta) -> Result<Membership, Error> {
    // From the disk, not from memory: an earlier attempt may have ended unseen.
    let identity = Identity::load(disk)?.ok_or(Error::LogWithoutIdentity)?;
    if let Some(member) = identity.member {
        let (bound, asked) = (member.cluster, genesis.cluster);
        return if bound == asked { Ok(member) } else { Err(Error::OtherCluster { bound, asked }) };
    }
    let node = node_of(genesis, identity.incarnation)
        .ok_or(Error::NotListed { cluster: genesis.cluster, incarnation: identity.incarnation })?;
    clear_log(disk)?;
    let (mut log, _) = Log::open(disk.clone(), log)?;
    log.write(&genesis_ops(genesis, node))?;
    log.mark_idle()?;
    store_genesis(disk, genesis)?;
    let member = Membership { cluster: genesis.cluster, node };
    Identity { member: Some(member), ..identity }.store(disk)?;
    Ok(member)
}

/// The genesis that this node was founded with.
///
/// # Errors
/// When the file is missing or damaged: the node can go on, but not found others.
pub fn load_genesis<D: Disk>(disk: &D) -> Result<Bytes, GenesisError> {
    let file = disk.open(PATH)?;
    let length = file.len()?;
    if length > BYTES_MAX {
        return Err(DecodeError::Invalid("length").into());
    }
    let mut raw = vec![0; usize::try_from(length).map_err(|_| DecodeError::Invalid("length"))?];
    file.read_exact_at(&mut raw, 0)?;
    Ok(decode_genesis(&raw)?)
}

fn decode_genesis(raw: &[u8]) -> Result<Bytes, DecodeError> {
    let (content, crc) = raw.split_last_chunk::<4>().ok_or(DecodeError::Truncated("crc"))?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || !content.starts_with(MAGIC) {
        return Err(DecodeError::Invalid("crc"));
    }
    let mut reader = Reader::new(Bytes::copy_from_slice(&content[MAGIC.len()..]));
    match reader.u32("format version")? {
        VERSION => {}
        value => return Err(DecodeError::Unknown { what: "format version", value: value.into() }),
    }
    let genesis = reader.bytes("metadata")?;
    reader.finish()?;
    Ok(genesis)
}

fn store_genesis<D: Disk>(disk: &D, genesis: &Meta) -> io::Result<()> {
    let mut raw = MAGIC.to_vec();
    raw.u32(VERSION);
    raw.bytes(&genesis.encode());
    raw.u32(crc32c::crc32c(&raw));
    if disk.exists(TEMPORARY)? {
        disk.remove(TEMPORARY)?;
    }
    let file = disk.create_new(TEMPORARY)?;
    file.write_at(&raw, 0)?;
    file.sync_data()?;
    disk.rename(TEMPORARY, PATH)?;
    disk.sync_dir("")
}

/// The node that a genesis makes of a disk.
pub(crate) fn node_of(genesis: &Meta, incarnation: Incarnation) -> Option<NodeId> {
    genesis.members.values().find(|member| member.incarnation == incarnation).map(|member| member.node)
}

/// Removes the log of an attempt that did not get as far as the identity.
fn clear_log<D: Disk>(disk: &D) -> io::Result<()> {
    if !disk.exists(LOG_DIR)? {
        return Ok(());
    }
    for name in disk.list(LOG_DIR)? {
        disk.remove(&format!("{LOG_DIR}/{name}"))?;
    }
    disk.sync_dir(LOG_DIR)
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::Vertex;
    use hcube_core::meta::{self, Founder};
    use hcube_log::disk::faulty::FaultyDisk;

    use super::*;

    const LOG: hcube_log::Config = hcube_log::Config { segment_bytes: 256 << 10, sealed_segments_target: 3 };

    fn genesis(cluster: u128, incarnations: &[u128]) -> Meta {
        let founders = incarnations.iter().zip(0..).map(|(incarnation, vertex)| Founder {
            incarnation: Incarnation(*incarnation),
            vertex: Vertex(vertex),
            zone: String::new(),
            peer_address: format!("127.0.0.1:{}", 8100 + vertex),
            client_address: format!("127.0.0.1:{}", 8000 + vertex),
        });
        meta::genesis(ClusterId(cluster), founders.collect(), 8, 3).unwrap()
    }

    fn fresh() -> FaultyDisk {
        let disk = FaultyDisk::new();
        identity(&disk, Incarnation(11)).unwrap();
        disk
    }

    /// The disk holds exactly what the genesis asks for.
    fn assert_founded(disk: &FaultyDisk, genesis: &Meta, member: Membership) {
        assert_eq!(Identity::load(disk).unwrap().unwrap().member, Some(member));
        assert_eq!(load_genesis(disk).unwrap(), genesis.encode());
        let (_, recovery) = Log::open(disk.clone(), LOG).unwrap();
        let here = genesis.groups().filter(|(_, placement)| placement.replica_on(member.node).is_some());
        assert!(recovery.groups.keys().copied().eq(here.map(|(group, _)| group)));
        assert!(recovery.damage.is_none());
    }

    #[test]
    fn founding_survives_a_crash_at_every_step() {
        let genesis = genesis(7, &[10, 11, 12]);
        let mut steps = 0;
        for fuse in 0.. {
            let disk = fresh();
            disk.set_fuse(Some(fuse));
            let first = found(&disk, LOG, &genesis);
            disk.crash(fuse);
            let second = found(&disk, LOG, &genesis).unwrap();
            assert_founded(&disk, &genesis, second);
            if first.is_ok() {
                steps = fuse;
                break;
            }
        }
        assert!(steps > 10, "only {steps} steps could be interrupted");
    }

    #[test]
    fn interrupted_founding_can_be_replaced_by_another_hypercube() {
        for fuse in 0..60 {
            let disk = fresh();
            disk.set_fuse(Some(fuse));
            let first = found(&disk, LOG, &genesis(7, &[10, 11, 12]));
            disk.crash(fuse);
            let other = genesis(8, &[11, 10]);
            match (found(&disk, LOG, &other), first) {
                (Ok(member), Err(_)) => assert_founded(&disk, &other, member),
                // Bound just before the power went: what is on the disk counts.
                (Err(Error::OtherCluster { .. }), _) => {}
                (result, first) => panic!("{result:?} after {first:?}"),
            }
        }
    }

    #[test]
    fn repeating_changes_nothing_and_another_cluster_is_refused() {
        let disk = fresh();
        let ours = genesis(7, &[10, 11, 12]);
        let member = found(&disk, LOG, &ours).unwrap();
        let operations = disk.counters().operations;
        assert_eq!(found(&disk, LOG, &ours).unwrap(), member);
        assert!(matches!(found(&disk, LOG, &genesis(8, &[11])), Err(Error::OtherCluster { .. })));
        assert_eq!(disk.counters().operations, operations);
    }

    #[test]
    fn a_disk_that_the_founders_do_not_include_stays_unbound() {
        let disk = fresh();
        assert!(matches!(found(&disk, LOG, &genesis(7, &[10, 12, 13])), Err(Error::NotListed { .. })));
        assert_eq!(Identity::load(&disk).unwrap().unwrap().member, None);
    }

    #[test]
    fn a_log_without_identity_is_not_overwritten() {
        let disk = fresh();
        found(&disk, LOG, &genesis(7, &[11])).unwrap();
        disk.remove("identity").unwrap();
        assert!(matches!(identity(&disk, Incarnation(12)), Err(Error::LogWithoutIdentity)));
    }

    #[test]
    fn every_flipped_bit_of_the_genesis_is_noticed() {
        let disk = fresh();
        found(&disk, LOG, &genesis(7, &[11])).unwrap();
        for byte in 0..60 {
            let other = disk.fork();
            other.flip_bit(PATH, byte, 3);
            assert!(load_genesis(&other).is_err(), "byte {byte}");
        }
    }
}
