//! Reading one partition, and turning what was read into messages.

use std::sync::Arc;

use bytes::Bytes;
use hcube_api::messages::Message;
use hcube_api::messages::frames::{Frame, HEADER_BYTES};
use hcube_api::{Code, Problem};
use hcube_broker::request::{From, Pull, StoredBatch};
use hcube_broker::{Answer, Request};
use hcube_core::ids::{NodeId, Vertex};
use hcube_core::meta::Topic;
use hcube_core::record::Batch;

use super::error::Asked;
use super::peer::{Answered, Peer, topic_ref, unexpected};

/// Reads partitions of one topic.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub peer: Peer,
    pub topic: Arc<Topic>,
    /// Only this node's own copy.
    pub replica: Option<NodeId>,
    /// Only the leader.
    pub leader: bool,
}

/// How much a read may bring, and how long it may wait for the first record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub records: u32,
    pub bytes: u32,
    pub wait_ms: u32,
}

/// What was read of a partition.
#[derive(Debug)]
pub(super) struct Chunk {
    pub partition: u16,
    /// Where reading began.
    pub from: u64,
    pub batches: Vec<StoredBatch>,
    pub high_watermark: u64,
    pub path: Vec<Vertex>,
}

impl Reader {
    /// Reads from one partition.
    ///
    /// # Errors
    /// The broker's error as a problem.
    pub async fn read(&self, partition: u16, from: From, most: Most) -> Result<Chunk, Problem> {
        let pull = Pull {
            topic: topic_ref(&self.topic),
            partition,
            from,
            max_records: most.records,
            max_bytes: most.bytes,
            wait_ms: most.wait_ms,
            replica: self.replica,
            leader: self.leader,
        };
        let patience_ms = self.peer.patience_ms.saturating_add(most.wait_ms);
        let Answered { answer, path } =
            self.peer.ask_as(Request::Pull(pull), Asked::Other, patience_ms).await?;
        match answer {
            Answer::Pulled { from, batches, high_watermark, .. } => {
                Ok(Chunk { partition, from, batches, high_watermark, path })
            }
            other => Err(unexpected(&other)),
        }
    }
}

impl Chunk {
    /// Bytes of the batches.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|stored| stored.batch.len()).sum()
    }

    /// The batches as frames; their checksums are checked once more on the way out.
    ///
    /// # Errors
    /// `damaged`.
    pub fn frames(&self) -> Result<Vec<Frame>, Problem> {
        self.batches
            .iter()
            .map(|stored| {
                let batch = Batch::parse(stored.batch.clone()).map_err(|error| damaged(&error))?;
                Ok(Frame {
                    partition: self.partition,
                    base_offset: stored.base_offset,
                    timestamp_ms: stored.stamp_ms,
                    batch,
                })
            })
            .collect()
    }

    /// The frames one behind the other.
    ///
    /// # Errors
    /// `damaged`.
    pub fn encoded_frames(&self) -> Result<Bytes, Problem> {
        let mut out = Vec::with_capacity(self.bytes() + self.batches.len() * HEADER_BYTES);
        for frame in self.frames()? {
            out.extend_from_slice(&frame.header());
            out.extend_from_slice(frame.batch.bytes());
        }
        Ok(out.into())
    }

    /// The messages from where reading began.
    ///
    /// # Errors
    /// `damaged`.
    pub fn messages(&self) -> Result<Vec<Message>, Problem> {
        let mut messages = Vec::new();
        for frame in self.frames()? {
            messages.extend(frame.messages(self.from).map_err(|error| damaged(&error))?);
        }
        Ok(messages)
    }
}

fn damaged(error: &hcube_core::record::BatchError) -> Problem {
    tracing::error!(%error, "a stored batch does not decode");
    Problem::new(Code::Damaged, "a stored batch does not decode here; another replica may have it whole")
}
