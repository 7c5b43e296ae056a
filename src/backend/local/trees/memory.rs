//! The trees as plain maps: what the ones on disk are compared with, and what tests stand on.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{TreeWrite, Trees, check_row, closed};
use crate::backend::Tree;
use crate::error::Result;
use crate::report::Finding;
use crate::sync::RwLock;

/// Trees that are gone when dropped.
pub(crate) struct MemoryTrees {
    rows: RwLock<Option<Rows>>,
}

type Rows = BTreeMap<Tree, BTreeMap<Bytes, Bytes>>;

impl MemoryTrees {
    pub(crate) fn new() -> MemoryTrees {
        MemoryTrees {
            rows: RwLock::new(Some(Rows::new())),
        }
    }

    fn read<R>(&self, tree: Tree, call: impl FnOnce(&BTreeMap<Bytes, Bytes>) -> R) -> Result<R> {
        let rows = self.rows.read();
        let rows = rows.as_ref().ok_or_else(closed)?;
        match rows.get(&tree) {
            Some(rows) => Ok(call(rows)),
            None => Ok(call(&BTreeMap::new())),
        }
    }
}

impl Trees for MemoryTrees {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>> {
        self.read(tree, |rows| rows.get(key).cloned())
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let bounds = (
            Bound::Included(start),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        self.read(tree, |rows| {
            rows.range::<[u8], _>(bounds)
                .take(limit)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        })
    }

    fn apply(&self, writes: &mut dyn Iterator<Item = TreeWrite>) -> Result<()> {
        let mut rows = self.rows.write();
        let rows = rows.as_mut().ok_or_else(closed)?;
        for (tree, key, value) in writes {
            check_row(&key, value.as_deref())?;
            let rows = rows.entry(tree).or_default();
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.read(Tree::Meta, |_| ())
    }

    fn size_on_disk(&self) -> Result<u64> {
        self.read(Tree::Meta, |_| 0)
    }

    fn check(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn close(&self) -> Result<()> {
        *self.rows.write() = None;
        Ok(())
    }
}
