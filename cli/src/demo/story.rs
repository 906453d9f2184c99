//! The demonstration itself, chapter by chapter.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hcube_api::messages::{Incoming, Message, PullQuery};
use hcube_api::topics::{CreateTopic, Partitions, Topic};
use hcube_client::{Ack, Client, Record};
use hcube_core::ids::Vertex;
use hcube_core::topic::{Name, partition_of};
use tokio::task::JoinSet;

use super::audit::{Faults, Place, audit};
use super::watcher::Watcher;
use super::{Narrator, client_at, feed};
use crate::local::fleet::Fleet;
use crate::output::grouped;
use crate::route;

/// Partitions of the topic that the feed goes into.
const PARTITIONS: u16 = 8;
/// Pause between two events, so that the kill comes amid publishing: the feed takes about seven seconds.
const PACE: Duration = Duration::from_millis(4);
/// Strong earthquakes go into a topic of their own.
const ALERT_MAGNITUDE: f64 = 5.0;
/// How long what must come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who does what; nobody of them is the peer that will be killed.
struct Cast {
    /// The partition that most events belong to.
    busiest: u16,
    /// The peer that leads it.
    victim: Vertex,
    publisher: Vertex,
    subscriber: Vertex,
    reader: Vertex,
}

/// What publishing came to.
struct Published {
    /// The acknowledgement of each event.
    places: Vec<Option<Place>>,
    /// How many events were acknowledged before the kill.
    before: usize,
    /// From the kill to the next acknowledgement in a partition that the killed peer led.
    recovered_after: Option<Duration>,
    /// Why the first event that was not acknowledged was not.
    failure: Option<String>,
}

/// Tells it. Fails where it cannot go on; what does not hold is recorded with the narrator.
pub async fn tell(fleet: &mut Fleet, narrator: &mut Narrator<'_>) -> anyhow::Result<()> {
    raise(fleet, narrator).await?;
    let (quakes, alerts): (Name, Name) = ("earthquakes".parse()?, "alerts".parse()?);
    let topic = create(fleet, narrator, &quakes, &alerts).await?;
    let events = feed::events();
    let cast = cast(fleet, &topic, &events)?;
    alert(fleet, narrator, &alerts, &events, &cast).await?;
    let watcher = Watcher::subscribe(&client_at(fleet, cast.subscriber)?, &quakes).await?;
    let published = publish(fleet, narrator, &topic, &events, &cast).await?;
    let read = read_all(&only(fleet, cast.reader)?, &quakes).await?;
    compare(fleet, narrator, &events, &published, &read, watcher, &cast).await?;
    restart(fleet, narrator, &quakes, &read, &cast).await
}

async fn raise(fleet: &mut Fleet, narrator: &Narrator<'_>) -> anyhow::Result<()> {
    let cube = fleet.cube();
    narrator
        .chapter(format_args!("Raising {} peers, each a process with a disk of its own", cube.peers()))?;
    narrator.say(format_args!("data and logs: {}", fleet.dir().display()))?;
    fleet.up().await?;
    let (first, last) = (Vertex(0), Vertex(cube.peers() - 1));
    narrator.say(format_args!(
        "peers {} to {} serve {} to {}; neighbours differ in one digit",
        cube.label(first),
        cube.label(last),
        fleet.endpoint(first),
        fleet.endpoint(last),
    ))
}

async fn create(
    fleet: &Fleet,
    narrator: &Narrator<'_>,
    quakes: &Name,
    alerts: &Name,
) -> anyhow::Result<Topic> {
    narrator.chapter(format_args!("Creating the topics {quakes} ({PARTITIONS} partitions) and {alerts}"))?;
    let client = client_at(fleet, Vertex(0))?;
    let partitions = Partitions::try_from(PARTITIONS)?;
    client.create_topic(quakes, &CreateTopic { partitions, ..CreateTopic::default() }).await?;
    client.create_topic(alerts, &CreateTopic::default()).await?;
    let topic = led(&client, quakes).await?;
    for partition in &topic.partitions {
        let replicas: Vec<&str> = partition.replicas.iter().map(|replica| replica.label.as_str()).collect();
        let leader = partition.leader.as_ref().map_or("none", |leader| leader.as_str());
        narrator.say(format_args!(
            "partition {}: led by {leader}, replicas {}",
            partition.partition,
            replicas.join(" ")
        ))?;
    }
    let path = client.route(quakes, 0).await?;
    narrator.say(format_args!(
        "\nthe way of a request from {} to the leader of partition 0:",
        fleet.label(Vertex(0))
    ))?;
    narrator.say(route::draw(&path, fleet.cube().peers()))?;
    Ok(topic)
}

/// The topic once every partition has a leader.
async fn led(client: &Client, topic: &Name) -> anyhow::Result<Topic> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let described = client.describe_topic(topic).await?;
        if described.partitions.iter().all(|partition| partition.leader.is_some()) {
            return Ok(described);
        }
        anyhow::ensure!(Instant::now() < deadline, "some partitions of {topic} have no leader");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn cast(fleet: &Fleet, topic: &Topic, events: &[Incoming]) -> anyhow::Result<Cast> {
    let mut counts = vec![0u32; topic.partitions.len()];
    for key in events.iter().filter_map(|event| event.record.key.as_ref()) {
        counts[usize::from(partition_of(key, PARTITIONS))] += 1;
    }
    let busiest = topic.partitions.iter().zip(&counts).max_by_key(|(_, count)| **count);
    let (busiest, _) = busiest.context("a topic has partitions")?;
    let victim = busiest.leader.as_ref().context("every partition has a leader")?.vertex();
    let others: Vec<Vertex> = fleet.cube().vertices().filter(|vertex| *vertex != victim).collect();
    let other = |at: usize| others[at % others.len()];
    Ok(Cast {
        busiest: busiest.partition,
        victim,
        publisher: other(0),
        subscriber: other(others.len() - 1),
        reader: other(others.len() / 2),
    })
}

async fn alert(
    fleet: &Fleet,
    narrator: &mut Narrator<'_>,
    alerts: &Name,
    events: &[Incoming],
    cast: &Cast,
) -> anyhow::Result<()> {
    let strong: Vec<&Incoming> = events.iter().filter(|event| magnitude(event) >= ALERT_MAGNITUDE).collect();
    narrator.chapter(format_args!(
        "Publishing the {} strongest earthquakes one by one through {}, pulling them from {}",
        strong.len(),
        fleet.label(cast.publisher),
        fleet.label(cast.reader)
    ))?;
    let client = only(fleet, cast.publisher)?;
    let mut last = 0;
    for event in &strong {
        let published = client.publish(alerts, Some(0), event.record.clone(), None).await?;
        last = published.ack.offset;
        if last == 0 {
            let promise = published.promise.map(|promise| promise.to_string());
            let path = published.path.map(|path| path.to_string());
            narrator.say(format_args!(
                "promised: {}; path: {}",
                promise.unwrap_or_default(),
                path.unwrap_or_default()
            ))?;
        }
    }
    narrator.say(format_args!("the last one has offset {last}"))?;
    let read = read_all(&only(fleet, cast.reader)?, alerts).await?;
    let pulled = read.iter().map(|message| canonical(&message.record));
    let same = pulled.eq(strong.iter().map(|event| canonical(&event.record)));
    narrator.check(
        same,
        format!("{} alerts published, {} pulled, the same in the same order", strong.len(), read.len()),
    )
}

async fn publish(
    fleet: &mut Fleet,
    narrator: &mut Narrator<'_>,
    topic: &Topic,
    events: &[Incoming],
    cast: &Cast,
) -> anyhow::Result<Published> {
    let victim = fleet.label(cast.victim);
    narrator.chapter(format_args!(
        "Publishing {} earthquakes through {}, keyed by region; {} subscribes",
        grouped(events.len() as u64),
        fleet.label(cast.publisher),
        fleet.label(cast.subscriber)
    ))?;
    let led: Vec<u16> = topic
        .partitions
        .iter()
        .filter(|partition| partition.leader.as_ref().is_some_and(|leader| leader.vertex() == cast.victim))
        .map(|partition| partition.partition)
        .collect();
    let producer = client_at(fleet, cast.publisher)?.producer(&topic.name).build().await?;
    let mut outcomes = JoinSet::new();
    let mut killed = None;
    for (at, event) in events.iter().enumerate() {
        if at == events.len() / 2 {
            narrator.say(format_args!("{} are sent", grouped(at as u64)))?;
            fleet.stop(cast.victim, true).await?;
            killed = Some(Instant::now());
            narrator.chapter(format_args!(
                "Peer {victim} is killed (SIGKILL); it led partitions {led:?}; publishing goes on"
            ))?;
        }
        let delivery = producer.enqueue(event.record.clone()).await?;
        outcomes.spawn(async move { (at, delivery.await, Instant::now()) });
        tokio::time::sleep(PACE).await;
    }
    let killed = killed.context("the feed has a middle")?;
    let mut published =
        Published { places: vec![None; events.len()], before: 0, recovered_after: None, failure: None };
    while let Some(outcome) = outcomes.join_next().await {
        let (at, outcome, when) = outcome?;
        match outcome {
            Ok(ack) => published.acknowledged(at, ack, when, killed, &led),
            Err(error) => {
                published.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
    Ok(published)
}

impl Published {
    fn acknowledged(&mut self, at: usize, ack: Ack, when: Instant, killed: Instant, led: &[u16]) {
        self.places[at] = Some((ack.partition, ack.offset));
        match when.checked_duration_since(killed) {
            None => self.before += 1,
            Some(after) if led.contains(&ack.partition) => {
                self.recovered_after = Some(self.recovered_after.map_or(after, |least| least.min(after)));
            }
            Some(_) => {}
        }
    }

    fn count(&self) -> usize {
        self.places.iter().flatten().count()
    }
}

async fn compare(
    fleet: &Fleet,
    narrator: &mut Narrator<'_>,
    events: &[Incoming],
    published: &Published,
    read: &[Message],
    watcher: Watcher,
    cast: &Cast,
) -> anyhow::Result<()> {
    let count = published.count();
    narrator.say(format_args!(
        "{} acknowledged before the kill, {} after it",
        grouped(published.before as u64),
        grouped((count - published.before) as u64)
    ))?;
    if let Some(after) = published.recovered_after {
        narrator.say(format_args!(
            "{:.1} s after the kill, other peers led its partitions and acknowledged messages",
            after.as_secs_f64()
        ))?;
    }
    let failure = published.failure.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    narrator
        .check(count == events.len(), format!("{count} of {} events acknowledged{failure}", events.len()))?;
    narrator
        .check(published.recovered_after.is_some(), "publishing went on where the killed peer had led")?;

    narrator.chapter("Comparing what was acknowledged with what is there")?;
    let clean = Faults::default();
    let faults = audit(events, &published.places, read);
    let reader = fleet.label(cast.reader);
    narrator.check(
        faults == clean,
        format!("pulled from {reader}: {} events, {}", read.len(), faults.describe()),
    )?;
    let (heard, ended) = watcher.finish(count, PATIENCE).await;
    let faults = audit(events, &published.places, &heard);
    let ended = ended.map_or_else(String::new, |error| format!(" (it ended: {error})"));
    let subscriber = fleet.label(cast.subscriber);
    let what = format!("subscribed at {subscriber}: {} events, {}{ended}", heard.len(), faults.describe());
    narrator.check(faults == clean, what)
}

async fn restart(
    fleet: &mut Fleet,
    narrator: &mut Narrator<'_>,
    topic: &Name,
    read: &[Message],
    cast: &Cast,
) -> anyhow::Result<()> {
    let victim = fleet.label(cast.victim);
    let client = only(fleet, cast.reader)?;
    let described = led(&client, topic).await?;
    let busiest = described.partitions.iter().find(|partition| partition.partition == cast.busiest);
    let leader =
        busiest.and_then(|partition| partition.leader.clone()).context("every partition has a leader")?;
    narrator
        .chapter(format_args!("Restarting peer {victim}; {leader} leads partition {} now", cast.busiest))?;
    fleet.start(cast.victim).await?;
    narrator.say(format_args!("peer {victim} is ready again"))?;
    let led: Vec<&Message> = read.iter().filter(|message| message.partition == cast.busiest).collect();
    let own = own_copy(&client, topic, cast.busiest, &victim, led.len()).await?;
    let same = own.iter().eq(led.iter().copied());
    let what = format!(
        "the copy of partition {} at {victim} has the same {} events as were pulled from {}",
        cast.busiest,
        led.len(),
        fleet.label(cast.reader)
    );
    narrator.check(same, what)
}

/// What one vertex holds of a partition, when it has caught up with so many messages.
async fn own_copy(
    client: &Client,
    topic: &Name,
    partition: u16,
    label: &str,
    count: usize,
) -> anyhow::Result<Vec<Message>> {
    let deadline = Instant::now() + PATIENCE;
    let query = PullQuery {
        partition: Some(partition),
        limit: PullQuery::LIMIT_MAX,
        replica: Some(label.parse()?),
        ..PullQuery::default()
    };
    loop {
        let held = client.pull(topic, &query).await;
        match held {
            Ok(held) if held.messages.len() >= count || Instant::now() >= deadline => {
                return Ok(held.messages);
            }
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A client of this peer and no other.
fn only(fleet: &Fleet, vertex: Vertex) -> anyhow::Result<Client> {
    Ok(client_at(fleet, vertex)?.only(fleet.endpoint(vertex).parse()?)?)
}

async fn read_all(client: &Client, topic: &Name) -> anyhow::Result<Vec<Message>> {
    let mut consumer = client.consumer(topic).follows(false).build().await?;
    let mut messages = Vec::new();
    loop {
        let chunk = consumer.next_chunk().await?;
        if chunk.is_empty() {
            return Ok(messages);
        }
        messages.extend(chunk);
    }
}

/// A record with its headers by name: those of a single HTTP publish have no order of their own.
fn canonical(record: &Record) -> Record {
    let mut record = record.clone();
    record.headers.sort();
    record
}

fn magnitude(event: &Incoming) -> f64 {
    let value: Option<serde_json::Value> = serde_json::from_slice(&event.record.value).ok();
    value.and_then(|value| value["mag"].as_f64()).unwrap_or_default()
}
