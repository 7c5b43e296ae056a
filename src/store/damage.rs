//! Rows that no store writes, for tests of what becomes of them.

use bytes::Bytes;

use super::Store;
use crate::backend::{Commit, Outcome, Tree, Write};

impl Store {
    /// Puts a row as it is.
    pub(crate) fn put_row(&self, tree: Tree, key: &[u8], value: &'static [u8]) {
        let write = Write {
            tree,
            key: Bytes::copy_from_slice(key),
            value: Some(Bytes::from_static(value)),
        };
        let commit = Commit {
            writes: vec![write],
            ..Commit::default()
        };
        let backend = &self.shared.backend;
        let outcome = backend.commit(commit, &mut |_| {}).unwrap();
        let Outcome::Ordered(revision) = outcome else {
            panic!("{outcome:?}");
        };
        backend.settle(revision).unwrap();
    }

    /// An entry that cannot be read.
    #[cfg(feature = "http")]
    pub(crate) fn damage(&self, key: &str) {
        self.put_row(Tree::Entries, key.as_bytes(), b"no record");
    }
}
