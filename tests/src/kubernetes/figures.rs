//! Figures that stories measure: printed, and collected for the table at the end of the run, never asserted.

use std::io::Write as _;
use std::time::Duration;

/// Tells a figure of a story. `HCUBE_FIGURES` names the file that collects them.
#[allow(clippy::print_stdout, reason = "figures are there to be seen")]
pub fn tell(story: &str, what: &str, figure: &str) {
    println!("figure: {story}: {what}: {figure}");
    let Some(path) = std::env::var_os("HCUBE_FIGURES") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // A figure that is not collected was printed all the same.
    let _ = file.and_then(|mut file| writeln!(file, "{story}\t{what}\t{figure}"));
}

/// A duration as people read it.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// Tells the longest time that a message took and the one that one in a thousand took longer than.
///
/// # Panics
/// When there are none.
pub fn gaps(story: &str, what: &str, times: &[Duration]) {
    let longest = times.last().copied().expect("a publisher was acknowledged");
    let rank = times.len().saturating_sub(1).min(times.len() * 999 / 1000);
    let figure = format!("{} longest, {} p99.9 of {}", seconds(longest), seconds(times[rank]), times.len());
    tell(story, what, &figure);
}
