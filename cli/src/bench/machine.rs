//! What the machine itself can do: a sync of its disk, a round trip over its loopback.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Syncs and round trips that are timed.
const SYNCS: usize = 400;
const ROUND_TRIPS: usize = 4000;
/// Bytes of a write before a sync: what a small publish puts into the log.
const BLOCK_BYTES: usize = 4096;

/// What bounds a request from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Median of writing 4 KiB into a file that has its blocks and `fdatasync`, in microseconds.
    pub fdatasync_us: u64,
    /// Median of one byte there and back over TCP on 127.0.0.1, in microseconds.
    pub round_trip_us: u64,
    /// Processors.
    pub processors: usize,
}

impl Machine {
    /// Measures; files go into `dir`.
    pub fn measure(dir: &Path) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { fdatasync_us: sync(dir)?, round_trip_us: round_trip()?, processors })
    }

    /// Requests a second that one sync and two round trips, one after the other, allow.
    pub fn allowed_per_s(&self) -> f64 {
        let us = self.fdatasync_us + 2 * self.round_trip_us;
        1e6 / us.max(1) as f64
    }
}

fn sync(dir: &Path) -> io::Result<u64> {
    let path = dir.join("hcube-bench-sync");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    // The name goes at once; the file lives as long as it is open, however this ends.
    std::fs::remove_file(&path)?;
    let block = [0x5A; BLOCK_BYTES];
    for at in 0..SYNCS {
        file.write_all_at(&[0; BLOCK_BYTES], (at * BLOCK_BYTES) as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::with_capacity(SYNCS);
    for at in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&block, (at * BLOCK_BYTES) as u64)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(median_us(times))
}

fn round_trip() -> io::Result<u64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut byte = [1];
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        times.push(begun.elapsed());
    }
    drop(stream);
    echo.join().expect("the echo does not panic")?;
    Ok(median_us(times))
}

fn median_us(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    u64::try_from(times[times.len() / 2].as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_can_be_measured_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::measure(dir.path()).unwrap();
        assert!(machine.processors >= 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_sync_and_two_round_trips_bound_the_rate() {
        let machine = Machine { fdatasync_us: 900, round_trip_us: 50, processors: 2 };
        assert!((machine.allowed_per_s() - 1000.0).abs() < 1e-9);
    }
}
