//! Answers: how results and problems become HTTP.

use hcube_api::error::MEDIA_TYPE;
use hcube_api::headers;
use hcube_api::label::Label;
use hcube_api::{Code, Problem, json, media};
use hcube_core::ids::Vertex;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::body::Body;

/// An answer.
pub(super) type Response = http::Response<Body>;

/// Why a request gets no result.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is answered with a problem.
    Problem(Box<Problem>),
    /// Nobody waits for an answer: the connection is closed.
    Drop,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// An answer with a body of this type.
pub(super) fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    answer(status, media::JSON, json::to_vec(body))
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

/// A refusal.
pub(super) fn problem(problem: &Problem) -> Response {
    let mut response = answer(problem.status_code(), MEDIA_TYPE, problem.to_json());
    if let Some(seconds) = problem.retry_after_seconds() {
        set(&mut response, RETRY_AFTER, seconds);
    }
    if problem.code == Code::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let (Code::MethodNotAllowed, Some(allow)) = (problem.code, problem.extra.get("allow")) {
        set(&mut response, ALLOW, allow.as_str().unwrap_or_default());
    }
    response
}

/// Sets a header whose value is visible ASCII, as all of hcube's own are.
pub(super) fn set(response: &mut Response, name: HeaderName, value: impl ToString) {
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        response.headers_mut().insert(name, value);
    }
}

/// Says which way the request went.
pub(super) fn set_path(response: &mut Response, path: &[Vertex], dimension: u8) {
    let hops = path.iter().map(|vertex| Label::new(*vertex, dimension)).collect();
    // A way that is longer than any header takes is left out: the result counts.
    if let Ok(path) = headers::Path::new(hops) {
        set(response, HeaderName::from_static(headers::PATH), path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_carry_their_headers() {
        let refused = problem(&Problem::new(Code::Overloaded, "").retry_after_ms(1));
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        let wrong = problem(&Problem::new(Code::MethodNotAllowed, "").with("allow", "GET, HEAD"));
        assert_eq!(wrong.headers()[ALLOW], "GET, HEAD");
        assert_eq!(problem(&Problem::new(Code::Unauthorized, "")).headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn the_way_is_written_in_labels() {
        let mut response = empty(StatusCode::OK);
        set_path(&mut response, &[Vertex(5), Vertex(4)], 3);
        assert_eq!(response.headers()[headers::PATH], "101>100");
        set_path(&mut response, &[], 3);
        assert_eq!(response.headers()[headers::PATH], "101>100");
    }
}
