//! Rows as they lie in the trees, and the digest over all of them.
//!
//! A row is `CRC-32 (4) · revision (8) · value`, big-endian. The CRC covers the tree, the key, the revision and the
//! value, so that a row moved to another key or tree is as damaged as one with a flipped bit.

use bytes::{Buf, BufMut, Bytes};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::backend::{Row, Tree};
use crate::error::{Error, Result};

/// No store comes to more in a human lifetime. What tells of more was not written by us, whatever its checksum says, and numbers are
/// added to it.
pub(in crate::backend::local) const MAX_REVISION: u64 = u64::MAX >> 1;
/// Bytes a row adds to its value.
pub(super) const ENVELOPE_BYTES: usize = 12;

/// The number of a tree in rows and frames.
pub(super) fn tree_number(tree: Tree) -> u8 {
    match tree {
        Tree::Entries => 0,
        Tree::Tokens => 1,
        Tree::Meta => 2,
        Tree::Chunks => 3,
        Tree::Pending => 4,
    }
}

/// The tree of a number, `None` where there is none.
pub(super) fn tree_of(number: u8) -> Option<Tree> {
    Tree::ALL
        .into_iter()
        .find(|tree| tree_number(*tree) == number)
}

/// The bytes of a row.
pub(super) fn seal(tree: Tree, key: &[u8], row: &Row) -> Bytes {
    let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + row.value.len());
    bytes.extend_from_slice(&checksum(tree, key, row.revision, &row.value).to_be_bytes());
    bytes.extend_from_slice(&row.revision.to_be_bytes());
    bytes.extend_from_slice(&row.value);
    Bytes::from(bytes)
}

/// The row in the bytes found under `key`.
///
/// # Errors
/// [`Error::Damaged`] where they are not the bytes of a row of this key.
pub(super) fn open(tree: Tree, key: &[u8], bytes: &Bytes) -> Result<Row> {
    let damaged = || Error::damaged("row", format!("{tree:?} {}", key.escape_ascii()));
    let (crc, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (revision, value) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let revision = u64::from_be_bytes(*revision);
    if checksum(tree, key, revision, value) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    Ok(Row {
        revision,
        value: bytes.slice(ENVELOPE_BYTES..),
    })
}

fn checksum(tree: Tree, key: &[u8], revision: u64, value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[tree_number(tree)]);
    crc.update(key);
    crc.update(&revision.to_be_bytes());
    crc.update(value);
    crc.finalize()
}

/// What is known of all rows together without reading them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// The sum, modulo 2^128, of a hash of every row: finds rows that are missing or older than what was
    /// acknowledged, which a checksum in the row cannot.
    pub(super) digest: u128,
    /// Rows of the entries.
    pub(super) entries: u64,
    /// Rows of the tokens.
    pub(super) tokens: u64,
    /// Bytes of all rows, keys included.
    pub(super) row_bytes: u64,
    /// Bytes of chunks.
    pub(super) chunk_bytes: u64,
}

impl Totals {
    /// What one row counts, but for the bytes of a chunk.
    pub(super) fn of(tree: Tree, key: &[u8], row: &Row) -> Totals {
        let mut totals = Totals::default();
        totals.add(tree, key, row);
        totals
    }

    /// Counts a row in.
    pub(super) fn add(&mut self, tree: Tree, key: &[u8], row: &Row) {
        self.digest = self.digest.wrapping_add(hash(tree, key, row));
        self.row_bytes = self.row_bytes.wrapping_add(bytes_of(key, row));
        if let Some(count) = self.count(tree) {
            *count = count.wrapping_add(1);
        }
    }

    /// Counts out what `part` counts in.
    pub(super) fn subtract(&mut self, part: &Totals) {
        self.digest = self.digest.wrapping_sub(part.digest);
        self.entries = self.entries.wrapping_sub(part.entries);
        self.tokens = self.tokens.wrapping_sub(part.tokens);
        self.row_bytes = self.row_bytes.wrapping_sub(part.row_bytes);
        self.chunk_bytes = self.chunk_bytes.saturating_sub(part.chunk_bytes);
    }

    /// Bytes of [`Totals::put`].
    pub(super) const BYTES: usize = 48;

    /// Writes the form they have in a frame of the journal and in the checkpoint row.
    pub(super) fn put(&self, out: &mut impl BufMut) {
        out.put_u128(self.digest);
        out.put_u64(self.entries);
        out.put_u64(self.tokens);
        out.put_u64(self.row_bytes);
        out.put_u64(self.chunk_bytes);
    }

    /// Reads them, of which [`Totals::BYTES`] are there.
    pub(super) fn take(rest: &mut impl Buf) -> Totals {
        Totals {
            digest: rest.get_u128(),
            entries: rest.get_u64(),
            tokens: rest.get_u64(),
            row_bytes: rest.get_u64(),
            chunk_bytes: rest.get_u64(),
        }
    }

    fn count(&mut self, tree: Tree) -> Option<&mut u64> {
        match tree {
            Tree::Entries => Some(&mut self.entries),
            Tree::Tokens => Some(&mut self.tokens),
            Tree::Meta | Tree::Chunks | Tree::Pending => None,
        }
    }
}

fn bytes_of(key: &[u8], row: &Row) -> u64 {
    (key.len() + row.value.len()) as u64
}

/// XXH3 over the value, seeded with a hash of where and when it was written.
fn hash(tree: Tree, key: &[u8], row: &Row) -> u128 {
    let seed = xxh3_64_with_seed(key, row.revision ^ (u64::from(tree_number(tree)) << 56));
    xxh3_128_with_seed(&row.value, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            revision: 5,
            value: Bytes::from_static(b"value"),
        }
    }

    /// The bytes on disk: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        assert_eq!(
            seal(Tree::Entries, b"key", &row()).as_ref(),
            b"\x14\x6d\xde\x70\0\0\0\0\0\0\0\x05value"
        );
        let mut totals = Totals::default();
        totals.add(Tree::Entries, b"key", &row());
        assert_eq!(totals.digest, 0x68f5_b317_0d04_6afb_85c4_03bd_cc88_42ea);
    }

    #[test]
    fn a_row_opens_only_where_it_was_sealed() {
        let sealed = seal(Tree::Entries, b"key", &row());
        assert_eq!(open(Tree::Entries, b"key", &sealed).unwrap(), row());
        assert!(open(Tree::Entries, b"kez", &sealed).is_err());
        assert!(open(Tree::Meta, b"key", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[at] ^= 1;
            assert!(
                open(Tree::Entries, b"key", &flipped.into()).is_err(),
                "byte {at}"
            );
            assert!(
                open(Tree::Entries, b"key", &sealed.slice(..at)).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn totals_come_back_to_where_they_were() {
        let mut totals = Totals::default();
        totals.add(Tree::Entries, b"a", &row());
        let before = totals;
        totals.add(Tree::Chunks, b"b", &row());
        assert_ne!(totals.digest, before.digest);
        totals.subtract(&Totals::of(Tree::Chunks, b"b", &row()));
        assert_eq!(totals, before);
        let mut older = before;
        older.subtract(&Totals::of(Tree::Entries, b"a", &row()));
        older.add(
            Tree::Entries,
            b"a",
            &Row {
                revision: 4,
                ..row()
            },
        );
        assert_ne!(older.digest, before.digest);
    }
}
