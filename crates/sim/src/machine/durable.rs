//! What would be left of a machine if its power failed now.

use bytes::Bytes;
use hcube_broker::command::batch_of;
use hcube_broker::slot::{Place, Slot};
use hcube_broker::storage::Storage;
use hcube_broker::{PartitionId, Piece, ReadPlan};
use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::{Log, RecoveredGroup};

use super::Machine;

/// A batch that must be found.
pub(crate) struct Wanted<'a> {
    pub group: GroupId,
    pub partition: PartitionId,
    pub base_offset: u64,
    pub batch: &'a Bytes,
}

impl Machine {
    /// Whether a batch of this replica would survive if the power failed now: invariant 1 asks it of a majority.
    pub fn holds_durably(&self, config: &hcube_log::Config, replica: ReplicaId, wanted: &Wanted<'_>) -> bool {
        let disk = self.disk.durable_fork();
        // A log that does not even open holds nothing.
        let Ok((log, recovery)) = Log::open(disk.clone(), config.clone()) else { return false };
        let damaged = recovery.damage.as_ref().is_some_and(|damage| damage.concerns(wanted.group));
        let here = |found: &&RecoveredGroup| found.replica == replica && !damaged;
        let Some(found) = recovery.groups.get(&wanted.group).filter(here) else { return false };
        let in_log = found.entries.iter().any(|entry| {
            let data = log.reader().read(entry.position).expect("what was recovered can be read");
            batch_of(&data).as_ref() == Some(wanted.batch)
        });
        in_log || in_file(&disk, &log, found, wanted).is_some()
    }
}

/// Finds the batch in the sorted files that the base names.
fn in_file(
    disk: &FaultyDisk,
    log: &Log<FaultyDisk>,
    found: &RecoveredGroup,
    wanted: &Wanted<'_>,
) -> Option<()> {
    let slot = Slot::decode(&found.base.state).ok()?;
    let partition = slot.partition(wanted.partition)?;
    let covers = |(first, end): (u64, u64)| first <= wanted.base_offset && wanted.base_offset < end;
    let chunk = partition.chunks().find(|chunk| covers((chunk.first, chunk.end)))?;
    let Place::File(id) = chunk.place else { return None };
    let file = *found.base.files.iter().find(|file| file.id == id)?;
    let plan = ReadPlan {
        partition: wanted.partition,
        from: wanted.base_offset,
        stamp_ms: 0,
        max_bytes: 1,
        max_records: 1,
        pieces: vec![Piece::File { file, end: chunk.end }],
    };
    let batches = Storage::new(disk.clone(), log.reader()).read(&plan).ok()?;
    batches.iter().any(|stored| stored.batch == *wanted.batch).then_some(())
}
