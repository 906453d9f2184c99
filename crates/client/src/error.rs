//! What can go wrong between a caller and a hypercube, and whether trying again may help.

use hcube_api::error::Retry;
use hcube_api::{Code, Problem};

/// Why a request did not succeed.
///
/// It is cheap enough to clone, because a batch that fails is an error for each of its messages.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A peer refused, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No connection came about: the request was not sent.
    #[error("{endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// Base URL of the peer.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// The connection broke after the request may have been sent.
    #[error("the connection to {endpoint} broke: {reason}")]
    Broken {
        /// Base URL of the peer.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// No answer came within the time that one attempt has.
    #[error("{endpoint} did not answer in time")]
    Silent {
        /// Base URL of the peer.
        endpoint: String,
    },
    /// An answer that the contract does not allow; perhaps something else listens there.
    #[error("{endpoint} gave an answer that makes no sense: {reason}")]
    Answer {
        /// Base URL of the peer.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Every attempt failed until the time for retries was over.
    #[error("gave up after {after_ms} ms; at last: {last}")]
    TimedOut {
        /// How long it was tried, in milliseconds.
        after_ms: u64,
        /// Whether one of the attempts may have been carried out nevertheless.
        maybe_done: bool,
        /// How the last attempt failed.
        last: Box<Error>,
    },
    /// The request cannot be made; nothing was sent.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The peer's refusal, also where it is what retries ended with.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::TimedOut { last, .. } => last.problem(),
            _ => None,
        }
    }

    /// The code of the peer's refusal.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.code)
    }

    /// Whether the same request may succeed later. Where [`Error::maybe_done`] holds too, repeat it only if
    /// that is harmless.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.retry() != Retry::Never
    }

    /// Whether the request may have been carried out although it failed.
    #[must_use]
    pub fn maybe_done(&self) -> bool {
        match self {
            Self::TimedOut { maybe_done, .. } => *maybe_done,
            // An answer that cannot be read is no refusal.
            Self::Answer { .. } => true,
            other => other.retry() == Retry::Idempotently,
        }
    }

    pub(crate) fn retry(&self) -> Retry {
        match self {
            // A peer that refuses the name it is called by did nothing, and others may know theirs.
            Self::Problem(problem) if problem.code == Code::UnknownHost => Retry::Later,
            Self::Problem(problem) => problem.retry(),
            Self::Unreachable { .. } => Retry::Later,
            Self::Broken { .. } | Self::Silent { .. } => Retry::Idempotently,
            Self::TimedOut { last, .. } => last.retry(),
            Self::Answer { .. } | Self::Invalid(_) => Retry::Never,
        }
    }

    /// Whether the fault is the peer's own, so that another one can be asked without a pause.
    pub(crate) fn is_of_one_peer(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Silent { .. } => true,
            Self::Problem(problem) => {
                matches!(problem.code, Code::NotReady | Code::Damaged | Code::UnknownHost)
            }
            _ => false,
        }
    }

    /// What a failed exchange with `endpoint` means.
    pub(crate) fn from_transport(endpoint: &str, error: &reqwest::Error) -> Self {
        let endpoint = endpoint.to_owned();
        let reason = innermost(error);
        if error.is_builder() {
            Self::Invalid(reason)
        } else if error.is_connect() {
            Self::Unreachable { endpoint, reason }
        } else if error.is_timeout() {
            Self::Silent { endpoint }
        } else {
            Self::Broken { endpoint, reason }
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// The innermost cause, which says what happened; what wraps it only says where.
#[must_use]
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: Code) -> Error {
        Problem::new(code, "why").into()
    }

    #[test]
    fn refusals_of_the_request_are_final() {
        for code in [Code::UnknownTopic, Code::Fenced, Code::SequenceGap, Code::InvalidName] {
            assert!(!problem(code).is_retriable() && !problem(code).maybe_done(), "{code}");
        }
        assert!(!Error::Invalid("x".into()).is_retriable());
    }

    #[test]
    fn unknown_outcomes_are_told_from_refusals() {
        assert!(problem(Code::PublishUnknown).maybe_done());
        assert!(!problem(Code::NoLeader).maybe_done());
        assert!(problem(Code::NoLeader).is_retriable());
        let endpoint = || "http://a".to_owned();
        assert!(Error::Silent { endpoint: endpoint() }.maybe_done());
        let refused = Error::Unreachable { endpoint: endpoint(), reason: "refused".into() };
        assert!(!refused.maybe_done() && refused.is_of_one_peer());
        let last = Box::new(refused);
        let given_up = Error::TimedOut { after_ms: 5, maybe_done: true, last };
        assert!(given_up.maybe_done() && given_up.is_retriable());
    }

    #[test]
    fn a_peer_that_does_not_know_its_name_is_left_for_another() {
        let error = problem(Code::UnknownHost);
        assert!(error.is_retriable() && error.is_of_one_peer());
        assert_eq!(error.code(), Some(Code::UnknownHost));
        assert_eq!(error.to_string(), "unknown-host: why");
    }
}
