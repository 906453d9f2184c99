//! The administration port of one peer, made from the contract, and what a client does with it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use hcube_client::api::admin::{
    AddMember, MemberStatus, Members, OfCluster, PatchCluster, ReadReplicas, Removed, SetReadReplicas,
    cluster_query,
};
use hcube_client::api::cluster::{MemberState, Rebalance};
use hcube_client::api::openapi::{Operation, Port, resolve};
use hcube_client::api::{Code, Problem, json};
use hcube_client::{Added, Admin};
use hcube_core::ids::{ClusterId, Incarnation, NodeId, Vertex};
use tokio::net::TcpListener;

use crate::mock::{label, topic};

const CLUSTER: ClusterId = ClusterId(0xC0DE);
const TOKEN: &str = "let me in";

/// What the peer was asked, and how it refuses the next requests.
#[derive(Debug, Default)]
struct Peer {
    asked: Mutex<Vec<String>>,
    refusals: Mutex<Vec<Problem>>,
}

async fn start() -> (Arc<Peer>, Admin) {
    let peer = Arc::new(Peer::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let router = Router::new().fallback(serve).with_state(Arc::clone(&peer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (peer, Admin::new(url, TOKEN).unwrap())
}

async fn serve(State(peer): State<Arc<Peer>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    peer.asked.lock().unwrap().push(format!("{} {}", head.method, head.uri));
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let refusal = peer.refusals.lock().unwrap().pop();
    let answered = match refusal {
        Some(problem) => Err(problem),
        None => answer(&head, &body),
    };
    answered.unwrap_or_else(|problem| {
        let body = Body::from(problem.to_json());
        Response::builder().status(problem.status_code()).body(body).unwrap()
    })
}

/// Reads every request as a peer does.
fn answer(head: &axum::http::request::Parts, body: &Bytes) -> Result<Response, Problem> {
    assert_eq!(head.headers["authorization"], format!("Bearer {TOKEN}"));
    let resolved = resolve(Port::Admin, &head.method, head.uri.path())?;
    let node = resolved.node.unwrap_or(NodeId(1));
    let of_cluster = || json::from_slice::<OfCluster>(body).map(|of| assert_eq!(of.cluster_id, CLUSTER));
    Ok(match resolved.operation {
        Operation::ListMembers => {
            let (members, lost) = (vec![status(node, MemberState::Up)], Vec::new());
            reply(200, &Members { cluster_id: CLUSTER, epoch: 5, paused: false, members, lost })
        }
        Operation::AddMember => {
            let add: AddMember = json::from_slice(body)?;
            add.check()?;
            let code = if add.vertex == Vertex(1) { 201 } else { 200 };
            reply(code, &status(NodeId(2), MemberState::Joining))
        }
        Operation::DrainMember => {
            of_cluster()?;
            reply(202, &status(node, MemberState::Leaving))
        }
        Operation::CancelDrain => {
            of_cluster()?;
            reply(200, &status(node, MemberState::Up))
        }
        Operation::RemoveMember => {
            assert_eq!(cluster_query(head.uri.query())?, CLUSTER);
            reply(200, &Removed { removed: true, node_id: node })
        }
        Operation::AlterCluster => {
            let patch: PatchCluster = json::from_slice(body)?;
            patch.check()?;
            let paused = patch.paused.unwrap_or(false);
            let waiting = patch.replication.unwrap_or(0).into();
            reply(200, &Rebalance { paused, waiting, ..Rebalance::default() })
        }
        Operation::SetReadReplicas => {
            let set: SetReadReplicas = json::from_slice(body)?;
            reply(200, &ReadReplicas { topic: resolved.names[0].clone(), count: set.count })
        }
        other => panic!("{other:?} is not asked for here"),
    })
}

fn reply(status: u16, body: &impl serde::Serialize) -> Response {
    Response::builder().status(status).body(Body::from(json::to_vec(body))).unwrap()
}

fn status(node: NodeId, state: MemberState) -> MemberStatus {
    MemberStatus {
        vertex: Vertex(1),
        label: label(1),
        node_id: node,
        incarnation: Incarnation(9),
        zone: String::new(),
        peer_address: "peer-1:9000".into(),
        client_address: "peer-1:8000".into(),
        state,
        replicas: 0,
        leads: 0,
        arriving: 0,
        held: 0,
        obstacle: None,
    }
}

fn new_member(vertex: u16) -> AddMember {
    AddMember {
        cluster_id: CLUSTER,
        vertex: Vertex(vertex),
        incarnation: Incarnation(9),
        peer_address: "peer-1:9000".into(),
        client_address: "peer-1:8000".into(),
        zone: String::new(),
        replaces: None,
    }
}

#[tokio::test]
async fn every_change_is_asked_for_as_documented() {
    let (peer, admin) = start().await;
    assert_eq!(admin.members().await.unwrap().members.len(), 1);
    let Added { member, is_new } = admin.add(&new_member(1)).await.unwrap();
    assert_eq!((member.node_id, member.state, is_new), (NodeId(2), MemberState::Joining, true));
    assert!(!admin.add(&new_member(2)).await.unwrap().is_new);
    assert_eq!(admin.drain(NodeId(7), CLUSTER).await.unwrap().state, MemberState::Leaving);
    assert_eq!(admin.cancel_drain(NodeId(7), CLUSTER).await.unwrap().node_id, NodeId(7));
    assert!(admin.remove(NodeId(7), CLUSTER).await.unwrap().removed);
    assert_eq!(admin.set_replication(CLUSTER, 5).await.unwrap().waiting, 5);
    assert!(admin.set_paused(CLUSTER, true).await.unwrap().paused);
    assert_eq!(admin.set_read_replicas(&topic(), CLUSTER, 2).await.unwrap().count, 2);
    let member = format!("DELETE /v1/members/7?cluster_id={CLUSTER}");
    let expected = [
        "GET /v1/members",
        "POST /v1/members",
        "POST /v1/members",
        "POST /v1/members/7/drain",
        "POST /v1/members/7/cancel-drain",
        &member,
        "PATCH /v1/cluster",
        "PATCH /v1/cluster",
        "PUT /v1/topics/quakes/read-replicas",
    ];
    assert_eq!(*peer.asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_change_whose_outcome_is_unknown_is_repeated_and_a_refused_one_is_not() {
    let (peer, admin) = start().await;
    let refuse = |code| peer.refusals.lock().unwrap().push(Problem::new(code, "why"));
    refuse(Code::Timeout);
    assert_eq!(admin.drain(NodeId(7), CLUSTER).await.unwrap().state, MemberState::Leaving);
    assert_eq!(peer.asked.lock().unwrap().len(), 2);
    refuse(Code::NotEmpty);
    let error = admin.remove(NodeId(7), CLUSTER).await.unwrap_err();
    assert_eq!((error.code(), error.is_retriable()), (Some(Code::NotEmpty), false));
    assert_eq!(peer.asked.lock().unwrap().len(), 3);
}
