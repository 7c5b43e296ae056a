//! Where a path leads, whatever is made of links and of the working directory later on.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The path from the root, with its links.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::io(format!("opening {}", path.display()), error))
}

/// The path without links and detours, also where its end is not there yet.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut components = path.components();
    loop {
        match fs::canonicalize(components.as_path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let Some(last) = components.next_back() else {
                    return Err(error);
                };
                missing.push(last);
            }
            found => {
                let mut found = found?;
                for component in missing.into_iter().rev() {
                    match component {
                        Component::ParentDir => drop(found.pop()),
                        component => found.push(component),
                    }
                }
                return Ok(found);
            }
        }
    }
}
