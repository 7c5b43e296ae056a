//! Saving what can be saved of a damaged store.

use std::ops::ControlFlow;
use std::path::Path;

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
    /// Entries saved, each compared with its digest.
    pub entries: u64,
    /// What was found damaged, and each entry that is lost, by its key. Empty where nothing was.
    pub lost: Vec<Finding>,
}

impl Store {
    /// Saves what can be saved of the store in `damaged`, which need not open, into `into`, which must be missing or empty
    /// and then opens as a store. `damaged` itself is not changed.
    ///
    /// The trees are read from a copy, beside `into`; commits that only the journal still holds are saved as well; chunks
    /// are found in the packs also where nothing points to them any more. An entry is saved only when all of its content
    /// is as its digest says; any other is listed. Where damage took a newer version of a row without a trace, the
    /// older one is what is saved; the list says then that rows are missing or older. Entries keep their revisions,
    /// locks and attributes; the history begins anew.
    ///
    /// Cost: all rows are held in memory, and everything is read twice.
    ///
    /// # Errors
    /// [`Error::InUse`]; [`Error::Unsupported`] for a later format; [`Error::Damaged`] where nothing tells whose store
    /// this was; [`Error::Cancelled`]; [`Error::NoSpace`], [`Error::Io`].
    pub fn repair(
        damaged: impl AsRef<Path>,
        into: impl AsRef<Path>,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Repaired> {
        let (damaged, into) = (damaged.as_ref(), into.as_ref());
        let progress = &mut Progress::new(&mut progress);
        progress.step("rows", 0, None)?;
        let scratch = Scratch::beside(into)?;
        let salvage = Salvage::read(damaged, &scratch.0)?;
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

/// A directory that goes when it is dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn beside(into: &Path) -> Result<Scratch> {
        let mut name = into.file_name().unwrap_or_default().to_owned();
        name.push(".repair");
        let path = into.with_file_name(name);
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::io(format!("creating {}", path.display()), error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a directory of a repair stays: {}", self.0.display());
        }
    }
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
        Err(error) => return Ok(Some(lost("entry", &name, &error))),
    }
    if let Body::Parts(parts) = &record.body {
        for part in parts {
            if copy.share(part.blob) {
                continue;
            }
            let chunk_bytes = usize::try_from(part.chunk_bytes).unwrap_or(usize::MAX);
            copy.chunks(part.blob, chunk_bytes, chunks(salvage, part))?;
        }
    }
    copy.row(Tree::Entries, key.clone(), row)?;
    Ok(None)
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
