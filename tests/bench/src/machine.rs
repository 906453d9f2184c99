//! What the machine itself can do: the limits that figures are held against.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

pub mod cpu;
pub mod disk;
pub mod network;
pub mod strangers;
pub mod written;

/// A limit.
#[derive(Debug, Clone, Serialize)]
pub struct Limit {
    /// What it is.
    pub title: String,
    /// How much.
    pub figure: f64,
    /// In which unit.
    pub unit: &'static str,
}

/// Measures all limits; files go below `dir`.
///
/// # Errors
/// When a file or a socket cannot be used.
pub fn measure(dir: &Path) -> Result<Vec<Limit>> {
    let mut limits = disk::syncs(dir)?;
    limits.push(disk::bandwidth(dir)?);
    limits.push(network::round_trip()?);
    limits.extend(cpu::per_core());
    Ok(limits)
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
