//! Reading several partitions at a time without holding more than a few batches of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use hcube_api::Problem;
use hcube_api::messages::{PullQuery, Start};
use hcube_broker::request::From;

use super::super::reader::{Chunk, Most, Reader};
use super::from;

/// Partitions asked at a time.
const AT_ONCE: usize = 16;

/// Reads the partitions as they are; when there is nothing in any of them, waits for the first that has
/// something.
pub(super) async fn read(
    reader: &Reader,
    partitions: Range<u16>,
    start: &Start,
    query: &PullQuery,
) -> Result<Vec<Chunk>, Problem> {
    let mut chunks = read_now(reader, partitions, start, query).await?;
    if query.wait_ms > 0 && chunks.iter().all(|chunk| chunk.batches.is_empty()) {
        wait(reader, &mut chunks, query).await?;
    }
    Ok(chunks)
}

/// Asks each partition once. What would be too much is left for the next pull.
pub(in crate::http) async fn read_now(
    reader: &Reader,
    partitions: Range<u16>,
    start: &Start,
    query: &PullQuery,
) -> Result<Vec<Chunk>, Problem> {
    // Begins anywhere, so that no partition is always the one for which nothing is left.
    let count = partitions.end - partitions.start;
    let first = rand::random::<u16>() % count.max(1);
    let order = (0..count).map(|at| partitions.start + (first + at) % count);
    let taken = Arc::new(AtomicUsize::new(0));
    let enough = 2 * query.max_bytes as usize;
    let reads = order.map(|partition| {
        let (reader, taken, from) = (reader.clone(), Arc::clone(&taken), from(start, partition));
        let most = Most { records: query.limit, bytes: query.max_bytes, wait_ms: 0 };
        async move {
            let full = taken.load(Ordering::Relaxed) >= enough;
            // Where this one begins must be known even so, or the cursor could not name it.
            let most = if full { Most { records: 1, bytes: 1, ..most } } else { most };
            let mut chunk = reader.read(partition, from, most).await?;
            if full {
                chunk.batches.clear();
            } else {
                taken.fetch_add(chunk.bytes(), Ordering::Relaxed);
            }
            Ok::<_, Problem>(chunk)
        }
    });
    let reads: Vec<_> = reads.collect();
    let results: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
    let mut chunks = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    chunks.sort_by_key(|chunk| chunk.partition);
    Ok(chunks)
}

/// Waits in every partition; the first that has something ends the waiting for all.
async fn wait(reader: &Reader, chunks: &mut [Chunk], query: &PullQuery) -> Result<(), Problem> {
    let most = Most { records: query.limit, bytes: query.max_bytes, wait_ms: query.wait_ms };
    let mut waiting: FuturesUnordered<_> = chunks
        .iter()
        .map(|chunk| {
            let (reader, partition, from) = (reader.clone(), chunk.partition, From::Offset(chunk.from));
            async move { reader.read(partition, from, most).await }
        })
        .collect();
    while let Some(result) = waiting.next().await {
        let chunk = result?;
        let found = !chunk.batches.is_empty();
        let place = chunks.iter_mut().find(|place| place.partition == chunk.partition);
        if let Some(place) = place {
            *place = chunk;
        }
        if found {
            // Dropping the others gives them up.
            return Ok(());
        }
    }
    Ok(())
}
