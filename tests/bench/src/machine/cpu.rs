//! How fast one core checks and moves bytes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::Limit;

/// Bytes of a pass: more than the caches hold.
const BYTES: usize = 64 << 20;
/// How long each is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// CRC32C and memory copy.
#[must_use]
pub fn per_core() -> Vec<Limit> {
    let source = vec![0x5A; BYTES];
    let mut target = vec![0; BYTES];
    let crc = rate(|| {
        black_box(crc32c::crc32c(black_box(&source)));
    });
    let copy = rate(|| black_box(&mut target).copy_from_slice(black_box(&source)));
    let limit = |title: &str, figure| Limit { title: title.into(), figure, unit: "GB/s" };
    vec![limit("CRC32C, one core", crc), limit("memory copy, one core", copy)]
}

fn rate(mut pass: impl FnMut()) -> f64 {
    // Pages are touched before it counts.
    pass();
    let began = Instant::now();
    let mut passes = 0.0;
    while began.elapsed() < LOOK {
        pass();
        passes += 1.0;
    }
    passes * BYTES as f64 / began.elapsed().as_secs_f64() / 1e9
}
