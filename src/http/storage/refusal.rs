//! What a client of the storage is told when a request fails: a status, and a JSON string.

use std::io;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rustix::io::Errno;
use serde_json::Value;

use super::super::problem::Problem;
use crate::Error;

#[derive(Debug)]
pub(super) struct Refusal(Box<Response>);

impl Refusal {
    fn new(status: StatusCode, text: &str) -> Refusal {
        Refusal::from(Problem::new(status, text))
    }

    /// As a file system fails.
    fn io(status: StatusCode, errno: Errno) -> Refusal {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        Refusal::new(status, &format!("IO error {error}"))
    }

    pub(super) fn missing() -> Refusal {
        Refusal::io(StatusCode::NOT_FOUND, Errno::NOENT)
    }

    pub(super) fn exists() -> Refusal {
        Refusal::io(StatusCode::BAD_REQUEST, Errno::EXIST)
    }

    /// What a rename of a file system does not do: onto a folder with something in it, into itself, or between a file and a
    /// folder.
    pub(super) fn cannot_move(errno: Errno) -> Refusal {
        Refusal::io(StatusCode::INTERNAL_SERVER_ERROR, errno)
    }

    pub(super) fn bad_path() -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "Bad path")
    }

    /// No token, or one that is not good.
    pub(super) fn no_token() -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, "Failed")
    }

    pub(super) fn not_yours() -> Refusal {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "User is not authorized to view this.",
        )
    }

    pub(super) fn login() -> Refusal {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "Login failed, incorrect username or password.",
        )
    }

    /// Where a form or a part of it cannot be taken.
    pub(super) fn upload(problem: Problem) -> Refusal {
        let detail = format!("File upload error {}", problem.detail());
        match Refusal::from(problem) {
            refusal if refusal.0.status() == StatusCode::BAD_REQUEST => {
                Refusal::new(StatusCode::BAD_REQUEST, &detail)
            }
            refusal => refusal,
        }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.0.status()
    }
}

/// The status and the headers of the problem, and of its body the sentence.
impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        let text = Value::from(problem.detail()).to_string();
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        *response.body_mut() = Body::from(text);
        Refusal(Box::new(response))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        match error {
            Error::NotFound { .. } => Refusal::missing(),
            Error::AlreadyExists { .. } => Refusal::exists(),
            Error::InvalidKey { .. } => Refusal::bad_path(),
            error => Problem::from(error).into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}
