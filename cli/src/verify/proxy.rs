//! What stands between the peers: one listener in front of each, which knows by the address who calls, and lets pass
//! what is not cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use hcube_core::ids::Vertex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cuts::Cuts;
use crate::local::ports::{Ports, vertex_of};

/// Bytes that are carried at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// All proxies of a run. They end when this is dropped.
pub struct Proxies {
    cuts: watch::Sender<Cuts>,
    strangers: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxies {
    /// One in front of each of these peers.
    pub async fn start(peers: impl Iterator<Item = (Vertex, Ports)>) -> anyhow::Result<Self> {
        let mut fronts = Vec::new();
        for (vertex, ports) in peers {
            let listener = TcpListener::bind(ports.peer).await;
            let listener = listener.with_context(|| format!("cannot listen on {}", ports.peer))?;
            fronts.push((vertex, listener, ports.peer_listen));
        }
        Ok(Self::over(fronts))
    }

    /// One for each of these: who stands behind it, where it listens, and where it leads.
    fn over(fronts: impl IntoIterator<Item = (Vertex, TcpListener, SocketAddr)>) -> Self {
        let cuts = watch::Sender::new(Cuts::default());
        let strangers = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for (vertex, listener, behind) in fronts {
            let (cuts, strangers) = (cuts.subscribe(), Arc::clone(&strangers));
            tasks.spawn(Front { vertex, behind, cuts, strangers }.run(listener));
        }
        Self { cuts, strangers, _tasks: tasks }
    }

    /// From now on this does not get through, and everything else does.
    pub fn cut(&self, cuts: Cuts) {
        self.cuts.send_replace(cuts);
    }

    /// Connections of which nobody knew whose they are, so that no cut has concerned them.
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }
}

/// The proxy in front of one peer.
struct Front {
    vertex: Vertex,
    behind: SocketAddr,
    cuts: watch::Receiver<Cuts>,
    strangers: Arc<AtomicU64>,
}

impl Front {
    async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((stream, from)) = listener.accept().await else {
                // No descriptor is left, which passes.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let Some(dialler) = vertex_of(from.ip()) else {
                self.strangers.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            connections.spawn(carry(stream, self.behind, dialler, self.vertex, self.cuts.clone()));
        }
    }
}

/// Carries one connection until either side ends it or it is cut.
async fn carry(
    near: TcpStream,
    behind: SocketAddr,
    dialler: Vertex,
    listener: Vertex,
    mut cuts: watch::Receiver<Cuts>,
) {
    let seen = cuts.clone();
    let carried = async {
        let far = TcpStream::connect(behind).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            ended = pump(near_in, far_out, seen.clone(), dialler, listener) => ended,
            ended = pump(far_in, near_out, seen.clone(), listener, dialler) => ended,
        }
    };
    tokio::select! {
        // First, so that nobody behind the proxy ever sees a connection that is refused.
        biased;
        _closed = cuts.wait_for(|cuts| !cuts.allows(dialler, listener)) => {}
        // How it ended is between the peers.
        _ended = carried => {}
    }
}

/// Carries one direction, while it is not held up.
async fn pump(
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
    mut cuts: watch::Receiver<Cuts>,
    from: Vertex,
    to: Vertex,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = source.read(&mut buffer).await?;
        // What had been read when the way was cut waits with the rest.
        if cuts.wait_for(|cuts| cuts.passes(from, to)).await.is_err() || bytes == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..bytes]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;
    use crate::local::ports::Network;
    use crate::verify::cuts::Cut;

    const A: Vertex = Vertex(0);
    const B: Vertex = Vertex(1);
    const SOON: Duration = Duration::from_secs(5);
    const A_WHILE: Duration = Duration::from_millis(150);

    /// A proxy in front of B, where it listens, and what listens behind it.
    async fn front() -> (Proxies, SocketAddr, TcpListener) {
        let behind = TcpListener::bind((own(B), 0)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Proxies::over([(B, listener, behind.local_addr().unwrap())]), address, behind)
    }

    fn own(vertex: Vertex) -> IpAddr {
        Ports::new(8000, vertex, Network::Proxied).peer_listen.ip()
    }

    /// A dials.
    async fn dial(front: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(own(A), 0)).unwrap();
        socket.connect(front).await.unwrap()
    }

    async fn hears(stream: &mut TcpStream, within: Duration) -> Option<u8> {
        timeout(within, stream.read_u8()).await.ok()?.ok()
    }

    #[tokio::test]
    async fn a_stalled_way_keeps_the_connection_and_what_was_sent() {
        let (proxies, front, behind) = front().await;
        let mut near = dial(front).await;
        let (mut far, _) = behind.accept().await.unwrap();
        near.write_u8(1).await.unwrap();
        assert_eq!(hears(&mut far, SOON).await, Some(1));
        proxies.cut(Cuts::one_way(A, B, Cut::Stalled));
        near.write_u8(2).await.unwrap();
        assert_eq!(hears(&mut far, A_WHILE).await, None);
        far.write_u8(3).await.unwrap();
        assert_eq!(hears(&mut near, SOON).await, Some(3), "the other way is open");
        proxies.cut(Cuts::default());
        assert_eq!(hears(&mut far, SOON).await, Some(2));
        assert_eq!(proxies.strangers(), 0);
    }

    #[tokio::test]
    async fn a_closed_way_ends_connections_and_refuses_new_ones() {
        let (proxies, front, behind) = front().await;
        let mut near = dial(front).await;
        let (_far, _) = behind.accept().await.unwrap();
        proxies.cut(Cuts::one_way(A, B, Cut::Closed));
        assert_eq!(timeout(SOON, near.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        let mut refused = dial(front).await;
        assert_eq!(timeout(SOON, refused.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        proxies.cut(Cuts::default());
        let mut again = dial(front).await;
        let (mut far, _) = timeout(SOON, behind.accept()).await.unwrap().unwrap();
        again.write_u8(4).await.unwrap();
        assert_eq!(hears(&mut far, SOON).await, Some(4));
    }

    #[tokio::test]
    async fn a_stranger_is_counted_and_sent_away() {
        let (proxies, front, _behind) = front().await;
        let mut stranger = TcpStream::connect(front).await.unwrap();
        assert_eq!(timeout(SOON, stranger.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
        assert_eq!(proxies.strangers(), 1);
    }
}
