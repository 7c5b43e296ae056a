//! What the service keeps for itself in the store, its accounts: no part of what goes out of the root and into it.
//!
//! A tree keeps neither that they are documents nor that nobody else may read them, and what comes from elsewhere would say
//! who may log in. Who means them names their folder.

use std::path::Path;

use komatik::Store;

use super::walk::Skipped;

/// The folder in the root that holds them.
pub(crate) const FOLDER: &str = ".komatik";
/// What is told of it where it is passed over.
pub(crate) const WHAT: &str = "the accounts of the service";
/// And of what is no folder.
pub(crate) const NAMED_SO: &str = "its name is that of the accounts of the service";

/// Whether a folder is the root.
pub(crate) fn is_root(folder: &str) -> bool {
    matches!(folder, "" | "/")
}

/// Whether a name in the root is theirs.
pub(crate) fn holds(name: &str) -> bool {
    let below = name.strip_prefix(FOLDER);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// The store seen from a folder; from the root, without them.
pub(crate) fn view(store: &Store, folder: &str) -> komatik::Result<Store> {
    match is_root(folder) {
        true => store.without(FOLDER),
        false => store.scoped(folder),
    }
}

/// What of a folder is passed over where a directory stands for it.
pub(crate) fn passed_over(
    store: &Store,
    folder: &str,
    directory: &Path,
) -> komatik::Result<Option<Skipped>> {
    if !is_root(folder) || !store.exists(FOLDER)? {
        return Ok(None);
    }
    let path = directory.join(FOLDER);
    Ok(Some(match store.is_folder(FOLDER)? {
        true => Skipped::passed_over(&path, WHAT),
        // An entry, which somebody may miss in the copy.
        false => Skipped::failed(&path, NAMED_SO),
    }))
}
