//! The inner seam: ordered trees of small rows, of which nothing atomic is asked.
//!
//! What makes commits atomic, durable and checked is above: the journal, and the envelope around every row.

use bytes::Bytes;

use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;

mod block;
mod blocks;
#[cfg(fuzzing)]
pub(crate) use blocks::fuzzing;
mod cache;
#[cfg(test)]
pub(crate) mod fault;
pub(crate) mod gap;
mod layers;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod sled;

/// The largest row, key and value with its envelope, in bytes. A larger one would make sled write a file of its own
/// for a leaf, and those are neither synced nor ever given back.
pub(crate) const MAX_TREE_ROW_BYTES: usize = 6 * 1024;

/// One row to put, or to remove where there is no value.
pub(crate) type TreeWrite = (Tree, Bytes, Option<Bytes>);

/// Ordered trees that hold the state up to the checkpoint.
///
/// After an error of the files, of a read too, what they hold is unknown: every later `apply` and `flush` may answer
/// [`Error::Poisoned`], while reads are still tried. A row refused as too large is no such error.
pub(crate) trait Trees: Send + Sync {
    /// The bytes of one row.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>>;

    /// At most `limit` rows from `start` (inclusive) to `end` (exclusive, `None` for the last), ascending.
    /// Not a snapshot: what is applied meanwhile may be seen or not. Damage among the rows, or of the block in which
    /// `start` would lie, is an error; damage further before or behind them is none: `gap` stands on it.
    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>>;

    /// Applies in the given order. Neither atomic nor durable: on an error, a crash included, any of the rows may be there.
    fn apply(&self, rows: &mut dyn Iterator<Item = TreeWrite>) -> Result<()>;

    /// Makes everything applied before durable.
    fn flush(&self) -> Result<()>;

    /// Bytes of the files.
    fn size_on_disk(&self) -> Result<u64>;

    /// What is wrong with the files, as far as it can be told without reading the rows.
    ///
    /// # Errors
    /// The operating system.
    fn check(&self) -> Result<Vec<Finding>>;

    /// Flushes and lets go of the files. Every later call answers an error.
    fn close(&self) -> Result<()>;
}

fn check_row(key: &[u8], value: Option<&[u8]>) -> Result<()> {
    check_bytes(key.len() + value.map_or(0, <[u8]>::len), MAX_TREE_ROW_BYTES)
}

/// Refuses what sled must never see.
fn check_bytes(bytes: usize, limit: usize) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "row in bytes",
        limit: limit as u64,
        found: bytes as u64,
    })
}

/// The first key behind this one.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn closed() -> Error {
    Error::Misuse {
        reason: "the store is closed; open it again",
    }
}

#[cfg(test)]
mod tests;
