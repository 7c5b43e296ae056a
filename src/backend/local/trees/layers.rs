//! Keys that are too long for sled, in layers.
//!
//! A node of sled's index has up to 256 keys, and 320 when two have become one, each as long as what two neighbours have in
//! common, and one byte. With 410 bytes of that a node is larger than a quarter of a segment, and sled makes a file of its own
//! for it, which is neither synced nor ever given back. Each leaf that is split writes such a node again, too.
//!
//! So a key of more than 200 bytes lies in a layer: that of its first 200 bytes, under the rest, which may be as long again.
//! Where a layer stands in the order is told by a mark in the layer above it. This is a trie whose nodes are trees (Mao, Kohler
//! and Morris, "Cache craftiness for fast multicore key-value storage", EuroSys 2012).
//!
//! | stored key | block |
//! |---|---|
//! | a key of at most 200 bytes | its own |
//! | 0xff, 32 bytes BLAKE3 of all that is before the rest, the rest | that of the longer key |
//! | in place of a key or a rest: 200 bytes, 0xff | none: the mark of the layer of keys that go on behind these bytes |
//!
//! Keys of entries are UTF-8, which has no byte 0xff; the keys of all other trees are short.
//!
//! A mark is there before what lies in its layer, and goes after it; one whose layer a crash has left empty does no harm.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::blocks::BlockStore;
use super::{MAX_TREE_ROW_BYTES, behind};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;
use crate::sync::RwLock;

/// The longest key that lies in no layer of its own.
pub(super) const SLICE_BYTES: usize = 200;
/// The last byte of a mark, and the first one of what does not lie in the first layer.
const MARK: u8 = 0xff;
/// What stands before the rest of a key in a layer that is not the first.
const START_BYTES: usize = 1 + blake3::OUT_LEN;
/// Blocks read at once, at most.
const MAX_BLOCKS: usize = 256;
/// The tree that has such keys.
const TREE: Tree = Tree::Entries;

type Block = (Bytes, Bytes);

/// See the [module](self).
pub(crate) struct Layers<S> {
    store: S,
    slice_bytes: usize,
    /// Who looks at more than one place of the order reads at one moment: blocks are not changed meanwhile.
    order: RwLock<()>,
}

/// Where the keys lie that begin with some bytes, and are longer.
struct Layer {
    /// Those bytes; none for the first layer.
    prefix: Vec<u8>,
    /// What stands before the rest of a key.
    start: Vec<u8>,
}

impl Layer {
    fn of(prefix: &[u8]) -> Layer {
        let start = match prefix.is_empty() {
            true => Vec::new(),
            false => [&[MARK], &blake3::hash(prefix).as_bytes()[..]].concat(),
        };
        Layer {
            prefix: prefix.to_vec(),
            start,
        }
    }

    fn stored(&self, rest: &[u8]) -> Vec<u8> {
        [&self.start, rest].concat()
    }

    /// Behind all that lies in it, where nothing lies.
    fn end(&self) -> Vec<u8> {
        self.stored(&[MARK])
    }

    /// The key that is stored as this one.
    fn key(&self, stored: &Bytes) -> Bytes {
        match self.prefix.is_empty() {
            true => stored.clone(),
            false => Bytes::from([&self.prefix, &stored[self.start.len()..]].concat()),
        }
    }
}

/// What a range asks for, and what is found of it.
struct Wanted<'a> {
    end: Option<&'a [u8]>,
    limit: usize,
    found: Vec<Block>,
}

impl<S: BlockStore> Layers<S> {
    /// Layers of keys that are longer than `slice_bytes`.
    pub(super) fn over(store: S, slice_bytes: usize) -> Layers<S> {
        Layers {
            store,
            slice_bytes,
            order: RwLock::new(()),
        }
    }

    /// What they lie over.
    pub(super) fn store(&self) -> &S {
        &self.store
    }

    /// Moves blocks into layers that were written when there were none.
    pub(super) fn take_in(&self) -> Result<()> {
        let _turn = self.store.turn();
        let mut from = Vec::new();
        loop {
            let blocks = self.store.range(TREE, &from, Some(&[MARK]), MAX_BLOCKS)?;
            let Some((last, _)) = blocks.last() else {
                return self.store.flush();
            };
            from = behind(last);
            for (key, block) in blocks {
                self.move_in(&key, &block)?;
            }
        }
    }

    /// Moves a block of the first layer to where its key belongs.
    fn move_in(&self, key: &[u8], block: &[u8]) -> Result<()> {
        if self.depth(key) == 0 || self.is_mark(key) {
            return Ok(());
        }
        self.write(TREE, key, Some(block))?;
        self.store.write(TREE, key, None)
    }

    /// As [`Layers::take_in`], of the block of this key alone.
    #[cfg(test)]
    pub(super) fn take_in_only(&self, key: &[u8]) -> Result<()> {
        match self.store.floor(TREE, key)? {
            Some((key, block)) => self.move_in(&key, &block),
            None => Ok(()),
        }
    }

    /// Whether this is the mark of a layer, and no block.
    fn is_mark(&self, stored: &[u8]) -> bool {
        let start = match stored.first() {
            Some(&MARK) => START_BYTES,
            _ => 0,
        };
        stored.len() == start + self.slice_bytes + 1 && stored.last() == Some(&MARK)
    }

    /// How many layers are above the one of this key.
    fn depth(&self, key: &[u8]) -> usize {
        key.len().saturating_sub(1) / self.slice_bytes
    }

    /// The layer at this depth that a key passes or lies in, and the bytes by which it does.
    fn layer<'k>(&self, key: &'k [u8], depth: usize) -> (Layer, &'k [u8]) {
        let (prefix, rest) = key.split_at(depth * self.slice_bytes);
        let rest = &rest[..rest.len().min(self.slice_bytes)];
        (Layer::of(prefix), rest)
    }

    /// The mark, in the layer at this depth, of the next one that a key passes or lies in.
    fn mark(&self, key: &[u8], depth: usize) -> Vec<u8> {
        let (layer, slice) = self.layer(key, depth);
        [layer.stored(slice), vec![MARK]].concat()
    }

    /// The last block of a layer that is not behind `rest`, be it in a layer below.
    fn last(&self, layer: &Layer, rest: &[u8]) -> Result<Option<Block>> {
        let mut upto = layer.stored(&rest[..rest.len().min(self.slice_bytes)]);
        if rest.first() == Some(&MARK) {
            upto = layer.end();
        }
        loop {
            let Some((stored, block)) = self.store.floor(TREE, &upto)? else {
                return Ok(None);
            };
            if !stored.starts_with(&layer.start) {
                return Ok(None);
            }
            let key = layer.key(&stored);
            if !self.is_mark(&stored) {
                return Ok(Some((key, block)));
            }
            let found = self.last(&below(&key)?, &[MARK])?;
            if found.is_some() {
                return Ok(found);
            }
            // Nothing lies between a mark and the bytes it stands behind.
            upto = stored[..stored.len() - 1].to_vec();
        }
    }

    /// Takes what a layer holds from `rest` on, with the layers below it. Ends where no more is wanted.
    fn collect(
        &self,
        layer: &Layer,
        rest: &[u8],
        wanted: &mut Wanted<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut from = layer.stored(rest);
        let end = match wanted.end {
            Some(end) if layer.prefix.is_empty() => self.end(end).to_vec(),
            _ => layer.end(),
        };
        loop {
            let missing = wanted.limit - wanted.found.len();
            let blocks = self.store.range(TREE, &from, Some(&end), missing)?;
            let is_last = blocks.len() < missing;
            for (stored, block) in blocks {
                from = behind(&stored);
                let key = layer.key(&stored);
                if self.is_mark(&stored) {
                    if self.collect(&below(&key)?, &[], wanted)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                if wanted.end.is_some_and(|end| key[..] >= *end) {
                    return Ok(ControlFlow::Break(()));
                }
                wanted.found.push((key, block));
                if wanted.found.len() == wanted.limit {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if is_last {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Where to end in the first layer for what is below `end`.
    fn end<'k>(&self, end: &'k [u8]) -> &'k [u8] {
        match end.first() == Some(&MARK) || end.len() > self.slice_bytes {
            true => &[MARK],
            false => end,
        }
    }
}

impl<S: BlockStore> BlockStore for Layers<S> {
    type Turn = S::Turn;

    fn turn(&self) -> S::Turn {
        self.store.turn()
    }

    fn floor(&self, tree: Tree, key: &[u8]) -> Result<Option<Block>> {
        if tree != TREE {
            return self.store.floor(tree, key);
        }
        if key.len() <= self.slice_bytes && key.first() != Some(&MARK) {
            let found = self.store.floor(tree, key)?;
            if !found
                .as_ref()
                .is_some_and(|(stored, _)| self.is_mark(stored))
            {
                return Ok(found);
            }
        }
        let _order = self.order.read();
        for depth in (0..=self.depth(key)).rev() {
            let (layer, rest) = self.layer(key, depth);
            let found = self.last(&layer, rest)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Block>> {
        if tree != TREE || limit == 0 {
            return self.store.range(tree, start, end, limit);
        }
        if start.len() <= self.slice_bytes && end.is_none_or(|end| end.len() <= self.slice_bytes) {
            let end = end.map_or(&[MARK][..], |end| self.end(end));
            let found = self.store.range(tree, start, Some(end), limit)?;
            if !found.iter().any(|(stored, _)| self.is_mark(stored)) {
                return Ok(found);
            }
        }
        let _order = self.order.read();
        let mut wanted = Wanted {
            end,
            limit,
            found: Vec::new(),
        };
        let lowest = self.depth(start);
        for depth in (0..=lowest).rev() {
            let (layer, rest) = self.layer(start, depth);
            let from = match depth == lowest {
                true => rest.to_vec(),
                // Behind the layer that was looked at before.
                false => [rest, &[MARK, 0]].concat(),
            };
            if self.collect(&layer, &from, &mut wanted)?.is_break() {
                break;
            }
        }
        Ok(wanted.found)
    }

    fn write(&self, tree: Tree, key: &[u8], block: Option<&[u8]>) -> Result<()> {
        if tree != TREE {
            return self.store.write(tree, key, block);
        }
        if key.first() == Some(&MARK) {
            return Err(Error::Misuse {
                reason: "the key of an entry is UTF-8",
            });
        }
        let _order = self.order.write();
        let lowest = self.depth(key);
        if block.is_some() {
            for mark in (0..lowest).map(|depth| self.mark(key, depth)) {
                let found = self.store.floor(tree, &mark)?;
                if found.is_none_or(|(found, _)| found[..] != mark) {
                    self.store.write(tree, &mark, Some(&[]))?;
                }
            }
        }
        let (layer, rest) = self.layer(key, lowest);
        self.store.write(tree, &layer.stored(rest), block)?;
        if block.is_none() {
            for depth in (0..lowest).rev() {
                let (layer, _) = self.layer(key, depth + 1);
                let left = self
                    .store
                    .range(tree, &layer.start, Some(&layer.end()), 1)?;
                if !left.is_empty() {
                    break;
                }
                self.store.write(tree, &self.mark(key, depth), None)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.store.flush()
    }

    fn size_on_disk(&self) -> Result<u64> {
        self.store.size_on_disk()
    }

    fn check(&self) -> Result<Vec<Finding>> {
        self.store.check()
    }

    fn close(&self) -> Result<()> {
        self.store.close()
    }
}

/// The layer of a mark, which is given with the prefix of its own layer. A forged one could lead down for ever.
fn below(mark: &[u8]) -> Result<Layer> {
    match mark.len() <= MAX_TREE_ROW_BYTES {
        true => Ok(Layer::of(&mark[..mark.len() - 1])),
        false => Err(Error::damaged("block", "a key that is longer than any")),
    }
}
