//! Sizes, verification, compaction, and the end.

use std::ops::ControlFlow;

use super::Harness;
use super::tools::{
    CHUNK_SIZES, adopt, all_changes, assert_freed, assert_reads, blob, changes, contents, delete,
    delete_in, eventually, make, numbered, open, put, put_blob, put_in, release, rows,
};
use crate::backend::{Backend, Commit, Position, Tree, View};
use crate::error::{Error, Result};
use crate::report::{Finding, Progress, Step};

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn stop(_: Step) -> ControlFlow<()> {
    ControlFlow::Break(())
}

fn verify(backend: &dyn Backend) -> Result<Vec<Finding>> {
    let report = backend.verify(&mut Progress::new(&mut go_on))?;
    Ok(report.findings)
}

fn compact(backend: &dyn Backend) -> Result<()> {
    backend.compact(&mut Progress::new(&mut go_on))
}

pub(super) fn stats_count_rows(harness: &dyn Harness) {
    let backend = open(harness);
    let counted = || {
        let stats = backend.stats().unwrap();
        (stats.entries, stats.tokens)
    };
    assert_eq!(counted(), (0, 0));
    let empty = backend.stats().unwrap().row_bytes;
    let tokens = ["a", "b"].map(|key| put_in(Tree::Tokens, key, vec![0; 500]));
    make(&*backend, rows(numbered("k", 0..10, "value")));
    make(&*backend, rows(tokens.to_vec()));
    make(&*backend, rows(vec![put_in(Tree::Meta, "key", "value")]));
    assert_eq!(counted(), (10, 2));
    assert!(backend.stats().unwrap().row_bytes >= empty + 1_000 + 10 * 12);
    make(&*backend, rows(numbered("k", 5..15, "other")));
    assert_eq!(counted(), (15, 2));
    let mut deletions: Vec<_> = (0..20).map(|n| delete(format!("k{n:06}"))).collect();
    deletions.push(delete_in(Tree::Tokens, "a"));
    make(&*backend, rows(deletions));
    backend.flush().unwrap();
    assert_eq!(counted(), (0, 1));
    assert!(backend.stats().unwrap().row_bytes < empty + 1_000);
}

pub(super) fn stats_count_adopted_chunks(harness: &dyn Harness) {
    let backend = open(harness);
    let counted = || backend.stats().unwrap().chunk_bytes;
    let before = counted();
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        let length = 3 * chunk_bytes + 1;
        put_blob(&*backend, blob(number), length, chunk_bytes);
        assert_eq!(counted(), before, "nobody owns it yet");
        make(&*backend, adopt(&[blob(number)]));
        let adopted = counted();
        assert!(adopted >= before + u64::try_from(length).unwrap());
        make(&*backend, adopt(&[blob(number)]));
        assert_eq!(counted(), adopted, "an owner more is no byte more");
        make(&*backend, release(&[blob(number), blob(number)]));
        eventually("the chunks are counted no more", || counted() == before);
    }
}

/// A store with something of everything.
fn furnish(backend: &dyn Backend) {
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        put_blob(backend, blob(number), 3 * chunk_bytes, chunk_bytes);
        put_blob(backend, blob(number + 10), 3 * chunk_bytes, chunk_bytes);
        let commit = Commit {
            writes: numbered(&format!("{number}"), 0..200, "value"),
            ..adopt(&[blob(number), blob(number + 10)])
        };
        make(backend, commit);
        make(backend, changes(["one", "two"]));
        make(backend, rows(vec![delete(format!("{number}{:06}", 7))]));
    }
}

pub(super) fn a_sound_store_has_no_findings(harness: &dyn Harness) {
    let backend = open(harness);
    assert_eq!(verify(&*backend).unwrap(), []);
    furnish(&*backend);
    assert_eq!(verify(&*backend).unwrap(), []);
    backend.flush().unwrap();
    put_blob(&*backend, blob(99), 100, 1024);
    make(&*backend, release(&[blob(1)]));
    assert_eq!(verify(&*backend).unwrap(), []);
    compact(&*backend).unwrap();
    assert_eq!(verify(&*backend).unwrap(), []);
}

pub(super) fn verify_can_be_cancelled(harness: &dyn Harness) {
    let backend = open(harness);
    furnish(&*backend);
    let found = backend.verify(&mut Progress::new(&mut stop));
    assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    assert_eq!(verify(&*backend).unwrap(), []);
}

pub(super) fn compact_changes_nothing_that_is_read(harness: &dyn Harness) {
    let backend = open(harness);
    compact(&*backend).unwrap();
    furnish(&*backend);
    let before = contents(&*backend, Tree::Entries);
    let told = all_changes(&*backend);
    let gone = [blob(11), blob(12), blob(13)];
    make(&*backend, release(&gone));
    for _ in 0..2 {
        compact(&*backend).unwrap();
        assert_eq!(contents(&*backend, Tree::Entries), before);
        assert_eq!(all_changes(&*backend), told);
        for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
            let held = backend.hold(blob(number)).unwrap().unwrap();
            let bytes = super::tools::content(blob(number), 3 * chunk_bytes);
            assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
            drop(held);
        }
    }
    for blob in gone {
        assert_freed(&*backend, blob);
    }
    make(&*backend, rows(vec![put("later", "")]));
}

pub(super) fn compact_leaves_what_is_held(harness: &dyn Harness) {
    let backend = open(harness);
    furnish(&*backend);
    put_blob(&*backend, blob(50), 5_000, 1024);
    let held = backend.hold(blob(3)).unwrap().unwrap();
    let scan = backend.scan(Tree::Entries, b"", None).unwrap();
    make(&*backend, release(&[blob(1), blob(3)]));
    compact(&*backend).unwrap();
    for (number, chunk_bytes) in [(1, CHUNK_SIZES[0]), (3, CHUNK_SIZES[2])] {
        let bytes = super::tools::content(blob(number), 3 * chunk_bytes);
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
    }
    // An upload under way is nobody's to give back but the uploader's.
    let bytes = super::tools::content(blob(50), 5_000);
    assert_reads(&*backend, blob(50), &bytes, 1024);
    make(&*backend, adopt(&[blob(50)]));
    drop(scan);
    drop(held);
    compact(&*backend).unwrap();
    assert_freed(&*backend, blob(1));
    assert_freed(&*backend, blob(3));
}

pub(super) fn a_closed_backend_answers_errors(harness: &dyn Harness) {
    let backend = open(harness);
    furnish(&*backend);
    let revision = backend.history().newest;
    backend.close().unwrap();
    let commit = backend.commit(rows(vec![put("key", "")]), &mut |_| panic!("ordered"));
    assert!(commit.is_err());
    for view in [View::Latest, View::Settled] {
        assert!(backend.get(view, Tree::Entries, b"1000000").is_err());
    }
    assert!(backend.scan(Tree::Entries, b"", None).is_err());
    backend.settle(revision).unwrap();
    assert!(backend.changes(Position::after(0), 1).is_err());
    assert!(backend.put_chunks(blob(98), 0, b"bytes", 1024).is_err());
    assert!(backend.get_chunk(blob(1), 0).is_err());
    assert!(backend.hold(blob(1)).is_err());
    assert!(backend.flush().is_err());
    assert!(backend.stats().is_err());
    assert!(verify(&*backend).is_err());
    assert!(compact(&*backend).is_err());
    assert!(backend.close().is_err());
    backend.discard(blob(97));
}
