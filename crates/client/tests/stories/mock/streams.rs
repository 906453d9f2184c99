//! Publish streams of a peer: each batch is done with before the next is looked at.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use hcube_client::api::messages::{PublishLimits, PublishRequest};
use hcube_client::api::stream::{Frames, Outcome, PROTOCOL, Publish, Stored};
use hcube_client::api::{Problem, paths};
use hcube_core::ids::Vertex;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answers::store;
use super::{Fault, Shared, not_found};

/// Answers the request for a stream, and serves it.
pub fn begin(vertex: u16, shared: &Arc<Shared>, head: &Parts) -> Result<Response, Problem> {
    let upgrade = head.extensions.get::<OnUpgrade>().cloned().filter(|_| shared.has_streams);
    let upgrade = upgrade.ok_or_else(not_found)?;
    assert_eq!(head.headers["upgrade"], PROTOCOL);
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut frames = Frames::default();
        loop {
            while let Some(frame) = frames.next_frame().unwrap() {
                let Some(outcome) = one(vertex, &shared, Publish::decode(frame).unwrap()).await else {
                    return;
                };
                let mut out = Vec::new();
                outcome.write(&mut out);
                if stream.write_all(&out).await.is_err() {
                    return;
                }
            }
            if !matches!(stream.read_buf(frames.room()).await, Ok(1..)) {
                return;
            }
        }
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let response = response.header("connection", "upgrade").header("upgrade", PROTOCOL);
    Ok(response.body(Body::empty()).unwrap())
}

/// What became of a batch; none where the connection breaks.
async fn one(vertex: u16, shared: &Arc<Shared>, publish: Publish) -> Option<Outcome> {
    let Publish { number, topic, partition, batch } = publish;
    shared.requests.lock().unwrap().push((format!("POST {}", paths::messages(&topic)), vertex));
    let batch = PublishRequest::batch(batch, PublishLimits::default()).unwrap();
    let fault = shared.publish_faults.lock().unwrap().pop_front();
    let stored = store(shared, partition, batch, fault.as_ref()).await;
    if matches!(fault, Some(Fault::DoThenCut(_))) {
        return None;
    }
    let peers = u16::try_from(shared.addresses.lock().unwrap().len()).unwrap();
    let result = stored.map_err(Box::new).map(|ack| Stored {
        offset: ack.offset,
        count: ack.count,
        timestamp_ms: ack.timestamp_ms,
        duplicate: ack.duplicate,
        replicas: 3,
        leader: Vertex(partition % peers),
    });
    Some(Outcome { number, result })
}
