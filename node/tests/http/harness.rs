//! A hypercube that serves HTTP, and a client that says what it got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcube_api::admin::Identity;
use hcube_node::config::Secret;
use hcube_node::http::{self, Server};
use hcube_node::{Config, Node};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a condition may take to come true, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The administration token of every node here.
pub const TOKEN: &str = "the token of these tests";

/// One node and its ports.
pub struct Peer {
    pub node: Arc<Node>,
    pub server: Server,
}

/// Peers by vertex.
pub struct Hypercube {
    pub peers: Vec<Peer>,
    pub client: Client,
    http: http::Config,
    dir: TempDir,
}

/// The hypercube of every test.
pub const CLUSTER: &str = "00000000000000000000000000000042";

/// An answer, read whole.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().unwrap()
    }

    /// The code of a problem; empty for anything else.
    pub fn code(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request and reads the answer.
pub async fn send(request: RequestBuilder) -> Got {
    let response = request.timeout(PATIENCE).send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, body: response.bytes().await.expect("a body").to_vec() }
}

/// Tries again until it works.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Hypercube {
    /// Peers that belong to no hypercube yet.
    pub async fn unbound(count: u16, http: http::Config) -> Self {
        // A pool would keep connections to peers that a test ends.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(8).build().unwrap();
        let mut hypercube = Self { peers: Vec::new(), client, http, dir: tempfile::tempdir().unwrap() };
        for _ in 0..count {
            hypercube.start().await;
        }
        hypercube
    }

    /// Starts one more peer, with an empty disk and in no hypercube.
    pub async fn start(&mut self) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let token = Secret::new(TOKEN.as_bytes()).unwrap();
        let secret = Secret::new(b"a secret of these tests").unwrap();
        let config = Config {
            peer_listen: any,
            tick_ms: 20,
            segment_bytes: 8 << 20,
            ..Config::new(self.dir.path().join(format!("peer-{}", self.peers.len())), secret, token)
        };
        let node = Arc::new(Node::start(config).await.unwrap());
        let server = Server::start(Arc::clone(&node), self.http.clone(), any, any).await.unwrap();
        self.peers.push(Peer { node, server });
    }

    /// A hypercube that was founded through the administration port of its first peer, and is ready.
    pub async fn founded(count: u16) -> Self {
        Self::founded_with(count, http::Config::default()).await
    }

    pub async fn founded_with(count: u16, http: http::Config) -> Self {
        let hypercube = Self::unbound(count, http).await;
        let body = hypercube.founding(CLUSTER).await;
        let founded = send(hypercube.admin(0, Method::POST, "/v1/bootstrap").body(body.to_string())).await;
        assert_eq!(founded.status, 201, "{}", founded.text());
        for vertex in 0..count.into() {
            hypercube.ready(vertex).await;
        }
        hypercube
    }

    /// Waits until a peer is ready.
    pub async fn ready(&self, vertex: usize) {
        eventually("the peer is ready", async || {
            (send(self.get(vertex, "/readyz")).await.status == 200).then_some(())
        })
        .await;
    }

    /// The call that founds it.
    pub async fn founding(&self, cluster: &str) -> Value {
        let mut founders = Vec::new();
        for (vertex, peer) in self.peers.iter().enumerate() {
            let identity = send(self.admin(vertex, Method::GET, "/v1/identity")).await;
            let identity: Identity = serde_json::from_slice(&identity.body).unwrap();
            founders.push(json!({
                "incarnation": identity.incarnation,
                "vertex": vertex,
                "peer_address": peer.node.peer_address().to_string(),
                "client_address": peer.server.client_address().to_string(),
            }));
        }
        json!({ "cluster_id": cluster, "slots": 4, "replication": 3, "founders": founders })
    }

    pub fn request(&self, vertex: usize, method: Method, path: &str) -> RequestBuilder {
        let address = self.peers[vertex].server.client_address();
        self.client.request(method, format!("http://{address}{path}"))
    }

    /// A request to the administration port, with the token.
    pub fn admin(&self, vertex: usize, method: Method, path: &str) -> RequestBuilder {
        let address = self.peers[vertex].server.admin_address();
        self.client.request(method, format!("http://{address}{path}")).bearer_auth(TOKEN)
    }

    pub fn get(&self, vertex: usize, path: &str) -> RequestBuilder {
        self.request(vertex, Method::GET, path)
    }

    pub fn post(&self, vertex: usize, path: &str) -> RequestBuilder {
        self.request(vertex, Method::POST, path)
    }

    pub fn put(&self, vertex: usize, path: &str) -> RequestBuilder {
        self.request(vertex, Method::PUT, path)
    }

    /// Creates a topic.
    pub async fn create(&self, name: &str, partitions: u16) {
        let body = json!({ "partitions": partitions }).to_string();
        let created = send(self.put(0, &format!("/v1/topics/{name}")).body(body)).await;
        assert_eq!(created.status, 201, "{}", created.text());
    }

    /// Publishes a text, and returns its offset.
    pub async fn publish(&self, vertex: usize, topic: &str, text: &str) -> u64 {
        let path = format!("/v1/topics/{topic}/messages");
        let published = send(self.post(vertex, &path).body(text.to_owned())).await;
        assert_eq!(published.status, 200, "{}", published.text());
        published.json()["offset"].as_u64().unwrap()
    }
}
