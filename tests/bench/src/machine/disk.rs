//! How fast the disk makes appends durable.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::{Limit, median};

/// Syncs that are timed, in each file.
const SYNCS: usize = 300;
/// Bytes that the bandwidth is taken of, synced after each piece.
const BULK_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 4 << 20;

/// Median latency and rate of writing 4 KiB and 64 KiB with `fdatasync`, in one file and in three at once, where the file
/// grows and where it has its blocks already.
///
/// # Errors
/// When a file cannot be written.
pub fn syncs(dir: &Path) -> Result<Vec<Limit>> {
    let mut limits = Vec::new();
    for bytes in [4 << 10, 64 << 10] {
        for files in [1, 3] {
            for preallocated in [false, true] {
                let began = Instant::now();
                let times = together(dir, files, bytes, preallocated)?;
                // What was written before the timed part is not in the rate.
                let seconds: f64 = times.iter().sum::<f64>() / files as f64;
                let how = if preallocated { "preallocated" } else { "extending" };
                let title = format!("fdatasync, {} KiB, {files} file(s), {how}", bytes >> 10);
                limits.push(Limit { title: title.clone(), figure: median(times.clone()) * 1e6, unit: "us" });
                let rate = times.len() as f64 / seconds.min(began.elapsed().as_secs_f64());
                limits.push(Limit { title, figure: rate, unit: "syncs/s" });
            }
        }
    }
    Ok(limits)
}

fn together(dir: &Path, files: usize, bytes: usize, preallocated: bool) -> Result<Vec<f64>> {
    let opened = (0..files).map(|number| open(dir, number, bytes, preallocated));
    let opened: Vec<File> = opened.collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let writers: Vec<_> = opened.iter().map(|file| scope.spawn(move || append(file, bytes))).collect();
        let mut times = Vec::new();
        for writer in writers {
            times.extend(writer.join().map_err(|_| anyhow!("a writer panicked"))??);
        }
        Ok(times)
    })
}

fn open(dir: &Path, number: usize, bytes: usize, preallocated: bool) -> Result<File> {
    let path = dir.join(format!("sync-{number}"));
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    // The name goes at once; the file lives as long as it is open, however this ends.
    std::fs::remove_file(&path)?;
    if preallocated {
        let zeros = vec![0; bytes];
        for turn in 0..SYNCS {
            file.write_all_at(&zeros, (turn * bytes) as u64)?;
        }
        file.sync_all()?;
    }
    Ok(file)
}

/// Seconds that each append took.
fn append(file: &File, bytes: usize) -> Result<Vec<f64>> {
    let block = vec![0x5A; bytes];
    let mut times = Vec::with_capacity(SYNCS);
    for turn in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&block, (turn * bytes) as u64)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Sequential bandwidth of pieces that are synced one by one.
///
/// # Errors
/// When the file cannot be written.
pub fn bandwidth(dir: &Path) -> Result<Limit> {
    let path = dir.join("bulk");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    std::fs::remove_file(&path)?;
    let piece = vec![0x5A; PIECE_BYTES];
    let began = Instant::now();
    for _ in 0..BULK_BYTES / PIECE_BYTES {
        file.write_all(&piece)?;
        file.sync_data()?;
    }
    let figure = BULK_BYTES as f64 / began.elapsed().as_secs_f64() / 1e6;
    Ok(Limit { title: "sequential writes, synced every 4 MiB".into(), figure, unit: "MB/s" })
}
