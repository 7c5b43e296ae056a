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
    /// Rows as they are, where they were looked at.
    present: HashMap<(Tree, Bytes), Option<Row>>,
    /// Uploads the commit adopts.
    pub(super) adopted: BTreeSet<BlobId>,
    /// Blobs that lose their last owner.
    pub(super) doomed: Vec<BlobId>,
    /// Packs with chunks of those uploads.
    pub(super) packs: BTreeSet<u64>,
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
        Ok(present.as_ref().map(|row| row.revision) == required.revision)
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
        if self.value(Tree::Pending, keys::doomed(blob))?.is_some()
            || self.value(Tree::Chunks, keys::chunk(blob, 0))?.is_none()
            || self.value(Tree::Pending, keys::upload(blob))?.is_some()
        {
            return Err(unknown());
        }
        match self.value(Tree::Pending, keys::owners(blob))? {
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

    /// The value of a row as the commit leaves it so far.
    fn value(&mut self, tree: Tree, key: Bytes) -> Result<Option<Bytes>> {
        let name = (tree, key);
        if let Some(value) = self.writes.get(&name) {
            return Ok(value.clone());
        }
        Ok(self.present(tree, &name.1)?.map(|row| row.value))
    }

    fn present(&mut self, tree: Tree, key: &Bytes) -> Result<Option<Row>> {
        let name = (tree, key.clone());
        if let Some(row) = self.present.get(&name) {
            return Ok(row.clone());
        }
        let row = self.core.get(View::Latest, tree, key)?;
        self.present.insert(name, row.clone());
        Ok(row)
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
                Some(row) => row,
                None => self.core.get(View::Latest, tree, &key)?,
            };
            if old.is_none() && value.is_none() {
                continue;
            }
            if let Some(old) = old {
                totals.remove(tree, &key, &old);
                totals.chunk_bytes = totals
                    .chunk_bytes
                    .saturating_sub(chunk_length(tree, &old.value));
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
