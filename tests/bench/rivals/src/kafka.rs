//! Apache Kafka: combined brokers and controllers (KRaft), topics of one partition with three replicas.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use hcube_compare::servers::{Server, Servers, free_ports};
use hcube_compare::system::{Each, Launcher, Mode, Publisher, Reader, Start, System};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

/// The heap of a broker.
const HEAP_MIB: u32 = 768;
/// What Kafka's own start script tells the virtual machine.
const JVM: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// A cluster's id is 16 bytes in base 64.
const CLUSTER_ID: &str = "aGN1YmUtYmVuY2gtMDAwMQ";
/// Messages under way where as many as possible are wanted.
const WINDOW: usize = 1 << 17;
/// Bytes of them: several batches for each of the requests that may be under way.
const WINDOW_BYTES: usize = 32 << 20;
/// How long brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages that are shown of one poll at most, so that time is looked at.
const READ_MESSAGES: usize = 10_000;

/// A column of Kafka.
#[derive(Debug)]
pub struct Kafka {
    name: &'static str,
    jars: PathBuf,
    linger_ms: String,
    syncs: bool,
}

impl Kafka {
    /// `kafka-sync` syncs every message, `kafka-default` leaves that to the operating system.
    pub fn new(name: &'static str, jars: PathBuf, linger_ms: String) -> Self {
        Self { name, jars, linger_ms, syncs: name == "kafka-sync" }
    }

    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.arg("-cp").arg(self.jars.join("*")).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command
    }

    fn version(&self) -> String {
        let jars = std::fs::read_dir(&self.jars).into_iter().flatten().flatten();
        let mut names = jars.filter_map(|entry| entry.file_name().into_string().ok());
        names.find(|name| name.starts_with("kafka_")).unwrap_or_else(|| "no kafka_*.jar".into())
    }

    fn format(&self, config: &Path) -> Result<()> {
        let mut command = self.java();
        command.args(["-Xmx256m", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(config);
        let output = command.stdin(Stdio::null()).output().context("cannot run java")?;
        ensure!(
            output.status.success(),
            "kafka.tools.StorageTool: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Launcher for Kafka {
    type System = Running;

    fn name(&self) -> &'static str {
        self.name
    }

    fn described(&self) -> Vec<(String, String)> {
        let sync = if self.syncs { "log.flush.interval.messages=1" } else { "no sync of its own (default)" };
        let java = Command::new("java").arg("-version").output().map(|output| {
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned()
        });
        vec![
            (
                "version".into(),
                format!("{}, {}", self.version(), java.unwrap_or_else(|error| error.to_string())),
            ),
            (
                "servers".into(),
                format!(
                    "combined KRaft, replication factor 3, min.insync.replicas=2, {sync}, heap {HEAP_MIB} MiB"
                ),
            ),
            (
                "publishing".into(),
                format!(
                    "rdkafka (librdkafka {}), acks=all; linger 0 ms (W1, W6 latency), {} ms (W2, W4), 5 ms and batches \
                     of 1 MB (W3, W5, W6 full speed), 0 ms and idempotent (W7)",
                    rdkafka::util::get_rdkafka_version().1,
                    self.linger_ms,
                ),
            ),
            ("reading".into(), "rdkafka's BaseConsumer, partition assigned, no group".into()),
        ]
    }

    fn compiles(&self) -> bool {
        true
    }

    async fn launch(&self, dir: &Path, peers: u16) -> Result<Running> {
        let count = usize::from(peers);
        let ports = free_ports(2 * count)?;
        let (brokers, controllers) = ports.split_at(count);
        let voters: Vec<String> = controllers
            .iter()
            .enumerate()
            .map(|(number, port)| format!("{number}@127.0.0.1:{port}"))
            .collect();
        let mut configs = Vec::new();
        for number in 0..count {
            let flush = if self.syncs { "log.flush.interval.messages=1\n" } else { "" };
            let config = format!(
                "process.roles=broker,controller\nnode.id={number}\ncontroller.quorum.voters={}\n\
                 listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\ncontroller.listener.names=CONTROLLER\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
                 default.replication.factor=3\nmin.insync.replicas=2\nauto.create.topics.enable=false\n{flush}",
                voters.join(","),
                controllers[number],
                dir.join(format!("k{number}")).display(),
                broker = brokers[number],
            );
            let path = dir.join(format!("k{number}.properties"));
            std::fs::write(&path, config)?;
            self.format(&path)?;
            configs.push(path);
        }
        // Formatting is done once in a broker's life; starting begins here.
        let started = Instant::now();
        let mut servers = Servers::default();
        for (number, config) in configs.iter().enumerate() {
            let mut command = self.java();
            command.args([format!("-Xms{HEAP_MIB}m"), format!("-Xmx{HEAP_MIB}m")]).args(JVM);
            command.arg("kafka.Kafka").arg(config).current_dir(dir);
            servers.0.push(Server::start(&mut command, &dir.join(format!("k{number}.log")))?);
        }
        let hosts: Vec<String> = brokers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Ok(Running {
            servers,
            started,
            hosts: hosts.join(","),
            linger_ms: self.linger_ms.clone(),
            syncs: self.syncs,
            dir: dir.to_owned(),
        })
    }
}

/// A Kafka cluster.
#[derive(Debug)]
pub struct Running {
    servers: Servers,
    started: Instant,
    hosts: String,
    linger_ms: String,
    syncs: bool,
    dir: PathBuf,
}

impl Running {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.hosts).set("log_level", "0");
        // A dead broker is tried again soon.
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.config().create()?)
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        Ok(self
            .config()
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "20")
            .set("queued.min.messages", "1000000")
            .set("fetch.message.max.bytes", "8388608")
            .create()?)
    }
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
        let admin = self.admin()?;
        let began = Instant::now();
        let mut left: Vec<String> = names.to_vec();
        while !left.is_empty() {
            let some = left.len().min(200);
            let topics = left[..some].iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(3)));
            let topics: Vec<NewTopic<'_>> = topics.collect();
            let options = AdminOptions::new()
                .operation_timeout(Some(Duration::from_secs(20)))
                .request_timeout(Some(Duration::from_secs(25)));
            let answer = admin.create_topics(&topics, &options).await;
            let mut trouble = None;
            match answer {
                Ok(answers) => {
                    let is_made = |answer: &_| match answer {
                        Ok(name) | Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => {
                            Some(String::clone(name))
                        }
                        Err((name, code)) => {
                            trouble = Some(format!("{name}: {code}"));
                            None
                        }
                    };
                    let made: std::collections::HashSet<String> =
                        answers.iter().filter_map(is_made).collect();
                    left.retain(|name| !made.contains(name));
                }
                Err(error) => trouble = Some(error.to_string()),
            }
            if let Some(trouble) = trouble {
                ensure!(began.elapsed() < PATIENCE, "topics cannot be made: {trouble}");
                self.servers.check(|number| self.dir.join(format!("k{number}.log")))?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    async fn check_settings(&self) -> Result<()> {
        let admin = self.admin()?;
        for number in 0..self.servers.0.len() {
            let broker = ResourceSpecifier::Broker(i32::try_from(number)?);
            let answers = admin.describe_configs([&broker], &AdminOptions::new()).await?;
            let answer = answers.into_iter().next().context("no answer")?;
            let answer = answer.map_err(|code| anyhow!("broker {number}: {code}"))?;
            let value =
                |name: &str| answer.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
            let (flush, replicas) = (value("log.flush.interval.messages"), value("min.insync.replicas"));
            ensure!((flush == "1") == self.syncs, "broker {number} says log.flush.interval.messages={flush}");
            ensure!(replicas == "2", "broker {number} says min.insync.replicas={replicas}");
        }
        Ok(())
    }

    async fn publisher(&self, topics: &[String], mode: Mode) -> Result<Publishing> {
        let mut config = self.config();
        config
            .set("acks", "all")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "262144")
            .set("message.timeout.ms", "120000")
            .set("retry.backoff.ms", "20")
            .set("topic.metadata.refresh.fast.interval.ms", "50");
        match mode {
            Mode::Batched => {
                config.set("linger.ms", "5").set("batch.size", "1000000").set("batch.num.messages", "100000");
            }
            Mode::Prompt => {
                config.set("linger.ms", "0");
            }
            Mode::Shared => {
                config.set("linger.ms", &self.linger_ms);
            }
            Mode::Insistent => {
                config.set("linger.ms", "0").set("enable.idempotence", "true");
            }
        }
        let producer: FutureProducer = config.create()?;
        // Leaders are known before the first message, which would otherwise wait for a round of metadata.
        let (asked, topic) = (producer.clone(), topics.first().cloned());
        tokio::task::spawn_blocking(move || {
            asked.client().fetch_metadata(topic.as_deref(), Duration::from_secs(20)).map(|_| ())
        })
        .await??;
        Ok(Publishing { producer, topics: topics.to_vec() })
    }

    async fn reader(&self, topic: &str, start: Start) -> Result<Reading> {
        let consumer = self.consumer()?;
        let topic = topic.to_owned();
        let consumer = tokio::task::spawn_blocking(move || {
            let (_, end) = watermarks(&consumer, &topic)?;
            let from = if start == Start::Earliest { Offset::Beginning } else { Offset::Offset(end) };
            let mut assigned = TopicPartitionList::new();
            assigned.add_partition_offset(&topic, 0, from)?;
            consumer.assign(&assigned)?;
            anyhow::Ok(consumer)
        })
        .await??;
        Ok(Reading { consumer })
    }

    async fn leader(&self, topic: &str) -> Result<usize> {
        let (consumer, topic) = (self.consumer()?, topic.to_owned());
        let metadata = tokio::task::spawn_blocking(move || {
            consumer.fetch_metadata(Some(&topic), Duration::from_secs(20))
        });
        let metadata = metadata.await??;
        let partition = metadata.topics().first().and_then(|topic| topic.partitions().first());
        Ok(usize::try_from(partition.context("the topic has no partition")?.leader())?)
    }
}

/// The offsets between which messages are, once the topic has a leader.
fn watermarks(consumer: &BaseConsumer, topic: &str) -> Result<(i64, i64)> {
    let began = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)) {
            Ok(found) => return Ok(found),
            Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A producer, with the topics that it publishes to.
pub struct Publishing {
    producer: FutureProducer,
    topics: Vec<String>,
}

impl Publisher for Publishing {
    type Delivery = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn window(&self, payload_bytes: usize) -> usize {
        WINDOW.min(WINDOW_BYTES / payload_bytes)
    }

    async fn enqueue(&self, topic: usize, payload: Bytes) -> Result<Self::Delivery> {
        loop {
            let record = FutureRecord::<(), _>::to(&self.topics[topic]).partition(0).payload(&payload[..]);
            match self.producer.send_result(record) {
                Ok(delivery) => {
                    return Ok(Box::pin(async move {
                        delivery.await?.map_err(|(error, _)| error)?;
                        Ok(())
                    }));
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

/// A consumer with its partition.
pub struct Reading {
    consumer: BaseConsumer,
}

impl Reader for Reading {
    async fn read(&mut self, each: Each<'_>) -> Result<()> {
        // It waits on a condition of librdkafka; the runtime goes on with other threads.
        tokio::task::block_in_place(|| {
            let mut patience = Duration::from_millis(200);
            for _ in 0..READ_MESSAGES {
                match self.consumer.poll(patience) {
                    Some(Ok(message)) => each(message.payload().unwrap_or_default()),
                    // Brokers that are gone for a while are not an end.
                    Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                }
                patience = Duration::ZERO;
            }
            Ok(())
        })
    }
}
