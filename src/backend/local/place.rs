//! Whether a directory that files are made in and removed from by name is still the one that was opened.
//!
//! Somebody may move a store while it is open, and put another in its place. The lock is on a file and goes with it, so
//! the other one opens as well; and both number their files alike. Who went on by name would remove what the other store needs.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A directory, by its name and by what it was under that name.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Device and number; `None` where it could not be had.
    identity: Option<(u64, u64)>,
}

impl Place {
    pub(super) fn of(directory: PathBuf) -> Place {
        Place {
            identity: identity(&directory).ok(),
            directory,
        }
    }

    /// Where it is, or was.
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// Fails where the directory is no longer there, or another is. Costs a call of the system.
    pub(super) fn check(&self) -> Result<()> {
        let failed = |error| Error::io(format!("looking at {}", self.directory.display()), error);
        let found = identity(&self.directory).map_err(failed)?;
        match self.identity == Some(found) {
            true => Ok(()),
            false => Err(failed(io::Error::new(
                ErrorKind::StaleNetworkFileHandle,
                "the directory was moved, and another is in its place; close the store, and open it where it is",
            ))),
        }
    }
}

fn identity(directory: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(directory).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_moved_or_replaced_is_not_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (here, there) = (
            directory.path().join("here"),
            directory.path().join("there"),
        );
        fs::create_dir(&here).unwrap();
        let place = Place::of(here.clone());
        place.check().unwrap();
        fs::rename(&here, &there).unwrap();
        assert!(place.check().is_err(), "it is gone");
        fs::create_dir(&here).unwrap();
        assert!(place.check().is_err(), "another is there");
        fs::remove_dir(&here).unwrap();
        fs::rename(&there, &here).unwrap();
        place.check().unwrap();
    }
}
