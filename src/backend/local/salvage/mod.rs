//! Reading what can be read of a store that is damaged, whatever does not open of it.
//!
//! The trees are copied and the copy is opened (`trees`); the rows of the journal, where it can be read, stand over those
//! of the trees (`journal`); chunks are read where their rows say, else where the packs themselves say. The store itself
//! is not written to. What the disk does not give back is as damaged as what it gives back wrong, and what lies behind
//! it is still read (`scratch`). Where it is files or memory that the system lacks, the call fails: nothing is lost by that.

mod journal;
mod scratch;
mod trees;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;

use super::health::{is_out_of_resources, readable};
use super::journal::Segment;
use super::keys::{self, ChunkRow};
use super::layout::{JOURNAL, PACKS, SUPERBLOCK, TREES, TREES_ASIDE};
use super::lock_file::LockFile;
use super::pack::{self, ChunkLocation, PackOptions, Packs};
use super::row::Totals;
use super::superblock::Superblock;
use crate::backend::{BlobId, Row, Tree};
use crate::error::{Error, Result};
use crate::report::Finding;
use scratch::Scratch;

/// Packs kept open for reading: one blob after the other is read, and the new store has files open as well.
const OPEN_PACKS: usize = 2;

/// Rows as some commit left them; no value where it deleted them.
type Rows = BTreeMap<(Tree, Bytes), (u64, Option<Bytes>)>;

/// What could be read. See the [module](self).
pub(crate) struct Salvage {
    rows: Rows,
    packs: Packs,
    frames: OnceCell<HashMap<(BlobId, u64), Vec<ChunkLocation>>>,
    revision: u64,
    findings: Vec<Finding>,
    _scratch: Scratch,
    _lock: Option<LockFile>,
    #[cfg(test)]
    refusal: std::cell::Cell<u64>,
}

impl Salvage {
    /// Reads the store in `directory`, with copies of its trees and of parts of its journal beside `beside`.
    pub(crate) fn read(directory: &Path, beside: &Path) -> Result<Salvage> {
        if !directory.is_dir() {
            return Err(Error::io(
                format!("opening {}", directory.display()),
                ErrorKind::NotFound.into(),
            ));
        }
        let lock = LockFile::acquire_to_read(directory)?;
        let scratch = Scratch::beside(beside)?;
        let mut findings = Vec::new();
        let Identity {
            store_id,
            checkpoint,
            reserved,
            has_layers,
        } = identify(directory, &scratch, &mut findings)?;
        let mut rows = Rows::new();
        let base = trees::read(directory, &scratch, has_layers, &mut rows, &mut findings)?;
        let journal::End { last, before } = journal::read(
            directory,
            &scratch,
            &store_id,
            base,
            &mut rows,
            &mut findings,
        )?;
        let newest_row = rows.values().map(|(revision, _)| *revision).max();
        let end = match last {
            Some((last, _)) => last,
            // Nothing was ever committed behind rows that are all there.
            None if before == base => base,
            None => 0,
        };
        // The last commit may have no rows.
        let revision = newest_row.unwrap_or(0).max(checkpoint).max(base).max(end);
        if end < revision {
            let problem = format!("it ends at revision {end}, and there was revision {revision}");
            findings.push(Finding::new("journal", JOURNAL, problem));
        }
        if let Some((last, totals)) = last
            && last == revision
            && digest_of(&rows) != totals.digest
        {
            findings.push(Finding::new(
                "trees",
                "all rows together",
                "rows are missing or older than what was acknowledged",
            ));
        }
        Ok(Salvage {
            rows,
            packs: open_packs(directory, &scratch, store_id, &mut findings)?,
            frames: OnceCell::new(),
            revision: revision.max(reserved),
            findings,
            _scratch: scratch,
            _lock: lock,
            #[cfg(test)]
            refusal: std::cell::Cell::default(),
        })
    }

    /// The highest revision that was met, or may have been given to a commit that is gone.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What is wrong with the files as such.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The rows of a tree, in order.
    pub(crate) fn rows(&self, tree: Tree) -> impl Iterator<Item = (&Bytes, Row)> {
        self.rows
            .range((tree, Bytes::new())..)
            .take_while(move |((other, _), _)| *other == tree)
            .filter_map(|((_, key), (revision, value))| {
                let row = Row {
                    revision: *revision,
                    value: value.clone()?,
                };
                Some((key, row))
            })
    }

    /// The chunk asked for in so many calls is not to be had, once; 0 takes that back.
    #[cfg(test)]
    pub(crate) fn refuse_chunk(&self, call: u64) {
        self.refusal.set(call);
    }

    /// No pack can be opened the next so many times.
    #[cfg(test)]
    pub(crate) fn refuse_files(&self, times: u64) {
        self.packs.refuse_files_for_test(times);
    }

    /// A chunk: where its row says, else where a pack has it.
    pub(crate) fn chunk(&self, blob: BlobId, index: u64) -> Result<Bytes> {
        let damaged = || Error::damaged("chunk", format!("chunk {index} of blob {blob}"));
        #[cfg(test)]
        if self.refusal.replace(self.refusal.get().saturating_sub(1)) == 1 {
            return Err(damaged());
        }
        let name = (Tree::Chunks, keys::chunk(blob, index));
        let row = self.rows.get(&name).and_then(|(_, value)| value.as_ref());
        let noted = match row.and_then(ChunkRow::decode) {
            Some(ChunkRow::Here(bytes)) => return Ok(bytes),
            Some(ChunkRow::Packed(location)) => Some(location),
            None => None,
        };
        let found = self.frames()?.get(&(blob, index)).into_iter().flatten();
        for location in noted.iter().chain(found) {
            match self.packs.read(blob, index, location) {
                Ok(Some(bytes)) => return Ok(bytes),
                Err(error) if is_out_of_resources(&error) => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Err(damaged())
    }

    fn frames(&self) -> Result<&HashMap<(BlobId, u64), Vec<ChunkLocation>>> {
        if let Some(frames) = self.frames.get() {
            return Ok(frames);
        }
        let frames = find_frames(&self.packs)?;
        Ok(self.frames.get_or_init(|| frames))
    }
}

fn digest_of(rows: &Rows) -> u128 {
    let mut totals = Totals::default();
    for ((tree, key), (revision, value)) in rows {
        if let Some(value) = value {
            let row = Row {
                revision: *revision,
                value: value.clone(),
            };
            totals.add(*tree, key, &row);
        }
    }
    totals.digest
}

/// What the superblock tells. Where it is not to be had, only whose store it is, of the journal or the packs.
struct Identity {
    store_id: [u8; 16],
    checkpoint: u64,
    reserved: u64,
    /// Whether it is known that long keys lie in layers of the trees.
    has_layers: bool,
}

/// Whose the newest segment is of which the header is whole.
fn id_of_segments(directory: &Path, findings: &mut Vec<Finding>) -> Result<Option<[u8; 16]>> {
    for first in journal::segments_in(directory, findings)?.into_keys().rev() {
        let id = Segment::store_id(&directory.join(JOURNAL), first);
        if let Some(Some(id)) = readable("reading the header of a segment", id)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whose store it is: from the superblock, else from the journal or the packs.
fn identify(directory: &Path, scratch: &Scratch, findings: &mut Vec<Finding>) -> Result<Identity> {
    scratch.copy_file(directory, Path::new(SUPERBLOCK), findings)?;
    match Superblock::load_of_store(scratch.path()) {
        Ok(Some(superblock)) => {
            let content = superblock.content();
            return Ok(Identity {
                store_id: superblock.store_id(),
                checkpoint: content.checkpoint,
                reserved: content.reserved,
                has_layers: superblock.has_layers(),
            });
        }
        Ok(None) => findings.push(Finding::new("superblock", SUPERBLOCK, "it is missing")),
        Err(Error::Damaged { what, .. }) => {
            findings.push(Finding::new(
                what,
                SUPERBLOCK,
                "it is not as it was written",
            ));
        }
        Err(Error::Unsupported { found }) => {
            // It names the copy, which is about to go.
            let [copy, store] = [scratch.path(), directory].map(|path| path.display().to_string());
            let found = found.replace(&copy, &store);
            return Err(Error::Unsupported { found });
        }
        Err(error) => return Err(error),
    }
    let id = match id_of_segments(directory, findings)? {
        None => pack::store_id_in(directory)?,
        id => id,
    };
    // Nothing of the trees depends on it, and nothing else is left.
    let has_trees = || {
        let mut names = [TREES, TREES_ASIDE].into_iter();
        names.any(|name| directory.join(name).join("db").is_file())
    };
    let id = id
        .or_else(|| has_trees().then_some([0; 16]))
        .ok_or_else(|| {
            Error::damaged(
                "superblock",
                format!(
                    "{}: nothing tells that this was a store",
                    directory.display()
                ),
            )
        })?;
    Ok(Identity {
        store_id: id,
        checkpoint: 0,
        reserved: 0,
        has_layers: false,
    })
}

/// The packs of the store; where they cannot be listed, none.
fn open_packs(
    directory: &Path,
    scratch: &Scratch,
    store_id: [u8; 16],
    findings: &mut Vec<Finding>,
) -> Result<Packs> {
    let options = PackOptions {
        without_headers: true,
        open_files: OPEN_PACKS,
        ..PackOptions::default()
    };
    let open = |directory| Packs::open(directory, store_id, options);
    match std::fs::read_dir(directory.join(PACKS)) {
        // Opening would make them.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            findings.push(Finding::new("packs", PACKS, "they are missing"));
        }
        Err(error) => note_unreadable(findings, "packs", PACKS.to_owned(), error)?,
        Ok(_) => match open(directory) {
            Err(Error::Io { source, .. }) => {
                note_unreadable(findings, "packs", PACKS.to_owned(), source)?;
            }
            Err(error) => return Err(error),
            Ok(packs) => {
                for (location, error) in packs.damaged_headers() {
                    if is_out_of_resources(&error) {
                        return Err(error);
                    }
                    findings.push(Finding::new("packs", location, error.to_string()));
                }
                return Ok(packs);
            }
        },
    }
    open(scratch.path())
}

/// Tells of what the operating system does not give back.
///
/// # Errors
/// Where that says nothing of the store.
fn note_unreadable(
    findings: &mut Vec<Finding>,
    what: &'static str,
    location: String,
    error: std::io::Error,
) -> Result<()> {
    let problem = unreadable(&error);
    let error = Error::io(format!("reading {location}"), error);
    if is_out_of_resources(&error) {
        return Err(error);
    }
    findings.push(Finding::new(what, location, problem));
    Ok(())
}

/// What is wrong with what the operating system does not give back.
fn unreadable(error: &dyn std::fmt::Display) -> String {
    format!("it could not be read: {error}")
}

/// Every frame of every pack that can be read, newest packs first.
fn find_frames(packs: &Packs) -> Result<HashMap<(BlobId, u64), Vec<ChunkLocation>>> {
    let mut frames: HashMap<_, Vec<ChunkLocation>> = HashMap::new();
    for (number, _) in packs.live().into_iter().rev() {
        let walk = match packs.walk(number) {
            Ok(walk) => walk,
            Err(error) if is_out_of_resources(&error) => return Err(error),
            Err(_) => continue,
        };
        for frame in walk {
            match frame {
                Ok((blob, index, location)) => {
                    frames.entry((blob, index)).or_default().push(location);
                }
                Err(error) if is_out_of_resources(&error) => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok(frames)
}
