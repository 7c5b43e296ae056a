//! How a creation that was cut short is told.

use bytes::Bytes;

use super::*;
use crate::backend::Row;

/// By this a creation that was cut short is told from a store without its superblock.
#[test]
fn new_trees_are_small_and_those_with_a_checkpoint_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (directory, options) = (directory.path(), Options::default());
    let size = || {
        fs::metadata(directory.join(TREES).join("db"))
            .unwrap()
            .len()
    };
    open_trees(directory, &options, NEW)
        .unwrap()
        .close()
        .unwrap();
    assert!((1..=NEW_TREES_BYTES).contains(&size()), "{}", size());
    let trees = open_trees(directory, &options, NEW).unwrap();
    let key = Bytes::from_static(keys::CHECKPOINT);
    let value = keys::encode_checkpoint(1, &Totals::default());
    let sealed = row::seal(Tree::Pending, &key, &Row { revision: 1, value });
    let write = (Tree::Pending, key, Some(sealed));
    trees.apply(&mut std::iter::once(write)).unwrap();
    trees.flush().unwrap();
    assert!(size() > NEW_TREES_BYTES, "{}", size());
}
