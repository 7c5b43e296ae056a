//! Trees that cannot be used, where the journal holds everything since the first commit: they are put aside, and made anew
//! from the journal. Until that has worked they are kept.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::durable::sync_directory;
use super::journal::first_revision;
use super::layout::{JOURNAL, TREES, TREES_ASIDE};
use crate::error::{Error, Result};

/// Whether the trees may be what is damaged, and the journal is whole as far as its names tell.
pub(super) fn may_help(directory: &Path, error: &Error) -> bool {
    let is_of_trees = matches!(
        error,
        Error::Damaged { what, .. } if !["journal", "superblock", "revisions", "pack"].contains(what)
    );
    let begins_with_the_first = || {
        let names = fs::read_dir(directory.join(JOURNAL)).ok()?;
        let mut firsts =
            names.filter_map(|entry| first_revision(entry.ok()?.file_name().to_str()?));
        firsts.find(|first| *first == 1)
    };
    is_of_trees && directory.join(TREES).exists() && begins_with_the_first().is_some()
}

/// Puts the trees aside and opens again. Where that fails as well they are put back, and the first error stays.
pub(super) fn rebuild<T>(
    directory: &Path,
    error: Error,
    open: impl FnOnce() -> Result<T>,
) -> Result<T> {
    tracing::warn!(%error, "the trees are made anew from the journal");
    move_trees(directory, TREES, TREES_ASIDE)?;
    match open() {
        Ok(opened) => {
            // Before the journal loses a segment, which only a checkpoint after the opening brings about.
            remove(directory, TREES_ASIDE)?;
            Ok(opened)
        }
        Err(second) => {
            tracing::warn!(error = %second, "the journal does not give them back");
            put_back(directory)?;
            Err(error)
        }
    }
}

/// Where a rebuilding was cut short, everything is as it was before.
pub(super) fn put_back(directory: &Path) -> Result<()> {
    if !directory.join(TREES_ASIDE).exists() {
        return Ok(());
    }
    remove(directory, TREES)?;
    move_trees(directory, TREES_ASIDE, TREES)
}

fn move_trees(directory: &Path, from: &str, to: &str) -> Result<()> {
    fs::rename(directory.join(from), directory.join(to))
        .map_err(|error| Error::io(format!("moving {from} in {}", directory.display()), error))?;
    sync_directory(directory)
}

fn remove(directory: &Path, name: &str) -> Result<()> {
    match fs::remove_dir_all(directory.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(
            format!("removing {name} in {}", directory.display()),
            error,
        )),
        _ => sync_directory(directory),
    }
}
