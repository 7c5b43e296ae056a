//! What a directory of the file system holds.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::failure::{Doing, Outcome, ensure};
use super::target::StoreDirectory;
use super::{files, reserved};

/// A file that may be stored.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// The path below the directory, with `/` between its segments.
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl File {
    /// The file at `path` as it is now.
    pub(crate) fn at(path: PathBuf, name: String) -> io::Result<File> {
        let metadata = fs::metadata(&path)?;
        Ok(File {
            size: metadata.len(),
            modified: metadata.modified()?,
            path,
            name,
        })
    }
}

/// Something below the directory that is not stored.
pub(crate) struct Skipped {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
    /// Whether it was meant to be stored, and could not be.
    pub(crate) is_failure: bool,
}

impl Skipped {
    /// What could not be stored.
    pub(crate) fn failed(path: &Path, reason: impl Into<String>) -> Skipped {
        Skipped {
            path: path.to_owned(),
            reason: reason.into(),
            is_failure: true,
        }
    }

    /// What no store is for.
    pub(crate) fn passed_over(path: &Path, reason: impl Into<String>) -> Skipped {
        Skipped {
            is_failure: false,
            ..Skipped::failed(path, reason)
        }
    }

    /// One line, whatever is in the name.
    pub(crate) fn line(&self) -> String {
        let path = self.path.to_string_lossy();
        format!("skipped {}: {}", path.escape_debug(), self.reason)
    }
}

/// The files below a directory, sorted by name.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    /// Directories visited.
    pub(crate) folders: usize,
    /// Names of directories with nothing in them.
    pub(crate) empty: Vec<String>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Tree {
    /// Walks through everything below `root` but the store, and what is not for `folder`, for which it stands.
    ///
    /// # Errors
    /// Where `root` itself lies in the store.
    pub(crate) fn beside(store: StoreDirectory, root: &Path, folder: &str) -> Outcome<Tree> {
        store.keep_out(root)?;
        let reserved = reserved::is_root(folder).then(|| root.join(reserved::FOLDER));
        let mut tree = Tree::walk(root, |directory| {
            if reserved
                .as_ref()
                .is_some_and(|reserved| *reserved == directory.path())
            {
                return Some(reserved::WHAT);
            }
            let found = directory.metadata();
            let is_store = found.is_ok_and(|found| store.is(&found));
            is_store.then_some("the store itself")
        })?;
        if reserved.is_some()
            && let Some(at) = tree
                .files
                .iter()
                .position(|file| file.name == reserved::FOLDER)
        {
            let file = tree.files.remove(at);
            let skipped = Skipped::passed_over(&file.path, reserved::NAMED_SO);
            tree.skipped.push(skipped);
        }
        Ok(tree)
    }

    /// Walks through everything below `root`, but through no directory of which `passes_over` tells why not. Symbolic links are not
    /// followed, so that there is an end to it.
    pub(crate) fn walk(
        root: &Path,
        passes_over: impl Fn(&DirEntry) -> Option<&'static str>,
    ) -> Outcome<Tree> {
        let metadata = fs::metadata(root).doing(|| root.display().to_string())?;
        ensure(metadata.is_dir(), || {
            format!("{}: not a directory", root.display())
        })?;
        fs::read_dir(root).doing(|| root.display().to_string())?;
        let mut tree = Tree {
            files: Vec::new(),
            folders: 0,
            empty: Vec::new(),
            skipped: Vec::new(),
        };
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            super::interrupt::check()?;
            match tree.visit(root, &directory, &passes_over) {
                Ok(below) => {
                    tree.folders += 1;
                    waiting.extend(below);
                }
                Err(error) => {
                    let skipped = Skipped::failed(&directory, error.to_string());
                    tree.skipped.push(skipped);
                }
            }
        }
        tree.files.sort_by(|a, b| a.name.cmp(&b.name));
        tree.empty.sort();
        tree.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Takes the files of a directory. Answers the directories in it that are to be visited.
    fn visit(
        &mut self,
        root: &Path,
        directory: &Path,
        passes_over: impl Fn(&DirEntry) -> Option<&'static str>,
    ) -> io::Result<Vec<PathBuf>> {
        let mut below = Vec::new();
        let mut is_empty = true;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            is_empty = false;
            let path = entry.path();
            match is_directory(&entry, &passes_over) {
                Ok(true) => below.push(path),
                Ok(false) => self.take(root, path),
                Err(skipped) => self.skipped.push(skipped),
            }
        }
        if is_empty && directory != root {
            match name(root, directory) {
                Ok(name) => self.empty.push(name),
                Err(reason) => self.skipped.push(Skipped::failed(directory, reason)),
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
            Err(reason) => self.skipped.push(Skipped::failed(&path, reason)),
        }
    }
}

/// Whether it is a directory, or else a file; what is neither is skipped.
fn is_directory(
    entry: &DirEntry,
    passes_over: impl Fn(&DirEntry) -> Option<&'static str>,
) -> Result<bool, Skipped> {
    let path = entry.path();
    let kind = entry.file_type();
    let kind = kind.map_err(|error| Skipped::failed(&path, error.to_string()))?;
    if kind.is_symlink() {
        return Err(Skipped::passed_over(&path, "a symbolic link"));
    }
    if kind.is_dir() {
        return match passes_over(entry) {
            Some(reason) => Err(Skipped::passed_over(&path, reason)),
            None => Ok(true),
        };
    }
    if !kind.is_file() {
        return Err(Skipped::passed_over(&path, "not a file"));
    }
    match files::is_unfinished(&path) {
        true => Err(Skipped::passed_over(
            &path,
            "half a file, which a command left that was killed",
        )),
        false => Ok(false),
    }
}

/// The path of a file below `root`, or why it can have none.
pub(crate) fn name(root: &Path, path: &Path) -> Result<String, String> {
    let below = path.strip_prefix(root).map_err(|error| error.to_string())?;
    let segments: Option<Vec<&str>> = below.iter().map(|segment| segment.to_str()).collect();
    let segments = segments.ok_or("its name is not UTF-8")?;
    Ok(segments.join("/"))
}
