//! W7: kill -9 of the leader while 64 callers publish. How long nothing is acknowledged, and whether what was
//! acknowledged is still there, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::concurrent::IN_FLIGHT;
use super::{Figure, Scale, payloads, topic_with_publisher};
use crate::payload::head;
use crate::system::{Mode, Publisher, Reader as _, Start, System};

/// How long publishes may fail.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long nothing comes before a topic is taken to have been read.
const QUIET: Duration = Duration::from_secs(3);
/// How long it is published before the leader is killed, and again afterwards.
const STEADY: Duration = Duration::from_secs(2);

/// What one caller knows: numbers that were acknowledged, and when.
type Log = Vec<(u64, Instant)>;

/// The longest time without an acknowledgement from the kill on, and what was lost or doubled.
///
/// # Errors
/// When publishes do not come to succeed again, or the topic cannot be read.
pub async fn run<S: System>(system: &S, _scale: &Scale) -> Result<Vec<Figure>> {
    let publisher = topic_with_publisher(system, "w7", Mode::Insistent).await?;
    let over = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..IN_FLIGHT {
        callers.spawn(publish(Arc::clone(&publisher), caller, Arc::clone(&over), Arc::clone(&acknowledged)));
    }
    sleep(STEADY).await;
    let leader = system.leader("w7").await?;
    let server = system.servers().0.get(leader).context("the leader is one of the servers")?;
    let killed = Instant::now();
    server.kill()?;
    let recovered = wait_for_recovery(&acknowledged, killed).await;
    over.store(true, Ordering::Relaxed);
    let mut logs = Log::new();
    while let Some(ended) = timeout(PATIENCE, callers.join_next()).await.context("a publish never ends")? {
        logs.extend(ended??);
    }
    recovered?;
    let gap = longest_gap(&logs, killed);
    let (missing, twice) = audit(system, &logs).await?;
    Ok(vec![("w7-gap", gap.as_secs_f64() * 1e3), ("w7-missing", missing as f64), ("w7-twice", twice as f64)])
}

async fn publish<P: Publisher>(
    publisher: Arc<P>,
    caller: u64,
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Result<Log> {
    let payloads = payloads();
    let mut log = Log::new();
    let mut number = caller;
    while !over.load(Ordering::Relaxed) {
        publisher.enqueue(0, payloads.with_head(number)).await?.await?;
        log.push((number, Instant::now()));
        acknowledged.fetch_add(1, Ordering::Relaxed);
        number += IN_FLIGHT;
    }
    Ok(log)
}

/// Waits until acknowledgements have come again for a while.
async fn wait_for_recovery(acknowledged: &AtomicU64, killed: Instant) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(100);
    // What was on its way when the leader died does not count.
    sleep(LOOK).await;
    let mut steady = Duration::ZERO;
    let mut before = acknowledged.load(Ordering::Relaxed);
    while steady < STEADY {
        ensure!(
            killed.elapsed() < PATIENCE,
            "publishes do not succeed {PATIENCE:?} after the leader was killed"
        );
        sleep(LOOK).await;
        let now = acknowledged.load(Ordering::Relaxed);
        // A pause after the first signs of life begins the wait anew, for it may be the longest one.
        steady = if now > before { steady + LOOK } else { Duration::ZERO };
        before = now;
    }
    Ok(())
}

fn longest_gap(logs: &Log, killed: Instant) -> Duration {
    let mut times: Vec<Instant> = logs.iter().map(|(_, at)| *at).filter(|at| *at > killed).collect();
    times.push(killed);
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Reads the topic whole: how many of the acknowledged messages are missing, how many messages are there twice.
async fn audit<S: System>(system: &S, logs: &Log) -> Result<(u64, u64)> {
    let mut left: HashMap<u64, u64> = logs.iter().map(|(number, _)| (*number, 0)).collect();
    let mut missing = left.len();
    let mut unacknowledged = HashMap::<u64, u64>::new();
    let mut reader = system.reader("w7", Start::Earliest).await?;
    let mut heard = Instant::now();
    while heard.elapsed() < QUIET || (missing > 0 && heard.elapsed() < 5 * QUIET) {
        let each = &mut |payload: &[u8]| {
            heard = Instant::now();
            let number = head(payload);
            let seen = match left.get_mut(&number) {
                Some(seen) => seen,
                None => unacknowledged.entry(number).or_default(),
            };
            *seen += 1;
        };
        if let Ok(read) = timeout(QUIET, reader.read(each)).await {
            read?;
        }
        missing = left.values().filter(|seen| **seen == 0).count();
    }
    let twice = left.values().chain(unacknowledged.values()).filter(|seen| **seen > 1).count();
    Ok((missing as u64, twice as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_begins_at_the_kill() {
        let killed = Instant::now();
        let at = |ms| killed + Duration::from_millis(ms);
        let before = killed.checked_sub(Duration::from_secs(9)).unwrap();
        let logs = vec![(0, before), (1, at(1)), (2, at(701)), (3, at(720))];
        assert_eq!(longest_gap(&logs, killed), Duration::from_millis(700));
    }
}
