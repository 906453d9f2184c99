//! A port of this machine that leads to a port elsewhere: peers answer to `127.0.0.1` and not to the address of a
//! machine that they do not know.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the other side may take to take a connection. It is a bridge away; a pod that is gone never does, and what
/// is lost waiting for it would be taken for the hypercube's slowness.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often it is looked whether the port is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// A port that is open until this is dropped. A connection that the other side does not take is closed.
#[derive(Debug)]
pub(super) struct Forward {
    /// The port on this machine.
    pub port: u16,
    done: Arc<AtomicBool>,
}

impl Forward {
    /// Opens a port that leads to an address.
    ///
    /// # Panics
    /// When this machine has no port.
    pub fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can do without blocking");
        let port = listener.local_addr().expect("a listener has an address").port();
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, _)) => drop(std::thread::spawn(move || connect(&near, address))),
                    Err(_nobody) => std::thread::sleep(LOOK),
                }
            }
        });
        Self { port, done }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Carries bytes both ways until both sides have ended. Whoever ends without a word is noticed by the other's reader.
fn connect(near: &TcpStream, address: SocketAddr) {
    let Ok(far) = TcpStream::connect_timeout(&address, PATIENCE) else { return };
    if near.set_nonblocking(false).is_err() {
        return;
    }
    // Small messages go at once, as without anybody in between.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    std::thread::scope(|scope| {
        scope.spawn(|| carry(near, &far));
        carry(&far, near);
    });
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(count) if count > 0 => {
                if to.write_all(&buffer[..count]).is_err() {
                    // Nobody hears the other direction either.
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            Ok(_end) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Err(_reset) => {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_both_ways_until_both_sides_have_ended() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let forward = Forward::to(listener.local_addr().unwrap());
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
        });
        assert_eq!(crate::raw::exchange(forward.port, b"hello", true), b"hello");
        echo.join().unwrap();
    }

    #[test]
    fn a_connection_that_nobody_takes_is_closed() {
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let forward = Forward::to(nobody);
        assert_eq!(crate::raw::exchange(forward.port, b"hello", false), b"");
    }
}
