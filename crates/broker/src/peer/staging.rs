//! Snapshots: the files come first, piece by piece; only when all are safe on this disk does the group's state
//! machine see the snapshot.

use std::collections::VecDeque;

use bytes::Bytes;
use hcube_consensus::{Envelope, SnapshotData};
use hcube_core::ids::{GroupId, NodeId};
use hcube_log::{SortedFileId, SortedFileMeta};

use super::Peer;
use super::call::{Call, CallId, Origin, Waits};
use crate::request::{Answer, Error, Request};
use crate::slot::Slot;
use crate::{Action, ReadError, ReadToken};

/// How long one part of a file may take to come, in milliseconds.
const PART_PATIENCE_MS: u64 = 3_000;
/// Failures of one snapshot after which it is given up; its leader sends another.
const FAILURES: u32 = 10;

/// A snapshot whose files are being fetched.
#[derive(Debug)]
pub(super) struct Staging {
    from: NodeId,
    envelope: Envelope,
    missing: VecDeque<SortedFileMeta>,
    /// Files that are in their place already.
    safe: Vec<SortedFileId>,
    /// Bytes of the first missing file that are staged.
    at: u64,
    /// Length of the part that is being staged.
    part: u64,
    failures: u32,
    idle: bool,
}

impl Peer {
    /// A leader offers a snapshot.
    pub(super) fn snapshot_offered(&mut self, from: NodeId, envelope: Envelope) {
        let group = envelope.group;
        let Some((index, data)) = envelope.snapshot() else { return };
        if !self.groups.is_for_us(&envelope) {
            return;
        }
        let Ok(data) = SnapshotData::decode(data.clone()) else { return };
        let valid = match group {
            GroupId::META => hcube_core::meta::Meta::decode(data.state).is_ok(),
            _ => Slot::decode(&data.state).is_ok(),
        };
        if !valid {
            return;
        }
        if self.groups.indexes(group).is_some_and(|indexes| index <= indexes.commit) {
            // Stale: the state machine knows what to answer, and restores nothing.
            return self.groups.step(from, envelope);
        }
        let have = |file: &SortedFileMeta| {
            self.slots.get(&group).is_some_and(|replica| replica.files.get(&file.id) == Some(file))
        };
        let missing: VecDeque<_> = data.files.into_iter().filter(|file| !have(file)).collect();
        if missing.is_empty() {
            self.end_staging(group);
            return self.groups.step(from, envelope);
        }
        let under_way = self.staging.get(&group).is_some_and(|staging| staging.from == from);
        if !under_way {
            self.end_staging(group);
            let staging = Staging {
                from,
                envelope,
                missing,
                safe: Vec::new(),
                at: 0,
                part: 0,
                failures: 0,
                idle: false,
            };
            self.staging.insert(group, staging);
            self.ask_part(group);
        }
    }

    fn ask_part(&mut self, group: GroupId) {
        let Some(staging) = self.staging.get_mut(&group) else { return };
        let Some(file) = staging.missing.front() else { return };
        // What is more than catching up may take goes on with the next tick.
        staging.idle = self.staging_room_bytes == 0;
        if staging.idle {
            return;
        }
        self.staging_room_bytes = self.staging_room_bytes.saturating_sub(self.config.file_part_bytes.into());
        let request = Request::ReadFile {
            node: staging.from,
            file: file.id,
            at: staging.at,
            length: self.config.file_part_bytes,
        };
        let deadline_ms = self.now.mono_ms + PART_PATIENCE_MS;
        let call = Call::new(Origin::Snapshot(group), request, deadline_ms, vec![self.vertex]);
        self.begin(call);
    }

    /// A part came, or did not.
    pub(super) fn file_part(&mut self, group: GroupId, request: &Request, result: Result<Answer, Error>) {
        let Some(staging) = self.staging.get_mut(&group) else { return };
        let Some(file) = staging.missing.front().cloned() else { return };
        if !matches!(request, Request::ReadFile { file: asked, at, .. } if (*asked, *at) == (file.id, staging.at))
        {
            return;
        }
        match result {
            Ok(Answer::FilePart(part)) if !part.is_empty() => {
                staging.part = part.len() as u64;
                let at = staging.at;
                self.actions.push(Action::Stage { group, file, at, part });
            }
            // The file is gone there, or the answer makes no sense: the leader has a newer snapshot by now.
            Ok(_) | Err(Error::NotHere | Error::Read(_)) => self.end_staging(group),
            Err(_) => self.staging_failed(group),
        }
    }

    /// A part is safe, or is not.
    pub(super) fn staged(&mut self, group: GroupId, file: SortedFileId, at: u64, result: Result<(), String>) {
        let Some(staging) = self.staging.get_mut(&group) else { return };
        if staging.at != at || staging.missing.front().is_none_or(|missing| missing.id != file) {
            return;
        }
        if result.is_err() {
            return self.staging_failed(group);
        }
        staging.at += staging.part;
        staging.failures = 0;
        if staging.missing.front().is_some_and(|file| staging.at >= file.bytes) {
            staging.missing.pop_front();
            staging.safe.push(file);
            staging.at = 0;
        }
        if staging.missing.is_empty() {
            if let Some(staging) = self.staging.remove(&group) {
                self.groups.step(staging.from, staging.envelope);
            }
        } else {
            self.ask_part(group);
        }
    }

    fn staging_failed(&mut self, group: GroupId) {
        let Some(staging) = self.staging.get_mut(&group) else { return };
        staging.failures += 1;
        // The part begins again at a tick; a file begins again from its start, since a half-written part is
        // not known to be whole.
        staging.at = 0;
        staging.idle = true;
        if staging.failures > FAILURES {
            self.end_staging(group);
        }
    }

    /// Gives a snapshot up: its files are nobody's.
    pub(super) fn end_staging(&mut self, group: GroupId) {
        if let Some(call) = self.calls.by_origin(Origin::Snapshot(group)) {
            self.calls.remove(call);
        }
        let Some(staging) = self.staging.remove(&group) else { return };
        if !staging.safe.is_empty() {
            self.actions.push(Action::RemoveFiles(staging.safe));
        }
    }

    pub(super) fn retry_staging(&mut self) {
        let idle: Vec<_> = self.staging.iter().filter(|(_, s)| s.idle).map(|(group, _)| *group).collect();
        for group in idle {
            self.ask_part(group);
        }
    }

    /// Serves a part of a file to a peer that restores a snapshot.
    pub(super) fn read_file(&mut self, id: CallId, file: SortedFileId, at: u64, length: u32) {
        let replica = self.slots.get(&file.group);
        let Some(meta) = replica.and_then(|replica| replica.files.get(&file)).cloned() else {
            return self.finish(id, Err(Error::NotHere));
        };
        let asker = self.calls.get(id).and_then(|call| call.path.first().copied());
        let asker = asker.and_then(|vertex| self.meta.member_at(vertex)).map(|member| member.node);
        if let Some(replica) = asker.and_then(|node| self.replica_on(file.group, node)) {
            self.groups.snapshot_progress(file.group, replica);
        }
        self.calls.waits(id, Waits::Disk);
        let length = length.min(self.config.file_part_bytes);
        self.actions.push(Action::ReadFile { token: ReadToken(id), file: meta, at, length });
    }

    pub(super) fn file_read(&mut self, token: ReadToken, result: Result<Bytes, ReadError>) {
        let error = |error: ReadError| match error {
            ReadError::Gone => Error::NotHere,
            ReadError::Failed(reason) => Error::Read(reason),
        };
        self.finish(token.0, result.map(Answer::FilePart).map_err(error));
    }
}
