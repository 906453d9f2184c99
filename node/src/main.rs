//! The peer process; everything is in [`hcube_node::run`].

use clap::Parser;
use hcube_node::run;

/// One peer of an hcube hypercube.
#[derive(Debug, Parser)]
#[command(name = "hcube-node", version)]
struct Cli {
    #[command(flatten)]
    args: run::Args,
}

fn main() -> anyhow::Result<()> {
    run::main_with(&Cli::parse().args)
}
