//! What of a directory the tour stores, and under which keys.

use std::fs::{self, DirEntry};

use komatik::Key;

use crate::cli::failure::Outcome;
use crate::cli::walk::{File, Skipped, Tree};

/// Where the entries of the tour lie that have the content of files. A catalogue entry has the same name below
/// [`CATALOGUE`].
pub(super) const FILES: &str = "files";
pub(super) const CATALOGUE: &str = "catalogue";

/// The file that marks a directory which can be made again, such as the build directory of Cargo.
const CACHE_TAG: &str = "CACHEDIR.TAG";

impl File {
    pub(super) fn key(&self) -> String {
        format!("{FILES}/{}", self.name)
    }

    pub(super) fn catalogue_key(&self) -> String {
        format!("{CATALOGUE}/{}", self.name)
    }

    /// Whether the file was written since it was found.
    pub(super) fn has_changed(&self) -> bool {
        let now = fs::metadata(&self.path)
            .and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
        now.ok() != Some((self.size, self.modified))
    }
}

/// The files below `root` that the tour stores, with names that begin with `tree/`.
pub(super) fn walk(root: &std::path::Path) -> Outcome<Tree> {
    let mut tree = Tree::walk(root, passes_over)?;
    let mut skipped = std::mem::take(&mut tree.skipped);
    tree.files.retain_mut(|file| match named(&file.name) {
        Ok(name) => {
            file.name = name;
            true
        }
        Err(reason) => {
            skipped.push(Skipped::failed(&file.path, reason));
            false
        }
    });
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    tree.skipped = skipped;
    Ok(tree)
}

fn passes_over(directory: &DirEntry) -> Option<&'static str> {
    let is_cache = directory.path().join(CACHE_TAG).is_file();
    let is_git = directory.file_name() == ".git";
    is_git
        .then_some("the data of Git")
        .or(is_cache.then_some("marked as a cache by CACHEDIR.TAG"))
}

/// The name of a file below [`FILES`], or why it can have none.
fn named(below: &str) -> Result<String, String> {
    let name = format!("tree/{below}");
    // The longer of the two keys it will have.
    match Key::parse(&format!("{CATALOGUE}/{name}")) {
        Ok(_) => Ok(name),
        Err(komatik::Error::InvalidKey { rule, .. }) => Err(format!("its name is no key: {rule}")),
        Err(error) => Err(error.to_string()),
    }
}
