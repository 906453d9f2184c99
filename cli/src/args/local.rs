//! Options of the hypercube on this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The highest first port: above it the 64 ports of each of the three kinds would not fit.
const BASE_PORT_MAX: i64 = 65_535 - 264;

/// `local ...`.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Start the peers, found the hypercube the first time, and wait until every peer is ready
    Up(UpArgs),
    /// Stop all peers; their data stays
    Down {
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
        /// Kill the peers (SIGKILL) instead of asking them to end (SIGTERM)
        #[arg(long)]
        kill: bool,
    },
    /// Show the peers: process, ports, readiness
    Status {
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
    },
    /// Stop one peer
    Stop {
        /// The peer, by its label (101) or its number (5)
        #[arg(value_name = "PEER")]
        peer: String,
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
        /// Kill the peer (SIGKILL) instead of asking it to end (SIGTERM)
        #[arg(long)]
        kill: bool,
    },
    /// Start one peer again and wait until it is ready; one whose data is gone is filled from the others
    Start {
        /// The peer, by its label (101) or its number (5)
        #[arg(value_name = "PEER")]
        peer: String,
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
    },
    /// Let peers join, one after the other; a run that was cut short is gone on with
    Add {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=63))]
        count: u16,
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
    },
    /// Let the peers at the highest vertices leave, one after the other, and remove their data
    Remove {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=63))]
        count: u16,
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
    },
    /// Remove data and logs of a hypercube that is down
    Clean {
        /// Where the hypercube is
        #[command(flatten)]
        place: Place,
    },
}

/// Which hypercube of this machine.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Data, logs and secrets of the peers [default: $XDG_STATE_HOME/hcube/local or ~/.local/state/hcube/local]
    #[arg(long, value_name = "DIR", env = "HCUBE_LOCAL_DIR")]
    pub dir: Option<PathBuf>,
}

/// Options of `local up`. What is left out is 8 peers, 64 slots, 3 replicas and port 8000 for a new
/// hypercube, and as it was for one that exists.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Where the hypercube is
    #[command(flatten)]
    pub place: Place,
    /// Peers, 1 to 64 [default: 8, or as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: Option<u16>,
    /// Replicated logs that topics are spread over, a power of two [default: 64, or as before]
    #[arg(long, value_name = "S", value_parser = parse_slots)]
    pub slots: Option<u16>,
    /// Replicas of every message: 1, 3, 5 or 7 [default: 3, or as before]
    #[arg(long, value_name = "R", value_parser = parse_replication)]
    pub replication: Option<u8>,
    /// Peer i serves clients on this port + i, other peers on + 100 + i, administrators on + 200 + i
    /// [default: 8000, or as before]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=BASE_PORT_MAX))]
    pub base_port: Option<u16>,
    /// Stay, and take the peers down at Ctrl-C
    #[arg(long)]
    pub foreground: bool,
}

/// `node ...`, which `local` calls.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Run one peer until SIGTERM
    Run(NodeArgs),
}

/// What a peer of a local hypercube is told.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// What any peer is told
    #[command(flatten)]
    pub peer: hcube_node::run::Args,
    /// End when stdin does, which is when the parent has gone
    #[arg(long)]
    pub end_with_stdin: bool,
}

fn parse_slots(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(slots) if slots.is_power_of_two() && slots <= hcube_core::limits::SLOTS_MAX => Ok(slots),
        _ => Err(format!("slots is a power of two up to {}", hcube_core::limits::SLOTS_MAX)),
    }
}

/// R.
pub fn parse_replication(text: &str) -> Result<u8, String> {
    match text.parse::<u8>() {
        Ok(replication @ (1 | 3 | 5 | 7)) => Ok(replication),
        _ => Err("replication is 1, 3, 5 or 7".into()),
    }
}
