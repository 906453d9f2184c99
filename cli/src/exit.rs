//! Exit codes, as `hcube --help` tells them.

use std::fmt;

use hcube_client::Error;

/// Failed, for a reason that stderr tells.
pub const FAILURE: u8 = 1;
/// What the command is about does not exist.
pub const NOT_FOUND: u8 = 3;
/// Messages are left that no peer acknowledged.
pub const UNACKNOWLEDGED: u8 = 4;
/// No peer answered.
pub const UNREACHABLE: u8 = 5;

/// An error that has an exit code of its own.
#[derive(Debug)]
pub struct Coded {
    code: u8,
    text: String,
}

impl Coded {
    /// There is nothing of this name here.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self { code: NOT_FOUND, text: text.into() }
    }

    /// Nobody answers.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self { code: UNREACHABLE, text: text.into() }
    }

    /// Messages are left over.
    pub fn unacknowledged(text: impl Into<String>) -> Self {
        Self { code: UNACKNOWLEDGED, text: text.into() }
    }
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

/// The exit code of an error: that of the first cause that has one.
pub fn code_of(error: &anyhow::Error) -> u8 {
    let code = error.chain().find_map(|cause| match cause.downcast_ref::<Coded>() {
        Some(coded) => Some(coded.code),
        None => cause.downcast_ref::<Error>().map(code_of_request),
    });
    code.unwrap_or(FAILURE)
}

fn code_of_request(error: &Error) -> u8 {
    match error {
        Error::Problem(problem) if problem.status == 404 => NOT_FOUND,
        Error::Unreachable { .. } | Error::Broken { .. } | Error::Silent { .. } => UNREACHABLE,
        Error::TimedOut { last, .. } => code_of_request(last),
        _ => FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_code_survives_context() {
        let error = anyhow::Error::new(Coded::not_found("no topic")).context("while describing");
        assert_eq!(code_of(&error), NOT_FOUND);
        assert_eq!(code_of(&anyhow!("anything else")), FAILURE);
    }

    #[test]
    fn requests_fail_with_the_code_of_their_last_attempt() {
        let refused = |code| Error::Problem(Box::new(hcube_api::Problem::new(code, "")));
        let code = |error: Error| code_of(&error.into());
        assert_eq!(code(refused(hcube_api::Code::UnknownTopic)), NOT_FOUND);
        assert_eq!(code(refused(hcube_api::Code::TopicExists)), FAILURE);
        let last = Box::new(Error::Unreachable { endpoint: "e".into(), reason: "r".into() });
        assert_eq!(code(Error::TimedOut { after_ms: 1, maybe_done: false, last }), UNREACHABLE);
    }
}
