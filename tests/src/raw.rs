//! Bytes over a socket, for what no HTTP library would send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A connection to a port of this machine, with timeouts.
///
/// # Panics
/// When nobody listens there.
#[track_caller]
#[must_use]
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let stream = stream.unwrap_or_else(|error| panic!("port {port}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the timeout is not zero");
    stream.set_write_timeout(Some(Duration::from_secs(20))).expect("the timeout is not zero");
    stream
}

/// Sends bytes, and that there are no more where `ends`. Returns everything that comes until the other side closes;
/// a connection that is reset counts as closed.
///
/// # Panics
/// When the other side does not close within 30 s.
#[track_caller]
#[must_use]
pub fn exchange(port: u16, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = connect(port);
    // The other side may have heard enough in the middle.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    read_to_end(&mut stream)
}

/// Everything that comes until the other side closes.
///
/// # Panics
/// When it does not within 30 s.
#[track_caller]
#[must_use]
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let (mut heard, mut buffer, began) = (Vec::new(), vec![0; 1 << 16], Instant::now());
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return heard,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection stays open; heard {:?}", String::from_utf8_lossy(&heard))
            }
            Err(_reset) => return heard,
        }
        assert!(began.elapsed() < Duration::from_secs(30), "there is no end to it");
    }
}

/// The status of an HTTP/1.1 answer's bytes; none where they are something else.
#[must_use]
pub fn status(answer: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next()?).into_owned();
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// Bytes that look random and are the same in each run (xorshift64*, Vigna 2016).
#[must_use]
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_off_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 413 Payload Too Large\r\nx: y\r\n\r\n"), Some(413));
        assert_eq!(status(b"HCUBELNK"), None);
        assert_eq!(status(b""), None);
    }

    #[test]
    fn noise_repeats_itself_by_seed() {
        assert_eq!(noise(7, 100), noise(7, 100));
        assert_ne!(noise(7, 100), noise(9, 100));
    }
}
