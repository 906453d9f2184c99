//! Payloads of random bytes, which no system can compress or guess.

use bytes::{Bytes, BytesMut};
use rand::RngExt as _;

/// Random bytes that payloads are cut from. Much more than a processor's caches hold of one workload's window.
const ARENA_BYTES: usize = 16 << 20;
/// Bytes of the head of a payload that are read back.
pub const HEAD_BYTES: usize = 8;

/// Payloads of one size, each named by a number.
#[derive(Debug, Clone)]
pub struct Payloads {
    arena: Bytes,
    bytes: usize,
}

impl Payloads {
    /// Payloads of so many bytes, at least 8.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut arena = vec![0; ARENA_BYTES];
        rand::rng().fill(&mut arena[..]);
        Self { arena: arena.into(), bytes: bytes.max(HEAD_BYTES) }
    }

    /// Bytes of each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One of them, without copying it.
    #[must_use]
    pub fn get(&self, number: u64) -> Bytes {
        let places = (ARENA_BYTES - self.bytes) / self.bytes;
        let at = (number % places as u64) as usize * self.bytes;
        self.arena.slice(at..at + self.bytes)
    }

    /// One of them, with `head` as its first eight bytes.
    #[must_use]
    pub fn with_head(&self, head: u64) -> Bytes {
        let mut payload = BytesMut::with_capacity(self.bytes);
        payload.extend_from_slice(&head.to_le_bytes());
        payload.extend_from_slice(&self.get(head)[HEAD_BYTES..]);
        payload.freeze()
    }

    /// The sum of the heads of the payloads `0..count`.
    #[must_use]
    pub fn sum_of_heads(&self, count: u64) -> u64 {
        (0..count).fold(0, |sum, number| sum.wrapping_add(head(&self.get(number))))
    }
}

/// The first eight bytes as a number; 0 of what is shorter, which no payload is.
#[must_use]
pub fn head(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back() {
        let payloads = Payloads::new(256);
        let payload = payloads.with_head(77);
        assert_eq!((payload.len(), head(&payload)), (256, 77));
        assert_eq!(payload[HEAD_BYTES..], payloads.get(77)[HEAD_BYTES..]);
    }

    #[test]
    fn sums_name_what_was_published() {
        let payloads = Payloads::new(16);
        let two = head(&payloads.get(0)).wrapping_add(head(&payloads.get(1)));
        assert_eq!(payloads.sum_of_heads(2), two);
        assert_ne!(payloads.get(0), payloads.get(1));
    }
}
