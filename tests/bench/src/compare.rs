//! The whole run, for whichever binary knows which systems there are.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::Results;
use crate::machine::{self, Limit};
use crate::options::Options;
use crate::report::{Charted, Report, print, say};
use crate::run::{Contender, Plan, all};
use crate::systems::hcube::Hcube;
use crate::systems::http::HcubeHttp;

/// tmpfs (statfs(2)), where a sync costs nothing.
const TMPFS: i64 = 0x0102_1994;

/// Columns that need nobody else's client.
#[must_use]
pub fn ours(options: &Options) -> Vec<Box<dyn Contender>> {
    let program = options.hcube.clone();
    vec![Box::new(Hcube { program: program.clone() }), Box::new(HcubeHttp { program })]
}

/// Measures the chosen of the contenders and tells the result; `draw` makes charts of it.
///
/// `absent` are systems that cannot take part, with the reason. However this ends, every server that was started has
/// ended before, and its folder is gone.
///
/// # Errors
/// When a name is wrong, there is no disk to measure on, or the run is interrupted. What could not be measured of a
/// system is told in the report instead.
pub fn compare(
    options: &Options,
    contenders: Vec<Box<dyn Contender>>,
    absent: Vec<(String, anyhow::Error)>,
    draw: impl FnOnce(&Charted, &Path) -> Result<()>,
) -> Result<()> {
    if let Some((run, folder)) = options.redraw.as_ref().zip(options.charts.as_ref()) {
        return draw(&Charted::read_json(run)?, folder);
    }
    let (contenders, absent) = chosen(options, contenders, absent)?;
    let mut results = Results::default();
    for (name, reason) in &absent {
        say(&format!("{name}: {reason:#}"));
        results.fail(name, "all", reason);
    }
    let held = tempfile::Builder::new().prefix("hcube-bench-").tempdir()?;
    ensure!(
        rustix::fs::statfs(held.path())?.f_type != TMPFS,
        "{} is in memory, where a sync costs nothing; set TMPDIR to a folder on a disk",
        held.path().display()
    );
    let plan = Plan { scale: options.scale(), workloads: options.chosen(), dir: held.path().to_owned() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(until_interrupted(async {
        let limits = if options.no_machine { Vec::new() } else { limits(&plan.dir).await? };
        all(&contenders, &plan, &mut results).await;
        Ok(limits)
    }));
    // Waits for what cannot be given up half-way, such as a look at what the disk can do. Only then does nobody write into
    // the folder any more.
    drop(runtime);
    let machine = about(&plan.dir);
    held.close().context("the servers' folders")?;
    let limits = ended?;
    let systems = contenders.iter().map(|one| (one.title().to_owned(), one.described())).collect();
    let report = Report::new(machine, limits, plan.scale, systems, results);
    if let Some(path) = &options.json {
        report.write_json(path)?;
        say(&format!("figures: {}", path.display()));
    }
    // Charts that cannot be drawn cost nobody the table.
    let drawn = options.charts.as_ref().map(|folder| {
        draw(&report.charted(), folder).context("charts")?;
        say(&format!("charts: {}", folder.display()));
        anyhow::Ok(())
    });
    print(&report.text())?;
    drawn.unwrap_or(Ok(()))
}

/// What a system that cannot take part is called, and why it cannot.
type Absent = Vec<(String, anyhow::Error)>;

/// Those that are asked for, of the contenders and of the systems that cannot take part.
fn chosen(
    options: &Options,
    mut contenders: Vec<Box<dyn Contender>>,
    absent: Absent,
) -> Result<(Vec<Box<dyn Contender>>, Absent)> {
    let known: Vec<&str> = contenders.iter().map(|one| one.title()).collect();
    let absent: Vec<_> = absent
        .into_iter()
        .filter(|(name, _)| options.systems.is_empty() || options.systems.contains(name))
        .collect();
    for name in &options.systems {
        let is_known = known.contains(&name.as_str()) || absent.iter().any(|(absent, _)| absent == name);
        ensure!(
            is_known,
            "there is no system '{name}', or this build has no client for it; there are {}",
            known.join(", ")
        );
    }
    contenders
        .retain(|one| options.systems.is_empty() || options.systems.iter().any(|name| name == one.title()));
    Ok((contenders, absent))
}

async fn limits(dir: &Path) -> Result<Vec<Limit>> {
    say("the machine's limits");
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || machine::measure(&dir)).await?
}

/// Drops the run when somebody wants it to end: that kills its servers and removes their folders, whatever it was at.
async fn until_interrupted<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // Lives until this returns, so that it is said first why nothing goes on.
    tokio::pin!(run);
    let by = tokio::select! {
        ended = &mut run => return ended,
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        _ = hang_up.recv() => "the terminal is gone",
    };
    say(&format!("{by}: ending what was started"));
    bail!("{by}; nothing is reported")
}

/// What is known of the machine.
fn about(dir: &Path) -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let file_system = rustix::fs::statfs(dir).map_or(0, |found| found.f_type);
    vec![
        ("processor".into(), format!("{processors} x {}", field(&read("/proc/cpuinfo"), "model name"))),
        ("memory".into(), field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel".into(), read("/proc/sys/kernel/osrelease").trim().to_owned()),
        (
            "file system".into(),
            if file_system == 0xEF53 { "ext4".into() } else { format!("type {file_system:#x}") },
        ),
        ("load average at the end".into(), read("/proc/loadavg").trim().to_owned()),
    ]
}
