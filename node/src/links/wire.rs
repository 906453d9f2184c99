//! How messages lie on a link that is open.
//!
//! ```text
//! u32 length of the payload, u32 crc32c of kind and payload, u8 kind, payload; little-endian
//! kinds: 0 = nothing, to show that the side is alive; 1 = a frame of the broker; 2 = a genesis; 3 = an
//!        invitation
//! ```

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a payload at most.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 9;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sign of life, without payload.
    Alive,
    /// A frame of the broker.
    Frame,
    /// An encoded genesis.
    Genesis,
    /// An encoded invitation.
    Invitation,
}

/// Why what arrives is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The connection failed or ended.
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    /// Longer than a message may be.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// The bytes changed on their way.
    #[error("a message's checksum does not match its bytes")]
    Checksum,
    /// A kind that this version does not know.
    #[error("a message of the unknown kind {0}")]
    Kind(u8),
}

/// A message with this payload.
pub(super) fn message_of(kind: Kind, payload: &[u8]) -> Vec<u8> {
    message(kind, |mut out| {
        out.extend_from_slice(payload);
        out
    })
}

/// A message whose payload `payload` writes behind what it is given, so that it lies where it is sent from.
pub(super) fn message(kind: Kind, payload: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let kind = match kind {
        Kind::Alive => 0,
        Kind::Frame => 1,
        Kind::Genesis => 2,
        Kind::Invitation => 3,
    };
    let mut message = payload(vec![0; HEADER_BYTES]);
    let payload = &message[HEADER_BYTES..];
    let length = u32::try_from(payload.len()).expect("payloads are limited far below that");
    let crc = checksum(kind, payload);
    message[..4].copy_from_slice(&length.to_le_bytes());
    message[4..8].copy_from_slice(&crc.to_le_bytes());
    message[8] = kind;
    message
}

/// Reads the next message.
pub(super) async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> Result<(Kind, Bytes), Error> {
    let length = reader.read_u32_le().await? as usize;
    let crc = reader.read_u32_le().await?;
    let kind = reader.read_u8().await?;
    if length > PAYLOAD_BYTES_MAX {
        return Err(Error::Length(length));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    if checksum(kind, &payload) != crc {
        return Err(Error::Checksum);
    }
    let kind = match kind {
        0 => Kind::Alive,
        1 => Kind::Frame,
        2 => Kind::Genesis,
        3 => Kind::Invitation,
        other => return Err(Error::Kind(other)),
    };
    Ok((kind, payload.into()))
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_now(mut bytes: &[u8]) -> Result<(Kind, Bytes), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read(&mut bytes))
    }

    proptest! {
        #[test]
        fn messages_round_trip(payload: Vec<u8>) {
            for kind in [Kind::Alive, Kind::Frame, Kind::Genesis, Kind::Invitation] {
                let out = message_of(kind, &payload);
                prop_assert_eq!(out.len(), HEADER_BYTES + payload.len());
                prop_assert_eq!(read_now(&out).unwrap(), (kind, payload.clone().into()));
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read_now(&bytes);
        }

        #[test]
        fn any_changed_byte_is_noticed(payload in prop::collection::vec(any::<u8>(), 0..50), at: prop::sample::Index, by in 1u8..) {
            let mut out = message_of(Kind::Frame, &payload);
            let at = at.index(out.len());
            out[at] = out[at].wrapping_add(by);
            prop_assert!(read_now(&out).is_err());
        }
    }

    #[test]
    fn lengths_are_refused_before_memory_is_spent_on_them() {
        let raw = [&u32::MAX.to_le_bytes()[..], &[0; 5]].concat();
        assert!(matches!(read_now(&raw), Err(Error::Length(_))));
    }
}
