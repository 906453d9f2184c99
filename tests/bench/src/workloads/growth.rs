//! W9: W2 and W4 with more topics, and with more peers, each on servers of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use super::{Scale, concurrent, many_topics};
use crate::system::{Launcher, Mode, System};

/// A figure of W9: which, for how many topics or peers, how much.
pub type Grown = (String, f64);

/// Peers where topics grow.
const PEERS: u16 = 3;
/// Topics where peers grow.
const TOPICS: usize = 100;

/// W2 and W4 (over all topics) as topics become more: at each step the servers have so many.
///
/// # Errors
/// When a publish fails. What was measured before stays in `grown`.
pub async fn topics<L: Launcher>(
    launcher: &L,
    dir: &Path,
    scale: &Scale,
    grown: &mut Vec<Grown>,
) -> Result<()> {
    let system = launcher.launch(dir, PEERS).await?;
    let mut made: Vec<String> = Vec::new();
    for &count in scale.topics {
        let more: Vec<String> = (made.len()..count).map(|number| format!("w9-{number}")).collect();
        timeout(Duration::from_secs_f64(scale.patience_s), system.create_topics(&more))
            .await
            .with_context(|| format!("{count} topics are not made within {} s", scale.patience_s))?
            .with_context(|| format!("{count} topics"))?;
        made.extend(more);
        measure(&system, &made, &format!("topics-{count}"), scale, grown).await?;
    }
    Ok(())
}

/// W2 and W4 as peers become more.
///
/// # Errors
/// When a publish fails. What was measured before stays in `grown`.
pub async fn peers<L: Launcher>(
    launcher: &L,
    dir: &Path,
    scale: &Scale,
    grown: &mut Vec<Grown>,
) -> Result<()> {
    for &peers in scale.peers {
        let place = dir.join(format!("peers-{peers}"));
        std::fs::create_dir_all(&place)?;
        let system = launcher.launch(&place, peers).await.with_context(|| format!("{peers} peers"))?;
        let topics: Vec<String> = (0..TOPICS).map(|number| format!("w9-{number}")).collect();
        timeout(Duration::from_secs_f64(scale.patience_s), system.create_topics(&topics))
            .await
            .with_context(|| format!("{peers} peers do not make {TOPICS} topics in time"))??;
        measure(&system, &topics, &format!("peers-{peers}"), scale, grown).await?;
        drop(system);
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

async fn measure<S: System>(
    system: &S,
    topics: &[String],
    step: &str,
    scale: &Scale,
    grown: &mut Vec<Grown>,
) -> Result<()> {
    let publisher = Arc::new(system.publisher(&topics[..1], Mode::Shared).await?);
    let one = concurrent::load::<S>(&publisher, scale).await.with_context(|| format!("W2, {step}"))?;
    grown.push((format!("w9-w2-{step}"), one.rate()));
    let publisher = many_topics::ready(system, topics).await.with_context(|| format!("W4, {step}"))?;
    let all = many_topics::load::<S>(&publisher, topics.len(), scale);
    let all = all.await.with_context(|| format!("W4, {step}"))?;
    grown.push((format!("w9-w4-{step}"), all.rate()));
    Ok(())
}
