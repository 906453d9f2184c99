//! Which node's life this disk holds: the file `identity`.
//!
//! Format, little-endian: magic `HCUBE-ID`, format version `u32`, incarnation `u128`, then 0, or 1 and cluster
//! id `u128` and node id `u64`, then the crc32c (`u32`) of everything before.

use std::io;

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{ClusterId, Incarnation, NodeId};

use crate::disk::{Disk, File};

const PATH: &str = "identity";
const TEMPORARY: &str = "identity.tmp";
const MAGIC: &[u8; 8] = b"HCUBE-ID";
const VERSION: u32 = 1;
/// More than the format ever takes; a longer file is not read into memory.
const BYTES_MAX: u64 = 4096;

/// What a disk is bound to. Written before the log is first opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Drawn once when the disk was empty.
    pub incarnation: Incarnation,
    /// The cluster and the node id in it, once the metadata group has given one.
    pub member: Option<Membership>,
}

/// A place in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node id, bound to the incarnation for ever.
    pub node: NodeId,
}

/// Why there is no telling whose disk this is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk failed.
    #[error("the identity file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Written by a newer hcube perhaps.
    #[error("the identity file has format version {found}; this hcube knows version {VERSION}")]
    Version {
        /// The version it names.
        found: u32,
    },
    /// The checksum does not hold.
    #[error("the identity file is damaged")]
    Damaged,
    /// The checksum holds but the content makes no sense.
    #[error("the identity file is malformed: {0}")]
    Malformed(#[from] DecodeError),
}

impl Identity {
    /// Reads the identity; none on a disk that never had one.
    pub fn load<D: Disk>(disk: &D) -> Result<Option<Self>, IdentityError> {
        let file = match disk.open(PATH) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = file.len()?;
        if length > BYTES_MAX {
            return Err(IdentityError::Damaged);
        }
        let mut raw = vec![0; usize::try_from(length).map_err(|_| IdentityError::Damaged)?];
        file.read_exact_at(&mut raw, 0)?;
        Self::decode(&raw).map(Some)
    }

    /// Replaces the identity; durable when this returns, and at every moment the old one or the new one.
    pub fn store<D: Disk>(&self, disk: &D) -> io::Result<()> {
        if disk.exists(TEMPORARY)? {
            disk.remove(TEMPORARY)?;
        }
        let file = disk.create_new(TEMPORARY)?;
        file.write_at(&self.encode(), 0)?;
        file.sync_data()?;
        disk.rename(TEMPORARY, PATH)?;
        disk.sync_dir("")
    }

    fn encode(&self) -> Vec<u8> {
        let mut raw = MAGIC.to_vec();
        raw.u32(VERSION);
        raw.u128(self.incarnation.0);
        raw.option(self.member, |raw, member| {
            raw.u128(member.cluster.0);
            raw.u64(member.node.0);
        });
        raw.u32(crc32c::crc32c(&raw));
        raw
    }

    fn decode(raw: &[u8]) -> Result<Self, IdentityError> {
        let (content, crc) = raw.split_last_chunk::<4>().ok_or(IdentityError::Damaged)?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || !content.starts_with(MAGIC) {
            return Err(IdentityError::Damaged);
        }
        let mut reader = Reader::new(Bytes::copy_from_slice(&content[MAGIC.len()..]));
        let found = reader.u32("format version")?;
        if found != VERSION {
            return Err(IdentityError::Version { found });
        }
        let incarnation = Incarnation(reader.u128("incarnation")?);
        let member = reader.option("membership", |reader| {
            Ok(Membership {
                cluster: ClusterId(reader.u128("cluster id")?),
                node: NodeId(reader.u64("node id")?),
            })
        })?;
        reader.finish()?;
        Ok(Self { incarnation, member })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    const MEMBER: Membership = Membership { cluster: ClusterId(7), node: NodeId(3) };

    #[test]
    fn empty_disk_has_no_identity() {
        assert!(Identity::load(&FaultyDisk::new()).unwrap().is_none());
    }

    #[test]
    fn stored_identity_survives_any_crash_and_is_replaced_whole() {
        for seed in 0..50 {
            let disk = FaultyDisk::new();
            let first = Identity { incarnation: Incarnation(u128::MAX - 5), member: None };
            first.store(&disk).unwrap();
            let second = Identity { member: Some(MEMBER), ..first };
            disk.set_fuse(Some(seed % 5));
            let stored = second.store(&disk).is_ok();
            disk.crash(seed);
            let loaded = Identity::load(&disk).unwrap().unwrap();
            assert!(loaded == second || (loaded == first && !stored), "seed {seed}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let raw = Identity { incarnation: Incarnation(99), member: Some(MEMBER) }.encode();
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Identity::decode(&flipped), Err(IdentityError::Damaged)), "bit {bit}");
        }
        for length in 0..raw.len() {
            assert!(Identity::decode(&raw[..length]).is_err());
        }
    }

    #[test]
    fn unknown_version_is_refused_by_name() {
        let mut raw = MAGIC.to_vec();
        raw.u32(2);
        raw.u32(crc32c::crc32c(&raw));
        assert!(matches!(Identity::decode(&raw), Err(IdentityError::Version { found: 2 })));
    }
}
