//! What the headers of a publish say, and what it is answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use hcube_core::ids::ProducerId;
use hcube_core::limits;
use hcube_core::record::{Batch, Producer, Record};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::incoming::{Incoming, check_record, parse_lines};
use super::query::partition_query;
use crate::error::{Code, Problem};
use crate::headers;
use crate::media::PublishFormat;
use crate::percent;

/// What one publish may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishLimits {
    /// Key, headers and value of one message together, in bytes.
    pub message_bytes: usize,
    /// Messages of one publish.
    pub messages: usize,
}

impl Default for PublishLimits {
    fn default() -> Self {
        Self { message_bytes: limits::MESSAGE_BYTES_DEFAULT, messages: limits::BATCH_RECORDS_MAX as usize }
    }
}

impl PublishLimits {
    /// Bytes of body after which a peer stops reading and answers `batch-too-large` (`message-too-large` for
    /// a single message).
    #[must_use]
    pub fn body_bytes(self, format: PublishFormat) -> usize {
        match format {
            PublishFormat::Single => self.message_bytes,
            PublishFormat::Batch => limits::BATCH_BYTES_MAX,
            // Base64 makes four bytes of three, and each line has its field names.
            PublishFormat::Ndjson => 2 * limits::BATCH_BYTES_MAX,
        }
    }
}

/// Everything that a publish says outside its body, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// How the body is read.
    pub format: PublishFormat,
    /// Who publishes, where it may be repeated; [`ProducerId::NONE`] where nobody said.
    /// Sequences count per partition, so such a publish goes to a single one.
    pub producer: Producer,
    /// The partition for every message that names none itself; from `Hcube-Partition` or `?partition=`.
    pub partition: Option<u16>,
    /// Key of a single message.
    pub key: Option<Bytes>,
    /// Headers of a single message: `content-type`, `ce-*` and what `Hcube-Header-*` named, names in lower case.
    pub headers: Vec<(String, Bytes)>,
}

impl PublishRequest {
    /// Reads headers and query.
    ///
    /// # Errors
    /// `invalid-argument` for a value that is malformed, or a header that does not go with the body's format.
    pub fn parse(map: &HeaderMap, query: Option<&str>) -> Result<Self, Problem> {
        let content_type = map.get(http::header::CONTENT_TYPE);
        let format = PublishFormat::of(content_type.and_then(|value| value.to_str().ok()));
        let producer = producer(map)?;
        let partition = match (number(map, headers::PARTITION)?, partition_query(query)?) {
            (Some(header), Some(query)) if header != query => {
                return Err(Problem::invalid("the header Hcube-Partition and ?partition= differ"));
            }
            (header, query) => header.or(query),
        };
        let key = match map.get(headers::KEY) {
            Some(value) => Some(unescape(headers::KEY, value.as_bytes())?),
            None => None,
        };
        let headers = record_headers(map)?;
        let request = Self { format, producer, partition, key, headers };
        request.check()?;
        Ok(request)
    }

    /// The headers that say this; [`PublishRequest::parse`] reads them back. A client adds the `Content-Type` of
    /// a batch; that of a single message is one of the message's headers.
    ///
    /// # Errors
    /// `invalid-argument` for message headers that HTTP cannot carry or would change, such as names in upper
    /// case; such a message goes into a batch.
    pub fn to_headers(&self) -> Result<HeaderMap, Problem> {
        let mut map = HeaderMap::new();
        let text =
            |text: String| HeaderValue::try_from(text).expect("digits and escaped bytes are visible ASCII");
        if self.producer.id != ProducerId::NONE {
            map.insert(headers::PRODUCER_ID, text(self.producer.id.to_string()));
            map.insert(headers::PRODUCER_EPOCH, text(self.producer.epoch.to_string()));
            map.insert(headers::SEQUENCE, text(self.producer.sequence.to_string()));
        }
        if let Some(partition) = self.partition {
            map.insert(headers::PARTITION, text(partition.to_string()));
        }
        if let Some(key) = &self.key {
            map.insert(headers::KEY, text(percent::encode_header(key)));
        }
        for (name, value) in &self.headers {
            let raw = name == "content-type" || name.starts_with(headers::CLOUD_EVENTS_PREFIX);
            let http_name = if raw { name.clone() } else { format!("{}{name}", headers::HEADER_PREFIX) };
            let http_value = if raw { value.to_vec() } else { percent::encode_header(value).into_bytes() };
            let lower = !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
            match (HeaderName::try_from(http_name), HeaderValue::try_from(http_value)) {
                (Ok(http_name), Ok(http_value)) if lower => map.append(http_name, http_value),
                _ => return Err(Problem::invalid(format!("HTTP cannot carry the message header {name:?}"))),
            };
        }
        Ok(map)
    }

    /// Refuses what could only be ignored.
    fn check(&self) -> Result<(), Problem> {
        let single = self.format == PublishFormat::Single;
        let named = self.headers.iter().any(|(name, _)| name != "content-type");
        if !single && (self.key.is_some() || named) {
            return Err(Problem::invalid("in a batch each message has its own key and headers, in the body"));
        }
        if self.format == PublishFormat::Batch {
            if self.producer.id != ProducerId::NONE {
                return Err(Problem::invalid("a binary batch names its producer inside"));
            }
            if self.partition.is_none() {
                return Err(Problem::invalid("a binary batch needs the header Hcube-Partition"));
            }
        }
        Ok(())
    }

    /// The messages of a body, in order, each with the partition that it or the request names.
    ///
    /// # Errors
    /// The problems of [`parse_lines`], of a binary batch (`invalid-batch`, `batch-too-large`), and
    /// `message-too-large`.
    pub fn messages(&self, body: Bytes, limits: PublishLimits) -> Result<Vec<Incoming>, Problem> {
        let mut messages = match self.format {
            PublishFormat::Single => {
                let record = Record { key: self.key.clone(), headers: self.headers.clone(), value: body };
                check_record(&record, limits)?;
                vec![Incoming { line: 1, partition: None, record }]
            }
            PublishFormat::Ndjson => parse_lines(&body, limits)?,
            PublishFormat::Batch => {
                let records = Self::batch(body, limits)?.records()?;
                let number = |(line, record)| Incoming { line, partition: None, record };
                (1u64..).zip(records).map(number).collect()
            }
        };
        for message in &mut messages {
            message.partition = message.partition.or(self.partition);
        }
        Ok(messages)
    }

    /// Sorts messages into the partitions of a topic that has so many; those that name none and have no key go
    /// to `default`.
    ///
    /// # Errors
    /// `unknown-partition` with the line. `invalid-argument` for a publish that a producer may repeat and that
    /// would go to several partitions, or to one that only this peer's choice tells: a repetition might go elsewhere.
    pub fn distribute(
        &self,
        messages: Vec<Incoming>,
        partitions: u16,
        default: u16,
    ) -> Result<BTreeMap<u16, Vec<Record>>, Problem> {
        let mut parts: BTreeMap<u16, Vec<Record>> = BTreeMap::new();
        let repeatable = self.producer.id != ProducerId::NONE;
        for message in messages {
            let chosen = message.choose(partitions)?;
            if repeatable && chosen.is_none() && partitions > 1 {
                let detail = "with Hcube-Producer-Id a message needs a partition or a key";
                return Err(Problem::invalid(detail).at_line(message.line));
            }
            parts.entry(chosen.unwrap_or(default)).or_default().push(message.record);
        }
        if repeatable && parts.len() > 1 {
            return Err(Problem::invalid("with Hcube-Producer-Id all messages go to one partition"));
        }
        Ok(parts)
    }

    /// A binary batch, checked; it is what goes to the log as it is.
    ///
    /// # Errors
    /// `invalid-batch`, `batch-too-large`, `message-too-large`.
    pub fn batch(body: Bytes, limits: PublishLimits) -> Result<Batch, Problem> {
        let batch = Batch::parse(body)?;
        if batch.records_count() as usize > limits.messages {
            let detail = format!("one publish carries at most {} messages", limits.messages);
            return Err(Problem::new(Code::BatchTooLarge, detail));
        }
        let extent = batch.check_records()?;
        // Only where something may be wrong the records are taken apart to say what.
        if extent.has_headers || extent.payload_bytes_max > limits.message_bytes {
            for (line, record) in (1u64..).zip(&batch.records()?) {
                check_record(record, limits).map_err(|problem| problem.at_line(line))?;
            }
        }
        Ok(batch)
    }
}

fn producer(map: &HeaderMap) -> Result<Producer, Problem> {
    let epoch = number(map, headers::PRODUCER_EPOCH)?;
    let sequence = number(map, headers::SEQUENCE)?;
    let Some(id) = text(map, headers::PRODUCER_ID)? else {
        return match (epoch, sequence) {
            (None, None) => Ok(Producer::default()),
            _ => Err(Problem::invalid("Hcube-Sequence and Hcube-Producer-Epoch need Hcube-Producer-Id")),
        };
    };
    let id: ProducerId =
        id.parse().map_err(|error| Problem::invalid(format!("Hcube-Producer-Id: {error}")))?;
    if id == ProducerId::NONE {
        return Err(Problem::invalid("Hcube-Producer-Id: 0 stands for no producer"));
    }
    let sequence = sequence.ok_or_else(|| Problem::invalid("Hcube-Producer-Id needs Hcube-Sequence"))?;
    Ok(Producer { id, epoch: epoch.unwrap_or(0), sequence })
}

fn record_headers(map: &HeaderMap) -> Result<Vec<(String, Bytes)>, Problem> {
    let mut headers = Vec::new();
    for (name, value) in map {
        let raw = || Bytes::copy_from_slice(value.as_bytes());
        match name.as_str().strip_prefix(headers::HEADER_PREFIX) {
            Some("") => return Err(Problem::invalid("Hcube-Header- lacks the header's name")),
            Some(own) => headers.push((own.to_owned(), unescape(name.as_str(), value.as_bytes())?)),
            None if *name == http::header::CONTENT_TYPE => headers.push((name.to_string(), raw())),
            None if name.as_str().starts_with(headers::CLOUD_EVENTS_PREFIX) => {
                headers.push((name.to_string(), raw()));
            }
            None => {}
        }
    }
    // HTTP says nothing of the order of different names, so the record gets a stable one.
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(headers)
}

fn unescape(name: &str, value: &[u8]) -> Result<Bytes, Problem> {
    percent::decode(value).map(Bytes::from).map_err(|error| Problem::invalid(format!("{name}: {error}")))
}

fn text<'m>(map: &'m HeaderMap, name: &str) -> Result<Option<&'m str>, Problem> {
    let mut values = map.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim())),
        _ => Err(Problem::invalid(format!("the header {name} is given once, in ASCII"))),
    }
}

fn number<T: std::str::FromStr>(map: &HeaderMap, name: &str) -> Result<Option<T>, Problem> {
    let Some(text) = text(map, name)? else { return Ok(None) };
    let number = headers::decimal(text);
    number.map(Some).ok_or_else(|| Problem::invalid(format!("{name}: {text:?} is not a number in its range")))
}

/// Answer to the publish of one message or one binary batch; also in the headers `Hcube-Partition`,
/// `Hcube-Offset`, `Hcube-Timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishAck {
    /// Where the messages are.
    pub partition: u16,
    /// Offset of the first; the others follow without gap, in order.
    pub offset: u64,
    /// How many.
    pub count: u32,
    /// The leader's stamp on them, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Whether they were stored by an earlier request of the same producer and sequence.
    pub duplicate: bool,
}

/// Answer to an NDJSON publish, whose keys may choose several partitions. The k-th line of a partition has
/// the k-th offset of that partition's acknowledgement. Where a part failed, the answer is that part's problem
/// with `acks`, `failed` and `default_partition` as further members.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BatchAck {
    /// One for each partition that has the messages now, ascending.
    pub acks: Vec<PublishAck>,
    /// One for each partition that refused; empty in a success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedPart>,
    /// Where the lines went that have neither partition nor key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_partition: Option<u16>,
}

/// A partition's part of a batch that was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedPart {
    /// The partition.
    pub partition: u16,
    /// How many messages were meant for it.
    pub count: u32,
    /// Why; for `publish-unknown` they may be stored nevertheless.
    pub code: Code,
    /// More about it.
    pub detail: String,
}

impl BatchAck {
    /// The answer to a batch of which parts failed: `first`, which tells the status, and who fared how.
    #[must_use]
    pub fn into_problem(self, first: Problem) -> Problem {
        let to_json = |value| serde_json::to_value(value).expect("plain data becomes JSON");
        let failed = serde_json::to_value(&self.failed).expect("plain data becomes JSON");
        let problem = first.with("acks", to_json(&self.acks)).with("failed", failed);
        match self.default_partition {
            Some(partition) => problem.with("default_partition", partition),
            None => problem,
        }
    }

    /// What a problem tells of the parts of a batch; none where it was refused as a whole.
    #[must_use]
    pub fn from_problem(problem: &Problem) -> Option<Self> {
        problem.extra.get("failed")?;
        let members = problem.extra.clone().into_iter().collect();
        serde_json::from_value(serde_json::Value::Object(members)).ok()
    }
}

#[cfg(test)]
mod tests;
