//! What peers send each other over an authenticated link.
//!
//! ```text
//! u8 tag; 1 = Raft messages: u32 count, envelopes; 2 = request and 3 = response: postcard
//! ```

use bytes::Bytes;
use hcube_consensus::Envelope;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{NodeId, Vertex};
use serde::{Deserialize, Serialize};

use crate::request::{Answer, Error, Request};

/// One message between peers.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Raft messages of any groups.
    Raft(Vec<Envelope>),
    /// A request that is forwarded.
    Request(Forwarded),
    /// The answer to a forwarded request.
    Response(Answered),
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
        let postcard = |tag: u8, value: Result<Vec<u8>, postcard::Error>| {
            debug_assert!(value.as_ref().is_ok_and(|bytes| bytes.first() == Some(&tag)));
            value.expect("requests and answers have plain shapes")
        };
        match self {
            Self::Raft(envelopes) => {
                let mut out = Vec::with_capacity(256);
                out.u8(1);
                out.list(envelopes.iter(), |out, envelope| envelope.encode(out));
                out
            }
            Self::Request(request) => postcard(2, postcard::to_extend(request, vec![2])),
            Self::Response(answer) => postcard(3, postcard::to_extend(answer, vec![3])),
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
            tag => Err(DecodeError::Unknown { what: "frame", value: tag.into() }),
        }
    }
}

fn exactly<'a, T: Deserialize<'a>>(bytes: &'a Bytes) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Trailing(rest.len())),
        Err(_) => Err(DecodeError::Invalid("request or answer")),
    }
}
