//! The query of a pull or a subscription, checked.

use std::fmt;
use std::str::FromStr;

use crate::cursor::{self, Cursor};
use crate::error::{Code, Problem};
use crate::headers::decimal;
use crate::label::Label;
use crate::media::PullFormat;
use crate::percent;
use crate::query::{number, pairs};

/// Where reading starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The earliest message kept: `earliest`.
    Earliest,
    /// After the last committed message: `latest`.
    Latest,
    /// The first message stamped at this time or later, milliseconds since 1970: `timestamp:MS`.
    Timestamp(u64),
    /// This offset, of a single partition: `OFFSET`.
    Offset(u64),
    /// Where an earlier answer ended: `c1-…`.
    Cursor(Cursor),
}

impl FromStr for Start {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ if text.starts_with(cursor::PREFIX) => return Ok(Self::Cursor(text.parse()?)),
            _ => {}
        }
        let start = match text.strip_prefix("timestamp:") {
            Some(ms) => decimal(ms).map(Self::Timestamp),
            None => decimal(text).map(Self::Offset),
        };
        start.ok_or_else(|| {
            Problem::invalid(format!("from: {text:?} is no offset, earliest, latest, timestamp:MS or cursor"))
        })
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Timestamp(ms) => write!(f, "timestamp:{ms}"),
            Self::Offset(offset) => offset.fmt(f),
            Self::Cursor(cursor) => cursor.fmt(f),
        }
    }
}

/// What a reader asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullQuery {
    /// The partition; all of them where left out.
    pub partition: Option<u16>,
    /// Where to start; see [`PullQuery::start`] for the default.
    pub from: Option<Start>,
    /// Most messages of the answer, 1 to [`PullQuery::LIMIT_MAX`]. Subscriptions have no end and ignore it.
    pub limit: u32,
    /// Most bytes of keys, headers and values together, 1 to [`PullQuery::MAX_BYTES_MAX`]; a first message is
    /// sent even when it is larger. Ignored by subscriptions.
    pub max_bytes: u32,
    /// Milliseconds to wait for a first message (or for `min_offset`), 0 to [`PullQuery::WAIT_MS_MAX`].
    pub wait_ms: u32,
    /// Answer from the copy at this vertex, and no other.
    pub replica: Option<Label>,
    /// Answer only from a replica that has committed this offset: a publisher reads its own write by giving
    /// the offset that was acknowledged. Of a single partition.
    pub min_offset: Option<u64>,
}

impl Default for PullQuery {
    fn default() -> Self {
        Self {
            partition: None,
            from: None,
            limit: 100,
            max_bytes: 1 << 20,
            wait_ms: 0,
            replica: None,
            min_offset: None,
        }
    }
}

impl PullQuery {
    /// Most messages of one answer.
    pub const LIMIT_MAX: u32 = 10_000;
    /// Most bytes of one answer.
    pub const MAX_BYTES_MAX: u32 = 8 << 20;
    /// Longest wait of a long poll.
    pub const WAIT_MS_MAX: u32 = 30_000;

    /// Reads a query string, without its `?`. Unknown and repeated parameters are refused.
    ///
    /// # Errors
    /// `invalid-argument`, `invalid-cursor`.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (name, value) in pairs(query)? {
            match name.as_str() {
                "partition" => parsed.partition = Some(number("partition", &value, 0, u16::MAX)?),
                "from" => parsed.from = Some(value.parse()?),
                "limit" => parsed.limit = number("limit", &value, 1, Self::LIMIT_MAX)?,
                "max_bytes" => parsed.max_bytes = number("max_bytes", &value, 1, Self::MAX_BYTES_MAX)?,
                "wait" => parsed.wait_ms = number("wait", &value, 0, Self::WAIT_MS_MAX)?,
                "replica" => {
                    let label =
                        value.parse().map_err(|error| Problem::invalid(format!("replica: {error}")))?;
                    parsed.replica = Some(label);
                }
                "min-offset" => parsed.min_offset = Some(number("min-offset", &value, 0, u64::MAX)?),
                _ => return Err(Problem::invalid(format!("there is no parameter {name:?} here"))),
            }
        }
        Ok(parsed)
    }

    /// The query string, without `?`; what has its default is left out.
    #[must_use]
    pub fn to_query(&self) -> String {
        let default = Self::default();
        let unless = |value: u32, default: u32| (value != default).then(|| value.to_string());
        let values = [
            ("partition", self.partition.map(|partition| partition.to_string())),
            ("from", self.from.as_ref().map(Start::to_string)),
            ("limit", unless(self.limit, default.limit)),
            ("max_bytes", unless(self.max_bytes, default.max_bytes)),
            ("wait", unless(self.wait_ms, default.wait_ms)),
            ("replica", self.replica.as_ref().map(Label::to_string)),
            ("min-offset", self.min_offset.map(|offset| offset.to_string())),
        ];
        let given = values.into_iter().filter_map(|(name, value)| {
            value.map(|value| format!("{name}={}", percent::encode_component(value.as_bytes())))
        });
        given.collect::<Vec<_>>().join("&")
    }

    /// Where to start when `from` is left out: a pull at the earliest message, a subscription at the latest.
    #[must_use]
    pub fn start(&self, format: PullFormat) -> Start {
        let default = if format.is_subscription() { Start::Latest } else { Start::Earliest };
        self.from.clone().unwrap_or(default)
    }

    /// Lets the header `Last-Event-ID` stand above `from`, as a browser that reconnects expects.
    ///
    /// # Errors
    /// `invalid-cursor`.
    pub fn resume(mut self, last_event_id: Option<&str>) -> Result<Self, Problem> {
        if let Some(id) = last_event_id.map(str::trim).filter(|id| !id.is_empty()) {
            self.from = Some(Start::Cursor(id.parse()?));
        }
        Ok(self)
    }

    /// The partitions to read of a topic that has so many.
    ///
    /// # Errors
    /// `unknown-partition`; `invalid-argument` where an offset is given for several partitions.
    pub fn partitions(&self, count: u16) -> Result<std::ops::Range<u16>, Problem> {
        match self.partition {
            Some(partition) if partition >= count => Err(unknown_partition(partition, count)),
            Some(partition) => Ok(partition..partition + 1),
            None if count > 1 && matches!(self.from, Some(Start::Offset(_))) => {
                Err(Problem::invalid("an offset is one of a partition: give the parameter partition too"))
            }
            None if count > 1 && self.min_offset.is_some() => {
                Err(Problem::invalid("min-offset is one of a partition: give the parameter partition too"))
            }
            None => Ok(0..count),
        }
    }
}

/// The query of a publish or a route, which has at most the parameter `partition`.
///
/// # Errors
/// `invalid-argument`.
pub fn partition_query(query: Option<&str>) -> Result<Option<u16>, Problem> {
    let mut partition = None;
    for (name, value) in pairs(query.unwrap_or_default())? {
        if name != "partition" {
            return Err(Problem::invalid(format!("there is no parameter {name:?} here")));
        }
        partition = Some(number("partition", &value, 0, u16::MAX)?);
    }
    Ok(partition)
}

pub(crate) fn unknown_partition(partition: u16, count: u16) -> Problem {
    Problem::new(Code::UnknownPartition, format!("there is no partition {partition}, the topic has {count}"))
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::TopicId;
    use proptest::prelude::*;

    use super::*;

    fn start() -> impl Strategy<Value = Start> {
        prop_oneof![
            Just(Start::Earliest),
            Just(Start::Latest),
            any::<u64>().prop_map(Start::Timestamp),
            any::<u64>().prop_map(Start::Offset),
            any::<u128>().prop_map(|id| Start::Cursor(Cursor::new(TopicId(id)))),
        ]
    }

    proptest! {
        #[test]
        fn queries_round_trip(
            partition: Option<u16>, from in prop::option::of(start()), limit in 1..=PullQuery::LIMIT_MAX,
            max_bytes in 1..=PullQuery::MAX_BYTES_MAX, wait_ms in 0..=PullQuery::WAIT_MS_MAX,
            replica in prop::option::of("[01]{1,6}"), min_offset: Option<u64>,
        ) {
            let replica = replica.map(|label| label.parse().unwrap());
            let query = PullQuery { partition, from, limit, max_bytes, wait_ms, replica, min_offset };
            prop_assert_eq!(PullQuery::parse(&query.to_query()), Ok(query));
        }

        #[test]
        fn random_queries_never_panic(text in ".{0,60}", shaped in "(from|limit|wait|partition|replica|[a-z]{1,3}|=|&|%|[0-9a-f]){0,12}") {
            let _ = (PullQuery::parse(&text), PullQuery::parse(&shaped), partition_query(Some(&shaped)));
        }
    }

    #[test]
    fn wrong_queries_are_refused() {
        for wrong in [
            "limit=0",
            "limit=10001",
            "limit=+1",
            "wait=-1",
            "wait=30001",
            "from=",
            "from=timestamp:",
            "a=1",
            "partition=65536",
            "limit=1&limit=1",
            "replica=2",
            "from=%zz",
            "from=latests",
        ] {
            assert_eq!(PullQuery::parse(wrong).unwrap_err().code, Code::InvalidArgument, "{wrong}");
        }
        assert_eq!(PullQuery::parse("from=c1-AAAA").unwrap_err().code, Code::InvalidCursor);
        assert_eq!(PullQuery::parse("").unwrap(), PullQuery::default());
    }

    #[test]
    fn an_offset_needs_one_partition() {
        let code = |query: &str, count| {
            PullQuery::parse(query).unwrap().partitions(count).map_err(|problem| problem.code)
        };
        assert_eq!(code("from=5", 1), Ok(0..1));
        assert_eq!(code("from=5", 2), Err(Code::InvalidArgument));
        assert_eq!(code("min-offset=5", 2), Err(Code::InvalidArgument));
        assert_eq!(code("from=5&partition=1", 2), Ok(1..2));
        assert_eq!(code("from=latest", 2), Ok(0..2));
        assert_eq!(code("partition=2", 2), Err(Code::UnknownPartition));
        assert_eq!(code("partition=65535", 2), Err(Code::UnknownPartition));
    }

    #[test]
    fn the_last_event_stands_above_from() {
        let cursor = Cursor::new(TopicId(3));
        let query = PullQuery { from: Some(Start::Earliest), ..PullQuery::default() };
        assert_eq!(query.clone().resume(None).unwrap(), query);
        assert_eq!(query.clone().resume(Some("")).unwrap(), query);
        let resumed = query.clone().resume(Some(&cursor.to_string())).unwrap();
        assert_eq!(resumed.from, Some(Start::Cursor(cursor)));
        assert_eq!(query.resume(Some("17")).unwrap_err().code, Code::InvalidCursor);
    }

    #[test]
    fn pulls_start_early_and_subscriptions_late() {
        let query = PullQuery::default();
        assert_eq!(query.start(PullFormat::Json), Start::Earliest);
        assert_eq!(query.start(PullFormat::Events), Start::Latest);
        assert_eq!(query.start(PullFormat::BatchStream), Start::Latest);
    }
}
