//! Where it happens: the peers and what stands between them, and what is done to them.

use std::collections::BTreeSet;
use std::sync::{Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use hcube_core::ids::Vertex;
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::cuts::{Cut, Cuts};
use super::proxy::Proxies;
use super::schedule::{Act, Event, WARM_UP_MS};
use crate::local::fleet::{Fleet, PACE, Stepped};
use crate::output::Output;

/// How long a peer may take to be ready after what was done to it is undone.
const READY: Duration = Duration::from_secs(60);
/// How long an empty disk may take to be filled, and a peer to join or leave.
const SETTLED: Duration = Duration::from_secs(120);
/// How often a state that is waited for is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// What.
    pub what: String,
    /// From when, in milliseconds from the beginning.
    pub from_ms: u64,
    /// Until it was undone and overcome.
    pub until_ms: u64,
}

/// The peers, and what has happened to them.
pub struct Stage<'o> {
    fleet: Mutex<Fleet>,
    proxies: Option<Proxies>,
    begun: Instant,
    /// The peers that never leave.
    least: u16,
    happenings: Lock<Vec<Happening>>,
    troubles: Lock<Vec<String>>,
    output: &'o Output,
}

impl<'o> Stage<'o> {
    /// Peers that are up, from now on.
    pub fn new(fleet: Fleet, proxies: Option<Proxies>, least: u16, output: &'o Output) -> Self {
        let (fleet, happenings, troubles) = (Mutex::new(fleet), Lock::default(), Lock::default());
        Self { fleet, proxies, begun: Instant::now(), least, happenings, troubles, output }
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Milliseconds from the beginning.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What has happened, in its order.
    pub fn happenings(&self) -> Vec<Happening> {
        let mut happenings = self.happenings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        happenings.sort_by_key(|happening| happening.from_ms);
        happenings
    }

    /// Notes that something did not go as it should, and says so at once.
    pub fn trouble(&self, what: String) {
        self.output.talk(format_args!("[{:6.1} s] TROUBLE: {what}", seconds(self.now_ms())));
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What did not go as it should.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that no cut could concern.
    pub fn strangers(&self) -> u64 {
        self.proxies.as_ref().map_or(0, Proxies::strangers)
    }

    /// Lets one event after the other happen.
    pub async fn play(&self, events: &[Event]) -> anyhow::Result<()> {
        for event in events {
            tokio::time::sleep_until((self.begun + Duration::from_millis(event.at_ms)).into()).await;
            self.happen(event).await?;
        }
        Ok(())
    }

    /// Lets peers join and leave until each of these numbers was reached, spread over a time.
    pub async fn resize(&self, sizes: &[u16], over: Duration) -> anyhow::Result<()> {
        let warm_up = Duration::from_millis(WARM_UP_MS);
        let pause = over.saturating_sub(warm_up) / u32::try_from(sizes.len().max(1)).unwrap_or(u32::MAX);
        let first = Instant::now() + warm_up;
        for (turn, &size) in (0u32..).zip(sizes) {
            tokio::time::sleep_until((first + pause * turn).into()).await;
            let from_ms = self.now_ms();
            let what = self.resize_to(size).await?;
            self.happened(what, from_ms);
        }
        Ok(())
    }

    /// Undoes whatever was done, and waits until every peer is ready and everything in place.
    pub async fn heal(&self) -> anyhow::Result<()> {
        if let Some(proxies) = &self.proxies {
            proxies.cut(Cuts::default());
        }
        let all = {
            let mut fleet = self.fleet.lock().await;
            let all: Vec<Vertex> = fleet.cube().vertices().collect();
            for &vertex in &all {
                fleet.signal(vertex, Signal::CONT)?;
                fleet.launch(vertex)?;
            }
            all
        };
        self.ready(&all).await?;
        self.settled(&all).await
    }

    /// What peers have said of themselves that must never be: whoever panicked.
    pub async fn panics(&self) -> Vec<String> {
        let fleet = self.fleet.lock().await;
        let mut panics = Vec::new();
        for vertex in fleet.cube().vertices() {
            let log = std::fs::read(fleet.log_file(vertex)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines = log.lines().filter(|line| line.contains("panicked at"));
            panics.extend(lines.map(|line| format!("peer {}: {line}", fleet.label(vertex))));
        }
        panics
    }

    /// The peers that ended although nobody asked them to.
    pub async fn ended(&self) -> Vec<String> {
        let fleet = self.fleet.lock().await;
        let ended = fleet.cube().vertices().filter(|vertex| fleet.running(*vertex).is_none());
        ended.map(|vertex| fleet.failure(vertex, "has ended by itself")).collect()
    }

    /// Ends all peers, those that are stopped too.
    pub async fn clear(&self) -> anyhow::Result<()> {
        self.fleet.lock().await.down(true).await?;
        Ok(())
    }

    /// Where clients reach the peers that there are.
    pub async fn endpoints(&self) -> Vec<String> {
        self.fleet.lock().await.endpoints()
    }

    async fn happen(&self, event: &Event) -> anyhow::Result<()> {
        let among: Vec<Vertex> = match event.act {
            // Whoever is leaving cannot be replaced.
            Act::Wipe => (0..self.least).map(Vertex).collect(),
            _ => self.fleet.lock().await.cube().vertices().collect(),
        };
        let Some((first, second)) = event.victims(&among) else { return Ok(()) };
        let all: BTreeSet<Vertex> = among.iter().copied().collect();
        let alone = BTreeSet::from([first]);
        let from_ms = self.now_ms();
        let what = self.describe(event, first, second, &among).await;
        self.output.talk(format_args!("[{:6.1} s] {what}", seconds(from_ms)));
        match event.act {
            Act::Kill => self.kill(&[first], event.hold_ms).await?,
            Act::KillAll => self.kill(&among, event.hold_ms / 4).await?,
            Act::Pause => self.pause(first, event.hold_ms).await?,
            Act::Wipe => self.wipe(first, event.hold_ms).await?,
            Act::CutOneWay => self.cut(Cuts::one_way(first, second, Cut::Closed), event.hold_ms).await,
            Act::CutPair => {
                self.cut(Cuts::between(&alone, &BTreeSet::from([second]), Cut::Closed), event.hold_ms).await
            }
            Act::Isolate => self.cut(Cuts::between(&alone, &all, Cut::Closed), event.hold_ms).await,
            Act::Stall => self.cut(Cuts::between(&alone, &all, Cut::Stalled), event.hold_ms).await,
            Act::Split => {
                let minority = event.minority(&among);
                let rest = all.difference(&minority).copied().collect();
                self.cut(Cuts::between(&minority, &rest, Cut::Closed), event.hold_ms).await;
            }
        }
        self.ready(&among).await?;
        if event.act == Act::Wipe {
            self.settled(&[first]).await?;
        }
        self.happened(what, from_ms);
        Ok(())
    }

    async fn describe(&self, event: &Event, first: Vertex, second: Vertex, among: &[Vertex]) -> String {
        let fleet = self.fleet.lock().await;
        let (a, b) = (fleet.label(first), fleet.label(second));
        match event.act {
            Act::Kill => format!("kill {a}"),
            Act::KillAll => "kill all".to_owned(),
            Act::Pause => format!("pause {a}"),
            Act::CutOneWay => format!("cut {a} -> {b}"),
            Act::CutPair => format!("cut {a} -- {b}"),
            Act::Isolate => format!("isolate {a}"),
            Act::Stall => format!("stall {a}"),
            Act::Wipe => format!("wipe {a}"),
            Act::Split => {
                let minority = event.minority(among);
                let labels: Vec<String> = minority.iter().map(|vertex| fleet.label(*vertex)).collect();
                format!("split {} from the rest", labels.join(" "))
            }
        }
    }

    async fn kill(&self, vertices: &[Vertex], hold_ms: u64) -> anyhow::Result<()> {
        {
            let mut fleet = self.fleet.lock().await;
            for &vertex in vertices {
                fleet.signal(vertex, Signal::KILL)?;
            }
            for &vertex in
                vertices.iter().filter(|vertex| fleet.cube().contains(**vertex)).collect::<Vec<_>>()
            {
                fleet.stop(vertex, true).await?;
            }
        }
        hold(hold_ms).await;
        self.launch(vertices).await
    }

    async fn wipe(&self, vertex: Vertex, hold_ms: u64) -> anyhow::Result<()> {
        self.fleet.lock().await.wipe(vertex).await?;
        hold(hold_ms).await;
        self.launch(&[vertex]).await
    }

    /// Starts those that are still counted, where whoever lets peers join has not done so.
    async fn launch(&self, vertices: &[Vertex]) -> anyhow::Result<()> {
        let mut fleet = self.fleet.lock().await;
        for &vertex in vertices {
            if fleet.cube().contains(vertex) {
                fleet.launch(vertex)?;
            }
        }
        Ok(())
    }

    async fn pause(&self, vertex: Vertex, hold_ms: u64) -> anyhow::Result<()> {
        self.fleet.lock().await.signal(vertex, Signal::STOP)?;
        hold(hold_ms).await;
        let mut fleet = self.fleet.lock().await;
        if fleet.cube().contains(vertex) {
            fleet.signal(vertex, Signal::CONT)?;
        }
        Ok(())
    }

    async fn cut(&self, cuts: Cuts, hold_ms: u64) {
        let Some(proxies) = &self.proxies else { return };
        proxies.cut(cuts);
        hold(hold_ms).await;
        proxies.cut(Cuts::default());
    }

    /// Waits until these are ready, as far as they are members; those with empty disks become members on the way.
    async fn ready(&self, vertices: &[Vertex]) -> anyhow::Result<()> {
        for &vertex in vertices {
            let deadline = Instant::now() + READY;
            loop {
                let fleet = self.fleet.lock().await;
                // Who joins or leaves is waited for by whoever lets it.
                let is_last = fleet.change().is_some() && vertex.0 + 1 == fleet.cube().peers();
                if !fleet.cube().contains(vertex) || is_last || fleet.tend(vertex).await? {
                    break;
                }
                if Instant::now() >= deadline {
                    bail!(fleet.failure(vertex, "is not ready although everything is healed"));
                }
                drop(fleet);
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Waits until every slot is where it should be.
    async fn settled(&self, vertices: &[Vertex]) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLED;
        loop {
            let left = self.fleet.lock().await.unsettled(vertices).await;
            match left {
                Ok(0) => return Ok(()),
                Ok(left) if Instant::now() >= deadline => {
                    bail!("{left} slots are not where they should be although everything is healed")
                }
                Err(error) if Instant::now() >= deadline => return Err(error),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn resize_to(&self, size: u16) -> anyhow::Result<String> {
        let mut fleet = self.fleet.lock().await;
        let peers = fleet.cube().peers();
        let what = if size > peers {
            fleet.grow(size - peers).await?;
            format!("{} joins", hcube_core::cube::Cube::new(size)?.label(Vertex(size - 1)))
        } else {
            fleet.shrink(peers - size)?;
            format!("{} leaves", fleet.label(Vertex(peers - 1)))
        };
        drop(fleet);
        self.output.talk(format_args!("[{:6.1} s] {what}", seconds(self.now_ms())));
        let deadline = Instant::now() + SETTLED;
        loop {
            let stepped = self.fleet.lock().await.step().await?;
            match stepped {
                Stepped::Finished => return Ok(what),
                Stepped::Did(_) => {}
                Stepped::Waits { what: reason, left } if Instant::now() >= deadline => {
                    bail!("{what}: still waiting for {reason} ({left} left)")
                }
                Stepped::Waits { .. } => tokio::time::sleep(PACE).await,
            }
        }
    }

    fn happened(&self, what: String, from_ms: u64) {
        let until_ms = self.now_ms();
        let mut happenings = self.happenings.lock().unwrap_or_else(PoisonError::into_inner);
        happenings.push(Happening { what, from_ms, until_ms });
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a run takes hours at most")]
pub fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

async fn hold(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
