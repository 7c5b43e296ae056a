//! A commit being put together under the writer lock: its rows, what they replace, and who owns which blob.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::{Buf, Bytes};

use super::Core;
use super::chunks::Staging;
use super::journal::RowWrite;
use super::keys::{self, ChunkRow};
use super::row::Totals;
use crate::backend::{BlobId, Requirement, Row, Tree, View};
use crate::error::{Error, Result};

/// See the [module](self).
pub(super) struct Stage<'a> {
    core: &'a Core,
    /// Rows as the commit leaves them, in the order of trees and keys.
    writes: BTreeMap<(Tree, Bytes), Option<Bytes>>,
    /// What was looked at, of the rows as they are.
    present: HashMap<(Tree, Bytes), Option<Present>>,
    /// Uploads the commit adopts.
    pub(super) adopted: BTreeSet<BlobId>,
    /// Blobs that lose their last owner.
    pub(super) doomed: Vec<BlobId>,
    /// Packs with chunks of those uploads.
    pub(super) packs: BTreeSet<u64>,
}

/// What a commit must know of a row that it may replace. Not its value: a commit may be of all entries of a large folder.
#[derive(Clone)]
struct Present {
    revision: u64,
    /// Its part of the totals.
    counted: Totals,
    /// How many own the blob, where the row says so.
    owners: Option<Bytes>,
}

impl Present {
    fn of(tree: Tree, key: &[u8], row: Row) -> Present {
        let mut counted = Totals::of(tree, key, &row);
        counted.chunk_bytes = chunk_length(tree, &row.value);
        Present {
            revision: row.revision,
            counted,
            owners: (tree == Tree::Pending).then_some(row.value),
        }
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(core: &'a Core) -> Stage<'a> {
        Stage {
            core,
            writes: BTreeMap::new(),
            present: HashMap::new(),
            adopted: BTreeSet::new(),
            doomed: Vec::new(),
            packs: BTreeSet::new(),
        }
    }

    /// Whether the requirement holds.
    pub(super) fn holds(&mut self, required: &Requirement) -> Result<bool> {
        let present = self.present(required.tree, &required.key)?;
        Ok(present.map(|present| present.revision) == required.revision)
    }

    /// Puts or deletes a row.
    pub(super) fn write(&mut self, tree: Tree, key: Bytes, value: Option<Bytes>) {
        self.writes.insert((tree, key), value);
    }

    /// Gives a blob one more owner.
    pub(super) fn adopt(&mut self, blob: BlobId) -> Result<()> {
        match self.core.uploads.staging(blob) {
            Some(staging) if !self.adopted.contains(&blob) => {
                self.adopt_upload(blob, staging);
                Ok(())
            }
            _ => {
                let owners = self.owners(blob)?.checked_add(1);
                // So many no store has: the row is not what was written.
                let owners =
                    owners.ok_or_else(|| Error::damaged("owners of a blob", blob.to_string()))?;
                self.set_owners(blob, owners);
                Ok(())
            }
        }
    }

    fn adopt_upload(&mut self, blob: BlobId, staging: Staging) {
        for row in staging.rows {
            self.write(row.tree, row.key, row.value);
        }
        if staging.has_rows_in_trees {
            self.write(Tree::Pending, keys::upload(blob), None);
        }
        self.packs.extend(staging.packs);
        self.adopted.insert(blob);
    }

    /// Takes one owner from a blob.
    pub(super) fn release(&mut self, blob: BlobId) -> Result<()> {
        match self.owners(blob)? {
            1 => {
                self.write(Tree::Pending, keys::doomed(blob), Some(Bytes::new()));
                self.doomed.push(blob);
            }
            owners => self.set_owners(blob, owners - 1),
        }
        Ok(())
    }

    /// How many own the blob: the number noted, else one.
    fn owners(&mut self, blob: BlobId) -> Result<u32> {
        let unknown = || Error::InvalidArgument {
            what: "blob",
            reason: format!("{blob:?} has no owner"),
        };
        if self.exists(Tree::Pending, keys::doomed(blob))?
            || !self.exists(Tree::Chunks, keys::chunk(blob, 0))?
            || self.exists(Tree::Pending, keys::upload(blob))?
        {
            return Err(unknown());
        }
        match self.noted_owners(keys::owners(blob))? {
            None => Ok(1),
            Some(mut value) => match value.try_get_u32() {
                Ok(owners) if owners > 1 => Ok(owners),
                _ => Err(Error::damaged("owners of a blob", blob.to_string())),
            },
        }
    }

    fn set_owners(&mut self, blob: BlobId, owners: u32) {
        let value = (owners > 1).then(|| Bytes::copy_from_slice(&owners.to_be_bytes()));
        self.write(Tree::Pending, keys::owners(blob), value);
    }

    /// Whether there is such a row, as the commit leaves it so far.
    fn exists(&mut self, tree: Tree, key: Bytes) -> Result<bool> {
        let name = (tree, key);
        match self.writes.get(&name) {
            Some(value) => Ok(value.is_some()),
            None => Ok(self.present(tree, &name.1)?.is_some()),
        }
    }

    /// The number of owners that a row holds, as the commit leaves it so far.
    fn noted_owners(&mut self, key: Bytes) -> Result<Option<Bytes>> {
        let name = (Tree::Pending, key);
        match self.writes.get(&name) {
            Some(value) => Ok(value.clone()),
            None => Ok(self
                .present(name.0, &name.1)?
                .and_then(|present| present.owners)),
        }
    }

    fn present(&mut self, tree: Tree, key: &Bytes) -> Result<Option<Present>> {
        let name = (tree, key.clone());
        if let Some(present) = self.present.get(&name) {
            return Ok(present.clone());
        }
        let present = self.look(tree, key)?;
        self.present.insert(name, present.clone());
        Ok(present)
    }

    fn look(&self, tree: Tree, key: &Bytes) -> Result<Option<Present>> {
        let row = self.core.get(View::Latest, tree, key)?;
        Ok(row.map(|row| Present::of(tree, key, row)))
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The rows of the commit, and the totals after it.
    pub(super) fn finish(mut self, revision: u64, before: Totals) -> Result<Staged> {
        let mut totals = before;
        let mut rows = Vec::with_capacity(self.writes.len());
        for ((tree, key), value) in std::mem::take(&mut self.writes) {
            let old = match self.present.remove(&(tree, key.clone())) {
                Some(present) => present,
                None => self.look(tree, &key)?,
            };
            if old.is_none() && value.is_none() {
                continue;
            }
            if let Some(old) = old {
                totals.subtract(&old.counted);
            }
            if let Some(value) = &value {
                let row = Row {
                    revision,
                    value: value.clone(),
                };
                totals.add(tree, &key, &row);
                totals.chunk_bytes = totals.chunk_bytes.saturating_add(chunk_length(tree, value));
            }
            rows.push(RowWrite { tree, key, value });
        }
        Ok(Staged {
            rows,
            totals,
            adopted: self.adopted,
            doomed: self.doomed,
            packs: self.packs,
        })
    }
}

fn chunk_length(tree: Tree, value: &Bytes) -> u64 {
    match tree {
        Tree::Chunks => ChunkRow::decode(value).map_or(0, |chunk| chunk.length()),
        _ => 0,
    }
}

/// A commit ready for the journal.
pub(super) struct Staged {
    pub(super) rows: Vec<RowWrite>,
    pub(super) totals: Totals,
    pub(super) adopted: BTreeSet<BlobId>,
    pub(super) doomed: Vec<BlobId>,
    pub(super) packs: BTreeSet<u64>,
}
