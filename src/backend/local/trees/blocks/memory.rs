//! Blocks in memory, which can end in the middle of things.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{BlockStore, MAX_BLOCK_BYTES};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;
use crate::sync::{Mutex, RwLock};

type ComesIn = Box<dyn FnOnce() + Send>;

/// Blocks that are gone when dropped.
#[derive(Default)]
pub(in super::super) struct MemoryBlocks {
    pub(super) blocks: RwLock<BTreeMap<(Tree, Bytes), Bytes>>,
    /// Writes that are still done; all, where there is no number.
    pub(super) remaining: Mutex<Option<usize>>,
    /// Where a leaf begins: a floor is looked for in it, and then in the one before it, as sled does.
    pub(super) leaf: Mutex<Option<Bytes>>,
    /// What comes in behind the next look at a floor, or between its two.
    pub(super) behind_floor: Mutex<Option<ComesIn>>,
}

impl BlockStore for MemoryBlocks {
    type Turn = ();

    fn turn(&self) {}

    fn floor(&self, tree: Tree, key: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let last = |from: &Bytes, upto: &[u8]| {
            let blocks = self.blocks.read();
            let upto = (tree, Bytes::copy_from_slice(upto));
            let last = blocks.range((tree, from.clone())..=upto).next_back();
            last.map(|((_, key), block)| (key.clone(), block.clone()))
        };
        let leaf = self.leaf.lock().clone().filter(|leaf| leaf[..] <= *key);
        let found = last(&leaf.clone().unwrap_or_default(), key);
        let behind = self.behind_floor.lock().take();
        if let Some(come_in) = behind {
            come_in();
        }
        match (found, leaf) {
            (None, Some(leaf)) => Ok(last(&Bytes::new(), &leaf)),
            (found, _) => Ok(found),
        }
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let blocks = self.blocks.read();
        let found = blocks
            .range((tree, Bytes::copy_from_slice(start))..)
            .take_while(|((of, key), _)| *of == tree && end.is_none_or(|end| key[..] < *end))
            .map(|((_, key), block)| (key.clone(), block.clone()));
        Ok(found.take(limit).collect())
    }

    fn write(&self, tree: Tree, key: &[u8], block: Option<&[u8]>) -> Result<()> {
        if let Some(remaining) = &mut *self.remaining.lock() {
            *remaining = remaining
                .checked_sub(1)
                .ok_or(Error::Misuse { reason: "the end" })?;
        }
        assert!(key.len() + block.map_or(0, <[u8]>::len) <= MAX_BLOCK_BYTES);
        let key = (tree, Bytes::copy_from_slice(key));
        let mut blocks = self.blocks.write();
        match block {
            Some(block) => blocks.insert(key, Bytes::copy_from_slice(block)),
            None => blocks.remove(&key),
        };
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64> {
        Ok(0)
    }

    fn check(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}
