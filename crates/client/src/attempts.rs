//! One request tried again and again: where next, when, and when to give up.

use std::collections::BTreeSet;
use std::time::Duration;

use hcube_api::Code;
use hcube_api::error::Retry;
use hcube_core::ids::Vertex;
use tokio::time::{Instant, sleep};

use crate::endpoints::{Directory, Endpoint};
use crate::error::Error;

/// Longest pause after the first round of attempts; it doubles with each round.
const PAUSE_FIRST: Duration = Duration::from_millis(40);
/// Longest pause between two rounds, unless a peer asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The course of one request.
pub(crate) struct Attempts<'d> {
    directory: &'d Directory,
    started: Instant,
    deadline: Instant,
    /// The vertex to ask first; the caller clears it when it proves wrong.
    pub(crate) prefer: Option<Vertex>,
    /// Whether the request may be carried out twice without harm.
    pub(crate) is_repeatable: bool,
    /// Whether only the replica at one vertex can answer.
    pub(crate) is_pinned: bool,
    /// Whether an attempt so far may have been carried out.
    pub(crate) maybe_done: bool,
    tried: BTreeSet<Endpoint>,
    rounds: u32,
}

impl<'d> Attempts<'d> {
    /// Starts now and ends after `budget`.
    pub(crate) fn new(directory: &'d Directory, budget: Duration) -> Self {
        let started = Instant::now();
        Self {
            directory,
            started,
            deadline: started + budget,
            prefer: None,
            is_repeatable: true,
            is_pinned: false,
            maybe_done: false,
            tried: BTreeSet::new(),
            rounds: 0,
        }
    }

    /// The peer to ask now.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let candidates = self.directory.candidates(self.prefer, Instant::now());
        let untried = candidates.iter().find(|endpoint| !self.tried.contains(*endpoint));
        untried.or(candidates.first()).expect("a client has at least one endpoint").clone()
    }

    /// What is left of the time, for one attempt.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes a failed attempt at `endpoint` in; returns when the next one is due.
    ///
    /// # Errors
    /// When another attempt could not help, may do harm, or comes too late.
    pub(crate) async fn failed(&mut self, endpoint: &Endpoint, error: Error) -> Result<(), Error> {
        self.maybe_done |= error.maybe_done();
        self.tried.insert(endpoint.clone());
        let candidates = self.directory.candidates(self.prefer, Instant::now());
        let others_left = candidates.iter().any(|endpoint| !self.tried.contains(endpoint));
        let gives_up = match error.retry() {
            Retry::Never => true,
            Retry::Later => match error.code() {
                Some(Code::Damaged) => self.is_pinned,
                Some(Code::UnknownHost) => !others_left,
                _ => false,
            },
            Retry::Idempotently => !self.is_repeatable,
        };
        if gives_up {
            return Err(error);
        }
        let pause = if others_left && error.is_of_one_peer() {
            Duration::ZERO
        } else {
            if !others_left {
                self.tried.clear();
            }
            self.rounds += 1;
            let asked = error.problem().and_then(|problem| problem.retry_after_ms).unwrap_or(0);
            backoff(self.rounds, rand::random()).max(Duration::from_millis(asked.min(60_000)))
        };
        if Instant::now() + pause >= self.deadline {
            let after_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Err(Error::TimedOut { after_ms, maybe_done: self.maybe_done, last: Box::new(error) });
        }
        tracing::debug!(%endpoint, %error, pause_ms = pause.as_millis(), "trying again");
        sleep(pause).await;
        Ok(())
    }
}

/// The pause after so many rounds, 1 or more; `chance` from 0 to 1 spreads clients that failed together.
fn backoff(rounds: u32, chance: f64) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << rounds.saturating_sub(1).min(10)).min(PAUSE_MAX);
    longest.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use hcube_api::Problem;

    use super::*;

    fn directory() -> Directory {
        Directory::new(&["http://a", "http://b"].map(|text| text.parse().unwrap()))
    }

    fn refused(endpoint: &Endpoint) -> Error {
        Error::Unreachable { endpoint: endpoint.to_string(), reason: "refused".into() }
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        assert_eq!(backoff(1, 1.0), PAUSE_FIRST);
        assert_eq!(backoff(1, 0.0), PAUSE_FIRST / 2);
        assert_eq!(backoff(3, 1.0), PAUSE_FIRST * 4);
        assert_eq!(backoff(u32::MAX, 1.0), PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_peer_is_left_at_once_and_all_of_them_after_a_pause() {
        let directory = directory();
        let mut attempts = Attempts::new(&directory, Duration::from_secs(10));
        let started = Instant::now();
        let first = attempts.endpoint();
        attempts.failed(&first, refused(&first)).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        let second = attempts.endpoint();
        assert_ne!(first, second);
        attempts.failed(&second, refused(&second)).await.unwrap();
        assert!(started.elapsed() >= PAUSE_FIRST / 2);
        assert!(!attempts.maybe_done);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_and_the_deadline_kept() {
        let directory = directory();
        let mut attempts = Attempts::new(&directory, Duration::from_secs(4));
        let started = Instant::now();
        let busy = || Error::from(Problem::new(Code::Overloaded, "busy").retry_after_ms(3_000));
        let endpoint = attempts.endpoint();
        attempts.failed(&endpoint, busy()).await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(3));
        let error = attempts.failed(&endpoint, busy()).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(4));
        assert!(matches!(error, Error::TimedOut { after_ms: 3_000.., maybe_done: false, .. }), "{error:?}");
        assert_eq!(error.code(), Some(Code::Overloaded));
    }

    #[tokio::test]
    async fn what_may_have_been_done_is_repeated_only_where_that_is_harmless() {
        let directory = directory();
        let unknown = || Error::from(Problem::new(Code::PublishUnknown, "late"));
        let mut attempts = Attempts::new(&directory, Duration::from_secs(10));
        let endpoint = attempts.endpoint();
        attempts.failed(&endpoint, unknown()).await.unwrap();
        assert!(attempts.maybe_done);
        attempts.is_repeatable = false;
        assert!(attempts.failed(&endpoint, unknown()).await.is_err());
    }

    #[tokio::test]
    async fn a_damaged_replica_is_final_for_whom_no_other_will_do() {
        let directory = directory();
        let damaged = || Error::from(Problem::new(Code::Damaged, "bad frame"));
        let mut attempts = Attempts::new(&directory, Duration::from_secs(10));
        let endpoint = attempts.endpoint();
        attempts.failed(&endpoint, damaged()).await.unwrap();
        attempts.is_pinned = true;
        assert!(attempts.failed(&endpoint, damaged()).await.is_err());
    }
}
