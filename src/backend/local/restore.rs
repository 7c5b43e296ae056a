//! Writing a whole store into an empty directory: rows with the revisions they have, and blobs. For backups.
//!
//! The superblock is written last: a directory that was not finished does not open as a store. What is not finished is
//! removed again, unless the process ends before.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::chunks::rows_of_chunks;
use super::durable::{PRIVATE, create_directories, remove_empty};
use super::layout::{FAILED, JOURNAL, NEW_SUPERBLOCK, PACKS, SUPERBLOCK, TREES};
use super::pack::{PackOptions, Packs};
use super::place::Place;
use super::row::{self, Totals};
use super::trees::Trees;
use super::trees::sled::SledTrees;
use super::{Options, keys, open, paths, revisions};
use crate::backend::{BlobId, Row, Tree};
use crate::error::{Error, Result};

/// Rows go to the trees in batches of about this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// A store being written. See the [module](self).
pub(crate) struct Restore {
    store_id: [u8; 16],
    revision: u64,
    options: Options,
    trees: SledTrees,
    packs: Packs,
    totals: Totals,
    /// Of the blobs that were begun; those left without any go when the copy is opened.
    owners: HashMap<BlobId, u32>,
    /// Of which not all chunks could be had.
    broken: HashSet<BlobId>,
    batch: Vec<(Tree, Bytes, Option<Bytes>)>,
    batch_bytes: usize,
    // Last: what lies in it is dropped before it goes.
    target: Target,
}

/// A copy within a store would go with it.
fn refuse_within_a_store(directory: &Path) -> Result<()> {
    let within = |above: &&Path| above.join(SUPERBLOCK).exists() && above.join(TREES).exists();
    match directory.ancestors().skip(1).find(within) {
        None => Ok(()),
        Some(store) => Err(Error::InvalidArgument {
            what: "directory",
            reason: format!(
                "{} lies within the store {}",
                directory.display(),
                store.display()
            ),
        }),
    }
}

impl Restore {
    /// Where a path leads, also one whose end is not there yet.
    pub(crate) fn resolve(path: &Path) -> std::io::Result<PathBuf> {
        paths::resolve(path)
    }

    /// Begins in `directory`, which must be missing or empty. The store will go on behind `revision`, by a leap: see
    /// [`revisions`].
    ///
    /// # Errors
    /// `Io` of the kind `DirectoryNotEmpty` where there is something; the operating system.
    pub(crate) fn begin(directory: &Path, revision: u64) -> Result<Restore> {
        let directory = &paths::absolute(directory)?;
        let place = Restore::resolve(directory)
            .map_err(|error| Error::io(format!("looking for {}", directory.display()), error))?;
        refuse_within_a_store(&place)?;
        let target = Target::make(directory)?;
        let store_id = open::new_store_id()?;
        let options = Options::default();
        Ok(Restore {
            store_id,
            revision: revisions::of_copy(revision)?,
            trees: SledTrees::open(&directory.join(TREES), options.cache_bytes)?,
            packs: Packs::open(directory, store_id, PackOptions::default())?,
            options,
            totals: Totals::default(),
            owners: HashMap::new(),
            broken: HashSet::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            target,
        })
    }

    /// Adds a row with the revision it has.
    pub(crate) fn row(&mut self, tree: Tree, key: Bytes, row: &Row) -> Result<()> {
        self.totals.add(tree, &key, row);
        self.push(tree, key, row)
    }

    /// Whether the blob is here already; then it gains one owner, and [`Restore::chunks`] must not be called for it.
    ///
    /// # Errors
    /// `Damaged` for a blob of which not all chunks could be had.
    pub(crate) fn share(&mut self, blob: BlobId) -> Result<bool> {
        if self.broken.contains(&blob) {
            return Err(Error::damaged("blob", blob.to_string()));
        }
        // Also one whose owners were all released: its rows are written.
        let is_here = self.owners.contains_key(&blob);
        *self.owners.entry(blob).or_insert(0) += 1;
        Ok(is_here)
    }

    /// Takes back that the blobs were shared: their owner cannot be copied.
    pub(crate) fn release(&mut self, blobs: impl Iterator<Item = BlobId>) {
        for blob in blobs {
            if let Some(owners) = self.owners.get_mut(&blob) {
                *owners -= 1;
            }
        }
    }

    /// Adds the chunks of a blob, all of them, in order. Each but the last has `chunk_bytes`.
    ///
    /// # Errors
    /// Those of the iterator, after which the blob is without an owner; `NoSpace`, `Io`.
    pub(crate) fn chunks(
        &mut self,
        blob: BlobId,
        chunk_bytes: usize,
        chunks: impl Iterator<Item = Result<Bytes>>,
    ) -> Result<()> {
        let mut first = 0;
        let mut bytes = BytesMut::new();
        for chunk in chunks {
            let chunk = chunk.inspect_err(|_| {
                self.owners.insert(blob, 0);
                self.broken.insert(blob);
            })?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() >= BATCH_BYTES {
                first += self.put(blob, first, &bytes.split(), chunk_bytes)?;
            }
        }
        self.put(blob, first, &bytes, chunk_bytes)?;
        Ok(())
    }

    fn put(&mut self, blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<u64> {
        let (rows, _) = rows_of_chunks(&self.packs, blob, first, bytes, chunk_bytes)?;
        self.packs.sync_sealed()?;
        let count = rows.len() as u64;
        for write in rows {
            if let Some(value) = write.value {
                let row = Row {
                    revision: self.revision,
                    value,
                };
                self.row(write.tree, write.key, &row)?;
            }
        }
        self.totals.chunk_bytes += bytes.len() as u64;
        Ok(count)
    }

    /// Makes all of it durable, and the directory a store.
    pub(crate) fn finish(mut self) -> Result<()> {
        let revision = self.revision;
        for (blob, owners) in std::mem::take(&mut self.owners) {
            let (key, value) = match owners {
                0 => (keys::doomed(blob), Bytes::new()),
                1 => continue,
                _ => {
                    let owners = Bytes::copy_from_slice(&owners.to_be_bytes());
                    (keys::owners(blob), owners)
                }
            };
            self.row(Tree::Pending, key, &Row { revision, value })?;
        }
        for (number, live) in self.packs.live() {
            let value = Bytes::copy_from_slice(&live.to_be_bytes());
            self.push(Tree::Pending, keys::pack(number), &Row { revision, value })?;
        }
        let value = keys::encode_checkpoint(revision, &self.totals);
        let checkpoint = Bytes::from_static(keys::CHECKPOINT);
        self.push(Tree::Pending, checkpoint, &Row { revision, value })?;
        self.write_batch()?;
        self.trees.flush()?;
        self.trees.close()?;
        self.packs.sync(&self.packs.unsynced())?;
        open::begin(
            &self.target.directory,
            &self.options,
            self.store_id,
            (revision, self.totals),
            &open::open_trees,
        )?;
        self.target.is_finished = true;
        Ok(())
    }

    fn push(&mut self, tree: Tree, key: Bytes, row: &Row) -> Result<()> {
        let sealed = row::seal(tree, &key, row);
        self.batch_bytes += key.len() + sealed.len();
        self.batch.push((tree, key, Some(sealed)));
        if self.batch_bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<()> {
        self.batch_bytes = 0;
        self.trees
            .apply(&mut std::mem::take(&mut self.batch).into_iter())
    }
}

/// The directory written to; what was made of it and in it goes when it is dropped unfinished.
struct Target {
    directory: PathBuf,
    /// Where another is in its place, nothing there is of this copy.
    place: Place,
    made: Vec<PathBuf>,
    is_finished: bool,
}

impl Target {
    /// Makes the directory where it is missing; fails where something is in it.
    fn make(directory: &Path) -> Result<Target> {
        let made = create_directories(directory, PRIVATE)?;
        let failed = |error| Error::io(format!("writing into {}", directory.display()), error);
        let mut entries = fs::read_dir(directory).map_err(failed)?;
        if entries.next().is_some() {
            return Err(failed(ErrorKind::DirectoryNotEmpty.into()));
        }
        drop(entries);
        // Of several that find it empty, one goes on; the others have nothing there to remove.
        fs::create_dir(directory.join(TREES)).map_err(|error| {
            remove_empty(&made);
            failed(match error.kind() {
                ErrorKind::AlreadyExists => ErrorKind::DirectoryNotEmpty.into(),
                _ => error,
            })
        })?;
        Ok(Target {
            directory: directory.to_owned(),
            place: Place::of(directory.to_owned()),
            made,
            is_finished: false,
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        if let Err(error) = self.place.check() {
            tracing::warn!(%error, "an unfinished copy stays where it was moved to");
            return;
        }
        // The superblock first: what is left of a removal cut short must not open.
        for name in [SUPERBLOCK, NEW_SUPERBLOCK, FAILED] {
            note_left(fs::remove_file(self.directory.join(name)));
        }
        // The trees last: while they are there, nobody else begins here.
        for name in [JOURNAL, PACKS, TREES] {
            note_left(fs::remove_dir_all(self.directory.join(name)));
        }
        remove_empty(&self.made);
    }
}

fn note_left(removed: std::io::Result<()>) {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "part of an unfinished copy stays");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK_BYTES: usize = 64 * 1024;

    /// A copy of one blob in several packs.
    fn with_packs(directory: &Path) -> Restore {
        let mut restore = Restore::begin(directory, 1).unwrap();
        let blob = BlobId([1; 16]);
        assert!(!restore.share(blob).unwrap());
        let chunks = (0..160).map(|_| Ok(Bytes::from_static(&[1; CHUNK_BYTES])));
        restore.chunks(blob, CHUNK_BYTES, chunks).unwrap();
        restore
    }

    #[test]
    fn an_unfinished_copy_that_was_moved_removes_nothing_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let [copy, elsewhere] = ["copy", "elsewhere"].map(|name| directory.path().join(name));
        let unfinished = with_packs(&copy);
        fs::rename(&copy, &elsewhere).unwrap();
        with_packs(&copy).finish().unwrap();
        drop(unfinished);
        for left in [SUPERBLOCK, JOURNAL, PACKS, TREES] {
            assert!(copy.join(left).exists(), "{left}");
        }
    }

    #[test]
    fn a_copy_is_none_where_one_of_its_packs_cannot_be_made_durable() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        let packs = with_packs(&copy).packs.unsynced();
        assert!(packs.len() > 2);
        for pack in packs {
            let restore = with_packs(&copy);
            restore.packs.fail_next_sync_for_test(pack);
            let finished = restore.finish();
            assert!(matches!(finished, Err(Error::Io { .. })), "{pack}");
            assert!(!copy.exists());
        }
        with_packs(&copy).finish().unwrap();
        assert!(copy.join("superblock").exists());
    }
}
