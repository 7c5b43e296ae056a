//! Opening again: everything that was settled, or nothing, as the harness says.

use bytes::Bytes;

use super::Harness;
use super::tools::{
    CHUNK_SIZES, PUBLIC, adopt, all_changes, assert_freed, assert_missing, assert_reads, blob,
    changes, content, contents, delete, eventually, make, numbered, open, order, put, put_blob,
    put_in, refusal, release, require, row, rows, value,
};
use crate::backend::{Commit, SharedBackend, Tree};
use crate::error::Error;
use crate::options::Durability;

/// How a backend is let go of.
#[derive(Clone, Copy)]
enum End {
    Closed,
    Dropped,
    Flushed,
}

fn end(backend: SharedBackend, end: End) {
    match end {
        End::Closed => backend.close().unwrap(),
        End::Dropped => {}
        End::Flushed => backend.flush().unwrap(),
    }
    drop(backend);
}

/// Ends the backend and opens it again. One that is not persistent must come back as if it were the first time, and
/// there the case ends.
fn reopen(harness: &dyn Harness, backend: SharedBackend, how: End) -> Option<SharedBackend> {
    end(backend, how);
    let backend = open(harness);
    if harness.is_persistent() {
        return Some(backend);
    }
    for tree in PUBLIC {
        assert!(contents(&*backend, tree).is_empty(), "{tree:?}");
    }
    let range = backend.history();
    assert_eq!((range.oldest, range.newest), (1, 0));
    assert!(all_changes(&*backend).is_empty());
    assert!(backend.hold(blob(1)).unwrap().is_none());
    assert_missing(&*backend, blob(1), 0);
    make(&*backend, rows(vec![put("key", "")]));
    None
}

fn rows_are_kept(harness: &dyn Harness, how: End) {
    let mut backend = open(harness);
    for (round, durability) in [Durability::Eventual, Durability::Immediate]
        .into_iter()
        .cycle()
        .take(4)
        .enumerate()
    {
        let key = format!("key {round}");
        let mut commit = rows(PUBLIC.map(|tree| put_in(tree, key.clone(), "1")).to_vec());
        commit.durability = durability;
        commit.writes.push(put("each", round.to_string()));
        let revision = make(&*backend, commit);
        let before = PUBLIC.map(|tree| contents(&*backend, tree));
        let Some(again) = reopen(harness, backend, how) else {
            return;
        };
        assert_eq!(PUBLIC.map(|tree| contents(&*again, tree)), before);
        assert_eq!(row(&*again, "each").unwrap().revision, revision);
        assert_eq!(again.history().newest, revision);
        let stats = again.stats().unwrap();
        let expected = u64::try_from(round).unwrap() + 1;
        assert_eq!((stats.entries, stats.tokens), (expected + 1, expected));
        backend = again;
    }
}

pub(super) fn rows_are_kept_when_closed(harness: &dyn Harness) {
    rows_are_kept(harness, End::Closed);
}

pub(super) fn rows_are_kept_when_dropped(harness: &dyn Harness) {
    rows_are_kept(harness, End::Dropped);
}

pub(super) fn rows_are_kept_when_flushed_and_dropped(harness: &dyn Harness) {
    rows_are_kept(harness, End::Flushed);
}

pub(super) fn deletions_are_kept(harness: &dyn Harness) {
    let backend = open(harness);
    make(&*backend, rows(numbered("k", 0..100, "value")));
    backend.flush().unwrap();
    make(&*backend, rows(vec![delete("k000007"), delete("k000099")]));
    let before = contents(&*backend, Tree::Entries);
    let Some(backend) = reopen(harness, backend, End::Dropped) else {
        return;
    };
    assert_eq!(contents(&*backend, Tree::Entries), before);
    assert_eq!(value(&*backend, "k000007"), None);
    assert_eq!(backend.stats().unwrap().entries, 98);
}

pub(super) fn a_huge_commit_is_kept_whole(harness: &dyn Harness) {
    const ROWS: usize = 20_000;
    let backend = open(harness);
    make(&*backend, rows(numbered("k", 0..ROWS, "first")));
    make(&*backend, rows(numbered("k", 0..ROWS, "second")));
    let Some(backend) = reopen(harness, backend, End::Dropped) else {
        return;
    };
    let found = contents(&*backend, Tree::Entries);
    assert_eq!(found.len(), ROWS);
    assert!(found.iter().all(|row| row.1 == "second"));
}

pub(super) fn revisions_go_on(harness: &dyn Harness) {
    let mut backend = open(harness);
    let mut last = 0;
    for how in [End::Closed, End::Dropped, End::Flushed, End::Closed] {
        // The last commit before the end leaves no row: its revision must not be given away again.
        let revision = make(&*backend, rows(vec![put("key", "")]));
        assert!(revision > last, "{revision} follows {last}");
        last = make(&*backend, rows(vec![delete("absent")]));
        assert!(last > revision);
        let Some(again) = reopen(harness, backend, how) else {
            return;
        };
        backend = again;
    }
    assert!(make(&*backend, Commit::default()) > last);
}

pub(super) fn requirements_hold_across(harness: &dyn Harness) {
    let backend = open(harness);
    let first = make(&*backend, rows(vec![put("key", "1")]));
    let second = make(&*backend, rows(vec![put("key", "2")]));
    let Some(backend) = reopen(harness, backend, End::Dropped) else {
        return;
    };
    let guarded = |revision| Commit {
        requires: vec![require("key", revision)],
        ..rows(vec![put("key", "3")])
    };
    assert_eq!(refusal(&*backend, guarded(Some(first))), 0);
    assert_eq!(refusal(&*backend, guarded(None)), 0);
    make(&*backend, guarded(Some(second)));
}

pub(super) fn history_goes_on(harness: &dyn Harness) {
    let mut backend = open(harness);
    let mut expected = Vec::new();
    for how in [End::Closed, End::Dropped, End::Flushed, End::Dropped] {
        make(&*backend, changes(["a", "", "c"]));
        make(&*backend, rows(vec![put("key", "")]));
        make(&*backend, changes(["last"]));
        let told = all_changes(&*backend);
        assert_eq!(told.len(), expected.len() + 4);
        assert!(told.starts_with(&expected));
        let Some(again) = reopen(harness, backend, how) else {
            return;
        };
        assert_eq!(all_changes(&*again), told);
        assert_eq!(again.history().oldest, 1);
        let inside = told[told.len() - 3].position;
        assert_eq!(again.changes(inside, 9).unwrap(), told[told.len() - 2..]);
        expected = told;
        backend = again;
    }
}

pub(super) fn adopted_chunks_are_kept(harness: &dyn Harness) {
    let mut backend = open(harness);
    let mut length_of = Vec::new();
    for (how, number) in [End::Closed, End::Dropped, End::Flushed]
        .into_iter()
        .zip(0..)
    {
        for (size, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
            let blob = blob(number * 10 + size);
            let length = 3 * chunk_bytes + 5;
            put_blob(&*backend, blob, length, chunk_bytes);
            // Both ways of adopting: settled is enough to be there again.
            let durability = match number {
                1 => Durability::Eventual,
                _ => Durability::Immediate,
            };
            let commit = Commit {
                durability,
                ..adopt(&[blob])
            };
            make(&*backend, commit);
            length_of.push((blob, length, chunk_bytes));
        }
        let bytes_before = backend.stats().unwrap().chunk_bytes;
        let Some(again) = reopen(harness, backend, how) else {
            return;
        };
        for (blob, length, chunk_bytes) in &length_of {
            let held = again.hold(*blob).unwrap();
            assert!(held.is_some(), "{blob} is gone");
            assert_reads(&*again, *blob, &content(*blob, *length), *chunk_bytes);
        }
        assert_eq!(again.stats().unwrap().chunk_bytes, bytes_before);
        backend = again;
    }
}

pub(super) fn owners_are_kept(harness: &dyn Harness) {
    let mut backend = open(harness);
    let bytes = put_blob(&*backend, blob(1), 3_000, 1024);
    make(&*backend, adopt(&[blob(1), blob(1)]));
    make(&*backend, adopt(&[blob(1)]));
    for how in [End::Dropped, End::Closed] {
        let Some(again) = reopen(harness, backend, how) else {
            return;
        };
        make(&*again, release(&[blob(1)]));
        again.flush().unwrap();
        let held = again.hold(blob(1)).unwrap();
        assert!(held.is_some(), "it has an owner left");
        assert_reads(&*again, blob(1), &bytes, 1024);
        drop(held);
        backend = again;
    }
    make(&*backend, release(&[blob(1)]));
    assert_freed(&*backend, blob(1));
}

pub(super) fn released_chunks_stay_gone(harness: &dyn Harness) {
    let backend = open(harness);
    // Held to the end, so that what is left to give back is known to the next opening from the disk alone.
    let mut holds = Vec::new();
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        put_blob(&*backend, blob(number), 3 * chunk_bytes, chunk_bytes);
        make(&*backend, adopt(&[blob(number)]));
        holds.push(backend.hold(blob(number)).unwrap().unwrap());
        make(&*backend, release(&[blob(number)]));
    }
    drop(holds);
    let Some(backend) = reopen(harness, backend, End::Dropped) else {
        return;
    };
    for (number, _) in (1..).zip(CHUNK_SIZES) {
        assert_freed(&*backend, blob(number));
    }
    eventually("no chunk is counted", || {
        backend.stats().unwrap().chunk_bytes == 0
    });
}

pub(super) fn chunks_that_nobody_adopted_are_gone(harness: &dyn Harness) {
    let backend = open(harness);
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        put_blob(&*backend, blob(number), 3 * chunk_bytes, chunk_bytes);
        put_blob(&*backend, blob(number + 10), chunk_bytes, chunk_bytes);
    }
    make(&*backend, adopt(&[blob(11), blob(12), blob(13)]));
    let Some(backend) = reopen(harness, backend, End::Dropped) else {
        return;
    };
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        eventually("what nobody adopted is swept", || {
            matches!(
                backend.get_chunk(blob(number), 0),
                Err(Error::Damaged { .. })
            )
        });
        assert!(backend.hold(blob(number)).unwrap().is_none());
        let held = backend.hold(blob(number + 10)).unwrap();
        assert!(held.is_some(), "it was adopted");
        let bytes = content(blob(number + 10), chunk_bytes);
        assert_reads(&*backend, blob(number + 10), &bytes, chunk_bytes);
    }
}

pub(super) fn it_opens_many_times(harness: &dyn Harness) {
    let mut backend = open(harness);
    for round in 0..10_usize {
        let how = [End::Closed, End::Dropped, End::Flushed][round % 3];
        let commit = Commit {
            changes: vec![Bytes::from(round.to_string())],
            ..rows(numbered(&format!("{round}-"), 0..50, "value"))
        };
        // Not waited for before a close: closing settles what was ordered.
        let revision = order(&*backend, commit);
        if !matches!(how, End::Closed) {
            backend.settle(revision).unwrap();
        }
        let Some(again) = reopen(harness, backend, how) else {
            return;
        };
        assert_eq!(contents(&*again, Tree::Entries).len(), (round + 1) * 50);
        assert_eq!(all_changes(&*again).len(), round + 1);
        backend = again;
    }
}
