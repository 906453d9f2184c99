//! The status of a HypercubeTopic, from the topic as a peer describes it.

use hcube_api::topics::{Partition, Topic};
use hcube_crd::HypercubeTopicStatus;
use hcube_crd::topic::PartitionPlacement;

/// Partitions whose places are listed at most.
const LISTED_MAX: usize = 64;

/// Fills in what is known of a topic.
pub(super) fn fill(status: &mut HypercubeTopicStatus, live: &Topic) {
    status.topic_id = Some(live.id.to_string());
    status.messages = messages(live);
    status.placement = live.partitions.iter().take(LISTED_MAX).map(placement).collect();
}

/// Messages kept in all partitions; none where one could not be asked.
pub(super) fn messages(live: &Topic) -> Option<u64> {
    let kept =
        |partition: &Partition| Some(partition.high_watermark?.saturating_sub(partition.start_offset?));
    live.partitions.iter().map(kept).sum()
}

fn placement(partition: &Partition) -> PartitionPlacement {
    let labels = |only_in_sync: bool| {
        let chosen =
            partition.replicas.iter().filter(|replica| !only_in_sync || replica.in_sync == Some(true));
        chosen.map(|replica| replica.label.to_string()).collect()
    };
    PartitionPlacement {
        partition: partition.partition,
        slot: partition.slot.0,
        leader: partition.leader.as_ref().map(ToString::to_string),
        replicas: labels(false),
        in_sync: labels(true),
    }
}
