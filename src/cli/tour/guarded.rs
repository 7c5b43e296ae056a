//! Locks and tokens on one of the entries.

use std::time::Duration;

use bytes::Bytes;
use komatik::{Access, Error, Grant, ListOptions, Lock, Result};

use super::tree::FILES;
use super::{Said, Stored, Tour};
use crate::cli::failure::{Failure, Outcome, ensure};
use crate::cli::show;

const VIEW: &str = "what may be seen";
const EDIT: &str = "what may be changed";

/// The smallest entry that has any content.
fn specimen(tour: &Tour) -> Outcome<&Stored> {
    let filled = tour.stored.iter().filter(|stored| stored.metadata.size > 0);
    let smallest = filled.min_by_key(|stored| stored.metadata.size);
    smallest.ok_or_else(|| Failure::told("there is no entry with content"))
}

/// Fails unless the call was refused for this reason.
fn refused<T>(what: &str, answer: Result<T>, for_reason: impl Fn(&Error) -> bool) -> Outcome<()> {
    match answer {
        Err(error) if for_reason(&error) => Ok(()),
        Err(error) => Err(Failure::told(format!(
            "{what} was refused otherwise: {error}"
        ))),
        Ok(_) => Err(Failure::told(format!("{what} was not refused"))),
    }
}

fn is_locked(access: Access) -> impl Fn(&Error) -> bool {
    move |error| matches!(error, Error::Locked { needs, .. } if *needs == access)
}

/// Locks an entry, tries it without, with a wrong and with the right password, and takes the lock off.
pub(super) fn lock(tour: &mut Tour) -> Outcome<Said> {
    let store = &tour.store;
    let stored = specimen(tour)?;
    let key = stored.file.key();
    let content = store.get(&key)?;
    store.lock(&key, Lock::new().view(VIEW).edit(EDIT))?;

    refused(
        "reading without a password",
        store.get(&key),
        is_locked(Access::View),
    )?;
    refused(
        "writing without a password",
        store.put(&key, "x"),
        is_locked(Access::Edit),
    )?;
    refused(
        "deleting without a password",
        store.delete(&key),
        is_locked(Access::Edit),
    )?;
    let guesser = store.unlocked_with("a guess");
    refused(
        "reading with a wrong password",
        guesser.get(&key),
        |error| matches!(error, Error::WrongPassword { .. }),
    )?;

    let viewer = store.unlocked_with(VIEW);
    ensure(viewer.get(&key)? == content, || {
        format!("{key} is other content now")
    })?;
    refused(
        "writing with the view password",
        viewer.put(&key, "x"),
        |error| matches!(error, Error::WrongPassword { .. }),
    )?;
    let editor = store.unlocked_with(EDIT);
    ensure(editor.unlock(&key)?, || format!("{key} had no lock"))?;
    ensure(store.get(&key)? == content, || {
        format!("{key} is other content now")
    })?;
    Ok(Said::from(format!(
        "{} ({}) opened with its password only",
        key.escape_debug(),
        show::bytes(stored.metadata.size),
    )))
}

/// Makes a token for an entry that is locked, and one for a folder; uses them, and takes them back.
pub(super) fn token(tour: &mut Tour) -> Outcome<Said> {
    let store = &tour.store;
    let stored = specimen(tour)?;
    let key = stored.file.key();
    let content = store.get(&key)?;
    store.lock(&key, Lock::new().view(VIEW))?;
    let owner = store.unlocked_with(VIEW);
    let hour = Grant::new().expires_in(Duration::from_secs(3600));
    let is_refused = |error: &Error| matches!(error, Error::TokenRefused);

    refused(
        "a grant without the password",
        store.grant(&key, hour.clone()),
        is_locked(Access::View),
    )?;
    let token = owner.grant(&key, hour.clone())?;
    let reader = store.read_with(&token, &key)?;
    let read = reader.map(|reader| reader.chunks().collect::<Result<Vec<Bytes>>>());
    let read = read.transpose()?.map(|chunks| Bytes::from(chunks.concat()));
    ensure(read == content, || {
        format!("the token reads other content of {key}")
    })?;
    refused(
        "the token for another key",
        store.read_with(&token, "tour/race"),
        is_refused,
    )?;

    let lister = store.grant(FILES, hour.folder())?;
    let listed = store
        .list_with_token(&lister, FILES, ListOptions::new())?
        .count();
    ensure(listed > 0, || {
        "the token for a folder lists nothing".to_owned()
    })?;

    let revoked = store.revoke_all()?;
    ensure(revoked == 2, || {
        format!("{revoked} tokens were revoked of 2")
    })?;
    refused("a revoked token", store.read_with(&token, &key), is_refused)?;
    owner.unlock(&key)?;
    Ok(Said::from(
        "one locked entry read and one folder listed; both refused once revoked".to_owned(),
    ))
}
