//! How fast the loopback is.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::{Limit, median};

/// Round trips that are timed.
const ROUND_TRIPS: usize = 5000;

/// Median of 256 bytes there and back over TCP between two threads.
///
/// # Errors
/// When no connection comes about.
pub fn round_trip() -> Result<Limit> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; 256];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut message = [1; 256];
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(began.elapsed().as_secs_f64());
    }
    drop(stream);
    echo.join().map_err(|_| anyhow!("the echo panicked"))??;
    Ok(Limit { title: "loopback round trip, 256 B".into(), figure: median(times) * 1e6, unit: "us" })
}
