//! A hypercube made from the contract: peers on real sockets over one common log, with faults on demand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use hcube_client::api::label::Label;
use hcube_client::api::{Code, Problem};
use hcube_client::{Client, ClientBuilder, Name, Url};
use hcube_core::ids::{TopicId, Vertex};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

mod answers;
mod log;
mod reads;
mod streams;

pub use log::Log;

/// What happens to one publish or one pull instead of the usual.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is refused and nothing is done.
    Refuse(Problem),
    /// It is done and then refused.
    DoThenRefuse(Problem),
    /// It is done, and the connection breaks after so many bytes of the answer.
    DoThenCut(usize),
    /// It is done, after this long.
    Slow(Duration),
}

/// Everything that the peers have in common.
#[derive(Debug)]
pub struct Shared {
    pub log: Mutex<Log>,
    pub publish_faults: Mutex<VecDeque<Fault>>,
    pub pull_faults: Mutex<VecDeque<Fault>>,
    /// Method, path and peer of each request.
    pub requests: Mutex<Vec<(String, u16)>>,
    pub changed: watch::Sender<u64>,
    /// Whether the peers know publish streams.
    pub has_streams: bool,
    addresses: Mutex<Vec<SocketAddr>>,
}

struct Peer {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// The hypercube; its peers end with it.
pub struct Hypercube {
    pub shared: Arc<Shared>,
    peers: Vec<Peer>,
}

pub const TOPIC_ID: TopicId = TopicId(0xABCD);

pub fn topic() -> Name {
    "quakes".parse().unwrap()
}

pub fn label(vertex: usize) -> Label {
    Label::new(Vertex(u16::try_from(vertex).unwrap()), 2)
}

impl Hypercube {
    /// Starts so many peers with one topic.
    pub fn start(peers: usize, partitions: u16) -> Self {
        Self::start_with(peers, partitions, true)
    }

    /// Starts peers that know no publish streams.
    pub fn start_without_streams(peers: usize, partitions: u16) -> Self {
        Self::start_with(peers, partitions, false)
    }

    fn start_with(peers: usize, partitions: u16, has_streams: bool) -> Self {
        let shared = Arc::new(Shared {
            log: Mutex::new(Log::new(partitions)),
            publish_faults: Mutex::default(),
            pull_faults: Mutex::default(),
            requests: Mutex::default(),
            changed: watch::Sender::new(0),
            has_streams,
            addresses: Mutex::default(),
        });
        let peers: Vec<Peer> = (0..peers).map(|vertex| Peer::start(vertex, shared.clone())).collect();
        *shared.addresses.lock().unwrap() = peers.iter().map(|peer| peer.address).collect();
        Self { shared, peers }
    }

    pub fn url(&self, vertex: usize) -> Url {
        format!("http://{}", self.peers[vertex].address).parse().unwrap()
    }

    /// A client that is given these peers.
    pub fn builder(&self, vertices: &[usize]) -> ClientBuilder {
        let urls: Vec<Url> = vertices.iter().map(|vertex| self.url(*vertex)).collect();
        Client::builder(urls)
    }

    pub fn client(&self, vertices: &[usize]) -> Client {
        self.builder(vertices).build().unwrap()
    }

    /// Ends a peer with all its connections.
    pub fn kill(&mut self, vertex: usize) {
        let runtime = self.peers[vertex].runtime.take().expect("a peer is killed once");
        // On a thread of its own, because a runtime may not wait for the end of another.
        std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
    }

    pub fn fail_publish(&self, fault: Fault) {
        self.shared.publish_faults.lock().unwrap().push_back(fault);
    }

    pub fn fail_pull(&self, fault: Fault) {
        self.shared.pull_faults.lock().unwrap().push_back(fault);
    }

    /// Which peers were asked so, in order.
    pub fn asked(&self, request: &str) -> Vec<u16> {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|(line, _)| line == request).map(|(_, vertex)| *vertex).collect()
    }

    /// The values of a partition in the order of their offsets.
    pub fn stored(&self, partition: u16) -> Vec<String> {
        self.shared.log.lock().unwrap().values(partition)
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} does not come about: {:?}", self.shared.requests.lock().unwrap());
    }
}

impl Drop for Hypercube {
    fn drop(&mut self) {
        for peer in &mut self.peers {
            if let Some(runtime) = peer.runtime.take() {
                runtime.shutdown_background();
            }
        }
    }
}

impl Peer {
    fn start(vertex: usize, shared: Arc<Shared>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let router = Router::new().fallback(serve).with_state((u16::try_from(vertex).unwrap(), shared));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Self { address, runtime: Some(runtime) }
    }
}

async fn serve(State((vertex, shared)): State<(u16, Arc<Shared>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let line = format!("{} {}", head.method, head.uri.path());
    shared.requests.lock().unwrap().push((line, vertex));
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    answers::answer(vertex, &shared, &head, body).await.unwrap_or_else(|problem| refusal(&problem))
}

fn refusal(problem: &Problem) -> Response {
    let mut response = Response::builder()
        .status(problem.status_code())
        .header("content-type", hcube_client::api::error::MEDIA_TYPE);
    if let Some(seconds) = problem.retry_after_seconds() {
        response = response.header("retry-after", seconds);
    }
    response.body(Body::from(problem.to_json())).unwrap()
}

fn not_found() -> Problem {
    Problem::new(Code::NotFound, "nothing is served here")
}

/// A body that breaks off after so many bytes, and the connection with it.
fn cut(whole: Bytes, after: usize) -> Body {
    let piece = whole.slice(..after.min(whole.len()));
    let pieces = [Ok(piece), Err(std::io::Error::other("cut"))];
    Body::from_stream(futures_util::stream::iter(pieces))
}
