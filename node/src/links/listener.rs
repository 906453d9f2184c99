//! Connections that others make.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{HANDSHAKE_TIMEOUT, Shared, connection, handshake};

/// Connections that have not proved themselves yet, at most; further ones wait to be accepted.
const STRANGERS_MAX: usize = 128;

/// Accepts connections until the future is dropped.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    // Dropped with the future, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(stranger) = Arc::clone(&strangers).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                connections.spawn(serve(Arc::clone(&shared), stream, address, stranger));
            }
            Err(error) => {
                // Out of descriptors, most likely: accepting again at once would only spin.
                tracing::warn!(%error, "a peer's connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    mut stream: TcpStream,
    address: SocketAddr,
    stranger: OwnedSemaphorePermit,
) {
    // Without it the link would work, only slower.
    let _slower = stream.set_nodelay(true);
    let ours = shared.hello();
    let opened = timeout(HANDSHAKE_TIMEOUT, handshake::accept(&mut stream, &shared.secret, &ours)).await;
    let hello = match opened {
        Ok(Ok(hello)) => hello,
        // Whoever only looks whether the port is open is not worth a line.
        Ok(Err(handshake::Error::Io(error))) => {
            return tracing::debug!(%address, %error, "a connection ended before it proved itself");
        }
        Ok(Err(error)) => {
            shared.metrics.link_refusals.inc();
            return tracing::warn!(%address, %error, "a connection was refused");
        }
        Err(_elapsed) => {
            shared.metrics.link_refusals.inc();
            return tracing::warn!(%address, "a connection did not prove itself in time");
        }
    };
    // It is no stranger any more.
    drop(stranger);
    let end = connection::run(&shared, stream, hello, None).await;
    connection::report(&shared, &end, &address);
}
