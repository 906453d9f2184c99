//! Runs the simulator: `hcube-sim SEED [COUNT]`, one line a seed.

use std::io::Write;

use hcube_sim::{Scenario, run};

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(first)), count) = (numbers.next(), numbers.next().unwrap_or(Ok(1)).unwrap_or(1)) else {
        return writeln!(std::io::stderr(), "usage: hcube-sim SEED [COUNT]");
    };
    for seed in first..first + count {
        let report = run(&Scenario::from_seed(seed));
        writeln!(std::io::stdout(), "{report:?}")?;
    }
    Ok(())
}
