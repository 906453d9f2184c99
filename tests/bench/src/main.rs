//! hcube alone: its own client against plain HTTP. `rivals` has the program that knows the other systems.

use clap::Parser as _;
use hcube_compare::compare::{compare, ours};
use hcube_compare::options::Options;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let no_charts =
        |_: &_, _: &_| anyhow::bail!("this build draws none; tests/bench/run builds the one that does");
    compare(&options, ours(&options), Vec::new(), no_charts)
}
