//! W8: resident memory of the servers.

use std::time::Duration;

use anyhow::Result;

use super::Figure;
use crate::system::System;

/// How long nothing is asked of the servers before they count as idle.
const REST: Duration = Duration::from_secs(3);

/// The largest server that has nothing to do, in MiB.
///
/// # Errors
/// When a server has ended.
pub async fn idle<S: System>(system: &S) -> Result<Figure> {
    tokio::time::sleep(REST).await;
    let each = system.servers().resident_bytes()?;
    Ok(("w8-idle", mebibytes(each.into_iter().max().unwrap_or_default())))
}

/// All servers together after W3, in MiB.
///
/// # Errors
/// When a server has ended.
pub fn loaded<S: System>(system: &S) -> Result<Figure> {
    Ok(("w8-loaded", mebibytes(system.servers().resident_bytes()?.into_iter().sum())))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
