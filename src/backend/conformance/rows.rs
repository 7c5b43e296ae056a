//! Rows: put, read, delete.

use bytes::Bytes;

use super::Harness;
use super::tools::{PUBLIC, contents, delete_in, make, open, put, put_in, row, rows, value};
use crate::backend::{Tree, View};

pub(super) fn a_row_is_put_read_overwritten_and_deleted(harness: &dyn Harness) {
    let backend = open(harness);
    for tree in PUBLIC {
        let read = || {
            let latest = backend.get(View::Latest, tree, b"key").unwrap();
            let settled = backend.get(View::Settled, tree, b"key").unwrap();
            assert_eq!(latest, settled, "{tree:?}");
            settled.map(|row| row.value)
        };
        assert_eq!(read(), None);
        make(&*backend, rows(vec![put_in(tree, "key", "first")]));
        assert_eq!(read().unwrap(), "first");
        make(&*backend, rows(vec![put_in(tree, "key", "second")]));
        assert_eq!(read().unwrap(), "second");
        make(&*backend, rows(vec![delete_in(tree, "key")]));
        assert_eq!(read(), None);
    }
}

pub(super) fn trees_do_not_mix(harness: &dyn Harness) {
    let backend = open(harness);
    let named = |tree: Tree| Bytes::from(format!("{tree:?}"));
    let writes = PUBLIC.map(|tree| put_in(tree, "key", named(tree)));
    make(&*backend, rows(writes.to_vec()));
    for tree in PUBLIC {
        assert_eq!(
            contents(&*backend, tree),
            [(Bytes::from("key"), named(tree))]
        );
    }
    make(&*backend, rows(vec![delete_in(Tree::Tokens, "key")]));
    assert!(contents(&*backend, Tree::Tokens).is_empty());
    assert_eq!(value(&*backend, "key").unwrap(), "Entries");
}

pub(super) fn keys_and_values_are_any_bytes(harness: &dyn Harness) {
    let backend = open(harness);
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let single = |byte: u8| put(vec![byte], vec![byte; 3]);
    let mut writes: Vec<_> = (0..=u8::MAX).map(single).collect();
    writes.push(put(all.clone(), all.clone()));
    make(&*backend, rows(writes));
    for byte in 0..=u8::MAX {
        let found = backend.get(View::Settled, Tree::Entries, &[byte]).unwrap();
        assert_eq!(found.unwrap().value, vec![byte; 3]);
    }
    let found = backend.get(View::Settled, Tree::Entries, &all).unwrap();
    assert_eq!(found.unwrap().value, all);
}

pub(super) fn an_empty_value_is_not_an_absent_row(harness: &dyn Harness) {
    let backend = open(harness);
    make(&*backend, rows(vec![put("key", "")]));
    assert_eq!(value(&*backend, "key").unwrap(), "");
    let expected = (Bytes::from("key"), Bytes::new());
    assert_eq!(contents(&*backend, Tree::Entries), [expected]);
}

pub(super) fn a_row_carries_the_revision_of_its_last_commit(harness: &dyn Harness) {
    let backend = open(harness);
    let first = make(&*backend, rows(vec![put("a", "1"), put("b", "1")]));
    let second = make(&*backend, rows(vec![put("b", "2")]));
    assert_eq!(row(&*backend, "a").unwrap().revision, first);
    assert_eq!(row(&*backend, "b").unwrap().revision, second);
    let mut scan = backend.scan(Tree::Entries, b"", None).unwrap();
    let revisions = std::iter::from_fn(|| scan.next().unwrap()).map(|(_, row)| row.revision);
    assert_eq!(revisions.collect::<Vec<_>>(), [first, second]);
}
