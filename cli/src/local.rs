//! `hcube local`: a hypercube of real processes on this machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use hcube_core::ids::Vertex;
use serde::Serialize;

use crate::args::LocalCommand;
use crate::args::local::{Place, UpArgs};
use crate::output::{Output, Table};
use crate::signals;

mod admin;
pub mod fleet;
mod home;
pub mod ports;
mod process;

use fleet::{Fleet, Lifetime, Wish};

/// How often `--foreground` looks after its peers.
const WATCH: Duration = Duration::from_millis(500);

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
            fleet.start(vertex).await?;
            output.talk(format_args!("peer {} is ready at {}", fleet.label(vertex), fleet.endpoint(vertex)));
            report(&fleet, output).await
        }
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
    tokio::select! {
        raised = fleet.up() => raised?,
        () = signals::interrupted() => {
            fleet.down(false).await?;
            bail!("interrupted; the peers are down again");
        }
    }
    show(&fleet, output).await?;
    output.flush()?;
    if foreground { watch(fleet, output).await } else { Ok(()) }
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
        let state = match process {
            None => "stopped",
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

async fn open(place: &Place) -> anyhow::Result<Fleet> {
    Fleet::open(&directory(place)?).await
}

fn directory(place: &Place) -> anyhow::Result<PathBuf> {
    match &place.dir {
        Some(dir) => Ok(dir.clone()),
        None => home::default_dir(|name| std::env::var_os(name).map(PathBuf::from)),
    }
}
