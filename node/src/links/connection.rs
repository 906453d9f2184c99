//! One connection on which both sides have proved themselves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hcube_broker::Frame;
use hcube_core::codec::DecodeError;
use hcube_core::ids::NodeId;
use hcube_core::meta::Meta;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{error::Elapsed, timeout};

use super::admission::{Admission, Refusal, admit};
use super::hello::Hello;
use super::outbox::Outbox;
use super::table::Direction;
use super::wire::{self, Kind, PAYLOAD_BYTES_MAX};
use super::{Bound, HANDSHAKE_TIMEOUT, Shared};
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
    /// A founder has its genesis and comes back as a member.
    #[error("the genesis was sent")]
    GenesisSent,
    /// This node has a genesis now.
    #[error("the genesis has arrived")]
    GenesisReceived,
    /// The member that sent the genesis is not in it, or it is another cluster's.
    #[error("the genesis is not the one of the member that sent it")]
    ForeignGenesis,
}

/// Uses a connection until it ends. `dialled` is the node that was meant to be reached.
pub(super) async fn run(shared: &Shared, stream: TcpStream, hello: Hello, dialled: Option<NodeId>) -> End {
    let result = match shared.bound() {
        Some(bound) => member_side(shared, &bound, stream, hello, dialled).await,
        None => founder_side(shared, stream, &hello).await,
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
    let (Admission::Member(node) | Admission::Founder(node)) = admission;
    if dialled.is_some_and(|dialled| dialled != node) {
        return Err(Refusal::Elsewhere(node).into());
    }
    match admission {
        Admission::Founder(_) => {
            let genesis = bound.genesis.as_ref().ok_or(Refusal::Stranger(hello.incarnation))?;
            tracing::info!(%node, "sending the genesis to a founder");
            send_genesis(&mut stream, genesis).await
        }
        Admission::Member(_) => {
            shared.announce(node, hello.address);
            let direction = if dialled.is_some() { Direction::Dialled } else { Direction::Accepted };
            let outbox = Arc::new(Outbox::new(shared.bytes_max));
            let (reader, writer) = stream.into_split();
            let _entry = shared.table.enter(node, direction, &outbox, &bound.inputs);
            tracing::info!(%node, ?direction, "link up");
            let end = tokio::select! {
                end = receive(shared, bound, node, reader) => end,
                end = transmit(shared, &outbox, writer) => end,
            };
            tracing::info!(%node, ?direction, "link down");
            end
        }
    }
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
            Kind::Genesis => return Err(End::OutOfPlace(kind)),
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
async fn transmit(shared: &Shared, outbox: &Outbox, mut writer: impl AsyncWrite + Unpin) -> Result<End, End> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        match timeout(ALIVE_EVERY, outbox.take()).await {
            Err(_quiet) => wire::put(&mut buffer, Kind::Alive, &[]),
            Ok(None) => return Err(End::Closed),
            Ok(Some(payloads)) => {
                for payload in payloads {
                    wire::put(&mut buffer, Kind::Frame, &payload);
                    if buffer.len() >= WRITE_BYTES {
                        flush(shared, &mut buffer, &mut writer).await?;
                    }
                }
            }
        }
        flush(shared, &mut buffer, &mut writer).await?;
    }
}

async fn flush(
    shared: &Shared,
    buffer: &mut Vec<u8>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    writer.write_all(buffer).await?;
    shared.metrics.link_sent_bytes.inc_by(buffer.len() as u64);
    buffer.clear();
    // One large batch must not keep its memory for the life of the connection.
    buffer.shrink_to(2 * WRITE_BYTES);
    Ok(())
}

async fn send_genesis(stream: &mut TcpStream, genesis: &Bytes) -> Result<End, End> {
    let mut message = Vec::with_capacity(wire::HEADER_BYTES + genesis.len());
    wire::put(&mut message, Kind::Genesis, genesis);
    timeout(HANDSHAKE_TIMEOUT, async {
        stream.write_all(&message).await?;
        stream.shutdown().await?;
        // The founder closes when it has read everything; closing before it does could lose the end.
        let mut rest = [0; 64];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    })
    .await??;
    Ok(End::GenesisSent)
}

/// This node belongs to no hypercube: it waits for its genesis and for nothing else.
async fn founder_side(shared: &Shared, mut stream: TcpStream, hello: &Hello) -> Result<End, End> {
    let Some(theirs) = hello.member else { return Err(End::BothUnbound) };
    let (kind, payload) = timeout(HANDSHAKE_TIMEOUT, wire::read(&mut stream)).await??;
    if kind != Kind::Genesis {
        return Err(End::OutOfPlace(kind));
    }
    let genesis = Meta::decode(payload)?;
    let sender = genesis.members.get(&theirs.node);
    if genesis.cluster != theirs.cluster
        || sender.is_none_or(|sender| sender.incarnation != hello.incarnation)
    {
        return Err(End::ForeignGenesis);
    }
    // When one is waiting already, this node is about to become a member.
    let _waiting = shared.geneses.try_send(genesis);
    Ok(End::GenesisReceived)
}

/// Says why a connection ended, as loud as it deserves.
pub(super) fn report(shared: &Shared, end: &End, address: &dyn std::fmt::Display) {
    match end {
        End::Refused(_) | End::OutOfPlace(_) | End::ForeignGenesis | End::Frame(_) => {
            shared.metrics.link_refusals.inc();
            tracing::warn!(%address, %end, "a link was closed");
        }
        End::Wire(wire::Error::Io(_)) | End::Io(_) | End::BothUnbound => {
            tracing::debug!(%address, %end, "a link ended");
        }
        end => tracing::info!(%address, %end, "a link ended"),
    }
}
