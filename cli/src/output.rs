//! The only file that prints. stdout is data, stderr is talk; colours and bars are for terminals only.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::Format;

mod table;

pub use table::{Table, grouped};

/// Whoever read our stdout has gone, as `head` does when it has enough. Not an error worth a word.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout is closed")
    }
}

impl std::error::Error for Closed {}

/// Where everything goes that a person or a program reads.
pub struct Output {
    format: Format,
    data: Mutex<Box<dyn Write + Send>>,
    colours: bool,
    bars: bool,
}

impl Output {
    /// Prints to stdout and stderr.
    pub fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            format,
            data: Mutex::new(Box::new(BufWriter::with_capacity(1 << 16, io::stdout()))),
            colours: wanted && io::stdout().is_terminal(),
            bars: io::stderr().is_terminal(),
        }
    }

    /// Whether programs read what is printed.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One JSON document on a line of its own.
    pub fn json(&self, document: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(document)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// The document for programs, or what `draw` makes of it for people.
    pub fn document<T: Serialize>(&self, document: &T, draw: impl FnOnce(&T) -> Table) -> anyhow::Result<()> {
        if self.is_json() { self.json(document) } else { self.table(&draw(document)) }
    }

    /// A table for people.
    pub fn table(&self, table: &Table) -> anyhow::Result<()> {
        self.write(table.render(self.colours).as_bytes())
    }

    /// Bytes and a line end.
    pub fn line(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        data.write_all(bytes).and_then(|()| data.write_all(b"\n")).map_err(closed)
    }

    /// Bytes as they are.
    pub fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        data.write_all(bytes).map_err(closed)
    }

    /// Hands on what is buffered: at the end, and wherever a reader should not have to wait.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).flush().map_err(closed)
    }

    /// A sentence for the person at the terminal.
    pub fn talk(&self, text: impl fmt::Display) {
        // Nobody can be told that stderr is gone.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A bar on a terminal, nothing elsewhere. Without a length it counts.
    pub fn progress(&self, length: Option<u64>, unit: &'static str) -> ProgressBar {
        let target = if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target);
        let template = match length {
            Some(_) => format!("[{{bar:30}}] {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}} {{msg}}"),
            None => format!("{{spinner}} {{human_pos}} {unit} {{per_sec}} {{msg}}"),
        };
        let style = ProgressStyle::with_template(&template).expect("the templates above are well formed");
        bar.with_style(style.progress_chars("=> "))
    }

    /// Whether somebody watches who sees bars.
    pub fn has_bars(&self) -> bool {
        self.bars
    }

    /// Marks text as good or bad where colours are on.
    pub fn verdict(&self, good: bool, text: &str) -> String {
        let colour = if good { 32 } else { 31 };
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Marks text as a heading where colours are on.
    pub fn strong(&self, text: &str) -> String {
        if self.colours { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn closed(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Closed.into()
    } else {
        anyhow::Error::new(error).context("stdout cannot be written")
    }
}

/// A report of the last resort: what could not be said in any other way.
pub fn complain(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "hcube: {text}");
}

#[cfg(test)]
pub mod captured {
    //! What would be printed, for tests.

    use std::sync::Arc;

    use super::*;

    /// Bytes that can be looked at while they are written.
    #[derive(Clone, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        /// An output that writes here.
        pub fn output(&self, format: Format) -> Output {
            Output { format, data: Mutex::new(Box::new(self.clone())), colours: false, bars: false }
        }

        /// Everything written so far.
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::captured::Captured;
    use super::*;

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_is_one_document_a_line() {
        let captured = Captured::default();
        let output = captured.output(Format::Json);
        output.document(&vec![1, 2], |_| unreachable!("no table was asked for")).unwrap();
        output.json(&"a\nb").unwrap();
        assert_eq!(captured.text(), "[1,2]\n\"a\\nb\"\n");
    }

    #[test]
    fn nothing_but_a_terminal_gets_colours() {
        let captured = Captured::default();
        let output = captured.output(Format::Table);
        let mut table = Table::new(["name"]);
        table.row(["a"]);
        output.table(&table).unwrap();
        assert!(!captured.text().contains('\x1b'));
        assert_eq!(output.verdict(true, "ok"), "ok");
    }

    #[test]
    fn a_reader_that_has_gone_is_told_apart_from_a_failure() {
        let data: Box<dyn Write + Send> = Box::new(Gone);
        let output = Output { format: Format::Table, data: Mutex::new(data), colours: false, bars: false };
        assert!(output.line(b"x").unwrap_err().is::<Closed>());
    }
}
