//! Frames of the write-ahead log: the format and its codec.
//!
//! A frame begins at a multiple of 8 bytes in its segment and is padded with zeros to the next one.
//! Little-endian:
//!
//! | byte | field |
//! |---|---|
//! | 0 | payload length `u32` |
//! | 4 | [`Kind`] `u8`, flags `u8`, 2 zero bytes |
//! | 8 | group `u32` |
//! | 12 | chain `u32`: the CRC (byte 36) of the frame before, 0 for the first frame ever |
//! | 16 | term `u64` |
//! | 24 | index `u64` |
//! | 32 | header CRC `u32`: crc32c of (log salt, segment number, offset of the frame, bytes 0 to 31) |
//! | 36 | CRC `u32`: the header CRC continued over payload and padding |
//! | 40 | payload |
//!
//! The salts make a frame valid at one place of one log only. The header CRC of its own tells whose frame it
//! was when the payload is damaged, and lets the scan step over it.

use hcube_core::codec::Writer;

pub(crate) mod base;

/// Bytes of a frame before its payload.
pub(crate) const HEAD_BYTES: usize = 40;
/// Every frame begins at a multiple of this.
pub(crate) const ALIGNMENT: usize = 8;

/// What a frame says. Kinds are never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Everything before (segment = term, offset = index) was durable when this frame was written. No payload.
    Frontier = 1,
    /// An entry of the group's Raft log at (term, index); the flags are the caller's kind, the payload its data.
    Entry = 2,
    /// The group's hard state: term, commit = index, and the vote `u64` as payload.
    HardState = 3,
    /// The group's base at (term, index); the payload is in [`base`].
    Base = 4,
    /// The replica whose id is the index is gone for ever, and with it what the log has of the group; with the flag
    /// [`COPY`] only the former. No payload.
    Destroy = 5,
    /// Segments below the number in the index are not needed any more. No payload.
    Low = 6,
    /// Every damage before this frame has been dealt with. No payload.
    Settled = 7,
}

/// On a base: entries above it stay.
pub(crate) const KEEP_TAIL: u8 = 1;
/// On a base: the replica did not exist before.
pub(crate) const CREATE: u8 = 2;
/// On a base: a copy that a checkpoint made, later than the event itself. On a destruction: a tombstone only.
pub(crate) const COPY: u8 = 4;

impl Kind {
    fn from_u8(raw: u8) -> Option<Self> {
        [Self::Frontier, Self::Entry, Self::HardState, Self::Base, Self::Destroy, Self::Low, Self::Settled]
            .into_iter()
            .find(|kind| *kind as u8 == raw)
    }
}

/// What makes the CRCs of one segment its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(u32);

impl Salt {
    /// The salt of a segment in the log with this salt.
    pub(crate) fn new(log: u64, segment: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&log.to_le_bytes()), &segment.to_le_bytes()))
    }
}

/// The head of a frame, without its CRCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the payload.
    pub(crate) length: u32,
    /// See [`Kind`]; raw, because another version may know more of them.
    pub(crate) kind: u8,
    /// See [`Kind`].
    pub(crate) flags: u8,
    /// The group that the frame is about; 0 for frames about the log itself.
    pub(crate) group: u32,
    /// The CRC of the frame before.
    pub(crate) chain: u32,
    /// See [`Kind`].
    pub(crate) term: u64,
    /// See [`Kind`].
    pub(crate) index: u64,
}

impl Head {
    /// The kind, when this version knows it.
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::from_u8(self.kind)
    }

    /// Bytes from this frame to the next.
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.length as usize)
    }

    /// Appends the frame to a buffer whose next byte lies at `offset` of the segment. Returns the CRC.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>, salt: Salt, offset: u32, payload: [&[u8]; 2]) -> u32 {
        let start = buffer.len();
        buffer.u32(self.length);
        buffer.u8(self.kind);
        buffer.u8(self.flags);
        buffer.u16(0);
        buffer.u32(self.group);
        buffer.u32(self.chain);
        buffer.u64(self.term);
        buffer.u64(self.index);
        let head_crc = head_crc(&buffer[start..], salt, offset);
        buffer.u32(head_crc);
        let crc_at = buffer.len();
        buffer.u32(0);
        let payload_at = buffer.len();
        buffer.extend_from_slice(payload[0]);
        buffer.extend_from_slice(payload[1]);
        buffer.resize(start + self.frame_bytes(), 0);
        let crc = crc32c::crc32c_append(head_crc, &buffer[payload_at..]);
        buffer[crc_at..payload_at].copy_from_slice(&crc.to_le_bytes());
        crc
    }
}

/// Bytes that a frame with this payload takes.
pub(crate) fn frame_bytes(payload: usize) -> usize {
    HEAD_BYTES + payload.next_multiple_of(ALIGNMENT)
}

fn head_crc(head: &[u8], salt: Salt, offset: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt.0, &offset.to_le_bytes()), head)
}

fn field<const N: usize>(raw: &[u8; HEAD_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&raw[at..at + N]);
    field
}

/// What lies at a place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Nothing was ever written here, or the segment has no room for a frame.
    Blank,
    /// No frame.
    Garbage,
    /// A frame whose head is intact while the CRC over all does not hold; the CRC that was stored and the one that
    /// follows from the bytes.
    BadPayload(Head, u32, u32),
    /// A frame, with its CRC.
    Valid(Head, u32),
}

/// Looks at a place of a segment.
pub(crate) fn parse(segment: &[u8], salt: Salt, offset: u32) -> Parsed {
    parse_at(segment.get(offset as usize..).unwrap_or_default(), salt, offset)
}

/// Looks at the bytes that begin at `offset` of a segment.
pub(crate) fn parse_at(rest: &[u8], salt: Salt, offset: u32) -> Parsed {
    let Some(raw) = rest.first_chunk::<HEAD_BYTES>() else {
        return if rest.iter().all(|byte| *byte == 0) { Parsed::Blank } else { Parsed::Garbage };
    };
    let Some(head) = parse_head(raw, salt, offset) else {
        return if *raw == [0; HEAD_BYTES] { Parsed::Blank } else { Parsed::Garbage };
    };
    let stored = u32::from_le_bytes(field(raw, 36));
    let Some(payload) = rest.get(HEAD_BYTES..head.frame_bytes()) else { return Parsed::Garbage };
    let computed = crc32c::crc32c_append(u32::from_le_bytes(field(raw, 32)), payload);
    if computed == stored { Parsed::Valid(head, stored) } else { Parsed::BadPayload(head, stored, computed) }
}

/// The head at this offset, if its CRC holds.
pub(crate) fn parse_head(raw: &[u8; HEAD_BYTES], salt: Salt, offset: u32) -> Option<Head> {
    // A cheap look first: a scan over garbage comes here every 8 bytes.
    if raw[4] == 0 || raw[6] != 0 || raw[7] != 0 {
        return None;
    }
    if head_crc(&raw[..32], salt, offset) != u32::from_le_bytes(field(raw, 32)) {
        return None;
    }
    Some(Head {
        length: u32::from_le_bytes(field(raw, 0)),
        kind: raw[4],
        flags: raw[5],
        group: u32::from_le_bytes(field(raw, 8)),
        chain: u32::from_le_bytes(field(raw, 12)),
        term: u64::from_le_bytes(field(raw, 16)),
        index: u64::from_le_bytes(field(raw, 24)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(payload: &[u8]) -> (Vec<u8>, Head, u32) {
        let length = u32::try_from(payload.len()).unwrap();
        let head = Head { length, kind: 2, flags: 9, group: 5, chain: 77, term: 3, index: u64::MAX };
        let mut raw = vec![0; 64];
        let crc = head.encode(&mut raw, Salt::new(1, 2), 64, [payload, b""]);
        (raw, head, crc)
    }

    #[test]
    fn frame_round_trips_and_is_valid_at_its_own_place_only() {
        for length in 0..40 {
            let (mut raw, head, crc) = sample(&vec![7; length]);
            assert_eq!(raw.len() % ALIGNMENT, 0);
            assert_eq!(parse(&raw, Salt::new(1, 2), 64), Parsed::Valid(head, crc));
            assert_eq!(parse(&raw, Salt::new(1, 3), 64), Parsed::Garbage);
            assert_eq!(parse(&raw, Salt::new(9, 2), 64), Parsed::Garbage);
            raw.splice(0..0, [0; 8]);
            assert_eq!(parse(&raw, Salt::new(1, 2), 72), Parsed::Garbage);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_the_head_survives_a_bad_payload() {
        let (raw, head, crc) = sample(b"payload!?");
        for bit in 64 * 8..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match parse(&flipped, Salt::new(1, 2), 64) {
                Parsed::Garbage => assert!(bit / 8 < 64 + 36),
                Parsed::BadPayload(found, ..) => assert!(found == head && bit / 8 >= 64 + 36),
                other => panic!("bit {bit}: {other:?} with CRC {crc}"),
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..200), offset in 0u32..300) {
            let parsed = parse(&raw, Salt::new(0, 0), offset);
            prop_assert!(!matches!(parsed, Parsed::Valid(..)));
        }
    }
}
