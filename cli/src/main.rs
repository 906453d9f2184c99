//! The `hcube` command.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod admin;
mod args;
mod bench;
mod clients;
mod cluster;
mod connect;
mod demo;
mod exit;
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

use args::{Cli, Command};
use output::{Closed, Output};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(format_args!("cannot start: {error}"));
            return ExitCode::from(exit::FAILURE);
        }
    };
    let output = Output::new(cli.global.output);
    let done = runtime.block_on(run(cli, &output)).and_then(|()| output.flush());
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
            if code == exit::UNREACHABLE {
                output::complain(
                    "is the hypercube up? `hcube local up` raises one; --endpoint names another",
                );
            }
            ExitCode::from(code)
        }
    }
}

async fn run(cli: Cli, output: &Output) -> anyhow::Result<()> {
    let endpoints = &cli.global.endpoint;
    let client = || connect::client(endpoints);
    match cli.command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Local(command) => local::run(command, output).await,
        Command::Topic(command) => topic::run(command, &client()?, endpoints, output).await,
        Command::Publish(args) => publish::run(args, endpoints, output).await,
        Command::Pull(args) => read::pull(args, &client()?, output).await.map(|_printed| ()),
        Command::Subscribe(args) => subscribe::run(args, endpoints, output).await,
        Command::Publisher(command) => clients::publisher(command, &client()?, output).await,
        Command::Subscriber(command) => clients::subscriber(command, &client()?, output).await,
        Command::Replica(command) => replica::run(command, &client()?, output).await,
        Command::Route(args) => cluster::route(args, &client()?, output).await,
        Command::Cluster(command) => cluster::run(command, &client()?, endpoints, output).await,
        Command::Verify(args) => verify::run(args, endpoints, output).await,
        Command::Bench(args) => bench::run(args, endpoints, output).await,
        Command::Completions { shell } => completions(shell, output),
        Command::Node(command) => node::run(command).await,
    }
}

fn completions(shell: clap_complete::Shell, output: &Output) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hcube", &mut script);
    output.write(&script)
}
