//! The directory that a folder is written to, and the store's own, which is not for the trees of others.
//!
//! Nothing is written outside of the directory: what a symbolic link in it points to is not its. Names come from
//! the store, and those who put entries there are not asked for more trust than that.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::failure::{Failure, Outcome};
use super::walk::Skipped;

/// Which directory holds the store, however it is named.
#[derive(Clone, Copy)]
pub(crate) struct StoreDirectory(Option<(u64, u64)>);

impl StoreDirectory {
    /// That of the store at `path`, where there is one already.
    pub(crate) fn at(path: &Path) -> StoreDirectory {
        StoreDirectory(fs::metadata(path).ok().as_ref().map(identity))
    }

    pub(crate) fn is(self, found: &Metadata) -> bool {
        self.0 == Some(identity(found))
    }

    /// Fails where `directory` is the store's, or lies in it.
    pub(crate) fn keep_out(self, directory: &Path) -> Outcome<()> {
        let is_in_store = place(directory).ancestors().any(|above| {
            let found = fs::metadata(above);
            found.is_ok_and(|found| self.is(&found))
        });
        match is_in_store {
            true => Err(Failure::usage(format!(
                "{} is where the store itself lies",
                directory.display()
            ))),
            false => Ok(()),
        }
    }
}

/// Where a directory lies, or will once it is made with those above it.
fn place(directory: &Path) -> PathBuf {
    let mut place = fs::canonicalize(".").unwrap_or_default();
    for component in directory.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => place = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => {
                place.pop();
            }
            Component::Normal(name) => {
                place.push(name);
                // What is not there is no link.
                place = fs::canonicalize(&place).unwrap_or(place);
            }
        }
    }
    place
}

/// What tells a file from all others that has one name; where it is found by two, the file system takes them for one.
pub(crate) fn only_place(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    (found.is_file() && found.nlink() == 1).then(|| identity(&found))
}

/// Device and number: the same by whatever name it was found.
fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// See the [module](self).
pub(crate) struct Target<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) store: StoreDirectory,
}

impl Target<'_> {
    /// Fails where the directory lies in that of the store, or has no name.
    pub(crate) fn new(directory: &Path, store: StoreDirectory) -> Outcome<Target<'_>> {
        // That of a variable that is not set, more likely than the one the command runs in.
        if directory.as_os_str().is_empty() {
            return Err(Failure::usage("which directory? `.` is the present one"));
        }
        store.keep_out(directory)?;
        Ok(Target { directory, store })
    }

    /// Where a file of this name may be written; why it may not. Nothing is made.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, Skipped> {
        let (path, found) = self.look(name)?;
        match found {
            Some(found) if found.is_dir() => {
                Err(Skipped::failed(&path, "a directory has its name"))
            }
            Some(found) if !found.is_file() => {
                Err(Skipped::failed(&path, "what has its name is no file"))
            }
            _ => Ok(path),
        }
    }

    /// Where a directory of this name is or may be made, and whether it is there.
    pub(crate) fn folder(&self, name: &str) -> Result<(PathBuf, bool), Skipped> {
        let (path, found) = self.look(name)?;
        match found {
            Some(found) if !found.is_dir() => Err(Skipped::failed(&path, "a file has its name")),
            found => Ok((path, found.is_some())),
        }
    }

    /// Whether a directory, or else a file, of this name is there, with no link on the way.
    pub(crate) fn has(&self, name: &str, is_folder: bool) -> bool {
        match self.look(name) {
            Ok((_, Some(found))) if is_folder => found.is_dir(),
            Ok((_, Some(found))) => found.is_file(),
            Ok((_, None)) | Err(_) => false,
        }
    }

    /// What is there of this name, with no link on the way.
    fn look(&self, name: &str) -> Result<(PathBuf, Option<Metadata>), Skipped> {
        let whole = self.directory.join(name);
        let mut path = self.directory.to_owned();
        let mut segments = name.split('/').peekable();
        while let Some(segment) = segments.next() {
            path.push(segment);
            let is_last = segments.peek().is_none();
            let found = match fs::symlink_metadata(&path) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok((whole, None)),
                Err(error) => return Err(Skipped::failed(&whole, error.to_string())),
            };
            if self.store.is(&found) {
                return Err(Skipped::failed(&whole, "the store itself lies there"));
            }
            if is_last && !found.is_symlink() {
                return Ok((whole, Some(found)));
            }
            let what = match found.is_symlink() {
                true => "a symbolic link",
                false if found.is_dir() => continue,
                false => "a file",
            };
            return Err(Skipped::failed(
                &whole,
                match is_last {
                    true => format!("{what} has its name"),
                    false => format!("{what} has the name of its folder {}", path.display()),
                },
            ));
        }
        Ok((whole, None))
    }
}
