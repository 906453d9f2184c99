//! `hcube verify`: publishes numbered records, lets things happen to the peers, and compares what is there with what
//! was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hcube_api::topics::{CreateTopic, Partitions};
use hcube_client::{Client, Transport};
use hcube_core::ids::Vertex;
use hcube_core::topic::Name;

use crate::args::{ENDPOINT_DEFAULT, VerifyArgs};
use crate::connect::Reach;
use crate::local::fleet::{Fleet, Lifetime, Wish};
use crate::local::ports;
use crate::output::Output;
use crate::signals;

mod check;
mod copies;
mod cuts;
mod history;
mod load;
mod outage;
mod proxy;
mod readers;
mod report;
mod schedule;
mod stage;

use check::Faults;
use history::{History, Key};
use load::{Load, Part};
use proxy::Proxies;
use readers::{Glimpser, Subscription};
use report::Report;
use schedule::Kinds;
use stage::Stage;

/// Each topic is read in all these ways at once.
const TRANSPORTS: [Transport; 3] = [Transport::Frames, Transport::Events, Transport::Polls];
/// Topics of a run.
const TOPICS: u16 = 2;
/// Partitions of each.
const PARTITIONS: u16 = 4;
/// Producers of each.
const PRODUCERS: u16 = 2;
/// Peers where nothing else is asked for.
const PEERS: u16 = 5;
/// How long one attempt may take: a peer that is stopped keeps its connections, so a client waits for it this long.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a client tries again, which is longer than any fault is left.
const RETRY: Duration = Duration::from_secs(60);
/// Pause between two glimpses.
const GLIMPSE: Duration = Duration::from_millis(100);
/// Publishing goes on so long after everything is healed.
const AFTER: Duration = Duration::from_secs(1);
/// How long a subscription may take for what is left.
const DELIVERED: Duration = Duration::from_secs(30);
/// Beyond its duration a run may take so long for raising, healing and comparing.
const BEYOND: Duration = Duration::from_secs(600);

/// Carries it out, on a hypercube of its own unless an endpoint is named.
pub async fn run(args: VerifyArgs, reach: &Reach, output: &Output) -> anyhow::Result<()> {
    let kinds = kinds(&args);
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let report = if reach.forward.is_none() && reach.endpoints == [ENDPOINT_DEFAULT] {
        on_its_own(&args, kinds, seed, output).await?
    } else {
        if kinds != Kinds::default() || args.scale.is_some() || args.peers.is_some() {
            bail!(
                "only a hypercube of its own is harmed; leave --endpoint (HCUBE_ENDPOINT) and what names one on \
                 Kubernetes out"
            );
        }
        on_a_given_one(&args, seed, reach, output).await?
    };
    report.print(output)?;
    if !report.passed() {
        bail!("{}", report.verdict());
    }
    Ok(())
}

fn kinds(args: &VerifyArgs) -> Kinds {
    Kinds { kill: args.kill, pause: args.pause, partition: args.partition, wipe: args.wipe }
}

/// Raises peers, lets things happen to them, and takes them down however it ends.
async fn on_its_own(args: &VerifyArgs, kinds: Kinds, seed: u64, output: &Output) -> anyhow::Result<Report> {
    let dir =
        tempfile::Builder::new().prefix("hcube-verify-").tempdir().context("cannot make a directory")?;
    let least = args.scale.map_or_else(|| args.peers.unwrap_or(PEERS), |scale| scale.least);
    let most = args.scale.map_or(least, |scale| scale.most);
    let wish = Wish { peers: Some(least), base_port: Some(ports::find_free(most)?), ..Wish::default() };
    let fleet = Fleet::open_or_create(dir.path(), wish, Lifetime::Ours).await?;
    let mut fleet = if kinds.partition { fleet.proxied() } else { fleet };
    let proxies = if kinds.partition {
        let peers = (0..most).map(|vertex| (Vertex(vertex), fleet.ports(Vertex(vertex))));
        Some(Proxies::start(peers).await?)
    } else {
        None
    };
    output.talk(format_args!("raising {least} peers in {}; seed {seed}", dir.path().display()));
    tokio::select! {
        raised = fleet.up() => { raised?; }
        () = signals::interrupted() => {
            fleet.retake().await?;
            fleet.down(true).await?;
            bail!("interrupted");
        }
    }
    let stage = Stage::new(fleet, proxies, least, output);
    let performed = tokio::select! {
        performed = perform(args, kinds, seed, &stage, output) => performed,
        () = signals::interrupted() => Err(anyhow::anyhow!("interrupted")),
        () = tokio::time::sleep(args.duration * 3 + BEYOND) => Err(anyhow::anyhow!("it does not come to an end")),
    };
    let cleared = stage.clear().await;
    let mut report = match performed {
        Ok(report) => report,
        Err(error) => {
            if args.keep || !stage.troubles().is_empty() {
                output.talk(format_args!("data and logs are in {}", dir.keep().display()));
            }
            return Err(error);
        }
    };
    cleared?;
    // What went wrong can be looked into.
    if args.keep || !report.passed() {
        report.keeps(dir.keep());
    }
    Ok(report)
}

async fn perform(
    args: &VerifyArgs,
    kinds: Kinds,
    seed: u64,
    stage: &Stage<'_>,
    output: &Output,
) -> anyhow::Result<Report> {
    let reach = Reach::direct(stage.endpoints().await);
    let workload = Workload::begin(args, seed, &reach, stage.begun()).await?;
    let duration_ms = u64::try_from(args.duration.as_millis())?;
    let begun_ms = stage.now_ms();
    let mut events = schedule::events(seed, kinds, duration_ms);
    events.iter_mut().for_each(|event| event.at_ms += begun_ms);
    let sizes = args.scale.map_or_else(Vec::new, |scale| schedule::sizes(scale.least, scale.most));
    output.talk(format_args!("publishing {} messages a second for {} s", args.rate, args.duration.as_secs()));
    let happened = async {
        let rest = async {
            tokio::time::sleep(args.duration).await;
            Ok(())
        };
        tokio::try_join!(stage.play(&events), stage.resize(&sizes, args.duration), rest).map(|_| ())
    };
    match happened.await {
        // Every event is over, and has started again whom it had ended.
        Ok(()) => stage.ended().await.into_iter().for_each(|ended| stage.trouble(ended)),
        Err(error) => stage.trouble(format!("{error:#}")),
    }
    output.talk("healing");
    if let Err(error) = stage.heal().await {
        stage.trouble(format!("{error:#}"));
    }
    stage.panics().await.into_iter().for_each(|panic| stage.trouble(panic));
    tokio::time::sleep(AFTER).await;
    match stage.strangers() {
        0 => {}
        count => {
            stage
                .trouble(format!("{count} connections came from nobody's address, so no cut concerned them"));
        }
    }
    workload.end(&stage.happenings(), stage.troubles(), &Reach::direct(stage.endpoints().await), output).await
}

/// The same without anything happening, on a hypercube that somebody else answers for.
async fn on_a_given_one(
    args: &VerifyArgs,
    seed: u64,
    reach: &Reach,
    output: &Output,
) -> anyhow::Result<Report> {
    let reach = match &reach.forward {
        Some(_) => &with_members(reach).await?,
        None => reach,
    };
    let workload = Workload::begin(args, seed, reach, Instant::now()).await?;
    let (client, topics) = (workload.client.clone(), workload.topics.clone());
    output.talk(format_args!("publishing {} messages a second for {} s", args.rate, args.duration.as_secs()));
    let performed = tokio::select! {
        () = tokio::time::sleep(args.duration) => workload.end(&[], Vec::new(), reach, output).await,
        () = signals::interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    for topic in &topics {
        client.delete_topic(topic).await?;
    }
    performed
}

/// The peers one by one, behind those that were given: each is to be asked for itself.
async fn with_members(reach: &Reach) -> anyhow::Result<Reach> {
    let cluster = reach.client()?.cluster().await?;
    let members = cluster.members.into_iter().map(|member| member.client_address);
    Ok(reach.to(reach.endpoints.iter().cloned().chain(members).collect::<Vec<_>>()))
}

/// Everybody who publishes and reads.
struct Workload {
    seed: u64,
    client: Client,
    topics: Vec<Name>,
    subscriptions: Vec<Subscription>,
    glimpser: Glimpser,
    load: Arc<Load>,
}

impl Workload {
    /// Makes topics, subscribes to them, and begins to publish.
    async fn begin(args: &VerifyArgs, seed: u64, reach: &Reach, begun: Instant) -> anyhow::Result<Self> {
        let client = client(reach)?;
        let prefix = format!("verify-{:08x}", rand::random::<u32>());
        let mut topics = Vec::new();
        for topic in 0..TOPICS {
            let name: Name = format!("{prefix}-{topic}").parse()?;
            let partitions = Partitions::try_from(PARTITIONS)?;
            client.create_topic(&name, &CreateTopic { partitions, ..CreateTopic::default() }).await?;
            topics.push(name);
        }
        let mut subscriptions = Vec::new();
        let mut parts = Vec::new();
        let mut turn = 0;
        // Each begins at another peer.
        let mut next = || {
            turn += 1;
            let (before, from) = reach.endpoints.split_at(turn % reach.endpoints.len());
            self::client(&reach.to([from, before].concat()))
        };
        for (topic, name) in (0u16..).zip(&topics) {
            for transport in TRANSPORTS {
                subscriptions.push(Subscription::start(next()?, topic, name.clone(), transport).await?);
            }
            for _ in 0..PRODUCERS {
                let rate = f64::from(args.rate) / f64::from(TOPICS * PRODUCERS);
                parts.push(Part { client: next()?, topic, name: name.clone(), partitions: PARTITIONS, rate });
            }
        }
        let load = Arc::new(Load::start(parts, begun));
        let ends = Arc::clone(&load);
        let clients = reach
            .endpoints
            .iter()
            .map(|endpoint| {
                let only = reach.to([endpoint.clone()]).builder()?.learns_members(false);
                Ok(only.retry_timeout(Duration::ZERO).request_timeout(ATTEMPT).build()?)
            })
            .collect::<anyhow::Result<Vec<Client>>>()?;
        let glimpser = Glimpser::start(topics.clone(), clients, GLIMPSE, move || ends.ends());
        Ok(Self { seed, client, topics, subscriptions, glimpser, load })
    }

    /// Ends publishing, reads everything, and compares.
    async fn end(
        self,
        happenings: &[stage::Happening],
        mut troubles: Vec<String>,
        reach: &Reach,
        output: &Output,
    ) -> anyhow::Result<Report> {
        let glimpses = self.glimpser.finish().await;
        let load = Arc::into_inner(self.load).expect("whoever else looked at it has ended");
        output.talk("waiting for the last acknowledgements");
        let published = load.finish().await;
        let mut history = History { acked: published.acked.clone(), glimpses, ..History::default() };
        output.talk("reading every replica");
        // Whoever left meanwhile need not be asked, and who does not answer is asked again here.
        let client = reach.builder()?.request_timeout(ATTEMPT * 5).retry_timeout(ATTEMPT).build()?;
        let collected = copies::collect(&client, &self.topics, &mut history).await;
        let ends: BTreeMap<Key, u64> =
            history.stored.iter().map(|(key, stored)| (*key, stored.len() as u64)).collect();
        for subscription in self.subscriptions {
            let topic = subscription.topic;
            let own = ends.iter().filter(|(key, _)| key.topic == topic).map(|(key, end)| (*key, *end));
            history.streams.push(subscription.finish(&own.collect(), DELIVERED).await);
        }
        if published.unacknowledged > 0 {
            troubles.extend(published.failures.iter().cloned());
        }
        let faults = match collected {
            Ok(()) => check::check(&history),
            Err(error) => {
                // What could not be read is not lost for that.
                troubles.push(format!("what is there cannot be read: {error:#}"));
                Faults::default()
            }
        };
        Ok(Report::new(self.seed, happenings, &published, &history, faults, troubles))
    }
}

fn client(reach: &Reach) -> anyhow::Result<Client> {
    let builder = reach.builder()?.request_timeout(ATTEMPT);
    Ok(builder.retry_timeout(RETRY).build()?)
}
