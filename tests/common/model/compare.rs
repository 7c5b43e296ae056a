//! What the store answered, held against what the model says.

use komatik::{Change, ChangeKind, Error, Metadata};
use serde_json::Value;

use super::operation::Caller;
use super::state::{Answer, Attribution, Entry, Refusal, State, Told, ToldKind};

/// What the store answered.
#[derive(Debug)]
pub enum Found {
    Done,
    Flag(bool),
    Number(u64),
    Metadata(Option<Box<Metadata>>),
    Bytes(Option<Vec<u8>>),
    Value(Option<Value>),
}

impl From<()> for Found {
    fn from((): ()) -> Found {
        Found::Done
    }
}

impl From<bool> for Found {
    fn from(flag: bool) -> Found {
        Found::Flag(flag)
    }
}

impl From<u64> for Found {
    fn from(number: u64) -> Found {
        Found::Number(number)
    }
}

impl From<Metadata> for Found {
    fn from(metadata: Metadata) -> Found {
        Found::Metadata(Some(Box::new(metadata)))
    }
}

impl From<Option<Metadata>> for Found {
    fn from(metadata: Option<Metadata>) -> Found {
        Found::Metadata(metadata.map(Box::new))
    }
}

/// The error as the model names it. No other may come: nothing here is damaged or fails.
pub fn refusal(error: Error) -> Refusal {
    match error {
        Error::NotFound { key } => Refusal::NotFound(key),
        Error::AlreadyExists { key } => Refusal::AlreadyExists(key),
        Error::RevisionMismatch {
            key,
            expected,
            found,
        } => Refusal::RevisionMismatch(key, expected, found),
        Error::WrongKind { key, .. } => Refusal::WrongKind(key),
        Error::InvalidKey { .. } => Refusal::InvalidKey,
        Error::InvalidDocument { .. } => Refusal::InvalidDocument,
        Error::InvalidArgument { .. } => Refusal::InvalidArgument,
        Error::Locked { key, needs } => Refusal::Locked(key, needs),
        Error::WrongPassword { key, needs } => Refusal::WrongPassword(key, needs),
        Error::TokenRefused => Refusal::TokenRefused,
        Error::Misuse { .. } => Refusal::Misuse,
        Error::Cancelled => Refusal::Cancelled,
        error => panic!("an error that nothing here gives reason for: {error:?}"),
    }
}

/// The refusal with the key as the caller names it.
fn as_named(refusal: Refusal, caller: Caller) -> Refusal {
    let name = |key: String| caller.relative(&key).to_owned();
    match refusal {
        Refusal::NotFound(key) => Refusal::NotFound(name(key)),
        Refusal::AlreadyExists(key) => Refusal::AlreadyExists(name(key)),
        Refusal::RevisionMismatch(key, expected, found) => {
            Refusal::RevisionMismatch(name(key), expected, found)
        }
        Refusal::WrongKind(key) => Refusal::WrongKind(name(key)),
        Refusal::Locked(key, needs) => Refusal::Locked(name(key), needs),
        Refusal::WrongPassword(key, needs) => Refusal::WrongPassword(name(key), needs),
        other => other,
    }
}

/// Refused for the reason the model gives, or not refused where it gives none.
pub fn check_refusal<A: std::fmt::Debug, F: std::fmt::Debug>(
    expected: &Result<A, Refusal>,
    found: Result<F, Error>,
    caller: Caller,
) -> Option<F> {
    match (expected, found.map_err(refusal)) {
        (Ok(_), Ok(found)) => Some(found),
        (Err(expected), Err(found)) => {
            assert_eq!(found, as_named(expected.clone(), caller), "the error");
            None
        }
        (expected, found) => panic!("answered {found:?}, expected {expected:?}"),
    }
}

/// The answer is the model's. `state` is the one after the operation.
pub fn check_answer(expected: &Answer, found: &Found, state: &State, caller: Caller) {
    match (expected, found) {
        // A transaction answers less than the store.
        (Answer::Done | Answer::Metadata(..) | Answer::Revision(_), Found::Done)
        | (Answer::Metadata(None, _), Found::Metadata(None)) => {}
        (Answer::Flag(expected), Found::Flag(found)) => assert_eq!(found, expected),
        (Answer::Count(expected), Found::Number(found)) => assert_eq!(found, expected),
        (Answer::Revision(key), Found::Number(found)) => {
            assert_eq!(Some(*found), state.revision(key), "the revision");
        }
        (Answer::Metadata(Some(key), attribution), Found::Metadata(Some(found))) => {
            check_metadata(found, key, &state.entries[key], caller, *attribution);
        }
        (Answer::Bytes(expected), Found::Bytes(found)) => {
            assert!(
                found == expected,
                "other bytes: {}",
                difference(found, expected)
            );
        }
        (Answer::Value(expected), Found::Value(found)) => {
            let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
            assert_eq!(text(found), text(expected));
        }
        (expected, found) => panic!("answered {found:?}, expected {expected:?}"),
    }
}

/// Where two contents part, without their bytes.
fn difference(found: &Option<Vec<u8>>, expected: &Option<Vec<u8>>) -> String {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            let same = found
                .iter()
                .zip(expected)
                .take_while(|(f, e)| f == e)
                .count();
            format!(
                "of {} and {}, {same} are the same",
                found.len(),
                expected.len()
            )
        }
        _ => format!(
            "there: {}, expected: {}",
            found.is_some(),
            expected.is_some()
        ),
    }
}

pub fn check_metadata(
    found: &Metadata,
    key: &str,
    entry: &Entry,
    caller: Caller,
    attribution: Attribution,
) {
    assert_eq!(found.key, caller.relative(key));
    assert_eq!(found.kind, entry.content.kind(), "{key}");
    assert_eq!(found.revision, entry.revision, "{key}");
    assert!(
        entry.content.is_stored_as(found.size, found.digest),
        "the size or digest of {key}"
    );
    assert_eq!(found.content_type, entry.content_type, "{key}");
    let lock = entry.lock;
    assert_eq!(
        found.view_locked,
        lock.is_some_and(|lock| lock.view.is_some())
    );
    assert_eq!(
        found.edit_locked,
        lock.is_some_and(|lock| lock.edit.is_some())
    );
    for (found, expected) in [
        (found.created, entry.created),
        (found.updated, entry.updated),
    ] {
        assert!(
            expected.is_none_or(|expected| found == expected),
            "a time of {key}"
        );
    }
    let is_told = found.attributes == entry.attributes;
    let is_hidden = found.attributes.is_empty();
    let fits = match attribution {
        Attribution::Told => is_told,
        Attribution::Perhaps => is_told || is_hidden,
        Attribution::Hidden => is_hidden,
    };
    assert!(fits, "the attributes of {key}: {:?}", found.attributes);
}

pub fn check_change(found: &Change, expected: &Told) {
    let kind = match &expected.kind {
        ToldKind::Put => ChangeKind::Put,
        ToldKind::Delete => ChangeKind::Delete,
        ToldKind::Move(from) => ChangeKind::Move { from: from.clone() },
    };
    assert_eq!((&found.kind, &found.key), (&kind, &expected.key));
    assert_eq!(found.entry, expected.content.kind());
    let is_told = match (found.size, found.digest) {
        (Some(size), Some(digest)) => {
            expected.is_shown && expected.content.is_stored_as(size, digest)
        }
        told => !expected.is_shown && told == (None, None),
    };
    assert!(is_told, "size and digest of a change to {}", found.key);
    assert_eq!(found.participant.as_deref(), expected.participant);
}
