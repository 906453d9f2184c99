//! `hcube demo`: what a hypercube does when the peer that leads is killed while events are published.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hcube_client::Client;
use hcube_core::ids::Vertex;

use crate::args::DemoArgs;
use crate::connect;
use crate::local::fleet::{Fleet, Lifetime, Wish};
use crate::local::ports;
use crate::output::Output;
use crate::signals;

mod audit;
mod feed;
mod story;
mod watcher;

/// Tells the story as it happens: on stdout for people, on stderr beside JSON.
pub struct Narrator<'o> {
    output: &'o Output,
    begun: Instant,
    checks: Vec<Check>,
}

/// Something that must hold.
#[derive(Debug, Clone, serde::Serialize)]
struct Check {
    what: String,
    holds: bool,
}

/// What programs get.
#[derive(Debug, serde::Serialize)]
struct Verdict<'c> {
    passed: bool,
    seconds: f64,
    checks: &'c [Check],
}

impl<'o> Narrator<'o> {
    fn new(output: &'o Output) -> Self {
        Self { output, begun: Instant::now(), checks: Vec::new() }
    }

    /// A new chapter.
    pub fn chapter(&self, text: impl Display) -> anyhow::Result<()> {
        self.tell("")?;
        let line = format!("[{:5.1} s] {text}", self.begun.elapsed().as_secs_f64());
        self.tell(&self.output.strong(&line))
    }

    /// A sentence within it.
    pub fn say(&self, text: impl Display) -> anyhow::Result<()> {
        for line in text.to_string().lines() {
            self.tell(format!("          {line}").trim_end())?;
        }
        Ok(())
    }

    /// Records whether something holds that must.
    pub fn check(&mut self, holds: bool, what: impl Into<String>) -> anyhow::Result<()> {
        let what = what.into();
        let mark = self.output.verdict(holds, if holds { "ok" } else { "FAILED" });
        self.tell(&format!("          {mark}: {what}"))?;
        self.checks.push(Check { what, holds });
        Ok(())
    }

    fn tell(&self, line: &str) -> anyhow::Result<()> {
        if self.output.is_json() {
            self.output.talk(line);
            return Ok(());
        }
        self.output.line(line.as_bytes())?;
        self.output.flush()
    }
}

/// Carries it out. Peers and data are gone afterwards, however it ends.
pub async fn run(args: DemoArgs, output: &Output) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("hcube-demo-").tempdir().context("cannot make a directory")?;
    let base_port = ports::find_free(args.peers)?;
    let wish = Wish { peers: Some(args.peers), base_port: Some(base_port), ..Wish::default() };
    let mut fleet = Fleet::open_or_create(dir.path(), wish, Lifetime::Ours).await?;
    let mut narrator = Narrator::new(output);
    let told = tokio::select! {
        told = story::tell(&mut fleet, &mut narrator) => told,
        () = signals::interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    let ended = end(fleet, &narrator).await;
    if args.keep {
        output.talk(format_args!("data and logs are in {}", dir.keep().display()));
    }
    told.and(ended)?;
    conclude(&narrator)
}

async fn end(mut fleet: Fleet, narrator: &Narrator<'_>) -> anyhow::Result<()> {
    narrator.chapter("Taking everything down")?;
    let ran = fleet.down(false).await?;
    narrator.say(format_args!("{ran} peers have ended"))
}

fn conclude(narrator: &Narrator<'_>) -> anyhow::Result<()> {
    let failed = narrator.checks.iter().filter(|check| !check.holds).count();
    let seconds = narrator.begun.elapsed().as_secs_f64();
    if narrator.output.is_json() {
        narrator.output.json(&Verdict { passed: failed == 0, seconds, checks: &narrator.checks })?;
    }
    if failed > 0 {
        bail!("{failed} of {} checks failed", narrator.checks.len());
    }
    let text = format!("All {} checks hold, after {seconds:.1} s.", narrator.checks.len());
    narrator.tell("")?;
    narrator.tell(&narrator.output.verdict(true, &text))
}

/// A client that begins at one peer, and knows the way to the others.
fn client_at(fleet: &Fleet, vertex: Vertex) -> anyhow::Result<Client> {
    let builder = connect::builder(&[fleet.endpoint(vertex)])?;
    Ok(builder.retry_timeout(Duration::from_secs(20)).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::output::captured::Captured;

    #[test]
    fn a_failed_check_fails_the_demonstration() {
        let captured = Captured::default();
        let output = captured.output(Format::Table);
        let mut narrator = Narrator::new(&output);
        narrator.check(true, "this holds").unwrap();
        assert!(conclude(&narrator).is_ok());
        narrator.check(false, "this does not").unwrap();
        assert_eq!(conclude(&narrator).unwrap_err().to_string(), "1 of 2 checks failed");
        assert!(captured.text().contains("FAILED: this does not"));
    }

    #[test]
    fn programs_get_the_checks_and_nothing_else() {
        let captured = Captured::default();
        let output = captured.output(Format::Json);
        let mut narrator = Narrator::new(&output);
        narrator.chapter("Raising").unwrap();
        narrator.check(true, "this holds").unwrap();
        conclude(&narrator).unwrap();
        let json: serde_json::Value = serde_json::from_str(&captured.text()).unwrap();
        assert_eq!(json["passed"], true);
        assert_eq!(json["checks"][0]["what"], "this holds");
    }
}
