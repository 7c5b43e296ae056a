//! `/v1/locks/`: passwords on entries. They come in the body or in `Komatik-Password`, never in an address.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use serde::Deserialize;

use super::Service;
use super::auth::Caller;
use super::key::{JsonBody, KeyPath};
use super::problem::Answer;
use crate::{Error, ListOptions, Lock, Metadata, Store, WriteOptions};

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/v1/locks/{*key}", put(lock).delete(unlock))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passwords {
    view: Option<String>,
    edit: Option<String>,
}

/// Locks an entry, or changes its lock; the present one is opened by `Komatik-Password`.
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

/// Asks the lock of an entry for reading it. To verify a password takes some 20 ms, for which every writer would wait in a
/// transaction; the view remembers what it found out, so what is done in one is asked for before.
pub(super) fn ask_to_read(store: &Store, key: &str) -> crate::Result<()> {
    store.metadata(key).map(drop)
}

/// As [`ask_to_read`], for replacing or deleting it.
pub(super) fn ask_to_write(store: &Store, key: &str) -> crate::Result<()> {
    store.writer(key, WriteOptions::new()).map(drop)
}

/// As [`ask_to_read`], for everything that can be done with it. Both of its passwords are asked for, also where the first
/// is refused.
pub(super) fn ask_for_all(store: &Store, key: &str) -> crate::Result<()> {
    // To read first: after the other it may write a stronger hash, and with that another revision.
    let read = ask_to_read(store, key);
    both(read, ask_to_write(store, key))
}

/// As [`ask_for_all`], for whatever is in a folder.
///
/// # Errors
/// [`Error::TooManyTries`]; those of a listing. Which locks are not opened is not told.
pub(super) fn ask_below(store: &Store, folder: &str) -> crate::Result<()> {
    for item in store.list_with(folder, ListOptions::new().recursive())? {
        let item = item?;
        let is_locked = |metadata: &Metadata| metadata.view_locked || metadata.edit_locked;
        // A lock that is not opened shows nothing of the entry.
        if !item.is_folder && item.metadata.as_ref().is_none_or(is_locked) {
            let key = format!("{}/{}", folder.trim_matches('/'), item.name);
            if let Err(error @ Error::TooManyTries { .. }) = ask_for_all(store, &key) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The first error of two answers, but for one that says that it is still to be found out.
pub(super) fn both(first: crate::Result<()>, second: crate::Result<()>) -> crate::Result<()> {
    match second {
        Err(Error::TooManyTries { .. }) => second,
        second => first.and(second),
    }
}
