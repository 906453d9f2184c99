//! What a command waits for, told on stderr: a bar on a terminal, a sentence now and then elsewhere.

use std::fmt::Display;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::output::Output;

/// What is over sooner needs no word.
const SILENCE: Duration = Duration::from_secs(2);
/// Time between two sentences.
const PAUSE: Duration = Duration::from_secs(5);

/// One wait after another.
pub struct Progress<'o> {
    output: &'o Output,
    bar: Option<ProgressBar>,
    most: u64,
    begun: Instant,
    said: Option<Instant>,
}

impl<'o> Progress<'o> {
    /// Nothing is waited for yet.
    pub fn new(output: &'o Output) -> Self {
        Self { output, bar: None, most: 0, begun: Instant::now(), said: None }
    }

    /// Something has happened; the next wait is another one.
    pub fn say(&mut self, text: impl Display) {
        self.end();
        self.output.talk(text);
    }

    /// So much is left of what is waited for.
    pub fn wait(&mut self, what: &str, left: u64) {
        self.most = self.most.max(left);
        let now = Instant::now();
        if self.output.has_bars() {
            let output = self.output;
            let bar = self.bar.get_or_insert_with(|| output.progress(Some(left), "slots"));
            bar.set_length(self.most);
            bar.set_position(self.most - left);
            bar.set_message(format!("waiting for {what}"));
        } else if is_due(now, self.begun, self.said) {
            self.said = Some(now);
            self.output.talk(format_args!("waiting for {what} ({left} left)"));
        }
    }

    /// The wait is over.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        (self.most, self.begun, self.said) = (0, Instant::now(), None);
    }
}

fn is_due(now: Instant, begun: Instant, said: Option<Instant>) -> bool {
    match said {
        None => now.duration_since(begun) >= SILENCE,
        Some(said) => now.duration_since(said) >= PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_wait_is_silent_and_a_long_one_is_told_now_and_then() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(!is_due(after(1), begun, None));
        assert!(is_due(after(2), begun, None));
        assert!(!is_due(after(6), begun, Some(after(2))));
        assert!(is_due(after(7), begun, Some(after(2))));
    }
}
