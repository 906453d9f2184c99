//! The `hcube` command.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

mod admin;
mod args;
mod bench;
mod clients;
mod cluster;
mod connect;
mod demo;
mod exit;
mod k8s;
mod local;
mod node;
mod output;
mod progress;
mod publish;
mod read;
mod replica;
mod route;
mod signals;
mod subscribe;
mod topic;
mod verify;

use args::{Cli, Command, Place, Said};
use connect::Reach;
use output::{Closed, Output};

fn main() -> ExitCode {
    let (cli, place) = told();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(format_args!("cannot start: {error}"));
            return ExitCode::from(exit::FAILURE);
        }
    };
    let output = Output::new(cli.global.output);
    let done = runtime.block_on(run(cli, place, &output)).and_then(|()| output.flush());
    // A thread may still wait for stdin, which nobody reads any more.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // `| head` has what it wanted.
        Err(error) if error.is::<Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            // What was done before the failure is data all the same.
            let _ = output.flush();
            let code = exit::code_of(&error);
            output::complain(format_args!("{error:#}"));
            if code == exit::UNREACHABLE && place == Place::Endpoints {
                output::complain(
                    "is the hypercube up? `hcube local up` raises one; --endpoint names another",
                );
            }
            ExitCode::from(code)
        }
    }
}

/// The command line, and where it leads; ends the process where it makes no sense.
fn told() -> (Cli, Place) {
    let is_plugin = std::env::args().next().is_some_and(|program| args::kube::is_plugin(&program));
    let mut definition = Cli::command();
    if is_plugin {
        definition = definition.bin_name("kubectl hcube");
    }
    let matches = definition.get_matches_mut();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let sources = ["context", "namespace", "hypercube"].map(|name| matches.value_source(name));
    let kube = sources.into_iter().flatten().max();
    let said = Said { endpoint: matches.value_source("endpoint"), kube, is_plugin };
    let refuse =
        |why: &str| -> ! { definition.clone().error(clap::error::ErrorKind::ArgumentConflict, why).exit() };
    let place = match &cli.command {
        command if command.is_local() => match kube {
            Some(clap::parser::ValueSource::CommandLine) => {
                refuse("this command is about this machine, not about Kubernetes")
            }
            _ => Place::Endpoints,
        },
        Command::K8s(_) => Said { is_plugin: true, ..said }.place().unwrap_or_else(|why| refuse(why)),
        _ => said.place().unwrap_or_else(|why| refuse(why)),
    };
    (cli, place)
}

async fn run(cli: Cli, place: Place, output: &Output) -> anyhow::Result<()> {
    if let Command::K8s(command) = cli.command {
        return k8s::run(command, &cli.global.kube, output).await;
    }
    let reach = match place {
        Place::Endpoints => Reach::direct(cli.global.endpoint),
        Place::Kubernetes => k8s::reach(&cli.global.kube).await?,
    };
    let done = carry_out(cli.command, &reach, output).await;
    done.map_err(|error| match reach.forward.as_ref().and_then(|forward| forward.trouble()) {
        Some(trouble) if exit::code_of(&error) == exit::UNREACHABLE => {
            error.context(format!("on the way through Kubernetes: {trouble}"))
        }
        _ => error,
    })
}

async fn carry_out(command: Command, reach: &Reach, output: &Output) -> anyhow::Result<()> {
    let client = || reach.client();
    match command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Local(command) => local::run(command, output).await,
        Command::Topic(command) => topic::run(command, &client()?, reach, output).await,
        Command::Publish(args) => publish::run(args, reach, output).await,
        Command::Pull(args) => read::pull(args, &client()?, output).await.map(|_printed| ()),
        Command::Subscribe(args) => subscribe::run(args, reach, output).await,
        Command::Publisher(command) => clients::publisher(command, &client()?, output).await,
        Command::Subscriber(command) => clients::subscriber(command, &client()?, output).await,
        Command::Replica(command) => replica::run(command, &client()?, output).await,
        Command::Route(args) => cluster::route(args, &client()?, output).await,
        Command::Cluster(command) => cluster::run(command, &client()?, reach, output).await,
        Command::Verify(args) => verify::run(args, reach, output).await,
        Command::Bench(args) => bench::run(args, reach, output).await,
        Command::K8s(_) => unreachable!("it was carried out without a client"),
        Command::Completions { shell } => completions(shell, output),
        Command::Node(command) => node::run(command).await,
    }
}

fn completions(shell: clap_complete::Shell, output: &Output) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hcube", &mut script);
    output.write(&script)
}
