//! NATS JetStream: three servers in one cluster, streams with three replicas in files.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull, push};
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use hcube_compare::servers::{Server, Servers, free_ports};
use hcube_compare::system::{Each, Launcher, Mode, Publisher, Reader, Start, System};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Acknowledgements under way where as many messages as possible are wanted.
const WINDOW: usize = 8192;
/// Bytes of them: with more, servers that sync let acknowledgements wait for longer than clients do.
const WINDOW_BYTES: usize = 8 << 20;
/// Messages that a pull asks for.
const PULL_MESSAGES: usize = 20_000;
/// Messages that may wait in a subscription before the client drops them.
const SUBSCRIPTION_MESSAGES: usize = 1 << 18;
/// How long servers may take to answer, and to find leaders.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a message was not acknowledged for so long, it is sent again where it must arrive.
const INSIST: Duration = Duration::from_millis(500);

/// A column of NATS.
#[derive(Debug)]
pub struct Nats {
    name: &'static str,
    program: PathBuf,
    syncs: bool,
}

impl Nats {
    /// `nats-sync` syncs every message, `nats-default` every two minutes.
    pub fn new(name: &'static str, program: PathBuf) -> Self {
        Self { name, program, syncs: name == "nats-sync" }
    }
}

impl Launcher for Nats {
    type System = Running;

    fn name(&self) -> &'static str {
        self.name
    }

    fn described(&self) -> Vec<(String, String)> {
        let version = Command::new(&self.program).arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let sync = if self.syncs { "sync_interval: always" } else { "default sync_interval (2 min)" };
        vec![
            ("version".into(), version.unwrap_or_else(|error| error.to_string())),
            ("servers".into(), format!("three, streams R3 in files, {sync}")),
            (
                "publishing".into(),
                format!(
                    "async-nats, JetStream publish, at most {WINDOW} acknowledgements under way in W3, W5, W6"
                ),
            ),
            (
                "reading".into(),
                format!(
                    "W5: pull consumer without acknowledgements, {PULL_MESSAGES} messages a pull; W6: ordered push consumers"
                ),
            ),
        ]
    }

    async fn launch(&self, dir: &Path, peers: u16) -> Result<Running> {
        let started = Instant::now();
        let count = usize::from(peers);
        let ports = free_ports(3 * count)?;
        let (clients, rest) = ports.split_at(count);
        let (routes, monitors) = rest.split_at(count);
        let urls: Vec<String> = routes.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
        let mut servers = Servers::default();
        for number in 0..count {
            let sync = if self.syncs { "sync_interval: always" } else { "" };
            let config = format!(
                "server_name: n{number}\nlisten: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\n\
                 jetstream {{ store_dir: \"{}\"\n{sync} }}\n\
                 cluster {{ name: bench, listen: 127.0.0.1:{}, routes: [{}] }}\n",
                clients[number],
                monitors[number],
                dir.join(format!("n{number}")).display(),
                routes[number],
                urls.join(", "),
            );
            let path = dir.join(format!("n{number}.conf"));
            std::fs::write(&path, config)?;
            let log = dir.join(format!("n{number}.log"));
            servers.0.push(Server::start(Command::new(&self.program).arg("-c").arg(path), &log)?);
        }
        let running = Running {
            servers,
            started,
            urls: clients.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect(),
            monitors: monitors.to_vec(),
            syncs: self.syncs,
            dir: dir.to_owned(),
            control: tokio::sync::OnceCell::new(),
        };
        Ok(running)
    }
}

/// A NATS cluster.
#[derive(Debug)]
pub struct Running {
    servers: Servers,
    started: Instant,
    urls: Vec<String>,
    monitors: Vec<u16>,
    syncs: bool,
    dir: PathBuf,
    control: tokio::sync::OnceCell<Context>,
}

impl Running {
    async fn connect(&self) -> Result<Client> {
        let began = Instant::now();
        loop {
            let options = ConnectOptions::new()
                .subscription_capacity(SUBSCRIPTION_MESSAGES)
                .client_capacity(1 << 16)
                .reconnect_delay_callback(|_| Duration::from_millis(20))
                .connection_timeout(Duration::from_secs(2));
            match options.connect(&self.urls[..]).await {
                Ok(client) => return Ok(client),
                Err(error) if began.elapsed() > PATIENCE => return Err(error).context("no server answers"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            self.servers.check(|number| self.dir.join(format!("n{number}.log")))?;
        }
    }

    async fn control(&self) -> Result<&Context> {
        self.control.get_or_try_init(|| async { Ok(context(self.connect().await?, Mode::Prompt)) }).await
    }
}

fn context(client: Client, mode: Mode) -> Context {
    let builder = ContextBuilder::new().max_ack_inflight(WINDOW).backpressure_on_inflight(true);
    let patience = if mode == Mode::Insistent { INSIST } else { Duration::from_secs(10) };
    builder.timeout(patience).build(client)
}

impl System for Running {
    type Publisher = Publishing;
    type Reader = Reading;

    fn servers(&self) -> &Servers {
        &self.servers
    }

    fn started(&self) -> Instant {
        self.started
    }

    async fn create_topics(&self, names: &[String]) -> Result<()> {
        let control = self.control().await?;
        let make = |name: &String| {
            let name = name.clone();
            async move {
                let config = Config {
                    name: name.clone(),
                    subjects: vec![name.clone()],
                    num_replicas: self.urls.len().min(3),
                    storage: StorageType::File,
                    ..Config::default()
                };
                let began = Instant::now();
                loop {
                    match control.create_stream(config.clone()).await {
                        Ok(_) => return anyhow::Ok(()),
                        Err(error) if began.elapsed() > PATIENCE => {
                            return Err(error).with_context(|| format!("stream {name}"));
                        }
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }
        };
        let mut made = futures_util::stream::iter(names.iter().map(make)).buffer_unordered(16);
        while let Some(made) = made.next().await {
            made?;
        }
        Ok(())
    }

    async fn check_settings(&self) -> Result<()> {
        for port in &self.monitors {
            let text = get(*port, "/jsz").await?;
            let answer: serde_json::Value = serde_json::from_str(&text).context("/jsz")?;
            let syncs = answer["config"]["sync_always"].as_bool().unwrap_or_default();
            ensure!(syncs == self.syncs, "a server says sync_always {syncs}: {}", answer["config"]);
        }
        Ok(())
    }

    async fn publisher(&self, topics: &[String], mode: Mode) -> Result<Publishing> {
        Ok(Publishing {
            context: context(self.connect().await?, mode),
            topics: topics.iter().map(|topic| async_nats::Subject::from(topic.as_str())).collect(),
            mode,
            next: AtomicU64::new(0),
        })
    }

    async fn reader(&self, topic: &str, start: Start) -> Result<Reading> {
        let context = context(self.connect().await?, Mode::Prompt);
        let began = Instant::now();
        // A stream that has just lost its leader cannot take consumers yet.
        loop {
            match Reading::new(&context, topic, start).await {
                Ok(reading) => return Ok(reading),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn leader(&self, topic: &str) -> Result<usize> {
        let mut stream = self.control().await?.get_stream(topic).await?;
        let cluster = stream.info().await?.cluster.clone().context("the stream is not clustered")?;
        let leader = cluster.leader.context("nobody leads the stream")?;
        leader.strip_prefix('n').and_then(|number| number.parse().ok()).context("our servers are n0, n1, n2")
    }
}

/// An answer of a server's monitoring.
async fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (_, body) = text.split_once("\r\n\r\n").context("no answer")?;
    Ok(body.to_owned())
}

/// A JetStream context with the subjects that it publishes to.
#[derive(Debug)]
pub struct Publishing {
    context: Context,
    topics: Vec<async_nats::Subject>,
    mode: Mode,
    next: AtomicU64,
}

impl Publisher for Publishing {
    type Delivery = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn window(&self, payload_bytes: usize) -> usize {
        WINDOW.min(WINDOW_BYTES / payload_bytes)
    }

    async fn enqueue(&self, topic: usize, payload: Bytes) -> Result<Self::Delivery> {
        let subject = self.topics[topic].clone();
        if self.mode == Mode::Insistent {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            return Ok(insist(self.context.clone(), subject, payload, id).boxed());
        }
        let acknowledged = self.context.publish(subject, payload).await?;
        Ok(async move {
            acknowledged.await?;
            Ok(())
        }
        .boxed())
    }
}

/// Publishes until it is acknowledged. The message id keeps a repeat from being stored twice.
async fn insist(context: Context, subject: async_nats::Subject, payload: Bytes, id: u64) -> Result<()> {
    let began = Instant::now();
    let id = id.to_string();
    loop {
        let publish = PublishMessage::build().payload(payload.clone()).message_id(&id);
        let sent = async {
            context.send_publish(subject.clone(), publish).await?.await?;
            anyhow::Ok(())
        };
        match sent.await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Messages on their way to a reader.
pub enum Reading {
    /// Of a pull consumer.
    Pulled(Box<pull::Stream>),
    /// Of an ordered push consumer.
    Pushed(Box<push::Ordered>),
}

impl Reading {
    async fn new(context: &Context, topic: &str, start: Start) -> Result<Self> {
        let stream = context.get_stream(topic).await?;
        if start == Start::Latest {
            let config = push::OrderedConfig {
                deliver_subject: context.client().new_inbox(),
                deliver_policy: DeliverPolicy::New,
                ..push::OrderedConfig::default()
            };
            let consumer = stream.create_consumer(config).await?;
            return Ok(Self::Pushed(Box::new(consumer.messages().await?)));
        }
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::All,
            num_replicas: 1,
            memory_storage: true,
            inactive_threshold: Duration::from_secs(300),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES).messages().await?;
        Ok(Self::Pulled(Box::new(messages)))
    }
}

impl Reader for Reading {
    async fn read(&mut self, each: Each<'_>) -> Result<()> {
        // The first is waited for, the others are what has come with it.
        match self {
            Self::Pulled(messages) => {
                let mut next = messages.next().await;
                while let Some(message) = next {
                    each(&message?.payload);
                    let Some(at_once) = messages.next().now_or_never() else { return Ok(()) };
                    next = at_once;
                }
            }
            Self::Pushed(messages) => {
                let mut next = messages.next().await;
                while let Some(message) = next {
                    each(&message?.payload);
                    let Some(at_once) = messages.next().now_or_never() else { return Ok(()) };
                    next = at_once;
                }
            }
        }
        bail!("the consumer has ended")
    }
}
