//! Limits, from both sides.

use bytes::Bytes;

use super::Harness;
use super::tools::{
    PUBLIC, all_changes, contents, delete, delete_in, fail, make, open, put, put_in, rows, value,
};
use crate::backend::{
    Backend, Commit, MAX_CHANGE_BYTES, MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, MAX_ROW_BYTES,
    MAX_ROW_KEY_BYTES, Tree, View,
};
use crate::error::Error;

/// A commit above a limit changes nothing, not even the revision.
fn assert_too_large(backend: &dyn Backend, commit: Commit, expected: usize) {
    let newest = backend.history().newest;
    let error = fail(backend, commit);
    let Error::TooLarge { limit, found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(limit, u64::try_from(expected).unwrap());
    assert!(found > limit);
    assert_eq!(backend.history().newest, newest);
    assert_eq!(value(backend, "beside"), None);
}

pub(super) fn a_row_may_be_as_large_as_the_limit(harness: &dyn Harness) {
    let backend = open(harness);
    for tree in PUBLIC {
        for key_bytes in [1, 100, MAX_ROW_KEY_BYTES] {
            let key = vec![b'k'; key_bytes];
            let largest = vec![0xa5; MAX_ROW_BYTES - key_bytes];
            let mut above = largest.clone();
            above.push(0);
            let commit = rows(vec![put("beside", ""), put_in(tree, key.clone(), above)]);
            assert_too_large(&*backend, commit, MAX_ROW_BYTES);
            make(
                &*backend,
                rows(vec![put_in(tree, key.clone(), largest.clone())]),
            );
            let found = backend.get(View::Settled, tree, &key).unwrap().unwrap();
            assert!(found.value == largest, "{tree:?}, key of {key_bytes}");
        }
    }
    backend.flush().unwrap();
    assert_eq!(contents(&*backend, Tree::Entries).len(), 3);
}

pub(super) fn a_key_may_be_as_long_as_the_limit(harness: &dyn Harness) {
    let backend = open(harness);
    let longest = vec![0xff; MAX_ROW_KEY_BYTES];
    let above = vec![0xff; MAX_ROW_KEY_BYTES + 1];
    let commit = rows(vec![put("beside", ""), put(above.clone(), "")]);
    assert_too_large(&*backend, commit, MAX_ROW_KEY_BYTES);
    let commit = rows(vec![delete_in(Tree::Meta, above)]);
    assert_too_large(&*backend, commit, MAX_ROW_KEY_BYTES);
    make(&*backend, rows(vec![put(longest.clone(), "value")]));
    let expected = (Bytes::from(longest.clone()), Bytes::from("value"));
    assert_eq!(contents(&*backend, Tree::Entries), [expected]);
    make(&*backend, rows(vec![delete(longest)]));
    assert!(contents(&*backend, Tree::Entries).is_empty());
}

pub(super) fn a_commit_may_write_as_many_rows_as_the_limit(harness: &dyn Harness) {
    let backend = open(harness);
    make(&*backend, rows(vec![put("kept", ""), put("\0\0\0\0", "")]));
    // Four bytes a key, cut from one piece, so that the commit itself stays small.
    let numbers = 0..u32::try_from(MAX_COMMIT_ROWS).unwrap();
    let keys = Bytes::from_iter(numbers.clone().flat_map(u32::to_be_bytes));
    let mut writes: Vec<_> = (0..MAX_COMMIT_ROWS)
        .map(|n| delete(keys.slice(n * 4..n * 4 + 4)))
        .collect();
    writes.push(put("beside", ""));
    assert_too_large(&*backend, rows(writes.clone()), MAX_COMMIT_ROWS);
    writes.pop();
    make(&*backend, rows(writes));
    let expected = (Bytes::from("kept"), Bytes::new());
    assert_eq!(contents(&*backend, Tree::Entries), [expected]);
}

pub(super) fn a_commit_may_hold_as_many_bytes_as_the_limit(harness: &dyn Harness) {
    const PIECE: usize = MAX_CHANGE_BYTES;
    let backend = open(harness);
    let piece = Bytes::from(vec![0x5a; PIECE]);
    let mut changes = vec![piece.clone(); MAX_COMMIT_BYTES / PIECE - 1];
    // The row counts as well: its key, and its value.
    changes.push(piece.slice(..PIECE - "beside".len() - "value".len()));
    let commit = |changes: Vec<Bytes>| Commit {
        changes,
        ..rows(vec![put("beside", "value")])
    };
    let mut above = changes.clone();
    above.push(Bytes::from("+"));
    assert_too_large(&*backend, commit(above), MAX_COMMIT_BYTES);
    make(&*backend, commit(changes.clone()));
    assert_eq!(value(&*backend, "beside").unwrap(), "value");
    let told = all_changes(&*backend);
    let told: Vec<Bytes> = told.into_iter().map(|change| change.bytes).collect();
    assert!(told == changes, "the changes read back differently");
}

pub(super) fn a_commit_may_tell_as_many_changes_as_the_limit(harness: &dyn Harness) {
    let backend = open(harness);
    let commit = |count| Commit {
        changes: vec![Bytes::new(); count],
        ..Commit::default()
    };
    assert_too_large(&*backend, commit(MAX_COMMIT_ROWS + 1), MAX_COMMIT_ROWS);
    make(&*backend, commit(MAX_COMMIT_ROWS));
    let told = all_changes(&*backend);
    assert_eq!(told.len(), MAX_COMMIT_ROWS);
    let lasts = told.iter().filter(|change| change.last).count();
    assert!(lasts == 1 && told[MAX_COMMIT_ROWS - 1].last);
}
