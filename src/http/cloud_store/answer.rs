//! What a client of CloudStore is told: always `{error, message, data}` and 200, also when nothing was done.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::problem::Problem;
use crate::Error;

/// What was done, in words or as the value that was asked for: the body of the answer.
#[derive(Debug)]
pub(super) struct Done(String);

/// Why nothing was done: a name for programs, and words.
#[derive(Debug)]
pub(super) struct Failure {
    name: &'static str,
    message: String,
}

pub(super) type Answer = Result<Done, Failure>;

impl Done {
    pub(super) fn said(message: &str) -> Done {
        Done::with(message, &Value::Null)
    }

    pub(super) fn with(message: &str, data: &Value) -> Done {
        Done(json!({"error": null, "message": message, "data": data}).to_string())
    }

    /// The value stands under both names: clients and their documentation differ in which they read. It may be long: not for where
    /// others wait.
    pub(super) fn loaded(value: &Value) -> Done {
        let value = value.to_string();
        Done(format!(
            r#"{{"error":null,"message":{value},"data":{value}}}"#
        ))
    }
}

impl Failure {
    pub(super) fn no_file() -> Failure {
        Failure {
            name: "NoFile",
            message: "there is no file of this name".to_owned(),
        }
    }

    pub(super) fn bad_key() -> Failure {
        Failure {
            name: "BadKey",
            message: "the API key is not known".to_owned(),
        }
    }

    pub(super) fn read_only() -> Failure {
        Failure {
            name: "ReadOnly",
            message: "the account of this API key may only read".to_owned(),
        }
    }

    /// Where as much is under way as there may be.
    pub(super) fn busy() -> Failure {
        Failure {
            name: "Unavailable",
            message: "as much is coming in as there may before its key; try again later".to_owned(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Failure {
        Failure {
            name: "BadRequest",
            message: message.into(),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let name = match problem.status() {
            StatusCode::NOT_FOUND => return Failure::no_file(),
            StatusCode::UNAUTHORIZED => return Failure::bad_key(),
            StatusCode::LOCKED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => "Locked",
            StatusCode::PAYLOAD_TOO_LARGE => "TooLarge",
            StatusCode::SERVICE_UNAVAILABLE => "Unavailable",
            status if status.is_client_error() => "BadRequest",
            _ => "ServerError",
        };
        Failure {
            name,
            message: problem.detail().to_owned(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Problem::from(error).into()
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        (json, self.0).into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure { name, message } = self;
        Json(json!({"error": name, "message": message, "data": null})).into_response()
    }
}
