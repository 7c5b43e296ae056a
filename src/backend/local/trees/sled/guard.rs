//! What sled answers, and that it panics, as errors of this crate.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::WHAT;
use crate::error::{Error, Result};

/// Calls sled, whose panics are damage found.
pub(super) fn guarded<R>(
    directory: &Path,
    doing: &'static str,
    call: impl FnOnce() -> ::sled::Result<R>,
) -> Result<R> {
    // What a panic leaves half done is sled's alone, and is not written to any more.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| translate(directory, doing, error)),
        Err(_) => Err(damaged(directory, doing, "it panicked")),
    }
}

fn translate(directory: &Path, doing: &'static str, error: ::sled::Error) -> Error {
    match error {
        // The log ends before what it should hold.
        ::sled::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            damaged(directory, doing, &error.to_string())
        }
        ::sled::Error::Io(error) => Error::io(
            format!("{doing} the trees in {}", directory.display()),
            error,
        ),
        ::sled::Error::Corruption { at, .. } => {
            damaged(directory, doing, &format!("corruption at {at:?}"))
        }
        // Of what it stored itself: the store was never opened with another configuration.
        ::sled::Error::Unsupported(text) | ::sled::Error::ReportableBug(text) => {
            damaged(directory, doing, &text)
        }
        ::sled::Error::CollectionNotFound(_) => damaged(directory, doing, "a tree is missing"),
    }
}

fn damaged(directory: &Path, doing: &str, cause: &str) -> Error {
    Error::damaged(
        WHAT,
        format!("{} while {doing}: {cause}", directory.display()),
    )
}

pub(super) fn timed_out(directory: &Path) -> Error {
    Error::io(
        format!("closing the trees in {}", directory.display()),
        ErrorKind::TimedOut.into(),
    )
}
