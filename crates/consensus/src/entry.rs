//! What kinds of entries a group's log holds, and how the log and the wire name them.

use bytes::Bytes;
use hcube_core::codec::DecodeError;
use raft::eraftpb::EntryType;

use crate::conf::ConfChange;

/// The owner's own bytes; empty for a new leader's first entry.
pub(crate) const NORMAL: u8 = 0;
/// A change of the group's configuration.
pub(crate) const CONF: u8 = 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// What [`crate::Groups::propose`] was given, or nothing: a new leader's first entry.
    Normal,
    /// A change of the group's configuration.
    Conf {
        /// What [`crate::Groups::propose_conf`] was given with it.
        version: u64,
    },
}

impl EntryKind {
    /// Tells an entry of the log by the kind that it has there.
    ///
    /// # Errors
    /// When this version does not know the kind, or the data is none of that kind.
    pub fn of(kind: u8, data: &Bytes) -> Result<Self, DecodeError> {
        match entry_type(kind)? {
            EntryType::EntryNormal => Ok(Self::Normal),
            _ => Ok(Self::Conf { version: ConfChange::decode(data)?.version }),
        }
    }
}

/// The kind as `raft` calls it.
pub(crate) fn entry_type(kind: u8) -> Result<EntryType, DecodeError> {
    match kind {
        NORMAL => Ok(EntryType::EntryNormal),
        CONF => Ok(EntryType::EntryConfChangeV2),
        value => Err(DecodeError::Unknown { what: "entry kind", value: value.into() }),
    }
}

/// The kind as the log and the wire call it.
pub(crate) fn kind_of(entry_type: EntryType) -> u8 {
    match entry_type {
        EntryType::EntryNormal => NORMAL,
        EntryType::EntryConfChangeV2 => CONF,
        EntryType::EntryConfChange => unreachable!("the old kind is neither proposed nor decoded"),
    }
}
