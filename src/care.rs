//! Care of a store: how large it is, whether it is sound, and how it gets out and in again.

mod archive;
mod backup;
mod compact;
mod export;
mod import;
mod repair;
mod stats;
mod verify;

use crate::backend::{Tree, View};
use crate::error::Error;
use crate::store::Store;

pub use repair::Repaired;
pub use stats::Stats;

impl Store {
    /// Whether the row an open scan told of an entry has been replaced since. Then its chunks may be gone, where the
    /// moment of the scan could not be kept, and that is no damage.
    fn is_replaced(&self, row_key: &[u8], revision: u64) -> bool {
        let now = self
            .shared
            .backend
            .get(View::Settled, Tree::Entries, row_key);
        now.is_ok_and(|now| now.is_none_or(|now| now.revision != revision))
    }
}

/// Damage of a part of an entry tells its key as well: a part alone is nothing that anyone could replace.
fn of_entry(key: &str, error: Error) -> Error {
    match error {
        Error::Damaged { what, location } if location != key => {
            Error::damaged(what, format!("{key}, {location}"))
        }
        error => error,
    }
}

/// The moment that was to be copied could not be kept.
fn overtaken() -> Error {
    Error::io(
        "copying the store, which was overwritten faster; call it again",
        std::io::ErrorKind::ResourceBusy.into(),
    )
}

#[cfg(test)]
mod tests;
