//! The whole run, for whichever binary knows which systems there are.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::Results;
use crate::machine;
use crate::options::Options;
use crate::report::{Report, print, say};
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
/// `absent` are systems that cannot take part, with the reason.
///
/// # Errors
/// When a name is wrong, there is no disk to measure on, or the run is interrupted. What could not be measured of a
/// system is told in the report instead.
pub async fn compare(
    options: &Options,
    mut contenders: Vec<Box<dyn Contender>>,
    absent: Vec<(String, anyhow::Error)>,
    draw: impl FnOnce(&Report, &Path) -> Result<()>,
) -> Result<()> {
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
    let held = tempfile::Builder::new().prefix("hcube-bench-").tempdir()?;
    ensure!(
        rustix::fs::statfs(held.path())?.f_type != TMPFS,
        "{} is in memory, where a sync costs nothing; set TMPDIR to a folder on a disk",
        held.path().display()
    );
    let mut results = Results::default();
    for (name, reason) in &absent {
        say(&format!("{name}: {reason:#}"));
        results.fail(name, "all", reason);
    }
    let plan = Plan { scale: options.scale(), workloads: options.chosen(), dir: held.path().to_owned() };
    let limits = if options.no_machine {
        Vec::new()
    } else {
        say("the machine's limits");
        let dir = plan.dir.clone();
        tokio::task::spawn_blocking(move || machine::measure(&dir)).await??
    };
    // Dropping the run kills its servers and removes its folders, whatever it was at.
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = all(&contenders, &plan, &mut results) => {}
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; nothing is reported"),
        _ = terminate.recv() => anyhow::bail!("terminated; nothing is reported"),
    }
    let systems = contenders.iter().map(|one| (one.title().to_owned(), one.described())).collect();
    let report = Report::new(about(&plan.dir), limits, plan.scale, systems, results);
    if let Some(path) = &options.json {
        report.write_json(path)?;
        say(&format!("figures: {}", path.display()));
    }
    if let Some(folder) = &options.charts {
        draw(&report, folder).context("charts")?;
        say(&format!("charts: {}", folder.display()));
    }
    print(&report.text())
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
