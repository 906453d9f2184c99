//! Connections that this node makes: one task for each peer that is wanted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcube_core::ids::NodeId;
use hcube_core::meta::Meta;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::admission::is_parting;
use super::{HANDSHAKE_TIMEOUT, Shared, connection, handshake, wanted};

/// The first pause before a peer is dialled again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A link that held so long was a good one: the next pause is the first again.
const GOOD_LINK: Duration = Duration::from_secs(5);

/// Keeps a dialer running for each peer that is wanted, from the moment this node is a member and until the
/// future is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut bound = shared.bound.subscribe();
    let Ok(bound) = bound.wait_for(Option::is_some).await.map(|bound| bound.clone()) else { return };
    let Some(bound) = bound else { return };
    let mut meta = bound.meta.clone();
    // Dropped with the future, and every dialer with it.
    let mut tasks = JoinSet::new();
    let mut dialers: BTreeMap<NodeId, (String, AbortHandle)> = BTreeMap::new();
    let own = bound.member.node;
    let mut left = false;
    loop {
        let now = Arc::clone(&meta.borrow_and_update());
        if !left && !now.members.contains_key(&own) {
            left = true;
            tracing::warn!(node = %own, "this node has left the hypercube for ever; its disk can be emptied");
        }
        let peers = wanted(&now, own);
        dialers.retain(|node, (address, task)| {
            let keep = match peers.get(node) {
                Some(wanted) => wanted == address,
                None => is_kept(&now, own, *node),
            };
            if !keep {
                task.abort();
            }
            keep
        });
        for (node, address) in peers {
            dialers.entry(node).or_insert_with(|| {
                let task = tasks.spawn(dial(Arc::clone(&shared), node, address.clone()));
                (address, task)
            });
        }
        while tasks.try_join_next().is_some() {}
        if meta.changed().await.is_err() {
            // The core has ended.
            return;
        }
    }
}

/// Whether a peer that is wanted no more is kept for a while: until the metadata group has changed its own votes it
/// needs those that gave them before, and whoever was removed has to hear of it.
fn is_kept(meta: &Meta, own: NodeId, node: NodeId) -> bool {
    let stays = meta.members.contains_key(&node) || is_parting(meta, node);
    !meta.metadata.settled && meta.members.contains_key(&own) && stays
}

/// Dials one peer again and again.
async fn dial(shared: Arc<Shared>, node: NodeId, address: String) {
    let mut pause = PAUSE_MIN;
    for attempt in 0u64.. {
        // Every other time where the peer itself said it is, should it have moved.
        let announced = shared.announced(node).filter(|_| attempt % 2 == 1);
        let began = Instant::now();
        attempt_once(&shared, node, announced.as_ref().unwrap_or(&address)).await;
        pause = if began.elapsed() >= GOOD_LINK { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        // Peers that lost each other at the same moment do not come back at the same moment.
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

async fn attempt_once(shared: &Shared, node: NodeId, address: &str) {
    let mut stream = match timeout(CONNECT_TIMEOUT, connect(shared.source, address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%node, address, %error, "a peer is not reached"),
        Err(_elapsed) => return tracing::debug!(%node, address, "a peer is not reached in time"),
    };
    // Without it the link would work, only slower.
    let _slower = stream.set_nodelay(true);
    let ours = shared.hello();
    let opened = timeout(HANDSHAKE_TIMEOUT, handshake::dial(&mut stream, &shared.secret, &ours)).await;
    let hello = match opened {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => {
            shared.metrics.link_refusals.inc();
            return tracing::warn!(%node, address, %error, "no link with a peer");
        }
        Err(_elapsed) => {
            return tracing::warn!(%node, address, "a peer did not prove itself in time");
        }
    };
    let end = connection::run(shared, stream, hello, Some(node)).await;
    connection::report(shared, &end, &address);
}

/// Connects to the first of the name's addresses that can be reached.
async fn connect(source: Option<SocketAddr>, address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in lookup_host(address).await? {
        match connect_from(source, target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Connects from the address at which this node listens, so that a peer sees the one that it knows, whatever other
/// addresses the machine has.
async fn connect_from(source: Option<SocketAddr>, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source.filter(|source| leads_to(*source, target)) {
        socket.bind(source)?;
    }
    socket.connect(target).await
}

/// Whether packets from one address can get to the other: not across protocols, nor from a machine's own to others.
fn leads_to(source: SocketAddr, target: SocketAddr) -> bool {
    source.is_ipv4() == target.is_ipv4() && source.ip().is_loopback() == target.ip().is_loopback()
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::ReplicaId;
    use hcube_core::meta::Replica;
    use tokio::net::TcpListener;

    use super::*;
    use crate::links::wanted::tests::meta;

    #[tokio::test]
    async fn peers_are_dialled_from_the_address_that_they_know() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for (source, seen) in [
            (Some("127.0.0.7:0"), "127.0.0.7"),
            (None, "127.0.0.1"),
            // From there no packet gets to this machine's own address.
            (Some("[::1]:0"), "127.0.0.1"),
            (Some("192.0.2.1:0"), "127.0.0.1"),
        ] {
            let source = source.map(|source| source.parse().unwrap());
            let (dialled, accepted) = tokio::join!(connect(source, &address), listener.accept());
            dialled.unwrap();
            assert_eq!(accepted.unwrap().1.ip().to_string(), seen, "from {source:?}");
        }
    }

    #[test]
    fn links_of_votes_that_change_and_of_who_leaves_are_kept_for_a_while() {
        let (own, gone) = (NodeId(1), NodeId(5));
        let mut meta = meta(5, 8);
        assert!(!is_kept(&meta, own, NodeId(4)), "nothing is under way");
        meta.metadata.settled = false;
        assert!(is_kept(&meta, own, NodeId(4)));

        let member = meta.members.remove(&gone).unwrap();
        assert!(!is_kept(&meta, own, gone), "it has heard of it");
        meta.metadata.leaving = vec![Replica { id: ReplicaId(99), node: gone }];
        assert!(is_kept(&meta, own, gone));
        assert!(!is_kept(&meta, gone, own), "and itself has nobody to talk to");
        meta.lost.insert(gone, member);
        assert!(!is_kept(&meta, own, gone), "its disk is lost, whoever shows it");
    }
}
