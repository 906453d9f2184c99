//! How a node becomes a member: from a genesis, or the invitation of a hypercube that exists, to a log that holds
//! it and an identity that is bound to it.
//!
//! The order makes every crash harmless: log, file `genesis`, identity. Until the identity is bound the node
//! has not voted or acknowledged anything, so the next attempt throws the log away and begins anew.
//!
//! The file `genesis` stays for ever, so that any founder can found those that were late: magic `HCUBEGEN`,
//! format version `u32`, the length `u32` and bytes of the encoded [`Meta`], then the crc32c (`u32`) of all
//! before. A node that was invited has none.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use hcube_broker::start::{Invitation, genesis_ops};
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_core::meta::Meta;
use hcube_log::disk::{Disk, File};
use hcube_log::identity::{Identity, IdentityError, Membership};
use hcube_log::{Log, Op, OpenError, WriteError};

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
    /// The invitation is another disk's.
    #[error("the invitation to cluster {cluster} is not meant for the incarnation {incarnation}")]
    NotInvited {
        /// The cluster.
        cluster: ClusterId,
        /// This disk.
        incarnation: Incarnation,
    },
    /// The metadata in an invitation does not decode.
    #[error("the invitation does not decode: {0}")]
    Invitation(#[from] DecodeError),
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

/// What a founder keeps to found others with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The encoded [`Meta`].
    pub encoded: Bytes,
    /// The disks that it founds.
    pub founders: BTreeSet<Incarnation>,
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
    let incarnation = match standing(disk, genesis.cluster)? {
        Standing::Member(member) => return Ok(member),
        Standing::Unbound(incarnation) => incarnation,
    };
    let node =
        node_of(genesis, incarnation).ok_or(Error::NotListed { cluster: genesis.cluster, incarnation })?;
    begin_log(disk, log, &genesis_ops(genesis, node))?;
    store_genesis(disk, genesis)?;
    bind(disk, incarnation, Membership { cluster: genesis.cluster, node })
}

/// Makes this disk the one of the member that the invitation names.
///
/// Repeating it with the same cluster changes nothing.
///
/// # Errors
/// See [`Error`].
pub fn join<D: Disk>(disk: &D, log: hcube_log::Config, invitation: &Invitation) -> Result<Membership, Error> {
    let cluster = invitation.cluster;
    let incarnation = match standing(disk, cluster)? {
        Standing::Member(member) => return Ok(member),
        Standing::Unbound(incarnation) => incarnation,
    };
    let node = invitation.node;
    if node_of(&invitation.meta()?, incarnation) != Some(node) {
        return Err(Error::NotInvited { cluster, incarnation });
    }
    begin_log(disk, log, &invitation.ops())?;
    // That of an interrupted founding is not this node's.
    remove_genesis(disk)?;
    bind(disk, incarnation, Membership { cluster, node })
}

/// Whose a disk is when a hypercube asks for it.
enum Standing {
    /// That hypercube's.
    Member(Membership),
    /// Nobody's.
    Unbound(Incarnation),
}

/// From the disk, not from memory: an earlier attempt may have ended unseen.
fn standing<D: Disk>(disk: &D, asked: ClusterId) -> Result<Standing, Error> {
    let identity = Identity::load(disk)?.ok_or(Error::LogWithoutIdentity)?;
    match identity.member {
        None => Ok(Standing::Unbound(identity.incarnation)),
        Some(member) if member.cluster == asked => Ok(Standing::Member(member)),
        Some(member) => Err(Error::OtherCluster { bound: member.cluster, asked }),
    }
}

/// Makes a log that holds this and nothing else, durably.
fn begin_log<D: Disk>(disk: &D, config: hcube_log::Config, ops: &[Op]) -> Result<(), Error> {
    clear_log(disk)?;
    let (mut log, _) = Log::open(disk.clone(), config)?;
    log.write(ops)?;
    log.mark_idle()?;
    Ok(())
}

/// Binds a disk for ever: the last step.
fn bind<D: Disk>(disk: &D, incarnation: Incarnation, member: Membership) -> Result<Membership, Error> {
    Identity { incarnation, member: Some(member) }.store(disk)?;
    Ok(member)
}

/// The genesis that this node was founded with; none where it was invited.
///
/// # Errors
/// When the file is damaged: the node can go on, but not found others.
pub fn load_genesis<D: Disk>(disk: &D) -> Result<Option<Genesis>, GenesisError> {
    let file = match disk.open(PATH) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = file.len()?;
    if length > BYTES_MAX {
        return Err(DecodeError::Invalid("length").into());
    }
    let mut raw = vec![0; usize::try_from(length).map_err(|_| DecodeError::Invalid("length"))?];
    file.read_exact_at(&mut raw, 0)?;
    let encoded = decode_genesis(&raw)?;
    let founders = Meta::decode(encoded.clone())?.members.values().map(|member| member.incarnation).collect();
    Ok(Some(Genesis { encoded, founders }))
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

fn remove_genesis<D: Disk>(disk: &D) -> io::Result<()> {
    for name in [PATH, TEMPORARY] {
        if disk.exists(name)? {
            disk.remove(name)?;
        }
    }
    disk.sync_dir("")
}

/// The node that the metadata makes of a disk.
pub(crate) fn node_of(meta: &Meta, incarnation: Incarnation) -> Option<NodeId> {
    meta.members.values().find(|member| member.incarnation == incarnation).map(|member| member.node)
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
    use hcube_core::ids::{GroupId, Vertex};
    use hcube_core::meta::{self, Founder};
    use hcube_log::disk::faulty::FaultyDisk;
    use hcube_log::{Base, HardState};

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
        let stored = load_genesis(disk).unwrap().unwrap();
        assert_eq!(stored.encoded, genesis.encode());
        assert!(genesis.members.values().all(|member| stored.founders.contains(&member.incarnation)));
        let (_, recovery) = Log::open(disk.clone(), LOG).unwrap();
        let here = genesis.groups().filter(|(_, placement)| placement.replica_on(member.node).is_some());
        assert!(recovery.groups.keys().copied().eq(here.map(|(group, _)| group)));
        assert!(recovery.damage.is_none());
    }

    /// How a hypercube that has come as far as this index invites a disk.
    fn invitation(cluster: u128, incarnation: u128, index: u64) -> Invitation {
        let meta = genesis(cluster, &[10, incarnation]);
        let node = node_of(&meta, Incarnation(incarnation)).unwrap();
        let replica = meta.metadata.replica_on(node).unwrap();
        let (conf, state) = (meta.metadata.conf(), meta.encode());
        let base = Base { index, term: 3, conf, state, keep_tail: false, ..Base::default() };
        Invitation { cluster: meta.cluster, node, replica, base }
    }

    /// The disk holds the metadata from the invitation on, and nothing else.
    fn assert_joined(disk: &FaultyDisk, invitation: &Invitation, member: Membership) {
        assert_eq!(Identity::load(disk).unwrap().unwrap().member, Some(member));
        assert_eq!((member.cluster, member.node), (invitation.cluster, invitation.node));
        assert!(load_genesis(disk).unwrap().is_none());
        let (_, recovery) = Log::open(disk.clone(), LOG).unwrap();
        assert!(recovery.groups.keys().eq([&GroupId::META]));
        let group = &recovery.groups[&GroupId::META];
        let base = Base { keep_tail: true, ..invitation.base.clone() };
        assert_eq!((group.replica, &group.base), (invitation.replica, &base));
        let commit = invitation.base.index;
        assert_eq!(group.hard_state, HardState { term: 3, vote: 0, commit });
        assert!(group.entries.is_empty() && recovery.damage.is_none());
    }

    /// Interrupts the first attempt at every one of its steps, until there are none left.
    fn at_every_step(
        first: impl Fn(&FaultyDisk) -> Result<Membership, Error>,
        then: impl Fn(&FaultyDisk, Result<Membership, Error>),
    ) {
        for fuse in 0.. {
            let disk = fresh();
            disk.set_fuse(Some(fuse));
            let result = first(&disk);
            disk.crash(fuse);
            let last = result.is_ok();
            then(&disk, result);
            if last {
                assert!(fuse > 10, "only {fuse} steps could be interrupted");
                return;
            }
        }
    }

    #[test]
    fn founding_survives_a_crash_at_every_step() {
        let genesis = genesis(7, &[10, 11, 12]);
        at_every_step(
            |disk| found(disk, LOG, &genesis),
            |disk, _| assert_founded(disk, &genesis, found(disk, LOG, &genesis).unwrap()),
        );
    }

    #[test]
    fn joining_survives_a_crash_at_every_step() {
        let (first, second) = (invitation(7, 11, 9), invitation(7, 11, 20));
        at_every_step(
            |disk| join(disk, LOG, &first),
            |disk, result| {
                let bound = Identity::load(disk).unwrap().unwrap().member.is_some();
                let member = join(disk, LOG, &second).unwrap();
                // The next attempt begins anew with what the hypercube has become, unless the disk was bound already.
                assert_joined(disk, if bound { &first } else { &second }, member);
                assert!(bound || result.is_err());
            },
        );
    }

    #[test]
    fn interrupted_founding_leaves_nothing_to_a_disk_that_is_invited() {
        let (genesis, invitation) = (genesis(7, &[10, 11, 12]), invitation(8, 11, 9));
        at_every_step(
            |disk| found(disk, LOG, &genesis),
            |disk, first| match (join(disk, LOG, &invitation), first) {
                (Ok(member), Err(_)) => assert_joined(disk, &invitation, member),
                (Err(Error::OtherCluster { .. }), _) => {}
                (result, first) => panic!("{result:?} after {first:?}"),
            },
        );
    }

    #[test]
    fn a_disk_joins_once_and_only_as_who_it_is() {
        let disk = fresh();
        let ours = invitation(7, 11, 9);
        assert!(matches!(join(&disk, LOG, &invitation(7, 12, 9)), Err(Error::NotInvited { .. })));
        let swapped = Invitation { node: NodeId(1), ..ours.clone() };
        assert!(matches!(join(&disk, LOG, &swapped), Err(Error::NotInvited { .. })));
        assert_eq!(Identity::load(&disk).unwrap().unwrap().member, None);
        let member = join(&disk, LOG, &ours).unwrap();
        let operations = disk.counters().operations;
        assert_eq!(join(&disk, LOG, &invitation(7, 11, 30)).unwrap(), member);
        assert!(matches!(join(&disk, LOG, &invitation(8, 11, 9)), Err(Error::OtherCluster { .. })));
        assert_eq!(disk.counters().operations, operations);
        assert_joined(&disk, &ours, member);
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
