//! What a directory holds, and what of it is stored.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use komatik::Key;

use crate::cli::failure::{Doing, Outcome, ensure};

/// Where the entries of the tour lie that have the content of files. A catalogue entry has the same name below
/// [`CATALOGUE`].
pub(super) const FILES: &str = "files";
pub(super) const CATALOGUE: &str = "catalogue";

/// The file that marks a directory which can be made again, such as the build directory of Cargo.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// A file that is to be stored.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The key below [`FILES`] and [`CATALOGUE`].
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
}

impl File {
    /// The file at `path` as it is now.
    pub(super) fn at(path: PathBuf, name: String) -> io::Result<File> {
        let metadata = fs::metadata(&path)?;
        Ok(File {
            size: metadata.len(),
            modified: metadata.modified()?,
            path,
            name,
        })
    }

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

/// Something below the directory that is not stored.
pub(super) struct Skipped {
    path: PathBuf,
    reason: String,
}

impl Skipped {
    pub(super) fn new(path: &Path, reason: impl Into<String>) -> Skipped {
        Skipped {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// One line, whatever is in the name.
    pub(super) fn line(&self) -> String {
        let path = self.path.to_string_lossy();
        format!("skipped {}: {}", path.escape_debug(), self.reason)
    }
}

/// The files below a directory, sorted by name.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
    pub(super) folders: usize,
    pub(super) skipped: Vec<Skipped>,
}

impl Tree {
    /// Walks through everything below `root`. Symbolic links are not followed, so that there is an end to it.
    pub(super) fn walk(root: &Path) -> Outcome<Tree> {
        let metadata = fs::metadata(root).doing(|| root.display().to_string())?;
        ensure(metadata.is_dir(), || {
            format!("{}: not a directory", root.display())
        })?;
        fs::read_dir(root).doing(|| root.display().to_string())?;
        let mut tree = Tree {
            files: Vec::new(),
            folders: 0,
            skipped: Vec::new(),
        };
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            match tree.visit(root, &directory) {
                Ok(below) => {
                    tree.folders += 1;
                    waiting.extend(below);
                }
                Err(error) => tree.skip(&directory, error.to_string()),
            }
        }
        tree.files.sort_by(|a, b| a.name.cmp(&b.name));
        tree.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    pub(super) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Takes the files of a directory. Answers the directories in it that are to be visited.
    fn visit(&mut self, root: &Path, directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
        let mut below = BTreeSet::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            match reason_to_skip(&entry) {
                Ok(None) if path.is_dir() => drop(below.insert(path)),
                Ok(None) => self.take(root, path),
                Ok(Some(reason)) => self.skip(&path, reason),
                Err(error) => self.skip(&path, error.to_string()),
            }
        }
        Ok(below)
    }

    fn take(&mut self, root: &Path, path: PathBuf) {
        let taken = name(root, &path).and_then(|name| {
            let file = File::at(path.clone(), name);
            file.map_err(|error| error.to_string())
        });
        match taken {
            Ok(file) => self.files.push(file),
            Err(reason) => self.skip(&path, reason),
        }
    }

    fn skip(&mut self, path: &Path, reason: impl Into<String>) {
        self.skipped.push(Skipped::new(path, reason));
    }
}

/// Why this is not stored or visited, if it is not.
fn reason_to_skip(entry: &DirEntry) -> io::Result<Option<&'static str>> {
    let kind = entry.file_type()?;
    let reason = if kind.is_symlink() {
        Some("a symbolic link")
    } else if kind.is_dir() {
        let is_cache = entry.path().join(CACHE_TAG).is_file();
        let is_git = entry.file_name() == ".git";
        is_git
            .then_some("the data of Git")
            .or(is_cache.then_some("marked as a cache by CACHEDIR.TAG"))
    } else if kind.is_file() {
        None
    } else {
        Some("not a file")
    };
    Ok(reason)
}

/// The name of a file below [`FILES`], or why it can have none.
fn name(root: &Path, path: &Path) -> Result<String, String> {
    let below = path.strip_prefix(root).map_err(|error| error.to_string())?;
    let segments: Option<Vec<&str>> = below.iter().map(|segment| segment.to_str()).collect();
    let segments = segments.ok_or("its name is not UTF-8")?;
    let name = format!("tree/{}", segments.join("/"));
    // The longer of the two keys it will have.
    match Key::parse(&format!("{CATALOGUE}/{name}")) {
        Ok(_) => Ok(name),
        Err(komatik::Error::InvalidKey { rule, .. }) => Err(format!("its name is no key: {rule}")),
        Err(error) => Err(error.to_string()),
    }
}
