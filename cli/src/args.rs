//! What `hcube` is told: every option, parsed into types that cannot hold illegal values.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hcube_api::topics::Partitions;
use hcube_core::topic::Name;

pub mod cluster;
pub mod kube;
pub mod local;
pub mod messages;
pub mod units;
pub mod verify;

pub use cluster::{AdminArgs, ClusterCommand};
pub use kube::{K8sCommand, KubeArgs, Place, Said};
pub use local::LocalCommand;
pub use messages::{PublishArgs, PullArgs, ReadArgs, SubscribeArgs};
use units::{parse_age, parse_bytes};
pub use verify::VerifyArgs;

/// Where a peer is where nothing else is said: the first of `hcube local up`.
pub const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:8000";

/// Printed at the end of `hcube --help`.
const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line makes no sense
  3  no such topic, subscriber, replica, hypercube or context
  4  messages are left that no peer acknowledged
  5  no peer answered

stdout is data, stderr is talk: `hcube pull TOPIC | head` shows messages and nothing else.";

/// A replicated publish/subscribe system whose peers form a hypercube.
#[derive(Debug, Parser)]
#[command(name = "hcube", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    /// What everything shares.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Peers to ask, separated by commas; any peer serves any request
    #[arg(
        long,
        global = true,
        env = "HCUBE_ENDPOINT",
        value_name = "URL",
        value_delimiter = ',',
        default_value = ENDPOINT_DEFAULT
    )]
    pub endpoint: Vec<String>,
    /// Where on Kubernetes.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document a line
    Json,
    /// For people; messages as their bare values
    Table,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show in under a minute what a hypercube does when its leader is killed
    Demo(DemoArgs),
    /// Run a hypercube of real processes on this machine
    #[command(subcommand)]
    Local(LocalCommand),
    /// Create, look at, change and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Publish messages: arguments, lines of stdin, or a file
    Publish(PublishArgs),
    /// Read messages that are there
    Pull(PullArgs),
    /// Read messages as they are published
    Subscribe(SubscribeArgs),
    /// Register publishers
    #[command(subcommand)]
    Publisher(PublisherCommand),
    /// Register subscribers and move their durable cursors
    #[command(subcommand)]
    Subscriber(SubscriberCommand),
    /// Look at one replica's own copy
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Draw the path that a request takes over the cube
    Route(RouteArgs),
    /// Look at the hypercube as a whole
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Look at a hypercube on Kubernetes
    #[command(subcommand, name = "k8s")]
    K8s(K8sCommand),
    /// Prove that nothing is lost, doubled or reordered, whatever happens to the peers
    Verify(VerifyArgs),
    /// Time every API
    Bench(BenchArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Run one peer; what `local` starts
    #[command(subcommand, hide = true)]
    Node(local::NodeCommand),
}

impl Command {
    /// Whether it has to do with this machine only.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Demo(_) | Self::Local(_) | Self::Completions { .. } | Self::Node(_) => true,
            Self::Bench(args) => args.peers.is_some(),
            _ => false,
        }
    }
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Peers to raise
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(3..=64))]
    pub peers: u16,
    /// Leave data and logs of the peers where they are
    #[arg(long)]
    pub keep: bool,
}

/// `topic ...`.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic; repeating it with the same partitions changes nothing
    Create {
        /// 1 to 255 of letters, digits, '.', '_' and '-'
        topic: Name,
        /// Partitions, fixed from now on: 1 to 1024
        #[arg(long, value_name = "P", default_value = "1", value_parser = parse_partitions)]
        partitions: Partitions,
        /// Keep messages this long, such as 7d, 12h or 30m; for ever where left out
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        retention_age: Option<u64>,
        /// Keep this much of a partition, such as 10GiB; everything where left out
        #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
        retention_bytes: Option<u64>,
    },
    /// List the topics
    #[command(visible_alias = "ls")]
    List,
    /// Show a topic's partitions, where they live and what they hold
    Describe {
        /// The topic
        topic: Name,
    },
    /// Change how long messages are kept, or from how many replicas they can be read
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Alter {
        /// The topic
        topic: Name,
        /// Keep messages this long, or `none` for ever
        #[arg(long, value_name = "AGE", value_parser = units::parse_age_or_none, group = "change")]
        retention_age: Option<units::Bound>,
        /// Keep this much of a partition, or `none` for everything
        #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes_or_none, group = "change")]
        retention_bytes: Option<units::Bound>,
        /// Replicas that only read, beside those that vote, 0 to 16; needs the administration port
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=16), group = "change")]
        read_replicas: Option<u8>,
        /// How to wait
        #[command(flatten)]
        patience: cluster::Patience,
        /// Whom to ask
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Delete a topic and everything in it
    Delete {
        /// The topics
        #[arg(required = true)]
        topics: Vec<Name>,
    },
}

/// `publisher ...`.
#[derive(Debug, Subcommand)]
pub enum PublisherCommand {
    /// Register a name: the same producer id each time, with a higher epoch that fences the one before
    Register {
        /// The name; without it a new anonymous producer id is made
        name: Option<Name>,
    },
}

/// `subscriber ...`.
#[derive(Debug, Subcommand)]
pub enum SubscriberCommand {
    /// Register a name for ever; repeating it changes nothing
    Register {
        /// The name
        name: Name,
    },
    /// Show a durable cursor
    Show {
        /// The subscriber
        name: Name,
        /// The topic
        topic: Name,
    },
    /// Commit what has been dealt with: one partition's next offset, or the cursor that a pull ended with
    #[command(group = clap::ArgGroup::new("place").required(true))]
    Commit {
        /// The subscriber
        name: Name,
        /// The topic
        topic: Name,
        /// The partition that --offset is one of
        #[arg(long, value_name = "P", default_value_t = 0)]
        partition: u16,
        /// The offset that comes next: one after the last message dealt with
        #[arg(long, group = "place")]
        offset: Option<u64>,
        /// Where a pull ended
        #[arg(long, group = "place")]
        cursor: Option<hcube_api::cursor::Cursor>,
    },
    /// Move a durable cursor in every partition
    Reset {
        /// The subscriber
        name: Name,
        /// The topic
        topic: Name,
        /// earliest, latest, or timestamp:MS
        #[arg(long, value_parser = units::parse_reset, default_value = "earliest")]
        to: hcube_api::clients::ResetTo,
    },
}

/// `replica ...`.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// List a topic's replicas: where they are, which lead, which only read, which come and go
    #[command(visible_alias = "ls")]
    List {
        /// The topic
        topic: Name,
    },
    /// Pull from the copy that one vertex holds, and from no other
    Fetch {
        /// The topic
        topic: Name,
        /// The vertex, by its label
        #[arg(long, value_name = "LABEL")]
        replica: hcube_api::label::Label,
        /// What to read
        #[command(flatten)]
        read: ReadArgs,
        /// Messages at most; all of them where left out
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
}

/// Options of `route`.
#[derive(Debug, Clone, Args)]
pub struct RouteArgs {
    /// The topic
    pub topic: Name,
    /// The partition
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub partition: u16,
}

/// Options of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Raise a local hypercube of this many peers for the run, instead of asking --endpoint
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: Option<u16>,
    /// Sequential requests of one client to each API
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests: u32,
    /// Clients at once in the second part; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub clients: u16,
    /// Messages published by the concurrent clients together
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub messages: u32,
    /// Bytes of a message's value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub size: u32,
    /// Where the machine's fdatasync is measured, and where --peers puts its data; a temporary directory where left out
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn parse_partitions(text: &str) -> Result<Partitions, String> {
    let count: u16 = text.parse().map_err(|_| format!("{text:?} is not a number of partitions"))?;
    Partitions::try_from(count).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_documentation_is_understood() {
        for line in [
            "hcube demo",
            "hcube local up --peers 8",
            "hcube local up --peers 3 --slots 16 --replication 1 --dir /tmp/x --base-port 9000 --foreground",
            "hcube local stop 101 --kill",
            "hcube local start 5",
            "hcube local down",
            "hcube local status --output json",
            "hcube local clean",
            "hcube local add --count 3",
            "hcube local remove --dir /tmp/x",
            "hcube topic create quakes --partitions 8 --retention-age 7d --retention-bytes 1GiB",
            "hcube topic alter quakes --retention-age none",
            "hcube topic list",
            "hcube topic delete a b",
            "hcube publish quakes one two --key k --header a=b --header a=c",
            "hcube publish quakes --file feed.ndjson --format ndjson --producer feed --output json",
            "hcube pull quakes --partition 0 --from 17 --limit 5 --wait 5s",
            "hcube subscribe quakes --follow --subscriber me",
            "hcube pull quakes --from timestamp:1517363399650 --replica 101",
            "hcube subscribe quakes --follow --from earliest --limit 3",
            "hcube publisher register feed",
            "hcube subscriber commit me quakes --partition 1 --offset 9",
            "hcube subscriber reset me quakes --to latest",
            "hcube replica fetch quakes --replica 101",
            "hcube route quakes",
            "hcube cluster status --endpoint http://a:1,http://b:2",
            "hcube cluster members --admin http://a:1 --token-file t",
            "hcube cluster plan --peers 9 --replication 5",
            "hcube cluster drain",
            "hcube cluster drain 101 --no-wait",
            "hcube cluster cancel 101",
            "hcube cluster rebalance --wait",
            "hcube cluster rebalance --pause --output json",
            "hcube cluster set --replication 5",
            "hcube replica list quakes",
            "hcube topic alter quakes --read-replicas 2",
            "hcube verify",
            "hcube verify --kill --pause --partition --wipe --scale 3..8 --duration 120s --rate 500 --seed 7 --keep",
            "hcube bench --peers 8",
            "hcube --hypercube demo publish quakes hello",
            "hcube subscribe quakes --context kind -n shop",
            "hcube verify --hypercube demo --duration 30s",
            "hcube k8s status --output json",
            "hcube k8s plan --replicas 5 --hypercube demo",
            "hcube completions bash",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn impossible_command_lines_are_refused() {
        for line in [
            "hcube",
            "hcube local up --peers 0",
            "hcube local up --peers 65",
            "hcube local up --slots 48",
            "hcube local up --replication 2",
            "hcube local up --base-port 70",
            "hcube topic create a/b",
            "hcube topic create a --partitions 0",
            "hcube topic create a --partitions 1025",
            "hcube topic create a --retention-age 0s",
            "hcube topic alter a",
            "hcube publish a --header novalue x",
            "hcube publish a x --file y",
            "hcube pull a --from never",
            "hcube pull a --wait 31s",
            "hcube pull a --replica 12",
            "hcube subscriber commit me a",
            "hcube subscriber commit me a --offset 1 --cursor c1-x",
            "hcube subscriber reset me a --to never",
            "hcube local add --count 0",
            "hcube cluster set --replication 4",
            "hcube cluster set",
            "hcube cluster members --admin http://a:1",
            "hcube cluster rebalance --pause --resume",
            "hcube cluster plan --peers 0",
            "hcube k8s plan",
            "hcube k8s plan --replicas 0",
            "hcube topic alter a --read-replicas 17",
            "hcube verify --scale 8..3",
            "hcube verify --scale 0..3",
            "hcube verify --peers 2 --duration 1s",
        ] {
            let error = parse(line).expect_err(line);
            let code = error.exit_code();
            assert_eq!(code, 2, "{line}");
        }
    }

    #[test]
    fn several_endpoints_are_separated_by_commas() {
        let cli = parse("hcube topic list --endpoint http://a:1,http://b:2").unwrap();
        assert_eq!(cli.global.endpoint, ["http://a:1", "http://b:2"]);
    }
}
