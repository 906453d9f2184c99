//! Readers see committed records only, and a publish is acknowledged only when its entry is committed.

use bytes::Bytes;
use hcube_core::ids::GroupId;

use super::{Invariants, hold};

impl Invariants {
    /// A batch was read, or acknowledged.
    pub fn told(&self, what: &str, group: GroupId, batch: &Bytes) {
        let committed = self.committed.index_of(group, batch).is_some();
        hold!("what clients see is committed", committed, "a batch of group {group} was {what} uncommitted");
    }
}
