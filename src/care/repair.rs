//! Saving what can be saved of a damaged store.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::backend::local::{Restore, Salvage};
use crate::backend::{Row, Tree};
use crate::digest::ContentHasher;
use crate::error::{Error, Result};
use crate::format::{Body, EntryRecord, GrantRecord, Part};
use crate::metadata::Digest;
use crate::report::{Finding, Progress, Step};
use crate::store::Store;

/// Progress is told every so many rows.
const ROWS_A_STEP: u64 = 64;

/// What [`Store::repair`] saved, and what it could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Entries saved, each compared with its digest, and folders that were created: as [`Stats::entries`](crate::Stats::entries) counts.
    pub entries: u64,
    /// What was found damaged, and each entry that is lost, by its key. Empty where nothing was.
    pub lost: Vec<Finding>,
}

impl Store {
    /// Saves what can be saved of the store in `damaged`, which need not open, into `into`, which must be missing or empty
    /// and then opens as a store. `damaged` itself is not written to, and may lie on a disk that cannot be written.
    ///
    /// The trees and the journal are read from copies, in a directory of a new name beside `into` that goes in the end,
    /// as `into` does where the call fails. Where the disk gives no bytes back, the rest is still read. Commits that only
    /// the journal still holds are saved as well; chunks are found in the packs also where nothing points to them any
    /// more. An entry is saved only when all of its content is as its digest says; any other is listed. Where damage
    /// took a newer version of a row without a trace, the older one is what is saved; the list says then that rows are
    /// missing or older. Entries keep their revisions, locks and attributes; the history begins anew, and how
    /// much of it is kept is set again.
    ///
    /// Cost: all rows are held in memory, and everything is read twice.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where one of the directories is or holds the other; [`Error::InUse`];
    /// [`Error::Unsupported`] for another format; [`Error::Damaged`] where nothing tells that this was a store;
    /// [`Error::Cancelled`]; [`Error::NoSpace`]; [`Error::Io`], also where too few files may be open, or too little memory is
    /// free, to read the store.
    pub fn repair(
        damaged: impl AsRef<Path>,
        into: impl AsRef<Path>,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Repaired> {
        let (damaged, into) = (damaged.as_ref(), into.as_ref());
        let progress = &mut Progress::new(&mut progress);
        progress.step("rows", 0, None)?;
        let (damaged, into) = &apart(damaged, into)?;
        let salvage = Salvage::read(damaged, into)?;
        let mut copy = Restore::begin(into, salvage.revision())?;
        let mut repaired = Repaired {
            entries: 0,
            lost: salvage.findings().to_vec(),
        };
        for (done, (key, row)) in (1_u64..).zip(salvage.rows(Tree::Entries)) {
            match save_entry(&salvage, &mut copy, key, &row)? {
                None => repaired.entries += 1,
                Some(lost) => repaired.lost.push(lost),
            }
            if done % ROWS_A_STEP == 0 {
                progress.step("entries", done, None)?;
            }
        }
        for (key, row) in salvage.rows(Tree::Tokens) {
            match GrantRecord::decode(&row.value) {
                Ok(_) => copy.row(Tree::Tokens, key.clone(), &row)?,
                Err(error) => repaired.lost.push(lost("token", "a token", &error)),
            }
        }
        for (key, row) in salvage.rows(Tree::Meta) {
            copy.row(Tree::Meta, key.clone(), &row)?;
        }
        progress.step("entries", repaired.entries, Some(repaired.entries))?;
        copy.finish()?;
        Ok(repaired)
    }
}

/// Where both really lie, and that they do not hold each other.
fn apart(damaged: &Path, into: &Path) -> Result<(PathBuf, PathBuf)> {
    let failed = |path: &Path, error| Error::io(format!("opening {}", path.display()), error);
    let damaged = Restore::resolve(damaged).map_err(|error| failed(damaged, error))?;
    let into = Restore::resolve(into).map_err(|error| failed(into, error))?;
    let holds = |outer: &Path, inner: &Path| inner.ancestors().any(|path| is_same(path, outer));
    if holds(&damaged, &into) || holds(&into, &damaged) {
        return Err(Error::InvalidArgument {
            what: "into",
            reason: format!(
                "{} and the damaged store {} must lie apart, neither within the other",
                into.display(),
                damaged.display()
            ),
        });
    }
    Ok((damaged, into))
}

/// Whether two paths are one file, also where it is mounted twice.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path| {
        std::fs::metadata(path)
            .map(|file| (file.dev(), file.ino()))
            .ok()
    };
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn lost(what: &'static str, location: &str, error: &Error) -> Finding {
    Finding::new(what, location, format!("it is lost: {error}"))
}

/// Saves an entry whose content is sound; else answers what is lost.
fn save_entry(
    salvage: &Salvage,
    copy: &mut Restore,
    key: &Bytes,
    row: &Row,
) -> Result<Option<Finding>> {
    let name = String::from_utf8_lossy(key);
    let record = match EntryRecord::decode(&name, &row.value) {
        Ok(record) => record,
        Err(error) => return Ok(Some(lost("entry", &name, &error))),
    };
    match digest_of(salvage, &record.body) {
        Ok(digest) if digest == record.digest => {}
        Ok(_) => {
            let error = Error::damaged("content", name.to_string());
            return Ok(Some(lost("entry", &name, &error)));
        }
        Err(error @ Error::Damaged { .. }) => return Ok(Some(lost("entry", &name, &error))),
        Err(error) => return Err(error),
    }
    if let Body::Parts(parts) = &record.body {
        match copy_parts(salvage, copy, parts) {
            // A disk on its way out may give a byte once, and not once more.
            Err(error @ Error::Damaged { .. }) => return Ok(Some(lost("entry", &name, &error))),
            copied => copied?,
        }
    }
    copy.row(Tree::Entries, key.clone(), row)?;
    Ok(None)
}

/// Copies the blobs of an entry, all of them or none.
fn copy_parts(salvage: &Salvage, copy: &mut Restore, parts: &[Part]) -> Result<()> {
    for (done, part) in parts.iter().enumerate() {
        let copied = copy.share(part.blob).and_then(|is_here| {
            if is_here {
                return Ok(());
            }
            let chunk_bytes = usize::try_from(part.chunk_bytes).unwrap_or(usize::MAX);
            copy.chunks(part.blob, chunk_bytes, chunks(salvage, part))
        });
        if let Err(error) = copied {
            copy.release(parts[..done].iter().map(|part| part.blob));
            return Err(error);
        }
    }
    Ok(())
}

fn digest_of(salvage: &Salvage, body: &Body) -> Result<Digest> {
    let parts = match body {
        Body::Inline(bytes) => return Ok(Digest::of(bytes)),
        Body::Parts(parts) => parts,
    };
    let mut hasher = ContentHasher::new();
    for part in parts {
        for chunk in chunks(salvage, part) {
            hasher.update(&chunk?);
        }
    }
    Ok(hasher.finalize())
}

fn chunks<'a>(salvage: &'a Salvage, part: &Part) -> impl Iterator<Item = Result<Bytes>> + 'a {
    let blob = part.blob;
    let count = part.size.div_ceil(u64::from(part.chunk_bytes));
    (0..count).map(move |index| salvage.chunk(blob, index))
}

#[cfg(test)]
mod tests;
