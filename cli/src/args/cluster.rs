//! Options of the commands about the hypercube as a whole, and of those that administer it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::local::{Place, parse_replication};

/// `cluster ...`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show peers, what they lead and hold, what moves, and the slots without a leader
    Status,
    /// Show the members as administration sees them: what they hold, what they lack, what is in their way
    Members {
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show what would move, and how many bytes, if there were other peers or replicas; changes nothing
    Plan {
        /// Peers that there would be
        #[arg(long, value_name = "M", value_parser = clap::value_parser!(u16).range(1..=1024))]
        peers: Option<u16>,
        /// Replicas that there would be: 1, 3, 5 or 7
        #[arg(long, value_name = "R", value_parser = parse_replication)]
        replication: Option<u8>,
    },
    /// Let a peer give its replicas away, so that it can be removed; waits until it has none
    Drain {
        /// The peer, by its label or number; the highest vertex where left out
        #[arg(value_name = "LABEL")]
        peer: Option<String>,
        /// How to wait
        #[command(flatten)]
        patience: Patience,
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take back a drain: the peer stays, and with it those below it
    Cancel {
        /// The peer, by its label or number; the highest one that drains where left out
        #[arg(value_name = "LABEL")]
        peer: Option<String>,
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show how far slots are from where they should be; keep them where they are, or let them move on
    #[command(group = ArgGroup::new("moves"))]
    Rebalance {
        /// Let no further slot move; what is under way arrives
        #[arg(long, group = "moves")]
        pause: bool,
        /// Let slots move on
        #[arg(long, group = "moves")]
        resume: bool,
        /// Wait until everything is in place
        #[arg(long, conflicts_with = "pause")]
        wait: bool,
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Last resort: let slots that lost most of their voters go on with what is left; what only the lost disks held is
    /// gone for good. With --metadata it is the hypercube's own metadata that goes on, which comes first where that was
    /// lost as well. Without --accept-data-loss it tells what would be given up and changes nothing
    UnsafeRecover {
        /// The vertices whose disks are lost for good, by label or number; for slots, peers with empty disks stand there
        /// by now, or the metadata was recovered without them
        #[arg(long, value_name = "LABEL", required = true, num_args = 1.., value_delimiter = ',')]
        lost: Vec<String>,
        /// Recover the metadata, where it lost most of its voters' disks and nobody leads it; all other peers must run
        #[arg(long)]
        metadata: bool,
        /// Give up what only those disks held, acknowledged messages included
        #[arg(long)]
        accept_data_loss: bool,
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Change what the hypercube should be; waits until it is
    Set {
        /// Replicas of every message: 1, 3, 5 or 7
        #[arg(long, value_name = "R", value_parser = parse_replication)]
        replication: u8,
        /// How to wait
        #[command(flatten)]
        patience: Patience,
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Whether a command waits for the end of what it began.
#[derive(Debug, Clone, Copy, Args)]
pub struct Patience {
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// Who is asked to change a hypercube.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Administration ports, separated by commas; those of the hypercube on this machine where left out
    #[arg(long, value_name = "URL", value_delimiter = ',', env = "HCUBE_ADMIN", requires = "token_file")]
    pub admin: Vec<String>,
    /// File with what administrators show
    #[arg(long, value_name = "FILE", env = "HCUBE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The hypercube on this machine
    #[command(flatten)]
    pub place: Place,
}
