//! `/v1/locks/`: passwords on entries. They come in the body, in `Komatik-Password` or in `Komatik-Passwords`, never in an
//! address.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use serde::Deserialize;

use super::Service;
use super::auth::Caller;
use super::conditions::Unconditional;
use super::key::{JsonBody, KeyPath};
use super::problem::{Answer, Problem};
use crate::Lock;

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/v1/locks/{*key}", put(lock).delete(unlock))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passwords {
    view: Option<String>,
    edit: Option<String>,
}

/// Locks an entry, or changes its lock; the present one is opened by the passwords that the request offers.
async fn lock(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    KeyPath(key): KeyPath,
    JsonBody(passwords): JsonBody<Passwords>,
) -> Answer<StatusCode> {
    let lock = Lock {
        view: passwords.view,
        edit: passwords.edit,
    };
    let mut given = lock.view.iter().chain(&lock.edit);
    if !given.all(|password| can_be_offered(password)) {
        return Err(Problem::bad_request(
            "a password has a space or tab at an end, or a control character: no line of `Komatik-Password` can offer it",
        ));
    }
    let lock = move || caller.store.lock(&key, lock);
    service.calls().run(lock).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// By a client that brings it as it is, in `Komatik-Password`: HTTP takes white space off the ends of a line, and lets no control
/// characters through but tabs.
fn can_be_offered(password: &str) -> bool {
    let is_lost = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    password.trim_matches([' ', '\t']) == password && !password.bytes().any(is_lost)
}

async fn unlock(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    KeyPath(key): KeyPath,
) -> Answer<StatusCode> {
    service
        .calls()
        .run(move || caller.store.unlock(&key))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
