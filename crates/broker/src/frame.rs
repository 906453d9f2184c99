//! What peers send each other over an authenticated link.
//!
//! ```text
//! u8 tag; 1 = Raft messages: u32 count, envelopes; 2 = request and 3 = response: postcard; 4 = cancel: u64
//! ```

use bytes::Bytes;
use hcube_consensus::Envelope;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{NodeId, Vertex};
use serde::{Deserialize, Serialize};

use crate::request::{Answer, Error, Request};

/// What a request or an answer has around its records at most, but for the strangest.
const AROUND_BYTES: usize = 512;

/// One message between peers.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Raft messages of any groups.
    Raft(Vec<Envelope>),
    /// A request that is forwarded.
    Request(Forwarded),
    /// The answer to a forwarded request.
    Response(Answered),
    /// Nobody waits any more for the answer to the request of this id.
    Cancel(u64),
}

/// A request on its way over the hypercube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Names the request between the two peers of this hop.
    pub id: u64,
    /// The node that is meant to serve it.
    pub target: NodeId,
    /// The vertices it has left, oldest first.
    pub path: Vec<Vertex>,
    /// Hops that are left.
    pub ttl: u16,
    /// How long its sender waits, in milliseconds.
    pub patience_ms: u32,
    /// What is asked.
    pub request: Request,
}

/// An answer on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The id of this hop's [`Forwarded`].
    pub id: u64,
    /// What was answered.
    pub result: Result<Answer, Error>,
    /// The whole way that the request went.
    pub path: Vec<Vertex>,
}

impl Frame {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_behind(Vec::new())
    }

    /// The frame's bytes, behind what is there.
    #[must_use]
    pub fn encode_behind(&self, mut out: Vec<u8>) -> Vec<u8> {
        let postcard =
            |value: Result<Vec<u8>, postcard::Error>| value.expect("requests and answers have plain shapes");
        match self {
            Self::Raft(envelopes) => {
                // A buffer that grows copies what it has again and again.
                out.reserve(raft_bytes_at_most(envelopes));
                out.u8(1);
                out.list(envelopes.iter(), |out, envelope| envelope.encode(out));
                out
            }
            Self::Request(request) => {
                out.reserve(AROUND_BYTES + request.request.bytes());
                out.u8(2);
                postcard(postcard::to_extend(request, out))
            }
            Self::Response(answer) => {
                out.reserve(AROUND_BYTES + answer.result.as_ref().map_or(0, Answer::bytes));
                out.u8(3);
                postcard(postcard::to_extend(answer, out))
            }
            Self::Cancel(id) => {
                out.u8(4);
                out.u64(*id);
                out
            }
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("frame")? {
            1 => {
                let envelopes = reader.list("Raft messages", Envelope::decode)?;
                reader.finish()?;
                Ok(Self::Raft(envelopes))
            }
            2 => exactly(&reader.rest()).map(Self::Request),
            3 => exactly(&reader.rest()).map(Self::Response),
            4 => {
                let id = reader.u64("cancelled request")?;
                reader.finish()?;
                Ok(Self::Cancel(id))
            }
            tag => Err(DecodeError::Unknown { what: "frame", value: tag.into() }),
        }
    }
}

/// Bytes of a frame of these Raft messages, or a few more.
#[must_use]
pub fn raft_bytes_at_most(envelopes: &[Envelope]) -> usize {
    let tag_and_count = 1 + size_of::<u32>();
    tag_and_count + envelopes.iter().map(Envelope::encoded_bytes_at_most).sum::<usize>()
}

fn exactly<'a, T: Deserialize<'a>>(bytes: &'a Bytes) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Trailing(rest.len())),
        Err(_) => Err(DecodeError::Invalid("request or answer")),
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::TopicId;
    use hcube_core::record::{Batch, Producer, Record};
    use proptest::prelude::*;

    use super::*;
    use crate::request::{From, Pull, TopicRef};

    fn one_record(value: Vec<u8>) -> Batch {
        Batch::build(Producer::default(), &[Record { value: value.into(), ..Record::default() }]).unwrap()
    }

    fn requests(number: u64, batch: Vec<u8>) -> Vec<Request> {
        let topic = TopicRef { name: "quakes".parse().unwrap(), id: TopicId(number.into()) };
        let pull = Pull {
            topic: topic.clone(),
            partition: 3,
            from: From::Stamp(number),
            max_records: 7,
            max_bytes: 9,
            wait_ms: 11,
            replica: Some(NodeId(number)),
            leader: true,
        };
        vec![
            Request::Publish { topic: topic.clone(), partition: 1, batch: one_record(batch) },
            Request::Pull(pull),
            Request::FindTopic { name: topic.name.clone() },
            Request::DeleteTopic { name: topic.name },
        ]
    }

    proptest! {
        #[test]
        fn requests_and_answers_round_trip(id: u64, number: u64, batch: Vec<u8>, hops in prop::collection::vec(0u16..64, 0..6)) {
            let path: Vec<Vertex> = hops.into_iter().map(Vertex).collect();
            for request in requests(number, batch.clone()) {
                let request = Forwarded { id, target: NodeId(number), path: path.clone(), ttl: 9, patience_ms: 5, request };
                let frame = Frame::Request(request);
                prop_assert_eq!(Frame::decode(frame.encode().into()).unwrap(), frame);
            }
            prop_assert_eq!(Frame::decode(Frame::Cancel(id).encode().into()).unwrap(), Frame::Cancel(id));
            for result in [Ok(Answer::FilePart(batch.into())), Err(Error::SequenceGap { expected: number })] {
                let frame = Frame::Response(Answered { id, result, path: path.clone() });
                prop_assert_eq!(Frame::decode(frame.encode().into()).unwrap(), frame);
            }
        }

        #[test]
        fn changed_bytes_never_panic(number: u64, which in 0usize..4, at: prop::sample::Index, to: u8, cut: prop::sample::Index, random: Vec<u8>) {
            let request = requests(number, random.clone()).swap_remove(which);
            let request = Forwarded { id: 1, target: NodeId(1), path: vec![Vertex(1)], ttl: 9, patience_ms: 5, request };
            let mut bytes = Frame::Request(request).encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(1 + cut.index(bytes.len()));
            let _ = Frame::decode(bytes.into());
            let _ = Frame::decode(random.into());
        }
    }
}
