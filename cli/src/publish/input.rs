//! Messages to publish, read from arguments, stdin or a file, one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use hcube_api::messages::{Incoming, PublishLimits, parse_lines};
use hcube_core::limits;
use hcube_core::record::Record;

use crate::args::PublishArgs;
use crate::args::messages::LineFormat;

/// Bytes that a line may have at most: a message in base64, with room for its headers.
const LINE_BYTES_MAX: u64 = 2 * limits::BATCH_BYTES_MAX as u64;

/// What every message gets that does not say otherwise.
#[derive(Debug, Clone)]
struct Defaults {
    key: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    partition: Option<u16>,
}

/// Messages with their lines, in order.
pub struct Input {
    lines: Box<dyn BufRead + Send>,
    format: LineFormat,
    defaults: Defaults,
    line: u64,
    name: String,
    /// How many messages there are, where that can be known.
    pub count: Option<u64>,
    /// Whether a person types them.
    pub is_terminal: bool,
}

impl Input {
    /// What the arguments name.
    pub fn open(args: &PublishArgs) -> anyhow::Result<Self> {
        let defaults = Defaults {
            key: args.key.clone().map(Bytes::from),
            headers: args.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
            partition: args.partition,
        };
        let stdin = || Box::new(BufReader::new(io::stdin())) as Box<dyn BufRead + Send>;
        let file = args.file.as_deref().filter(|path| *path != Path::new("-"));
        let (lines, name, count) = match file {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
                let count = if file.metadata()?.is_file() { Some(count_lines(path)?) } else { None };
                (Box::new(BufReader::new(file)) as Box<dyn BufRead + Send>, name, count)
            }
            None => (stdin(), "stdin".to_owned(), None),
        };
        let by_name = match file.and_then(Path::extension).and_then(std::ffi::OsStr::to_str) {
            Some("ndjson" | "jsonl") => LineFormat::Ndjson,
            _ => LineFormat::Lines,
        };
        let format = args.format.unwrap_or(by_name);
        let is_terminal = file.is_none() && io::stdin().is_terminal();
        Ok(Self { lines, format, defaults, line: 0, name, count, is_terminal })
    }

    /// The values given as arguments, numbered from 1.
    pub fn values(args: &PublishArgs) -> anyhow::Result<Vec<Incoming>> {
        let input = Self::open(&PublishArgs { file: None, ..args.clone() })?;
        let input = Self { format: LineFormat::Lines, name: "arguments".into(), ..input };
        let numbered = (1..).zip(&args.values);
        let messages = numbered.map(|(line, value)| input.message(line, value.clone().into_bytes()));
        messages.filter_map(Result::transpose).collect()
    }

    /// The next message; none at the end.
    pub fn next(&mut self) -> anyhow::Result<Option<Incoming>> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
            let read = read.with_context(|| format!("cannot read {}", self.name))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            } else if read as u64 == LINE_BYTES_MAX {
                return Err(anyhow!("{}: line {} is too long for a message", self.name, self.line));
            }
            if let Some(message) = self.message(self.line, bytes)? {
                return Ok(Some(message));
            }
        }
    }

    fn message(&self, line: u64, bytes: Vec<u8>) -> anyhow::Result<Option<Incoming>> {
        let mut message = match self.format {
            LineFormat::Ndjson if bytes.trim_ascii().is_empty() => return Ok(None),
            LineFormat::Ndjson => {
                let parsed = parse_lines(&bytes, PublishLimits::default());
                let parsed =
                    parsed.map_err(|problem| anyhow!("{}: line {line}: {}", self.name, problem.detail))?;
                parsed.into_iter().next().context("a line holds one message")?
            }
            LineFormat::Lines => {
                let record = Record { key: None, headers: Vec::new(), value: bytes.into() };
                Incoming { line, partition: None, record }
            }
        };
        message.line = line;
        message.partition = self.defaults.partition.or(message.partition);
        message.record.key = message.record.key.or_else(|| self.defaults.key.clone());
        message.record.headers.extend(self.defaults.headers.iter().cloned());
        let bytes = message.record.payload_bytes();
        if bytes > limits::MESSAGE_BYTES_DEFAULT {
            let most = limits::MESSAGE_BYTES_DEFAULT;
            return Err(anyhow!(
                "{}: line {line}: a message has at most {most} bytes, not {bytes}",
                self.name
            ));
        }
        Ok(Some(message))
    }
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut buffer, mut count, mut last) = (vec![0; 1 << 16], 0, b'\n');
    loop {
        let read = file.read(&mut buffer)?;
        let Some(end) = buffer[..read].last() else { break };
        last = *end;
        count += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    Ok(count + u64::from(last != b'\n'))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(line: &str) -> PublishArgs {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Publish(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn read(content: &str, name: &str, options: &str) -> (Option<u64>, anyhow::Result<Vec<Incoming>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let args = args(&format!("hcube publish t --file {} {options}", path.display()));
        let mut input = Input::open(&args).unwrap();
        let mut all = Vec::new();
        let read = loop {
            match input.next() {
                Ok(Some(message)) => all.push(message),
                Ok(None) => break Ok(all),
                Err(error) => break Err(error),
            }
        };
        (input.count, read)
    }

    #[test]
    fn a_line_is_a_message_without_its_end() {
        let (count, messages) = read("a\n\nb", "x.txt", "--key k --header h=1");
        let messages = messages.unwrap();
        assert_eq!(count, Some(3));
        let values: Vec<_> = messages.iter().map(|message| message.record.value.clone()).collect();
        assert_eq!(values, ["a", "", "b"]);
        assert_eq!(messages[2].line, 3);
        assert_eq!(messages[0].record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(messages[0].record.headers, [("h".to_owned(), Bytes::from("1"))]);
    }

    #[test]
    fn an_ndjson_line_says_it_all_itself() {
        let text = "{\"key\":\"a\",\"value\":{\"n\": 1}}\n\n{\"value\":\"x\",\"partition\":2}\n";
        let (_, messages) = read(text, "x.ndjson", "--key k");
        let messages = messages.unwrap();
        assert_eq!(messages[0].record.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(messages[0].record.value, "{\"n\":1}");
        assert_eq!(messages[1].record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!((messages[1].line, messages[1].partition), (3, Some(2)));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let (_, messages) = read("{\"value\":1}\n{", "x.ndjson", "");
        let error = messages.unwrap_err().to_string();
        assert!(error.contains("x.ndjson: line 2: "), "{error}");
        let (_, messages) = read(&"x".repeat((1 << 20) + 1), "x", "");
        assert!(messages.unwrap_err().to_string().contains("line 1: a message has at most 1048576 bytes"));
    }

    #[test]
    fn arguments_are_messages_too() {
        let messages = Input::values(&args("hcube publish t one two --partition 3")).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[1].line, messages[1].partition), (2, Some(3)));
        assert_eq!(messages[1].record.value, "two");
    }
}
