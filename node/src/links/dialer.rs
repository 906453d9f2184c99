//! Connections that this node makes: one task for each peer that is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcube_core::ids::NodeId;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

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
    loop {
        let peers = wanted(&meta.borrow_and_update(), bound.member.node);
        dialers.retain(|node, (address, task)| {
            let keep = peers.get(node) == Some(address);
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
    let mut stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
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
