//! One connection on which both sides have proved themselves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hcube_broker::Frame;
use hcube_broker::start::Invitation;
use hcube_core::codec::DecodeError;
use hcube_core::ids::{Incarnation, NodeId};
use hcube_core::meta::Meta;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{error::Elapsed, timeout};

use super::admission::{Admission, Refusal, admit, is_counted_on, may_link};
use super::hello::Hello;
use super::outbox::{Outbox, Waiting};
use super::table::Direction;
use super::wire::{self, Kind, PAYLOAD_BYTES_MAX};
use super::{Bound, INTRODUCTION_TIMEOUT, Introduction, Shared};
use crate::engine::Input;

/// A side with nothing to say shows that it is alive this often.
const ALIVE_EVERY: Duration = Duration::from_millis(500);
/// A side that says nothing for so long, or takes so long to say one thing, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Bytes of frames that the core has not taken yet; beyond it the connection is not read.
const READ_AHEAD_BYTES: usize = PAYLOAD_BYTES_MAX;
/// Messages are gathered into writes of about this.
const WRITE_BYTES: usize = 1 << 20;
/// Read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The other side is not one to have a link with.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// What arrives cannot be taken.
    #[error(transparent)]
    Wire(#[from] wire::Error),
    /// A frame does not decode.
    #[error("a frame does not decode: {0}")]
    Frame(#[from] DecodeError),
    /// A message that has no place here.
    #[error("a message of kind {0:?} where none is expected")]
    OutOfPlace(Kind),
    /// Nothing was heard.
    #[error("nothing was heard for {SILENCE_MAX:?}")]
    Silence(#[from] Elapsed),
    /// The connection failed or ended.
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    /// A newer connection took its place, or its queue was full.
    #[error("closed by this node: replaced, or its queue was full")]
    Closed,
    /// Neither side belongs to a hypercube.
    #[error("neither side belongs to a cluster yet")]
    BothUnbound,
    /// A new member knows who it is and comes back as one.
    #[error("the introduction was sent")]
    Introduced,
    /// This node knows who it is now.
    #[error("the introduction has arrived")]
    IntroductionReceived,
    /// The member that sent it is not in it, or it is another cluster's.
    #[error("the introduction is not of the cluster of the member that sent it")]
    ForeignIntroduction,
    /// The metadata has outgrown what a link carries.
    #[error("the introduction has {0} bytes, more than a link carries")]
    LongIntroduction(usize),
    /// The metadata says that one of both has left the hypercube.
    #[error("node {0} and this node are not both members any more")]
    Parted(NodeId),
}

/// Uses a connection until it ends. `dialled` is the node that was meant to be reached.
pub(super) async fn run(shared: &Shared, stream: TcpStream, hello: Hello, dialled: Option<NodeId>) -> End {
    let result = match shared.bound() {
        Some(bound) => member_side(shared, &bound, stream, hello, dialled).await,
        None => unbound_side(shared, stream, &hello).await,
    };
    match result {
        Ok(end) | Err(end) => end,
    }
}

/// This node is a member.
async fn member_side(
    shared: &Shared,
    bound: &Bound,
    mut stream: TcpStream,
    hello: Hello,
    dialled: Option<NodeId>,
) -> Result<End, End> {
    let meta = Arc::clone(&bound.meta.borrow());
    let admission = admit(&meta, bound.member, shared.incarnation, &hello)?;
    let (Admission::Member(node) | Admission::Unbound(node)) = admission;
    if dialled.is_some_and(|dialled| dialled != node) {
        return Err(Refusal::Elsewhere(node).into());
    }
    match admission {
        Admission::Unbound(_) => {
            let (kind, introduction) = introduction(bound, &meta, node, hello.incarnation).await?;
            tracing::info!(%node, ?kind, "telling a new member who it is");
            introduce(&mut stream, kind, &introduction).await
        }
        Admission::Member(_) => {
            shared.announce(node, hello.address);
            let direction = if dialled.is_some() { Direction::Dialled } else { Direction::Accepted };
            let (reader, writer) = stream.into_split();
            let sent_bytes = shared.metrics.link_sent_bytes.clone();
            let outbox = Arc::new(Outbox::over(writer, shared.bytes_max, sent_bytes));
            let _entry = shared.table.enter(node, direction, &outbox, hello.feature_level, &bound.inputs);
            tracing::info!(%node, ?direction, "link up");
            let end = tokio::select! {
                end = receive(shared, bound, node, reader) => end,
                end = transmit(&outbox) => end,
                end = part(bound, node, hello.incarnation) => Err(end),
            };
            tracing::info!(%node, ?direction, "link down");
            end
        }
    }
}

/// Waits until the metadata says that this node and the other are not to have a link any more.
async fn part(bound: &Bound, node: NodeId, disk: Incarnation) -> End {
    let mut meta = bound.meta.clone();
    let parted = meta.wait_for(|meta| !may_link(meta, bound.member.node, node, disk)).await.is_ok();
    if !parted {
        // The core has ended, and says nothing more about members.
        std::future::pending::<()>().await;
    }
    End::Parted(node)
}

/// Hands every frame to the core, as fast as the core takes them.
async fn receive(
    shared: &Shared,
    bound: &Bound,
    from: NodeId,
    reader: impl AsyncRead + Unpin,
) -> Result<End, End> {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let room = Arc::new(Semaphore::new(READ_AHEAD_BYTES));
    loop {
        let (kind, payload) = timeout(SILENCE_MAX, wire::read(&mut reader)).await??;
        let bytes = wire::HEADER_BYTES + payload.len();
        shared.metrics.link_received_bytes.inc_by(bytes as u64);
        match kind {
            Kind::Alive => {}
            Kind::Genesis | Kind::Invitation => return Err(End::OutOfPlace(kind)),
            Kind::Frame => {
                let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                let frame = Frame::decode(payload)?;
                let room = Arc::clone(&room);
                let room = room.acquire_many_owned(length).await.map_err(|_closed| End::Closed)?;
                bound.inputs.send(Input::Frame { from, frame, room });
            }
        }
    }
}

/// Sends whatever the outbox holds, gathered into few writes.
async fn transmit(outbox: &Outbox) -> Result<End, End> {
    loop {
        match timeout(ALIVE_EVERY, outbox.take()).await {
            Err(_quiet) => outbox.show_alive(),
            Ok(None) => return Err(End::Closed),
            Ok(Some(Waiting { begun: mut buffer, messages })) => {
                for message in messages {
                    buffer.extend_from_slice(&message);
                    if buffer.len() >= WRITE_BYTES {
                        outbox.write_all(&buffer).await?;
                        buffer.clear();
                    }
                }
                outbox.write_all(&buffer).await?;
            }
        }
    }
}

/// What tells an unbound disk which member it is.
async fn introduction(
    bound: &Bound,
    meta: &Meta,
    node: NodeId,
    incarnation: Incarnation,
) -> Result<(Kind, Bytes), End> {
    if let Some(genesis) = bound.genesis.as_ref().filter(|genesis| genesis.founders.contains(&incarnation)) {
        return Ok((Kind::Genesis, genesis.encoded.clone()));
    }
    if is_counted_on(meta, node) {
        return Err(Refusal::Founder(node).into());
    }
    let (reply, invitation) = oneshot::channel();
    bound.inputs.send(Input::Invitation { incarnation, reply });
    let invitation = invitation.await.map_err(|_ended| End::Closed)?;
    let invitation = invitation.ok_or(Refusal::Stranger(incarnation))?.encode();
    match invitation.len() {
        bytes if bytes > PAYLOAD_BYTES_MAX => Err(End::LongIntroduction(bytes)),
        _ => Ok((Kind::Invitation, invitation)),
    }
}

async fn introduce(stream: &mut TcpStream, kind: Kind, introduction: &Bytes) -> Result<End, End> {
    let message = wire::message_of(kind, introduction);
    timeout(INTRODUCTION_TIMEOUT, async {
        stream.write_all(&message).await?;
        stream.shutdown().await?;
        // The new member closes when it has read everything; closing before it does could lose the end.
        let mut rest = [0; 64];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    })
    .await??;
    Ok(End::Introduced)
}

/// This node belongs to no hypercube: it waits to be told that it does, and for nothing else.
async fn unbound_side(shared: &Shared, mut stream: TcpStream, hello: &Hello) -> Result<End, End> {
    let Some(theirs) = hello.member else { return Err(End::BothUnbound) };
    let (kind, payload) = timeout(INTRODUCTION_TIMEOUT, wire::read(&mut stream)).await??;
    let (meta, introduction) = match kind {
        Kind::Genesis => {
            let genesis = Meta::decode(payload)?;
            (genesis.clone(), Introduction::Genesis(genesis))
        }
        Kind::Invitation => {
            let invitation = Invitation::decode(payload)?;
            (invitation.meta()?, Introduction::Invitation(invitation))
        }
        Kind::Alive | Kind::Frame => return Err(End::OutOfPlace(kind)),
    };
    let sender = meta.members.get(&theirs.node);
    if meta.cluster != theirs.cluster || sender.is_none_or(|sender| sender.incarnation != hello.incarnation) {
        return Err(End::ForeignIntroduction);
    }
    // When one is waiting already, this node is about to become a member.
    let _waiting = shared.introductions.try_send(introduction);
    Ok(End::IntroductionReceived)
}

/// Says why a connection ended, as loud as it deserves.
pub(super) fn report(shared: &Shared, end: &End, address: &dyn std::fmt::Display) {
    match end {
        End::Refused(_) | End::OutOfPlace(_) | End::ForeignIntroduction | End::Frame(_) => {
            shared.metrics.link_refusals.inc();
            tracing::warn!(%address, %end, "a link was closed");
        }
        End::LongIntroduction(_) => {
            tracing::error!(%address, %end, "a new member could not be told who it is")
        }
        End::Wire(wire::Error::Io(_)) | End::Io(_) | End::BothUnbound => {
            tracing::debug!(%address, %end, "a link ended");
        }
        end => tracing::info!(%address, %end, "a link ended"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hcube_core::ids::ClusterId;
    use hcube_core::meta::Member;
    use hcube_log::Base;
    use hcube_log::identity::Membership;
    use tokio::sync::watch;

    use super::*;
    use crate::engine::{InputQueue, Inputs};
    use crate::founding::Genesis;
    use crate::links::wanted::tests::meta;
    use crate::metrics::Metrics;

    /// Node 1 of a hypercube that three nodes founded and a fourth, of incarnation 200, has been added to.
    fn fixture(genesis: bool) -> (Bound, Arc<Meta>, watch::Sender<Arc<Meta>>, InputQueue) {
        let founding = meta(3, 8);
        let founders: BTreeSet<_> = founding.members.values().map(|member| member.incarnation).collect();
        let genesis = genesis.then(|| Genesis { encoded: founding.encode(), founders });
        let mut meta = founding;
        let new =
            Member { node: NodeId(4), incarnation: Incarnation(200), ..meta.members[&NodeId(1)].clone() };
        meta.members.insert(NodeId(4), new);
        let meta = Arc::new(meta);
        let (sender, receiver) = watch::channel(Arc::clone(&meta));
        let (inputs, queue) = Inputs::new(Arc::new(Metrics::new()));
        let member = Membership { cluster: ClusterId(1), node: NodeId(1) };
        (Bound { member, genesis, meta: receiver, inputs }, meta, sender, queue)
    }

    async fn told(bound: &Bound, meta: &Meta, node: u64, incarnation: u128) -> Result<(Kind, Bytes), End> {
        introduction(bound, meta, NodeId(node), Incarnation(incarnation)).await
    }

    #[tokio::test]
    async fn founders_get_the_genesis_and_nobody_else_does() {
        let (bound, meta, _sender, queue) = fixture(true);
        let (kind, bytes) = told(&bound, &meta, 3, 102).await.unwrap();
        assert_eq!((kind, Some(bytes)), (Kind::Genesis, bound.genesis.as_ref().map(|g| g.encoded.clone())));

        let replica = meta.metadata.voters[0].id;
        let base = Base { state: meta.encode(), ..Base::default() };
        let invitation = Invitation { cluster: ClusterId(1), node: NodeId(4), replica, base };
        let core = async {
            let Ok(Input::Invitation { incarnation, reply }) = queue.receiver.recv() else { panic!() };
            assert_eq!(incarnation, Incarnation(200));
            reply.send(Some(invitation.clone())).unwrap();
        };
        let (sent, ()) = tokio::join!(told(&bound, &meta, 4, 200), core);
        let (kind, bytes) = sent.unwrap();
        assert_eq!((kind, bytes), (Kind::Invitation, invitation.encode()));
    }

    #[tokio::test]
    async fn a_founder_is_not_invited_where_there_is_no_genesis() {
        let (bound, meta, _sender, queue) = fixture(false);
        let refused = told(&bound, &meta, 3, 102).await;
        assert!(matches!(refused, Err(End::Refused(Refusal::Founder(NodeId(3))))), "{refused:?}");
        assert!(queue.receiver.try_recv().is_err(), "the core was not asked");
    }

    #[tokio::test]
    async fn links_end_when_the_metadata_lets_a_peer_go() {
        let (bound, meta, sender, _queue) = fixture(true);
        let without = |node| {
            let mut meta = Meta::clone(&meta);
            meta.epoch += 1;
            meta.members.remove(&NodeId(node));
            Arc::new(meta)
        };
        let waiting = timeout(Duration::from_millis(50), part(&bound, NodeId(3), Incarnation(102)));
        let (still, _) = tokio::join!(waiting, async { sender.send_replace(without(4)) });
        assert!(still.is_err(), "others come and go");
        for gone in [3, 1] {
            sender.send_replace(Arc::clone(&meta));
            let (end, _) = tokio::join!(part(&bound, NodeId(3), Incarnation(102)), async {
                sender.send_replace(without(gone))
            });
            assert!(matches!(end, End::Parted(NodeId(3))));
        }
    }
}
