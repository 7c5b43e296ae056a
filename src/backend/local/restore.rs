//! Writing a whole store into an empty directory: rows with the revisions they have, and blobs. For backups.
//!
//! The superblock is written last: a directory that was not finished does not open as a store. What is not finished is
//! removed again, unless the process ends before.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use super::chunks::rows_of_chunks;
use super::durable::{create_directories, remove_empty};
use super::pack::{PackOptions, Packs};
use super::row::{self, Totals};
use super::trees::Trees;
use super::trees::sled::SledTrees;
use super::{Options, keys, open};
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
    owners: HashMap<BlobId, u32>,
    batch: Vec<(Tree, Bytes, Option<Bytes>)>,
    batch_bytes: usize,
    // Last: what lies in it is dropped before it goes.
    target: Target,
}

impl Restore {
    /// Begins in `directory`, which must be missing or empty. The store will be at `revision`.
    ///
    /// # Errors
    /// `Io` of the kind `DirectoryNotEmpty` where there is something; the operating system.
    pub(crate) fn begin(directory: &Path, revision: u64) -> Result<Restore> {
        let target = Target::make(directory)?;
        let store_id = open::new_store_id()?;
        let options = Options::default();
        Ok(Restore {
            store_id,
            revision,
            trees: SledTrees::open(&directory.join(open::TREES), options.cache_bytes)?,
            packs: Packs::open(directory, store_id, PackOptions::default())?,
            options,
            totals: Totals::default(),
            owners: HashMap::new(),
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
    pub(crate) fn share(&mut self, blob: BlobId) -> bool {
        let owners = self.owners.entry(blob).or_insert(0);
        *owners += 1;
        *owners > 1
    }

    /// Adds the chunks of a blob, all of them, in order. Each but the last has `chunk_bytes`.
    pub(crate) fn chunks(
        &mut self,
        blob: BlobId,
        chunk_bytes: usize,
        chunks: impl Iterator<Item = Result<Bytes>>,
    ) -> Result<()> {
        let mut first = 0;
        let mut bytes = BytesMut::new();
        for chunk in chunks {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() >= BATCH_BYTES {
                first += self.put(blob, first, &bytes.split(), chunk_bytes)?;
            }
        }
        self.put(blob, first, &bytes, chunk_bytes)?;
        Ok(())
    }

    fn put(&mut self, blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<u64> {
        let (rows, _) = rows_of_chunks(&self.packs, blob, first, bytes, chunk_bytes)?;
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
        let shared: Vec<(BlobId, u32)> = self
            .owners
            .iter()
            .filter(|(_, owners)| **owners > 1)
            .map(|(blob, owners)| (*blob, *owners))
            .collect();
        for (blob, owners) in shared {
            let value = Bytes::copy_from_slice(&owners.to_be_bytes());
            self.row(Tree::Pending, keys::owners(blob), &Row { revision, value })?;
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
    made: Vec<PathBuf>,
    is_finished: bool,
}

impl Target {
    /// Makes the directory where it is missing; fails where something is in it.
    fn make(directory: &Path) -> Result<Target> {
        let made = create_directories(directory)?;
        let failed = |error| Error::io(format!("writing into {}", directory.display()), error);
        let mut entries = std::fs::read_dir(directory).map_err(failed)?;
        if entries.next().is_some() {
            return Err(failed(ErrorKind::DirectoryNotEmpty.into()));
        }
        Ok(Target {
            directory: directory.to_owned(),
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
        // The superblock first: what is left of a removal cut short must not open.
        for name in ["superblock", "superblock.new"] {
            note_left(std::fs::remove_file(self.directory.join(name)));
        }
        for name in [open::JOURNAL, open::TREES, "packs"] {
            note_left(std::fs::remove_dir_all(self.directory.join(name)));
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
