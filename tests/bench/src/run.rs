//! Takes the systems in turns: in each round every system once, on servers of its own, each round in another order.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;

use crate::figures::Results;
use crate::machine::strangers::Strangers;
use crate::machine::written::Storage;
use crate::report::say;
use crate::system::{Launcher, Mode, Reader as _, Start, System};
use crate::workloads::{
    Figure, Scale, Workload, batched, concurrent, failover, growth, live, many_topics, memory, one_in_flight,
    read_back, topic_with_publisher,
};

/// Peers of all workloads but W9.
const PEERS: u16 = 3;
/// Readers of the topic that is published to before the first workload, where a system reads at all.
const WAKING_READERS: usize = 4;
/// Topics of the second half of that time.
const WAKING_TOPICS: usize = 50;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How much.
    pub scale: Scale,
    /// Which workloads, in order.
    pub workloads: Vec<Workload>,
    /// Below it every system gets a folder while it runs.
    pub dir: PathBuf,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A system that can be measured; every [`Launcher`] is one.
pub trait Contender: Send + Sync {
    /// The column's name.
    fn title(&self) -> &'static str;

    /// Version and settings.
    fn described(&self) -> Vec<(String, String)>;

    /// Measures one round of everything but W9.
    fn round<'a>(&'a self, plan: &'a Plan, results: &'a mut Results) -> Boxed<'a, ()>;

    /// Measures W9.
    fn grow<'a>(&'a self, plan: &'a Plan, results: &'a mut Results) -> Boxed<'a, ()>;
}

impl<L: Launcher> Contender for L {
    fn title(&self) -> &'static str {
        self.name()
    }

    fn described(&self) -> Vec<(String, String)> {
        Launcher::described(self)
    }

    fn round<'a>(&'a self, plan: &'a Plan, results: &'a mut Results) -> Boxed<'a, ()> {
        Box::pin(async move {
            if let Err(error) = round(self, plan, results).await {
                say(&format!("{}: {error:#}", self.name()));
                results.fail(self.name(), "start", &error);
            }
        })
    }

    fn grow<'a>(&'a self, plan: &'a Plan, results: &'a mut Results) -> Boxed<'a, ()> {
        Box::pin(async move {
            if self.excuse(Workload::W9).is_some() {
                return;
            }
            let mut grown = Vec::new();
            for (what, peers) in [("W9 topics", false), ("W9 peers", true)] {
                say(&format!("{}: {what}", self.name()));
                let ended = match folder(&plan.dir) {
                    Ok(place) if peers => growth::peers(self, place.path(), &plan.scale, &mut grown).await,
                    Ok(place) => growth::topics(self, place.path(), &plan.scale, &mut grown).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = ended {
                    say(&format!("{}: {what}: {error:#}", self.name()));
                    results.fail(self.name(), what, &error);
                }
            }
            for (metric, figure) in grown {
                results.add(self.name(), &metric, figure);
            }
        })
    }
}

fn folder(dir: &Path) -> Result<tempfile::TempDir> {
    tempfile::tempdir_in(dir).with_context(|| format!("no folder in {}", dir.display()))
}

async fn round<L: Launcher>(launcher: &L, plan: &Plan, results: &mut Results) -> Result<()> {
    let place = folder(&plan.dir)?;
    let storage = Storage::of(place.path())?;
    let system = launcher.launch(place.path(), PEERS).await?;
    let publisher = topic_with_publisher(&system, "first", Mode::Prompt).await?;
    let payload = crate::payload::Payloads::new(crate::workloads::MESSAGE_BYTES).get(0);
    crate::system::Publisher::enqueue(&*publisher, 0, payload).await?.await?;
    let start_ms = system.started().elapsed().as_secs_f64() * 1e3;
    system.check_settings().await.context("the settings were not reached")?;
    say(&format!("{}: started in {start_ms:.0} ms", launcher.name()));
    if plan.workloads.contains(&Workload::W8) {
        results.add(launcher.name(), "w8-start", start_ms);
        let (metric, figure) = memory::idle(&system).await?;
        results.add(launcher.name(), metric, figure);
    }
    let seconds = if launcher.compiles() { plan.scale.compile_s } else { plan.scale.wake_s };
    let readers = if launcher.excuse(Workload::W5).is_none() { WAKING_READERS } else { 0 };
    wake(&system, seconds, readers, &plan.scale).await.context("before the first workload")?;
    for &workload in &plan.workloads {
        if launcher.excuse(workload).is_some() || matches!(workload, Workload::W8 | Workload::W9) {
            continue;
        }
        let began = Instant::now();
        let strangers = Strangers::begin(system.servers());
        let measured = measure(&system, workload, &plan.scale, &storage).await;
        // The server that W7 kills takes its count with it, which would be taken for somebody else's.
        let share = strangers.percent(system.servers()).filter(|_| workload != Workload::W7);
        if let Some(share) = share {
            results.add(launcher.name(), "others-cpu", share);
        }
        match measured {
            Ok(mut figures) => {
                if workload == Workload::W3 && plan.workloads.contains(&Workload::W8) {
                    figures.push(memory::loaded(&system)?);
                }
                let told: Vec<String> =
                    figures.iter().map(|(name, value)| format!("{name} {value:.6}")).collect();
                let seconds = began.elapsed().as_secs_f64();
                say(&format!("{}: {workload:?} in {seconds:.1} s: {}", launcher.name(), told.join(", ")));
                for (metric, figure) in figures {
                    results.add(launcher.name(), metric, figure);
                }
            }
            Err(error) => {
                say(&format!("{}: {workload:?}: {error:#}", launcher.name()));
                results.fail(launcher.name(), &format!("{workload:?}"), &error);
            }
        }
    }
    Ok(())
}

/// Lets just-in-time compilers compile and caches fill before the first workload, whichever that is: half of the time
/// one topic is published to and read, by so many, half of it many are.
async fn wake<S: System>(system: &S, seconds: f64, reading: usize, scale: &Scale) -> Result<()> {
    let half = Scale { warm_s: 0.0, measure_s: seconds / 2.0, ..*scale };
    let publisher = topic_with_publisher(system, "wake", Mode::Shared).await?;
    let awake = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..reading {
        let mut reader = system.reader("wake", Start::Latest).await?;
        let awake = Arc::clone(&awake);
        readers.spawn(async move {
            while !awake.load(Ordering::Relaxed) {
                reader.read(&mut |_payload| {}).await?;
            }
            anyhow::Ok(())
        });
    }
    concurrent::load::<S>(&publisher, &half).await?;
    awake.store(true, Ordering::Relaxed);
    // Readers that wait for more than there is are not waited for.
    readers.abort_all();
    while let Some(ended) = readers.join_next().await {
        match ended {
            Err(error) if error.is_cancelled() => {}
            ended => ended??,
        }
    }
    let topics: Vec<String> = (0..WAKING_TOPICS).map(|number| format!("wake-{number}")).collect();
    system.create_topics(&topics).await?;
    let publisher = many_topics::ready(system, &topics).await?;
    many_topics::load::<S>(&publisher, topics.len(), &half).await.map(|_| ())
}

async fn measure<S: System>(
    system: &S,
    workload: Workload,
    scale: &Scale,
    storage: &Storage,
) -> Result<Vec<Figure>> {
    match workload {
        Workload::W1 => one_in_flight::run(system, scale).await,
        Workload::W2 => concurrent::run(system, scale, storage).await,
        Workload::W3 => batched::run(system, scale, storage).await,
        Workload::W4 => many_topics::run(system, scale, storage).await,
        Workload::W5 => read_back::run(system, scale).await,
        Workload::W6 => live::run(system, scale).await,
        Workload::W7 => failover::run(system, scale).await,
        Workload::W8 | Workload::W9 => bail!("{workload:?} is measured elsewhere"),
    }
}

/// All rounds of all systems; what could not be measured is among the failures.
pub async fn all(contenders: &[Box<dyn Contender>], plan: &Plan, results: &mut Results) {
    let does = |wanted: &dyn Fn(Workload) -> bool| plan.workloads.iter().any(|workload| wanted(*workload));
    if does(&|workload| workload != Workload::W9) {
        for round in 0..plan.scale.rounds as usize {
            for turn in 0..contenders.len() {
                let contender = &contenders[(turn + round) % contenders.len()];
                say(&format!("round {} of {}: {}", round + 1, plan.scale.rounds, contender.title()));
                contender.round(plan, results).await;
            }
        }
    }
    if does(&|workload| workload == Workload::W9) {
        for contender in contenders {
            contender.grow(plan, results).await;
        }
    }
}
