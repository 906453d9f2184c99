//! Names and values of hcube's own HTTP headers. Names are in lower case, as HTTP/2 sends them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::label::Label;

/// What a publish was promised: [`Ack`].
pub const ACK: &str = "hcube-ack";
/// The vertices that a request passed: [`Path`].
pub const PATH: &str = "hcube-path";
/// The end of each partition read: [`HighWatermarks`].
pub const HIGH_WATERMARK: &str = "hcube-high-watermark";
/// Producer id of a publish that may be repeated: 32 hexadecimal digits.
pub const PRODUCER_ID: &str = "hcube-producer-id";
/// Epoch of the producer, a u32; 0 where it is left out.
pub const PRODUCER_EPOCH: &str = "hcube-producer-epoch";
/// Sequence of the first message, a u64; counts messages per producer and partition, from 0.
pub const SEQUENCE: &str = "hcube-sequence";
/// Key of a single message, percent-encoded.
pub const KEY: &str = "hcube-key";
/// Partition of a publish, in both directions.
pub const PARTITION: &str = "hcube-partition";
/// Offset of the first message of a publish.
pub const OFFSET: &str = "hcube-offset";
/// The leader's stamp on a publish, milliseconds since 1970.
pub const TIMESTAMP: &str = "hcube-timestamp";
/// Where the next pull goes on: a [`crate::cursor::Cursor`].
pub const NEXT: &str = "hcube-next";
/// `hcube-header-NAME` is the message header NAME; its value is percent-encoded.
pub const HEADER_PREFIX: &str = "hcube-header-";
/// `ce-*` are CloudEvents attributes (CloudEvents HTTP binding 1.0, binary mode); kept with their prefix, as they are.
pub const CLOUD_EVENTS_PREFIX: &str = "ce-";
/// Where a subscription resumes, by the rules of server-sent events: a [`crate::cursor::Cursor`].
pub const LAST_EVENT_ID: &str = "last-event-id";

/// Hops that [`Path`] takes at most; routes end after 2D.
const HOPS_MAX: usize = 64;

/// A header value that is not what its name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0} header")]
pub struct HeaderError(&'static str);

/// What was promised when a publish was acknowledged: stored and synced by a majority of so many replicas.
/// Written `quorum; replicas=3; fsync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Voters of the slot's group; a majority of them has the message on disk.
    pub replicas: u8,
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quorum; replicas={}; fsync", self.replicas)
    }
}

impl FromStr for Ack {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let parts: Vec<&str> = text.split(';').map(str::trim).collect();
        let [kind, replicas, durability] = parts[..] else { return Err(HeaderError(ACK)) };
        let replicas = replicas.strip_prefix("replicas=").and_then(decimal).ok_or(HeaderError(ACK))?;
        if kind == "quorum" && durability == "fsync" { Ok(Self { replicas }) } else { Err(HeaderError(ACK)) }
    }
}

/// The vertices that a request passed, from the peer that took it to the one that answered: `101>100`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Label>);

impl Path {
    /// A path of 1 to 64 vertices.
    ///
    /// # Errors
    /// [`HeaderError`] for none or more.
    pub fn new(hops: Vec<Label>) -> Result<Self, HeaderError> {
        if (1..=HOPS_MAX).contains(&hops.len()) { Ok(Self(hops)) } else { Err(HeaderError(PATH)) }
    }

    /// The vertices in order.
    #[must_use]
    pub fn hops(&self) -> &[Label] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, hop)| write!(f, "{}{hop}", if i == 0 { "" } else { ">" }))
    }
}

impl FromStr for Path {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let hops = text.split('>').take(HOPS_MAX + 1).map(|hop| hop.trim().parse());
        Self::new(hops.collect::<Result<_, _>>().map_err(|_| HeaderError(PATH))?)
    }
}

/// For each partition read, the offset after its last committed message: `0=17, 1=4`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HighWatermarks(pub BTreeMap<u16, u64>);

impl fmt::Display for HighWatermarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.iter().enumerate();
        pairs.into_iter().try_for_each(|(i, (partition, offset))| {
            write!(f, "{}{partition}={offset}", if i == 0 { "" } else { ", " })
        })
    }
}

impl FromStr for HighWatermarks {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let pair = |text: &str| {
            let (partition, offset) = text.trim().split_once('=')?;
            Some((decimal(partition)?, decimal(offset)?))
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let pairs = text.split(',').map(pair);
        pairs.collect::<Option<_>>().map(Self).ok_or(HeaderError(HIGH_WATERMARK))
    }
}

/// A number written in plain decimal digits; unlike `FromStr` it takes no sign.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn acks_round_trip(replicas: u8) {
            let ack = Ack { replicas };
            prop_assert_eq!(ack.to_string().parse(), Ok(ack));
        }

        #[test]
        fn paths_round_trip(hops in prop::collection::vec("[01]{3}", 1..=64)) {
            let hops = hops.iter().map(|hop| hop.parse().unwrap()).collect();
            let path = Path::new(hops).unwrap();
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn watermarks_round_trip(map in prop::collection::btree_map(any::<u16>(), any::<u64>(), 0..20)) {
            let marks = HighWatermarks(map);
            prop_assert_eq!(marks.to_string().parse(), Ok(marks));
        }

        #[test]
        fn random_text_never_panics(text in "[ -~é]{0,40}", shaped in "[qu;=rep0-9>, ]{0,30}") {
            for text in [text, shaped] {
                let _ = (text.parse::<Ack>(), text.parse::<Path>(), text.parse::<HighWatermarks>());
            }
        }
    }

    #[test]
    fn values_look_as_documented() {
        assert_eq!(Ack { replicas: 3 }.to_string(), "quorum; replicas=3; fsync");
        assert_eq!("101>100".parse::<Path>().unwrap().hops().len(), 2);
        assert_eq!(HighWatermarks([(0, 17), (1, 4)].into()).to_string(), "0=17, 1=4");
        assert!("one; replicas=3; fsync".parse::<Ack>().is_err());
        assert!("0>".repeat(70).parse::<Path>().is_err());
        assert_eq!(decimal::<u64>("+1"), None);
        assert_eq!(decimal::<u64>(""), None);
    }

    #[test]
    fn header_names_are_what_http_accepts() {
        for name in [ACK, PATH, HIGH_WATERMARK, PRODUCER_ID, PRODUCER_EPOCH, SEQUENCE, KEY, PARTITION] {
            assert_eq!(http::HeaderName::from_static(name).as_str(), name);
        }
    }
}
