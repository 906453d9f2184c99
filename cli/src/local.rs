//! `hcube local`: a hypercube of real processes on this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use hcube_core::ids::Vertex;
use serde::Serialize;

use crate::args::LocalCommand;
use crate::args::local::{Place, UpArgs};
use crate::output::{Output, Table};
use crate::progress::Progress;
use crate::signals;

pub mod admin;
pub mod fleet;
mod home;
pub mod ports;
mod process;

use fleet::{Fleet, Lifetime, PACE, Started, Step, Stepped, Wish};
use home::{Change, Home};

/// How often `--foreground` looks after its peers.
const WATCH: Duration = Duration::from_millis(500);

/// A refill that has not come on for so long waits for somebody.
const STALLED: Duration = Duration::from_secs(10);

/// One peer as `status` shows it.
#[derive(Debug, Serialize)]
struct PeerStatus {
    label: String,
    vertex: Vertex,
    state: &'static str,
    pid: Option<u32>,
    endpoint: String,
    peer_address: String,
    admin_address: String,
    log: PathBuf,
}

/// What `up` and `status` print.
#[derive(Debug, Serialize)]
struct LocalStatus {
    dir: PathBuf,
    cluster_id: hcube_core::ids::ClusterId,
    peers: Vec<PeerStatus>,
}

/// Carries out `hcube local ...`.
pub async fn run(command: LocalCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        LocalCommand::Up(args) => up(args, output).await,
        LocalCommand::Down { place, kill } => {
            let mut fleet = open(&place).await?;
            let ran = fleet.down(kill).await?;
            output.talk(format_args!("{ran} peers stopped; their data stays in {}", fleet.dir().display()));
            report(&fleet, output).await
        }
        LocalCommand::Status { place } => show(&open(&place).await?, output).await,
        LocalCommand::Stop { peer, place, kill } => {
            let mut fleet = open(&place).await?;
            let vertex = fleet.vertex(&peer)?;
            let label = fleet.label(vertex);
            match (fleet.stop(vertex, kill).await?, kill) {
                (false, _) => output.talk(format_args!("peer {label} did not run")),
                (true, false) => output.talk(format_args!("peer {label} stopped")),
                (true, true) => output.talk(format_args!("peer {label} killed")),
            }
            report(&fleet, output).await
        }
        LocalCommand::Start { peer, place } => {
            let mut fleet = open(&place).await?;
            let vertex = fleet.vertex(&peer)?;
            let label = fleet.label(vertex);
            match fleet.start(vertex).await? {
                Started::Ready => {
                    output.talk(format_args!("peer {label} is ready at {}", fleet.endpoint(vertex)));
                }
                Started::Replaced(_) => refill(&fleet, &[vertex], output).await,
                Started::Waits { running } => output.talk(format_args!(
                    "peer {label} runs, and waits for others: {running} of {} peers do",
                    fleet.cube().peers()
                )),
            }
            report(&fleet, output).await
        }
        LocalCommand::Add { count, place } => resize(&place, Resize::Add(count), output).await,
        LocalCommand::Remove { count, place } => resize(&place, Resize::Remove(count), output).await,
        LocalCommand::Clean { place } => {
            let fleet = open(&place).await?;
            let dir = fleet.dir().to_owned();
            fleet.clean()?;
            output.talk(format_args!("{} is clean", dir.display()));
            Ok(())
        }
    }
}

async fn up(args: UpArgs, output: &Output) -> anyhow::Result<()> {
    let UpArgs { place, peers, slots, replication, base_port, foreground } = args;
    let wish = Wish { peers, slots, replication, base_port };
    let lifetime = if foreground { Lifetime::Ours } else { Lifetime::Detached };
    let dir = directory(&place)?;
    let mut fleet = Fleet::open_or_create(&dir, wish, lifetime).await?;
    let started = tokio::select! {
        raised = fleet.up() => raised?,
        () = signals::interrupted() => {
            fleet.retake().await?;
            fleet.down(false).await?;
            bail!("interrupted; the peers are down again");
        }
    };
    let replaced: Vec<Vertex> = started
        .iter()
        .filter_map(|started| if let Started::Replaced(vertex) = started { Some(*vertex) } else { None })
        .collect();
    if !replaced.is_empty() {
        refill(&fleet, &replaced, output).await;
    }
    match fleet.change() {
        Some(Change::Grow { .. }) => output.talk("a peer was about to join; `hcube local add` goes on"),
        Some(Change::Shrink { .. }) => output.talk("a peer was about to leave; `hcube local remove` goes on"),
        None => {}
    }
    show(&fleet, output).await?;
    output.flush()?;
    if foreground { watch(fleet, output).await } else { Ok(()) }
}

/// What is wished for.
#[derive(Debug, Clone, Copy)]
enum Resize {
    Add(u16),
    Remove(u16),
}

/// Lets peers join or leave. The directory is free for other commands between two steps.
async fn resize(place: &Place, resize: Resize, output: &Output) -> anyhow::Result<()> {
    let mut fleet = open(place).await?;
    fleet.release();
    let _alone = Home::lock_members(fleet.dir()).await?;
    fleet.retake().await?;
    let before = fleet.change();
    let to = match resize {
        Resize::Add(count) => fleet.grow(count).await?,
        Resize::Remove(count) => fleet.shrink(count)?,
    };
    if before.is_some() && before == fleet.change() {
        output.talk(format_args!("going on where an earlier command ended: to {to} peers"));
    }
    let mut progress = Progress::new(output);
    loop {
        let stepped = fleet.step().await;
        fleet.release();
        match stepped? {
            Stepped::Finished => break,
            Stepped::Did(step) => progress.say(told(&step)),
            Stepped::Waits { what, left } => {
                progress.wait(&what, left);
                tokio::time::sleep(PACE).await;
            }
        }
        fleet.retake().await?;
    }
    progress.end();
    output.talk(format_args!("peers now: {}", fleet.cube().peers()));
    report(&fleet, output).await
}

fn told(step: &Step) -> String {
    match step {
        Step::Launched(label) => format!("peer {label} is started"),
        Step::Added(label) => format!("peer {label} is a member"),
        Step::Joined(label) => format!("peer {label} has its share"),
        Step::Draining(label) => format!("peer {label} gives its replicas away"),
        Step::Removed(label) => format!("peer {label} is gone, with its data"),
    }
}

/// Waits until peers whose disks are new have everything again.
async fn refill(fleet: &Fleet, vertices: &[Vertex], output: &Output) {
    for vertex in vertices {
        output.talk(format_args!(
            "peer {} has an empty disk: it takes the place of the one that was there, and is filled from the others",
            fleet.label(*vertex)
        ));
    }
    let mut progress = Progress::new(output);
    let mut moved = (0, Instant::now());
    loop {
        match fleet.unsettled(vertices).await {
            Ok(0) => break,
            Ok(left) => {
                if left != moved.0 {
                    moved = (left, Instant::now());
                }
                // Some slots may have lost their majority with the peers that are down; those come by another command.
                let down = fleet.down_labels();
                if moved.1.elapsed() >= STALLED && !down.is_empty() {
                    progress.end();
                    return output.talk(format_args!(
                        "{left} slots wait for peer {}, which `hcube local start` starts",
                        down.join(" and ")
                    ));
                }
                progress.wait("every slot to have its replicas again", left);
            }
            Err(error) => progress.wait(&format!("an answer: {error:#}"), 1),
        }
        tokio::time::sleep(PACE).await;
    }
    progress.end();
    output.talk("every slot has its replicas again");
}

/// Stays until it is interrupted, and says which peers end in the meantime.
async fn watch(fleet: Fleet, output: &Output) -> anyhow::Result<()> {
    output.talk("the peers run until Ctrl-C");
    // The directory is given back, so that `local stop` and `local start` work from another terminal; the
    // children stay here, because the pipes to their stdin keep them alive.
    let dir = fleet.dir().to_owned();
    let mut children = fleet.into_children();
    let interrupted = signals::interrupted();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            () = tokio::time::sleep(WATCH) => {
                let mut ended = Vec::new();
                for (label, child) in &mut children {
                    if let Some(status) = child.try_wait()? {
                        output.talk(format_args!("peer {label} has ended: {status}"));
                        ended.push(label.clone());
                    }
                }
                children.retain(|label, _| !ended.contains(label));
            }
        }
    }
    output.talk("stopping the peers");
    Fleet::open(&dir).await?.down(false).await?;
    Ok(())
}

/// What has changed is said already; programs get the state that it led to.
async fn report(fleet: &Fleet, output: &Output) -> anyhow::Result<()> {
    if output.is_json() { show(fleet, output).await } else { Ok(()) }
}

async fn show(fleet: &Fleet, output: &Output) -> anyhow::Result<()> {
    let mut peers = Vec::new();
    for vertex in fleet.cube().vertices() {
        let process = fleet.running(vertex);
        let is_last = vertex.0 + 1 == fleet.cube().peers();
        let state = match process {
            None => "stopped",
            Some(_) if is_last && matches!(fleet.change(), Some(Change::Grow { joining: true, .. })) => {
                "joining"
            }
            Some(_) if is_last && matches!(fleet.change(), Some(Change::Shrink { .. })) => "leaving",
            Some(_) if fleet.is_ready(vertex).await => "ready",
            Some(_) => "starting",
        };
        let ports = fleet.ports(vertex);
        peers.push(PeerStatus {
            label: fleet.label(vertex),
            vertex,
            state,
            pid: process.map(|process| process.pid),
            endpoint: fleet.endpoint(vertex),
            peer_address: ports.peer.to_string(),
            admin_address: ports.admin.to_string(),
            log: fleet.log_file(vertex),
        });
    }
    let status = LocalStatus { dir: fleet.dir().to_owned(), cluster_id: fleet.cluster_id(), peers };
    output.document(&status, |status| {
        let mut table = Table::new(["peer", "state", "pid", "endpoint", "log"]);
        for peer in &status.peers {
            let pid = peer.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let log = peer.log.display().to_string();
            table.row([peer.label.clone(), peer.state.to_owned(), pid, peer.endpoint.clone(), log]);
        }
        table
    })
}

/// The hypercube that is on this machine.
pub async fn open(place: &Place) -> anyhow::Result<Fleet> {
    Fleet::open(&directory(place)?).await
}

fn directory(place: &Place) -> anyhow::Result<PathBuf> {
    match &place.dir {
        Some(dir) => Ok(dir.clone()),
        None => home::default_dir(|name| std::env::var_os(name).map(PathBuf::from)),
    }
}
