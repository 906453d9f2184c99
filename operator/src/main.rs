//! The operator's process; everything is in [`hcube_operator::run`].

use clap::Parser;
use hcube_operator::config::Args;
use hcube_operator::run;

/// The operator of hcube.
#[derive(Debug, Parser)]
#[command(name = "hcube-operator", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> anyhow::Result<()> {
    run::main_with(Cli::parse().args)
}
