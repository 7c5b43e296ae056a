//! Rows that were just read from the trees.
//!
//! A write reads its row twice: when it is decided, and when it is ordered, to see that nobody was faster and what the digest
//! loses. The second read is answered from here. What the trees hold of a row changes only by a checkpoint, and the
//! versions it brings there stay in the overlay until the overlay's generation grows. So as long as the overlay knows
//! nothing of a row and the generation is the one of the first read, so is the row. Whoever else writes to the trees, as
//! opening does, calls [`Recent::forget`].

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::backend::{Row, Tree};
use crate::sync::Mutex;

/// A row is read again at once, so a few for each thread are many. They are 6 KiB each at most.
const SLOTS: usize = 64;

/// A row of the trees, `None` where they hold none.
struct Read {
    generation: u64,
    tree: Tree,
    key: Bytes,
    row: Option<Row>,
}

/// See the [module](self).
pub(super) struct Recent([Mutex<Option<Read>>; SLOTS]);

impl Recent {
    pub(super) fn new() -> Recent {
        Recent(std::array::from_fn(|_| Mutex::new(None)))
    }

    /// The row, where it was read in this generation of the overlay.
    pub(super) fn get(&self, generation: u64, tree: Tree, key: &[u8]) -> Option<Option<Row>> {
        let slot = self.slot(tree, key).lock();
        let read = slot.as_ref()?;
        let is_same = read.generation == generation && read.tree == tree && read.key == key;
        is_same.then(|| read.row.clone())
    }

    /// Notes a row that was read after the overlay had been looked at in this generation.
    pub(super) fn note(&self, generation: u64, tree: Tree, key: &[u8], row: Option<&Row>) {
        let read = Read {
            generation,
            tree,
            key: Bytes::copy_from_slice(key),
            row: row.cloned(),
        };
        *self.slot(tree, key).lock() = Some(read);
    }

    /// The trees were written to by something other than a checkpoint.
    pub(super) fn forget(&self) {
        for slot in &self.0 {
            *slot.lock() = None;
        }
    }

    fn slot(&self, tree: Tree, key: &[u8]) -> &Mutex<Option<Read>> {
        let hash = xxh3_64_with_seed(key, tree as u64);
        &self.0[usize::try_from(hash % SLOTS as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_in_its_generation_only() {
        let recent = Recent::new();
        let row = Row {
            revision: 3,
            value: Bytes::from_static(b"value"),
        };
        recent.note(7, Tree::Entries, b"key", Some(&row));
        assert_eq!(recent.get(7, Tree::Entries, b"key"), Some(Some(row)));
        assert_eq!(recent.get(8, Tree::Entries, b"key"), None);
        assert_eq!(recent.get(7, Tree::Tokens, b"key"), None);
        recent.note(8, Tree::Entries, b"key", None);
        assert_eq!(recent.get(8, Tree::Entries, b"key"), Some(None));
        recent.forget();
        assert_eq!(recent.get(8, Tree::Entries, b"key"), None);
        // Many keys take the place of few.
        for number in 0..1000_u32 {
            recent.note(8, Tree::Entries, &number.to_be_bytes(), None);
            let known = recent.get(8, Tree::Entries, &number.to_be_bytes());
            assert_eq!(known, Some(None));
        }
        assert_eq!(recent.get(8, Tree::Entries, b"other"), None);
    }
}
