//! The program under test, run as a person would run it.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a command may take unless a story says otherwise; raising peers may take up to 90 s by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the program lies: `HCUBE_BIN`, which `tests/run` sets.
///
/// # Panics
/// When the variable is not set or names no file.
#[must_use]
pub fn hcube() -> PathBuf {
    let how = "set HCUBE_BIN to the program, as `tests/run --stage processes` does: \
               cargo build --release --bin hcube && export HCUBE_BIN=$PWD/target/release/hcube";
    let path = PathBuf::from(std::env::var_os("HCUBE_BIN").unwrap_or_else(|| panic!("{how}")));
    assert!(path.is_file(), "HCUBE_BIN names {}, where there is no program; {how}", path.display());
    path
}

/// A command of the program that is not influenced by who runs the tests.
#[must_use]
pub fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(hcube());
    command.args(arguments).stdin(Stdio::null());
    let ours = |name: &OsStr| name.to_string_lossy().starts_with("HCUBE_") || name == "RUST_LOG";
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

/// A command of the program that knows these peers.
#[must_use]
pub fn with_peers(endpoints: &[String], arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.env("HCUBE_ENDPOINT", endpoints.join(","));
    command
}

/// What a program did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command line, for messages.
    pub line: String,
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// Itself, where the program ended with this code.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    #[must_use]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        self
    }

    /// What it printed, where it ended well.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> String {
        self.expect_code(0).stdout
    }

    /// The one JSON document that it printed.
    ///
    /// # Panics
    /// Where it ended badly or printed something else.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> Value {
        let line = self.line.clone();
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line} printed no JSON ({error}): {text}"))
    }

    /// The JSON documents that it printed, one a line.
    ///
    /// # Panics
    /// Where it ended badly or printed something else.
    #[track_caller]
    #[must_use]
    pub fn json_lines(self) -> Vec<Value> {
        let line = self.line.clone();
        parse_lines(&line, &self.ok())
    }
}

/// The JSON documents of a text, one a line.
///
/// # Panics
/// Where a line is not JSON.
#[track_caller]
#[must_use]
pub fn parse_lines(from: &str, text: &str) -> Vec<Value> {
    let parse = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{from} printed no JSON ({error}): {line}"))
    };
    text.lines().map(parse).collect()
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "`{line}` -> {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// A program that runs, with both its outputs being read.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let line = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        Self { line, child, stdout, stderr }
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `patience`; it is killed then.
    #[track_caller]
    #[must_use]
    pub fn finish(mut self, patience: Duration) -> Ran {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.line)) {
                Some(status) => break Some(status),
                None if began.elapsed() >= patience => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let in_time = status.is_some();
        let ran = self.end(status);
        assert!(in_time, "not ended within {patience:?}: {ran}");
        ran
    }

    /// Kills it, and tells what it had done.
    #[must_use]
    pub fn kill(self) -> Ran {
        self.end(None)
    }

    fn end(mut self, status: Option<ExitStatus>) -> Ran {
        let status = status.or_else(|| {
            // It may have ended by itself in this moment; the status tells.
            let _ = self.child.kill();
            self.child.wait().ok()
        });
        let text = |output: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&output.join().expect("reading a pipe does not panic")).into_owned()
        };
        Ran {
            line: self.line,
            code: status.and_then(|status| status.code()),
            stdout: text(self.stdout),
            stderr: text(self.stderr),
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read until then is all that can be shown.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or does not end.
#[track_caller]
#[must_use]
pub fn run(command: Command) -> Ran {
    Running::start(command).finish(PATIENCE)
}
