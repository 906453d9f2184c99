//! `hcube bench`: times every API, as the seed system did, and beyond it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hcube_client::Client;
use hcube_core::ids::Vertex;
use hcube_core::topic::Name;

use crate::args::BenchArgs;
use crate::connect::Reach;
use crate::local::fleet::{Fleet, Lifetime, Wish};
use crate::local::ports;
use crate::output::Output;
use crate::signals;

mod concurrent;
mod machine;
mod report;
mod sequential;

use machine::Machine;
use report::Report;

/// Carries it out, on a hypercube of its own where that is asked for.
pub async fn run(args: BenchArgs, reach: &Reach, output: &Output) -> anyhow::Result<()> {
    let dir = match &args.dir {
        Some(parent) => tempfile::Builder::new().prefix("hcube-bench-").tempdir_in(parent),
        None => tempfile::Builder::new().prefix("hcube-bench-").tempdir(),
    };
    let dir = dir.context("cannot make a directory")?;
    let Some(peers) = args.peers else {
        return measure(&args, reach, dir.path(), output).await?.print(output);
    };
    let wish = Wish { peers: Some(peers), base_port: Some(ports::find_free(peers)?), ..Wish::default() };
    let mut fleet = Fleet::open_or_create(&dir.path().join("peers"), wish, Lifetime::Ours).await?;
    let measured = tokio::select! {
        measured = measure_own(&args, &mut fleet, dir.path(), output) => measured,
        () = signals::interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    let ended = fleet.down(false).await;
    let report = measured?;
    ended?;
    report.print(output)
}

async fn measure_own(
    args: &BenchArgs,
    fleet: &mut Fleet,
    dir: &Path,
    output: &Output,
) -> anyhow::Result<Report> {
    output.talk(format_args!("raising {} peers", fleet.cube().peers()));
    fleet.up().await?;
    let endpoints: Vec<String> =
        fleet.cube().vertices().map(|vertex: Vertex| fleet.endpoint(vertex)).collect();
    measure(args, &Reach::direct(endpoints), dir, output).await
}

async fn measure(args: &BenchArgs, reach: &Reach, dir: &Path, output: &Output) -> anyhow::Result<Report> {
    let client = reach.builder()?.retry_timeout(Duration::from_secs(10)).build()?;
    // First, so that a hypercube that is not there is told before anything takes time.
    let cluster = client.cluster().await?;
    output.talk("measuring the machine");
    let at = dir.to_owned();
    let machine = tokio::task::spawn_blocking(move || Machine::measure(&at)).await?;
    let machine = machine.context("the machine cannot be measured")?;
    let run = Run {
        client,
        prefix: format!("bench-{:08x}", rand::random::<u32>()),
        value: vec![b'x'; args.size as usize].into(),
    };
    let mut rows = sequential::rows(&run, args.requests, output).await?;
    if args.clients > 0 {
        rows.extend(concurrent::rows(&run, args.clients, args.messages, output).await?);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        optimized: !cfg!(debug_assertions),
        allowed_per_s: machine.allowed_per_s(),
        machine,
        peers: cluster.peers,
        replication: cluster.replication,
        message_bytes: args.size,
        rows,
    })
}

/// What all parts of a run share.
struct Run {
    client: Client,
    /// What the names of this run begin with, so that two runs do not meet.
    prefix: String,
    value: bytes::Bytes,
}

impl Run {
    fn name(&self, rest: impl std::fmt::Display) -> Name {
        format!("{}-{rest}", self.prefix)
            .parse()
            .expect("the prefix and the rest consist of letters and digits")
    }

    fn record(&self) -> hcube_core::record::Record {
        hcube_core::record::Record { key: None, headers: Vec::new(), value: self.value.clone() }
    }
}
