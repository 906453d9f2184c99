//! With what a replica and its state machine begin.

use std::collections::BTreeMap;

use hcube_core::conf::ConfState;
use hcube_core::ids::{GroupId, NodeId, ReplicaId};
use raft::RawNode;
use slog::Logger;

use crate::Config;
use crate::conf::ConfChange;
use crate::storage::Store;

/// With what a replica begins.
pub(crate) struct Start {
    pub store: Store,
    /// What the owner has applied.
    pub applied: u64,
    /// The configuration at the store's base, and its committed changes up to `applied`, by index.
    pub conf: ConfState,
    pub changes: Vec<(u64, ConfChange)>,
    pub nodes: BTreeMap<ReplicaId, NodeId>,
}

/// The crate `raft` over a log, with what is applied of it.
pub(super) fn raw_node(
    group: GroupId,
    replica: ReplicaId,
    store: Store,
    applied: u64,
    config: &Config,
) -> RawNode<Store> {
    let raft = raft::Config {
        id: replica.0,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied,
        max_size_per_msg: config.message_bytes,
        max_inflight_msgs: config.inflight_messages,
        check_quorum: true,
        pre_vote: true,
        max_uncommitted_size: config.uncommitted_bytes,
        max_committed_size_per_ready: config.committed_bytes,
        // `commits` tells followers what is committed; the metadata is rare, and waited for by whoever changed it.
        skip_bcast_commit: group != GroupId::META,
        ..Default::default()
    };
    // What a group does is reported as roles and metrics; the crate's own log would name it a second time.
    let silent = Logger::root(slog::Discard, slog::o!());
    RawNode::new(&raft, store, &silent).expect("a recovered log is a valid start")
}
