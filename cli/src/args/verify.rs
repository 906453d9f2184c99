//! Options of `verify`.

use std::time::Duration;

use clap::Args;

use super::units::parse_duration;

/// Shortest run in which anything can happen.
const DURATION_MIN: Duration = Duration::from_secs(5);
/// Longest run; what was read is kept in memory until it is compared.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// Options of `verify`. Without any of the faults it is a plain run.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Kill peers (SIGKILL), one at a time and all at once, and start them again
    #[arg(long)]
    pub kill: bool,
    /// Stop peers for a while (SIGSTOP), and let them go on
    #[arg(long)]
    pub pause: bool,
    /// Cut links between peers: one way, both ways, a peer from all others, a minority from the rest; and stall them
    #[arg(long)]
    pub partition: bool,
    /// Kill a peer and remove its data, so that it is filled from the others
    #[arg(long)]
    pub wipe: bool,
    /// Let peers join and leave, one at a time, between so many and so many: 3..8
    #[arg(long, value_name = "A..B", value_parser = parse_scale)]
    pub scale: Option<Scale>,
    /// How long things happen, such as 60s or 5m; healing and comparing come after it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_run)]
    pub duration: Duration,
    /// Peers to raise [default: 5, or the least of --scale]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with = "scale")]
    pub peers: Option<u16>,
    /// Messages a second, of all producers together
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub rate: u32,
    /// What happens when follows from this number; another one each time where left out
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Leave data and logs of the peers where they are
    #[arg(long)]
    pub keep: bool,
}

/// From how many peers to how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// The least, with which it begins.
    pub least: u16,
    /// The most.
    pub most: u16,
}

fn parse_scale(text: &str) -> Result<Scale, String> {
    let wrong = || format!("{text:?} is not a range of peers such as 3..8, within 1..64");
    let (least, most) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse().map_err(|_| wrong());
    let (least, most): (u16, u16) = (number(least)?, number(most)?);
    if (1..most).contains(&least) && most <= 64 { Ok(Scale { least, most }) } else { Err(wrong()) }
}

fn parse_run(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if (DURATION_MIN..=DURATION_MAX).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("a run takes {} s to {} s", DURATION_MIN.as_secs(), DURATION_MAX.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_goes_from_few_to_more() {
        assert_eq!(parse_scale("3..8"), Ok(Scale { least: 3, most: 8 }));
        for wrong in ["3", "8..3", "3..3", "0..3", "3..65", "a..b", "3..8..9"] {
            assert!(parse_scale(wrong).is_err(), "{wrong}");
        }
    }
}
