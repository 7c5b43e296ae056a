//! What a client is told when a request fails: problem details, RFC 9457.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::standing;
use crate::Error;

/// What a handler answers.
pub(super) type Answer<T = Response> = Result<T, Problem>;

/// Why a request was not done, as the client is told. It holds no secret, and nothing of the machine: what only an
/// operator can mend is in the log.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    status: StatusCode,
    detail: String,
    /// Members besides those of the RFC.
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Details {
            status,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn not_found(key: &str) -> Problem {
        Error::NotFound {
            key: key.to_owned(),
        }
        .into()
    }

    pub(super) fn precondition_failed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    pub(super) fn unsupported_type(accepted: &'static str) -> Problem {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content type is none of: {accepted}"),
        )
    }

    pub(super) fn no_route() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "the service has no such address")
    }

    pub(super) fn no_method() -> Problem {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "the address does not take this method; `Allow` has those it takes",
        )
    }

    /// Says how to prove who one is.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Problem {
        let challenge = HeaderValue::from_static("Basic realm=\"komatik\", charset=\"UTF-8\"");
        Problem::new(StatusCode::UNAUTHORIZED, detail)
            .with_header(header::WWW_AUTHENTICATE, challenge)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn too_many(detail: impl Into<String>, retry_in: Duration) -> Problem {
        let seconds = retry_in.as_secs().saturating_add(1);
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .with("retry_in", seconds)
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// A failure that the client can do nothing about; what it was is for the log.
    pub(super) fn internal(what: &str) -> Problem {
        tracing::error!(what, "a request failed");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the service failed; its log tells more",
        )
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.headers.push((name, value));
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The sentence a person reads, for a protocol that has its own form of errors.
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }
}

/// The one place where an error of the store becomes a status.
impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        if let Some(reason) = standing::reason(&error) {
            return reason;
        }
        let problem = |status| Problem::new(status, error.to_string());
        match &error {
            Error::NotFound { key } => problem(StatusCode::NOT_FOUND).with("key", key.as_str()),
            Error::AlreadyExists { key } => problem(StatusCode::CONFLICT).with("key", key.as_str()),
            Error::RevisionMismatch {
                key,
                expected,
                found,
            } => problem(StatusCode::PRECONDITION_FAILED)
                .with("key", key.as_str())
                .with("expected", *expected)
                .with("found", *found),
            Error::WrongKind {
                key,
                expected,
                found,
            } => problem(StatusCode::CONFLICT)
                .with("key", key.as_str())
                .with("expected", *expected)
                .with("found", *found),
            Error::InvalidKey { key, rule } => problem(StatusCode::BAD_REQUEST)
                .with("key", key.as_str())
                .with("rule", *rule),
            Error::InvalidDocument { .. } => problem(StatusCode::UNPROCESSABLE_ENTITY),
            Error::InvalidArgument { what, .. } => {
                problem(StatusCode::BAD_REQUEST).with("argument", *what)
            }
            Error::Locked { key, needs } => problem(StatusCode::LOCKED)
                .with("key", key.as_str())
                .with("needs", needs.to_string()),
            Error::WrongPassword { key, needs } => problem(StatusCode::FORBIDDEN)
                .with("key", key.as_str())
                .with("needs", needs.to_string()),
            Error::TooManyTries { key, retry_in } => {
                Problem::too_many(error.to_string(), *retry_in).with("key", key.as_str())
            }
            Error::TokenRefused => problem(StatusCode::FORBIDDEN),
            Error::Compacted { oldest } => problem(StatusCode::GONE).with("oldest", *oldest),
            Error::TooLarge { what, limit, found } => problem(StatusCode::PAYLOAD_TOO_LARGE)
                .with("what", *what)
                .with("limit", *limit)
                .with("found", *found),
            Error::NoSpace { .. } => logged(
                &error,
                StatusCode::INSUFFICIENT_STORAGE,
                "no space is left; what was under way is not written",
            ),
            Error::Damaged { .. } => logged(
                &error,
                StatusCode::INTERNAL_SERVER_ERROR,
                "what is stored is damaged, and is not answered",
            ),
            Error::Poisoned { .. } => logged(
                &error,
                StatusCode::SERVICE_UNAVAILABLE,
                "a write failed, and whether it was done is not known; the service takes no more until it is started again",
            ),
            Error::Misuse { .. } | Error::Cancelled => logged(
                &error,
                StatusCode::SERVICE_UNAVAILABLE,
                "the service is stopping",
            ),
            Error::NoStore { .. }
            | Error::InUse { .. }
            | Error::Unsupported { .. }
            | Error::Io { .. } => logged(
                &error,
                StatusCode::INTERNAL_SERVER_ERROR,
                "the service failed; its log tells more",
            ),
        }
    }
}

/// An error whose text names files of the machine, or keys outside of the client's scope.
fn logged(error: &Error, status: StatusCode, detail: &str) -> Problem {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a request failed");
    Problem::new(status, detail)
}

impl Problem {
    /// The object that a client gets.
    pub(super) fn into_value(self) -> Value {
        let Details {
            status,
            detail,
            members,
            ..
        } = *self.0;
        let mut object = Map::new();
        object.insert("type".to_owned(), "about:blank".into());
        let title = status.canonical_reason().unwrap_or_default();
        object.insert("title".to_owned(), title.into());
        object.insert("status".to_owned(), status.as_u16().into());
        object.insert("detail".to_owned(), detail.into());
        object.extend(members);
        Value::Object(object)
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = self.0.status;
        let more = std::mem::take(&mut self.0.headers);
        let mut response = Response::new(Body::from(self.into_value().to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        for (name, value) in more {
            headers.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::Access;

    type Told = Option<(&'static str, Value)>;

    /// Every error with the status it has and a member it tells, none where nothing may be told.
    fn all() -> Vec<(Error, u16, Told)> {
        let key = || "a/b".to_owned();
        let source = || io::Error::other("/secret/path");
        let named = Some(("key", Value::from("a/b")));
        vec![
            (Error::NotFound { key: key() }, 404, named.clone()),
            (Error::AlreadyExists { key: key() }, 409, named.clone()),
            (
                Error::RevisionMismatch {
                    key: key(),
                    expected: 1,
                    found: Some(2),
                },
                412,
                Some(("found", 2.into())),
            ),
            (
                Error::WrongKind {
                    key: key(),
                    expected: "document",
                    found: "blob",
                },
                409,
                Some(("expected", "document".into())),
            ),
            (
                Error::InvalidKey {
                    key: key(),
                    rule: "r",
                },
                400,
                Some(("rule", "r".into())),
            ),
            (Error::InvalidDocument { reason: key() }, 422, None),
            (
                Error::InvalidArgument {
                    what: "glob",
                    reason: key(),
                },
                400,
                Some(("argument", "glob".into())),
            ),
            (
                Error::Locked {
                    key: key(),
                    needs: Access::View,
                },
                423,
                Some(("needs", "view".into())),
            ),
            (
                Error::WrongPassword {
                    key: key(),
                    needs: Access::Edit,
                },
                403,
                Some(("needs", "edit".into())),
            ),
            (
                Error::TooManyTries {
                    key: key(),
                    retry_in: Duration::from_millis(1500),
                },
                429,
                Some(("retry_in", 2.into())),
            ),
            (Error::TokenRefused, 403, None),
            (
                Error::Compacted { oldest: 7 },
                410,
                Some(("oldest", 7.into())),
            ),
            (
                Error::TooLarge {
                    what: "bytes",
                    limit: 1,
                    found: 2,
                },
                413,
                Some(("limit", 1.into())),
            ),
            (
                Error::Damaged {
                    what: "x",
                    location: "/secret/path".to_owned(),
                },
                500,
                None,
            ),
            (
                Error::NoStore {
                    path: PathBuf::from("/secret/path"),
                },
                500,
                None,
            ),
            (
                Error::InUse {
                    path: PathBuf::from("/secret/path"),
                    by: None,
                },
                500,
                None,
            ),
            (
                Error::Unsupported {
                    found: "/secret/path".to_owned(),
                },
                500,
                None,
            ),
            (
                Error::Poisoned {
                    cause: "/secret/path".to_owned(),
                },
                503,
                None,
            ),
            (Error::Misuse { reason: "closed" }, 503, None),
            (Error::Cancelled, 503, None),
            (
                Error::NoSpace {
                    doing: "/secret/path".to_owned(),
                    source: source(),
                },
                507,
                None,
            ),
            (
                Error::Io {
                    doing: "/secret/path".to_owned(),
                    source: source(),
                },
                500,
                None,
            ),
        ]
    }

    #[test]
    fn every_error_has_its_status_and_tells_no_place_of_the_machine() {
        for (error, status, member) in all() {
            let shown = error.to_string();
            let value = Problem::from(error).into_value();
            assert_eq!(value["status"], status, "{shown}");
            if let Some((name, expected)) = member {
                assert_eq!(value[name], expected, "{shown}");
            }
            assert!(!value.to_string().contains("secret"), "{value}");
        }
    }

    #[test]
    fn a_client_is_told_when_to_come_back_and_how_to_log_in() {
        let response = Problem::too_many("x", Duration::from_secs(5)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "6");
        let response = Problem::unauthorized("x").into_response();
        let ways = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        assert_eq!(ways.count(), 2);
    }
}
