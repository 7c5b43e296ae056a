//! Rows in blocks: several neighbours in one row of the trees below.
//!
//! What sled costs, it costs by the row: a lookup, a step of a scan, an insert, a leaf kept in memory. So the rows of a tree lie in
//! blocks, each under the key from which on its rows lie in it, up to the key of the next block. Rows below the first block
//! have none; the next one to come makes it, under the empty key.
//!
//! A block that grows too large is split. The new blocks are written before the old one is cut, so that no moment, nor a crash,
//! finds a row nowhere; a crash between the two leaves rows in the old block that lie in the new ones as well. Those
//! behind the key of the next block do not count. A reader that sees the next block passes over them, and one
//! that does not is at a moment before the split; after a crash [`BlockTrees::mend`] removes them.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;

use super::block::{self, Row};
use super::cache::{BlockCache, Found};
use super::{MAX_TREE_ROW_BYTES, TreeWrite, Trees, behind, check_row};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;
use crate::sync::Mutex;

/// A block that would be larger is split, unless it is one row. Every change of a row writes its block, and sled
/// keeps 16,000 leaves of up to 16 blocks in memory whatever its cache may take: larger blocks scan faster, and cost both.
/// 500,000 documents of 300 bytes, with rows alone, blocks of 1 KiB, of 2 KiB: saved 13.7, 8.1, 7.2 us; listed 3.8, 2.4, 1.6;
/// merged at random 36, 39, 43; 225, 258, 296 MB resident.
const BLOCK_BYTES: usize = 1024;
/// The largest block, with its key: one row of the largest, and what the block adds.
pub(super) const MAX_BLOCK_BYTES: usize = MAX_TREE_ROW_BYTES + 6;
/// Writes to one block that are taken together, at most: their rows are in memory.
const GROUP_BYTES: usize = 256 * 1024;
/// Blocks read at once, at most.
const MAX_BLOCKS: usize = 256;
/// The fewest rows of a block that a scan counts on, for how many it reads at once.
const ROWS_OF_A_BLOCK: usize = 4;
const WHAT: &str = "block";

/// Ordered trees of blocks, of which nothing atomic is asked but each single write. Errors are as for [`Trees`].
pub(crate) trait BlockStore: Send + Sync {
    /// Kept while blocks are written, until they are flushed.
    type Turn;

    /// Waits for the turn of this store among those of the process.
    fn turn(&self) -> Self::Turn;

    /// The last block whose key is not behind `key`.
    fn floor(&self, tree: Tree, key: &[u8]) -> Result<Option<(Bytes, Bytes)>>;

    /// At most `limit` blocks with keys from `start` (inclusive) to `end` (exclusive), ascending.
    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>>;

    /// Puts a block, or removes it where there are no bytes. Becomes durable in the order of the calls, with
    /// [`BlockStore::flush`] at the latest.
    fn write(&self, tree: Tree, key: &[u8], block: Option<&[u8]>) -> Result<()>;

    /// See [`Trees::flush`].
    fn flush(&self) -> Result<()>;

    /// See [`Trees::size_on_disk`].
    fn size_on_disk(&self) -> Result<u64>;

    /// See [`Trees::check`].
    fn check(&self) -> Result<Vec<Finding>>;

    /// See [`Trees::close`].
    fn close(&self) -> Result<()>;
}

/// See the [module](self).
pub(crate) struct BlockTrees<S> {
    pub(super) store: S,
    cache: BlockCache,
    /// Blocks are read and written again by one thread at a time.
    writing: Mutex<()>,
}

impl<S: BlockStore> BlockTrees<S> {
    /// Keeps blocks of up to `cache_bytes` in memory.
    pub(crate) fn over(store: S, cache_bytes: usize) -> BlockTrees<S> {
        BlockTrees {
            store,
            cache: BlockCache::new(cache_bytes),
            writing: Mutex::new(()),
        }
    }

    /// Removes what a crash in the middle of a split has left twice. Reads everything.
    ///
    /// # Errors
    /// Damage; the operating system.
    pub(crate) fn mend(&self) -> Result<()> {
        let _writing = self.writing.lock();
        for tree in Tree::ALL {
            let mut from = Vec::new();
            let mut before: Option<(Bytes, Bytes)> = None;
            loop {
                let blocks = self.store.range(tree, &from, None, MAX_BLOCKS)?;
                let Some((last, _)) = blocks.last() else {
                    break;
                };
                from = behind(last);
                for (key, block) in blocks {
                    if let Some((former, rows)) = before.replace((key.clone(), block)) {
                        self.cut(tree, &former, &rows, &key)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the rows of a block from `end` on.
    fn cut(&self, tree: Tree, key: &Bytes, block: &Bytes, end: &Bytes) -> Result<()> {
        let mut rows = decode(tree, key, block)?;
        let before = rows.len();
        cut_off(&mut rows, Some(end));
        match rows.len() == before {
            true => Ok(()),
            false => {
                let _turn = self.store.turn();
                self.put(tree, key, &rows, Bound::Excluded(end.clone()))?;
                self.store.flush()
            }
        }
    }

    /// Writes a block that is not too large, or removes one without rows. No other one begins within its reach.
    fn put(&self, tree: Tree, key: &Bytes, rows: &[Row], reach: Bound<Bytes>) -> Result<()> {
        let block = match rows.is_empty() {
            true => None,
            false => Some(Bytes::from(encode(key, rows)?)),
        };
        self.cache.begin(tree, key);
        let written = self.store.write(tree, key, block.as_deref());
        let found = block.filter(|_| written.is_ok()).map(|block| Found {
            key: key.clone(),
            block,
            reach,
        });
        self.cache.end(tree, key, found.as_ref());
        written
    }

    /// Applies ascending writes that all belong to one block.
    fn apply_group(
        &self,
        tree: Tree,
        home: Home,
        group: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<()> {
        let mut rows = match &home.block {
            Some(block) => decode(tree, &home.key, block)?,
            None => Vec::new(),
        };
        cut_off(&mut rows, home.end.as_deref());
        let pieces = split(merge(rows.into_iter(), group));
        // The last ones first: until the old block is cut, it has what they hold.
        let mut reach = home.end.map_or(Bound::Unbounded, Bound::Excluded);
        for piece in pieces.iter().skip(1).rev() {
            let (key, _) = &piece[0];
            self.put(tree, key, piece, reach)?;
            reach = Bound::Excluded(key.clone());
        }
        let first = pieces.first().map_or(&[][..], Vec::as_slice);
        match first {
            // One large row, which has no room beside the key of another one.
            [(key, value)] if home.key.len() + block::bytes_of(key, value) > MAX_BLOCK_BYTES => {
                self.put(tree, key, first, reach)?;
                match home.block.is_some() && home.key != *key {
                    true => self.put(tree, &home.key, &[], Bound::Unbounded),
                    false => Ok(()),
                }
            }
            [] if home.block.is_none() => Ok(()),
            _ => self.put(tree, &home.key, first, reach),
        }
    }

    /// The block that a row belongs to.
    fn home(&self, tree: Tree, key: &[u8]) -> Result<Home> {
        let floor = self.floor(tree, key)?;
        let end = match floor.as_ref().map(|found| &found.reach) {
            Some(Bound::Unbounded) => None,
            Some(Bound::Excluded(end)) => Some(end.clone()),
            Some(Bound::Included(_)) | None => {
                let next = self.store.range(tree, &behind(key), None, 1)?;
                next.into_iter().next().map(|(key, _)| key)
            }
        };
        Ok(match floor {
            Some(found) => Home {
                key: found.key,
                block: Some(found.block),
                end,
            },
            None => Home {
                key: Bytes::new(),
                block: None,
                end,
            },
        })
    }

    /// The last block whose key is not behind `key`.
    fn floor(&self, tree: Tree, key: &[u8]) -> Result<Option<Found>> {
        if let Some(found) = self.cache.find(tree, key) {
            return Ok(Some(found));
        }
        loop {
            let moment = self.cache.now();
            let found = self.store.floor(tree, key)?;
            let last = found
                .as_ref()
                .and_then(|(block_key, block)| block::last_key(block_key, block));
            // sled looks at one leaf and then at the one before it. A block that was put into the first of them in between is
            // missed, and the one it was cut from is found without its rows: then it is behind all of them. One write alone does
            // not do both.
            let is_within = last.as_ref().is_some_and(|last| last[..] >= *key);
            if !is_within && self.cache.now() != moment {
                continue;
            }
            let Some((block_key, block)) = found else {
                return Ok(None);
            };
            // No block begins between a block and one of its rows.
            let last = last.filter(|last| last[..] > *key);
            let reach = last.unwrap_or_else(|| Bytes::copy_from_slice(key));
            let found = Found {
                key: block_key,
                block,
                reach: Bound::Included(reach),
            };
            self.cache.keep(moment, tree, &found);
            return Ok(Some(found));
        }
    }
}

/// A block, or the place of the first one, and the key of the next block.
struct Home {
    key: Bytes,
    block: Option<Bytes>,
    end: Option<Bytes>,
}

impl<S: BlockStore> Trees for BlockTrees<S> {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>> {
        let row_in = |block_key: &[u8], block: &Bytes| {
            let found = block::find(block_key, block, key);
            found.ok_or_else(|| damaged(tree, block_key))
        };
        match self.cache.look_at(tree, key, row_in) {
            Some(found) => found,
            None => match self.floor(tree, key)? {
                Some(home) => row_in(&home.key, &home.block),
                None => Ok(None),
            },
        }
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        if limit == 0 || end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        // The rows of the last block seen, of which the next one may make some void.
        let mut open: Vec<Row> = match self.floor(tree, start)? {
            Some(home) => decode(tree, &home.key, &home.block)?,
            None => Vec::new(),
        };
        // Neighbours have about as many, but where this one has lost most of its rows.
        let rows_of_a_block = open.len().max(ROWS_OF_A_BLOCK);
        open.drain(..open.partition_point(|(key, _)| key[..] < *start));
        cut_off(&mut open, end);
        let mut from = behind(start);
        while found.len() + open.len() < limit {
            let missing = limit - found.len() - open.len();
            let count = missing.div_ceil(rows_of_a_block).min(MAX_BLOCKS);
            let blocks = self.store.range(tree, &from, end, count)?;
            let Some((last, _)) = blocks.last() else {
                break;
            };
            from = behind(last);
            let is_last = blocks.len() < count;
            for (block_key, block) in blocks {
                cut_off(&mut open, Some(&block_key));
                found.append(&mut open);
                open = decode(tree, &block_key, &block)?;
            }
            cut_off(&mut open, end);
            if is_last {
                break;
            }
        }
        found.append(&mut open);
        found.truncate(limit);
        Ok(found)
    }

    fn apply(&self, rows: &mut dyn Iterator<Item = TreeWrite>) -> Result<()> {
        let _writing = self.writing.lock();
        let _turn = self.store.turn();
        let mut rows = rows.peekable();
        while let Some((tree, key, value)) = rows.next() {
            check_row(&key, value.as_deref())?;
            let home = self.home(tree, &key)?;
            let mut group = vec![(key, value)];
            take_group(&mut rows, tree, home.end.as_ref(), &mut group)?;
            self.apply_group(tree, home, group)?;
        }
        self.store.flush()
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
        let closed = self.store.close();
        self.cache.forget();
        closed
    }
}

/// Leaves only the rows below `end`.
fn cut_off(rows: &mut Vec<Row>, end: Option<&[u8]>) {
    if let Some(end) = end
        && rows.last().is_some_and(|(last, _)| last[..] >= *end)
    {
        rows.truncate(rows.partition_point(|(key, _)| key[..] < *end));
    }
}

/// Takes the writes that follow in order and belong to the block that ends with `end`.
fn take_group<I: Iterator<Item = TreeWrite>>(
    rows: &mut Peekable<I>,
    tree: Tree,
    end: Option<&Bytes>,
    group: &mut Vec<(Bytes, Option<Bytes>)>,
) -> Result<()> {
    let mut bytes = 0;
    loop {
        let last = group.last().map(|(key, _)| key.clone());
        let belongs = |(of, key, _): &TreeWrite| {
            *of == tree && Some(key) > last.as_ref() && end.is_none_or(|end| key < end)
        };
        let Some((_, key, value)) = rows.next_if(belongs) else {
            return Ok(());
        };
        check_row(&key, value.as_deref())?;
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        group.push((key, value));
        if bytes > GROUP_BYTES {
            return Ok(());
        }
    }
}

/// The rows of a block after some writes, both ascending.
fn merge(rows: impl Iterator<Item = Row>, writes: Vec<(Bytes, Option<Bytes>)>) -> Vec<Row> {
    let mut rows = rows.peekable();
    let mut merged = Vec::new();
    for (key, value) in writes {
        while let Some(before) = rows.next_if(|(other, _)| *other < key) {
            merged.push(before);
        }
        rows.next_if(|(other, _)| *other == key);
        merged.extend(value.map(|value| (key, value)));
    }
    merged.extend(rows);
    merged
}

/// Blocks of about the same size, none larger than it may be.
fn split(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let bytes = |(key, value): &Row| block::bytes_of(key, value);
    let total: usize = rows.iter().map(bytes).sum();
    let wanted = total / total.div_ceil(BLOCK_BYTES).max(1);
    let mut pieces: Vec<Vec<Row>> = Vec::new();
    let mut filled = 0;
    for row in rows {
        let more = bytes(&row);
        match pieces.last_mut() {
            Some(piece) if filled < wanted && filled + more <= BLOCK_BYTES => {
                filled += more;
                piece.push(row);
            }
            _ => {
                filled = more;
                pieces.push(vec![row]);
            }
        }
    }
    pieces
}

fn encode(key: &[u8], rows: &[Row]) -> Result<Vec<u8>> {
    block::encode(key, rows).ok_or(Error::TooLarge {
        what: "row in bytes",
        limit: MAX_TREE_ROW_BYTES as u64,
        found: u64::from(u16::MAX),
    })
}

fn decode(tree: Tree, key: &Bytes, block: &Bytes) -> Result<Vec<Row>> {
    block::decode(key, block).ok_or_else(|| damaged(tree, key))
}

fn damaged(tree: Tree, key: &[u8]) -> Error {
    Error::damaged(WHAT, format!("{tree:?} {}", key.escape_ascii()))
}

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(any(test, fuzzing))]
mod memory;
#[cfg(test)]
mod tests;
