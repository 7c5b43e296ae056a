//! What a client is told when a request fails: problem details, RFC 9457.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

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

    /// Whether the key is taken that was to be free.
    pub(super) fn is_taken(&self) -> bool {
        self.0.status == StatusCode::CONFLICT
    }

    /// The sentence a person reads, for a protocol that has its own form of errors.
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }
}

/// The one place where an error of the store becomes a status.
impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
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
                "no space is left; nothing was written",
            ),
            Error::Damaged { .. } => logged(
                &error,
                StatusCode::INTERNAL_SERVER_ERROR,
                "what is stored is damaged, and is not answered",
            ),
            Error::Poisoned { .. } => logged(
                &error,
                StatusCode::SERVICE_UNAVAILABLE,
                "an earlier write failed; the service takes no more until it is started again",
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
