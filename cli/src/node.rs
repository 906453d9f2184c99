//! `hcube node run`: one peer, as `hcube local` starts it.

use std::io::{self, Read as _};

use tokio::sync::oneshot;

use crate::args::local::NodeCommand;

/// Runs it until SIGTERM, or until stdin ends where that was asked for.
pub async fn run(command: NodeCommand) -> anyhow::Result<()> {
    let NodeCommand::Run(args) = command;
    hcube_node::run::start_logs(args.peer.log_json);
    let (config, http) = args.peer.config()?;
    let end = async {
        if args.end_with_stdin {
            stdin_ended().await;
        } else {
            std::future::pending().await
        }
    };
    hcube_node::run::run(config, http, end).await
}

/// Comes when whoever holds the other end of stdin has gone, however it went.
async fn stdin_ended() {
    let (sender, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut byte = [0];
        while !matches!(io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        drop(sender);
    });
    // The sender says nothing; that it is gone is the message.
    let _ = ended.await;
}
