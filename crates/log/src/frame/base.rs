//! The payload of a base frame.
//!
//! Replica `u64`; voters, learners, outgoing voters, next learners (each a `u32` count and `u64` ids), a byte
//! for auto-leave; the sorted files (a `u32` count, and group `u32`, replica `u64`, generation `u64`, bytes
//! `u64`, crc `u32` each); the rest is the state. Index, term and keep-tail are in the frame's head.

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, ReplicaId};

use super::{Head, KEEP_TAIL};
use crate::ops::Base;
use crate::sorted::{SortedFileId, SortedFileMeta};

/// Everything before the state.
pub(crate) fn encode(replica: ReplicaId, base: &Base) -> Vec<u8> {
    let mut raw = Vec::new();
    raw.u64(replica.0);
    let conf = &base.conf;
    for replicas in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        raw.list(replicas.iter(), |raw, replica| raw.u64(replica.0));
    }
    raw.flag(conf.auto_leave);
    raw.list(base.files.iter(), |raw, file| {
        raw.u32(file.id.group.0);
        raw.u64(file.id.replica.0);
        raw.u64(file.id.generation);
        raw.u64(file.bytes);
        raw.u32(file.crc);
    });
    raw
}

/// The replica and its base.
pub(crate) fn decode(head: &Head, payload: Bytes) -> Result<(ReplicaId, Base), DecodeError> {
    let mut reader = Reader::new(payload);
    let replica = ReplicaId(reader.u64("replica")?);
    let mut replicas =
        |what| reader.list(what, |reader| reader.u64("replica of the configuration").map(ReplicaId));
    let (voters, learners) = (replicas("voters")?, replicas("learners")?);
    let (voters_outgoing, learners_next) = (replicas("outgoing voters")?, replicas("next learners")?);
    let auto_leave = reader.flag("auto-leave")?;
    let files = reader.list("sorted files", |reader| {
        Ok(SortedFileMeta {
            id: SortedFileId {
                group: GroupId(reader.u32("sorted file's group")?),
                replica: ReplicaId(reader.u64("sorted file's replica")?),
                generation: reader.u64("sorted file's generation")?,
            },
            bytes: reader.u64("sorted file's bytes")?,
            crc: reader.u32("sorted file's crc")?,
        })
    })?;
    let base = Base {
        index: head.index,
        term: head.term,
        conf: ConfState { voters, learners, voters_outgoing, learners_next, auto_leave },
        state: reader.rest(),
        files,
        keep_tail: head.flags & KEEP_TAIL != 0,
    };
    Ok((replica, base))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(base: &Base) -> Head {
        let flags = if base.keep_tail { KEEP_TAIL } else { 0 };
        Head { length: 0, kind: 4, flags, group: 1, chain: 0, term: base.term, index: base.index }
    }

    #[test]
    fn base_round_trips() {
        let id = SortedFileId { group: GroupId(3), replica: ReplicaId(8), generation: 2 };
        let base = Base {
            index: 10,
            term: 4,
            conf: ConfState {
                voters: vec![ReplicaId(1), ReplicaId(2)],
                learners: vec![ReplicaId(3)],
                voters_outgoing: vec![ReplicaId(4)],
                learners_next: vec![],
                auto_leave: true,
            },
            state: Bytes::from_static(b"state"),
            files: vec![SortedFileMeta { id, bytes: 99, crc: 1 }],
            keep_tail: true,
        };
        let mut raw = encode(ReplicaId(8), &base);
        raw.extend_from_slice(&base.state);
        assert_eq!(decode(&head(&base), raw.into()).unwrap(), (ReplicaId(8), base));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&head(&Base::default()), raw.into());
        }
    }
}
