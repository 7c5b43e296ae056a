//! `/v1/locks/`: passwords on entries. They come in the body, in `Komatik-Password` or in `Komatik-Passwords`, never in an
//! address.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use serde::Deserialize;

use super::Service;
use super::auth::Caller;
use super::key::{JsonBody, KeyPath};
use super::problem::Answer;
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
    KeyPath(key): KeyPath,
    JsonBody(passwords): JsonBody<Passwords>,
) -> Answer<StatusCode> {
    let lock = Lock {
        view: passwords.view,
        edit: passwords.edit,
    };
    let lock = move || caller.store.lock(&key, lock);
    service.calls().run(lock).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unlock(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
) -> Answer<StatusCode> {
    service
        .calls()
        .run(move || caller.store.unlock(&key))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
