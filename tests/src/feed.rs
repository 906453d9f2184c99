//! A file that grows while `hcube publish --file` reads it: a named pipe with numbered lines.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::cluster::Cluster;
use crate::history::{Acked, value};
use crate::program::{Ran, Running, parse_lines};
use crate::wait::seconds;

/// A pause after each line, so that there are a few thousand of them in a story of half a minute.
const PAUSE: Duration = Duration::from_millis(4);
/// How long the program may take after the last line.
const PATIENCE: Duration = seconds(90);

/// `hcube publish TOPIC --file FILE` at work.
#[derive(Debug)]
pub struct Feed {
    name: String,
    running: Running,
    done: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
}

impl Feed {
    /// Starts it: one message a line, under sixteen keys.
    ///
    /// # Panics
    /// When the pipe cannot be made or the program not be started.
    #[must_use]
    pub fn start(cluster: &Cluster, topic: &str, name: &str) -> Self {
        let path: PathBuf = cluster.dir().join(format!("{name}.ndjson"));
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo {}", path.display());
        let file = path.to_str().expect("temporary directories have plain names");
        let command = cluster.command(&["publish", topic, "--file", file, "--output", "json"]);
        let running = Running::start(command);
        let done = Arc::new(AtomicBool::new(false));
        let (told, publisher) = (Arc::clone(&done), name.to_owned());
        let writer = std::thread::spawn(move || {
            // Opening waits for the program to open its end.
            let Ok(mut pipe) = OpenOptions::new().write(true).open(&path) else { return 0 };
            let mut number = 0;
            while !told.load(Ordering::Relaxed) {
                let line = json!({ "key": format!("k{}", number % 16), "value": value(&publisher, number) });
                // A program that has ended tells why by itself.
                if writeln!(pipe, "{line}").is_err() {
                    break;
                }
                number += 1;
                std::thread::sleep(PAUSE);
            }
            number
        });
        Self { name: name.to_owned(), running, done, writer }
    }

    /// Ends the file and waits for the program, which must have got every line acknowledged once.
    ///
    /// # Panics
    /// When the program fails, or its acknowledgements are not one a line.
    #[track_caller]
    #[must_use]
    pub fn finish(self) -> Vec<Acked> {
        self.done.store(true, Ordering::Relaxed);
        let ran: Ran = self.running.finish(PATIENCE).expect_code(0);
        let lines = self.writer.join().expect("writing lines does not panic");
        let mut acked = Vec::new();
        let mut numbers = Vec::new();
        for ack in parse_lines(&ran.line, &ran.stdout) {
            let figure = |name: &str| ack[name].as_u64().unwrap_or_else(|| panic!("no {name}: {ack}"));
            let partition = u16::try_from(figure("partition")).expect("partitions are few");
            let number = figure("line") - 1;
            numbers.push(number);
            acked.push(Acked { partition, offset: figure("offset"), value: value(&self.name, number) });
        }
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..lines), "{lines} lines, {} acknowledgements", numbers.len());
        acked
    }
}
