//! A hypercube of several nodes in one process, over loopback and real disks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hcube_broker::request::{From, Pull, StoredBatch, TopicRef};
use hcube_broker::{Answer, Error, Request};
use hcube_core::feature;
use hcube_core::ids::{ClusterId, NodeId, ProducerId, TopicId, Vertex};
use hcube_core::meta::change::NewMember;
use hcube_core::meta::{Change, ChangeRefusal, Changed, Founder, Meta};
use hcube_core::record::{Batch, Producer, Record};
use hcube_core::topic::{Name, Retention};
use hcube_node::config::Secret;
use hcube_node::{Bootstrap, Config, Handle, Node, StartError};
use tempfile::TempDir;

/// How long a condition may take to come true, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may take.
pub const PATIENCE_MS: u32 = 20_000;

/// The nodes, by vertex; none where one is down.
pub struct Cluster {
    pub nodes: Vec<Option<Node>>,
    pub id: ClusterId,
    configs: Vec<Config>,
    dir: TempDir,
}

/// The secret of every hypercube in these tests.
pub fn secret() -> Secret {
    Secret::new(b"a secret of these tests").unwrap()
}

/// A configuration with fast ticks and small segments, on any free port.
pub fn config(data_dir: PathBuf) -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let base = Config::new(data_dir, secret(), secret());
    Config {
        client_listen: any,
        peer_listen: any,
        admin_listen: any,
        tick_ms: 20,
        segment_bytes: 8 << 20,
        sealed_segments_target: 1,
        ..base
    }
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

impl Cluster {
    /// Nodes that belong to no hypercube yet.
    pub async fn unbound(peers: u16) -> Self {
        Self::unbound_at(peers, feature::NEWEST).await
    }

    /// Nodes that belong to no hypercube yet, and know no newer feature level than this.
    pub async fn unbound_at(peers: u16, level: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut nodes, mut configs) = (Vec::new(), Vec::new());
        for vertex in 0..peers {
            let data_dir = dir.path().join(format!("peer-{vertex}"));
            let mut config = Config { feature_level: level, ..config(data_dir) };
            let node = Node::start(config.clone()).await.unwrap();
            // A restarted node is found where it was.
            config.peer_listen = node.peer_address();
            configs.push(config);
            nodes.push(Some(node));
        }
        Self { nodes, id: ClusterId(42), configs, dir }
    }

    /// One more node that belongs to no hypercube, at the next vertex.
    pub async fn add_unbound(&mut self) -> usize {
        let vertex = self.nodes.len();
        self.configs.push(config(self.dir().join(format!("peer-{vertex}"))));
        self.nodes.push(None);
        self.start(vertex).await;
        self.configs[vertex].peer_listen = self.node(vertex).peer_address();
        vertex
    }

    /// Ends a node as a crash would, and starts another on an empty disk at the same address.
    pub async fn wipe(&mut self, vertex: usize) {
        self.kill(vertex);
        self.configs[vertex].data_dir.set_extension("new");
        self.start(vertex).await;
    }

    /// The node at a vertex as one that is to become a member.
    pub fn new_member(&self, vertex: usize, replaces: Option<NodeId>) -> NewMember {
        let node = self.node(vertex);
        NewMember {
            incarnation: node.incarnation(),
            vertex: Vertex(u16::try_from(vertex).unwrap()),
            zone: String::new(),
            peer_address: node.peer_address().to_string(),
            client_address: format!("127.0.0.1:{}", 8000 + vertex),
            replaces,
        }
    }

    /// A hypercube that was founded through its first peer.
    pub async fn founded(peers: u16) -> Self {
        Self::founded_at(peers, feature::NEWEST).await
    }

    /// The same with peers that know no newer feature level than this.
    pub async fn founded_at(peers: u16, level: u32) -> Self {
        let cluster = Self::unbound_at(peers, level).await;
        let call = cluster.call();
        cluster.node(0).bootstrap(call).await.unwrap();
        for vertex in 0..peers.into() {
            cluster.handle(vertex).await;
        }
        cluster
    }

    /// The call that founds it.
    pub fn call(&self) -> Bootstrap {
        let founder = |(vertex, node): (u16, &Option<Node>)| {
            let node = node.as_ref().unwrap();
            Founder {
                incarnation: node.incarnation(),
                vertex: Vertex(vertex),
                zone: String::new(),
                peer_address: node.peer_address().to_string(),
                client_address: format!("127.0.0.1:{}", 8000 + vertex),
            }
        };
        let founders = (0..).zip(&self.nodes).map(founder).collect();
        Bootstrap { cluster: self.id, founders, slots: 4, replication: 3 }
    }

    pub fn node(&self, vertex: usize) -> &Node {
        self.nodes[vertex].as_ref().unwrap()
    }

    pub fn config(&self, vertex: usize) -> &Config {
        &self.configs[vertex]
    }

    /// The newest feature level that the node knows from its next start on.
    pub fn set_level(&mut self, vertex: usize, level: u32) {
        self.configs[vertex].feature_level = level;
    }

    /// Where the tests may put other data directories.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub async fn handle(&self, vertex: usize) -> Handle {
        tokio::time::timeout(PATIENCE, self.node(vertex).founded()).await.expect("the node is founded")
    }

    /// Ends a node as a signal would.
    pub async fn stop(&mut self, vertex: usize) {
        self.nodes[vertex].take().unwrap().shutdown().await;
    }

    /// Ends a node as a crash of its process would.
    pub fn kill(&mut self, vertex: usize) {
        drop(self.nodes[vertex].take().unwrap());
    }

    /// Starts a node again on its own disk.
    pub async fn start(&mut self, vertex: usize) {
        let config = self.configs[vertex].clone();
        let node =
            eventually("the data directory comes free", async || match Node::start(config.clone()).await {
                Ok(node) => Some(node),
                // The threads of the killed node are still ending.
                Err(StartError::Lock(_) | StartError::Listen { .. }) => None,
                Err(error) => panic!("vertex {vertex}: {error}"),
            })
            .await;
        self.nodes[vertex] = Some(node);
    }
}

/// Creates a topic through a peer.
pub async fn create(handle: &Handle, name: &str, partitions: u16) -> TopicRef {
    let (name, id): (Name, _) = (name.parse().unwrap(), TopicId(u128::from(partitions) << 64 | 7));
    let request =
        Request::CreateTopic { name: name.clone(), id, partitions, retention: Retention::default() };
    match handle.request(request, PATIENCE_MS).await.result {
        Ok(Answer::Topic(topic)) => TopicRef { name, id: topic.id },
        other => panic!("{other:?}"),
    }
}

/// Changes members or placement through a peer.
pub async fn change(handle: &Handle, change: Change) -> Changed {
    eventually("the change is made", async || {
        match handle.request(Request::Change(change.clone()), PATIENCE_MS).await.result {
            Ok(Answer::Changed(changed)) => Some(changed),
            // Who is dead is found out, and who is drained becomes empty.
            Err(Error::Change(ChangeRefusal::Alive(_) | ChangeRefusal::NotEmpty { .. })) => None,
            Err(Error::NoLeader | Error::Overloaded | Error::Unknown) => None,
            other => panic!("{other:?}"),
        }
    })
    .await
}

/// Waits until the metadata is as hoped for and every group as the metadata wishes.
pub async fn settled(handle: &Handle, what: &str, hoped: impl Fn(&Meta) -> bool) -> std::sync::Arc<Meta> {
    let all = |meta: &Meta| meta.groups().all(|(_, placement)| placement.settled);
    let settled = handle.meta_where(|meta| hoped(meta) && all(meta));
    match tokio::time::timeout(PATIENCE, settled).await {
        Ok(meta) => meta.unwrap(),
        Err(_elapsed) => panic!("{what} did not happen: {:#?}", handle.status()),
    }
}

/// Publishes one record, the partition's `offset`-th, once: tries again when the outcome is unknown, as the
/// same producer. Returns when it is acknowledged.
pub async fn publish(handle: &Handle, topic: &TopicRef, partition: u16, offset: u64, value: Vec<u8>) {
    let record = Record { value: value.into(), ..Record::default() };
    let producer = Producer { id: ProducerId(77), epoch: 0, sequence: offset };
    let batch = Batch::build(producer, &[record]).unwrap();
    let began = Instant::now();
    loop {
        let request = Request::Publish { topic: topic.clone(), partition, batch: batch.clone() };
        match handle.request(request, PATIENCE_MS).await.result {
            Ok(Answer::Published { base_offset, .. }) => return assert_eq!(base_offset, offset),
            Err(Error::NoLeader | Error::Overloaded | Error::Unknown) if began.elapsed() < PATIENCE => {}
            other => panic!("{other:?} after {:?}", began.elapsed()),
        }
    }
}

/// Pulls from an offset; at most some megabytes.
pub async fn pull(
    handle: &Handle,
    topic: &TopicRef,
    partition: u16,
    from: u64,
    replica: Option<NodeId>,
) -> Result<(Vec<StoredBatch>, u64), Error> {
    let request = Request::Pull(Pull {
        topic: topic.clone(),
        partition,
        from: From::Offset(from),
        max_records: 10_000,
        max_bytes: 4 << 20,
        wait_ms: 0,
        replica,
        leader: replica.is_none(),
    });
    match handle.request(request, PATIENCE_MS).await.result {
        Ok(Answer::Pulled { batches, high_watermark, .. }) => Ok((batches, high_watermark)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    }
}

/// The first byte of every record of a partition, and how many bytes each has.
pub async fn contents(
    handle: &Handle,
    topic: &TopicRef,
    partition: u16,
    replica: Option<NodeId>,
) -> Result<Vec<(u8, usize)>, Error> {
    let mut found = Vec::new();
    loop {
        let (batches, end) = pull(handle, topic, partition, found.len() as u64, replica).await?;
        for stored in batches {
            assert_eq!(stored.base_offset, found.len() as u64, "offsets are dense");
            for record in Batch::parse(stored.batch).unwrap().records().unwrap() {
                found.push((record.value[0], record.value.len()));
            }
        }
        if found.len() as u64 >= end {
            return Ok(found);
        }
    }
}
