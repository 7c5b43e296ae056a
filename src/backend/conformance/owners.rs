//! Owners of blobs: adoptions, releases, and what keeps a released blob.

use bytes::Bytes;

use super::Harness;
use super::tools::{
    CHUNK_SIZES, adopt, assert_freed, assert_reads, blob, make, open, put, put_blob, refusal,
    release, require,
};
use crate::backend::{Backend, BlobId, Commit, Tree};

/// An adopted blob of two chunks and a bit.
fn adopted(backend: &dyn Backend, number: u64, chunk_bytes: usize) -> (BlobId, Vec<u8>) {
    let blob = blob(number);
    let bytes = put_blob(backend, blob, 2 * chunk_bytes + 11, chunk_bytes);
    make(backend, adopt(&[blob]));
    (blob, bytes)
}

/// A case for each size of chunk, each with an adopted blob.
fn for_each_size(harness: &dyn Harness, case: impl Fn(&dyn Backend, BlobId, &[u8], usize)) {
    let backend = open(harness);
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        let (blob, bytes) = adopted(&*backend, number, chunk_bytes);
        case(&*backend, blob, &bytes, chunk_bytes);
    }
}

pub(super) fn a_release_gives_back(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, _, _| {
        make(backend, release(&[blob]));
        assert_freed(backend, blob);
    });
}

pub(super) fn a_hold_keeps_a_released_blob(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, bytes, chunk_bytes| {
        let held = backend.hold(blob).unwrap().unwrap();
        make(backend, release(&[blob]));
        backend.flush().unwrap();
        assert_reads(backend, blob, bytes, chunk_bytes);
        drop(held);
        assert_freed(backend, blob);
    });
}

pub(super) fn each_hold_counts(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, bytes, chunk_bytes| {
        let holds = [(); 3].map(|()| backend.hold(blob).unwrap().unwrap());
        make(backend, release(&[blob]));
        for hold in holds {
            backend.flush().unwrap();
            assert_reads(backend, blob, bytes, chunk_bytes);
            drop(hold);
        }
        assert_freed(backend, blob);
    });
}

pub(super) fn only_an_adopted_blob_is_held(harness: &dyn Harness) {
    let backend = open(harness);
    assert!(backend.hold(blob(9)).unwrap().is_none());
    put_blob(&*backend, blob(9), 3_000, 1024);
    assert!(backend.hold(blob(9)).unwrap().is_none());
    make(&*backend, adopt(&[blob(9)]));
    assert!(backend.hold(blob(9)).unwrap().is_some());
}

pub(super) fn two_adoptions_need_two_releases(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, bytes, chunk_bytes| {
        // Three owners: one before, two at once.
        make(backend, adopt(&[blob, blob]));
        for _ in 0..2 {
            make(backend, release(&[blob]));
            backend.flush().unwrap();
            let held = backend.hold(blob).unwrap();
            assert!(held.is_some(), "it has an owner left");
            assert_reads(backend, blob, bytes, chunk_bytes);
        }
        make(backend, release(&[blob]));
        assert_freed(backend, blob);
    });
}

pub(super) fn a_blob_moves_from_owner_to_owner(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, bytes, chunk_bytes| {
        let commit = Commit {
            adopts: vec![blob],
            releases: vec![blob],
            ..Commit::default()
        };
        make(backend, commit);
        backend.flush().unwrap();
        let held = backend.hold(blob).unwrap();
        assert!(held.is_some(), "it has an owner left");
        assert_reads(backend, blob, bytes, chunk_bytes);
        drop(held);
        make(backend, release(&[blob]));
        assert_freed(backend, blob);
    });
}

pub(super) fn an_older_scan_keeps_a_released_blob(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, bytes, chunk_bytes| {
        let older = backend.scan(Tree::Entries, b"", None).unwrap();
        let other = backend.scan(Tree::Tokens, b"", None).unwrap();
        make(backend, release(&[blob]));
        backend.flush().unwrap();
        assert_reads(backend, blob, bytes, chunk_bytes);
        drop(other);
        backend.flush().unwrap();
        assert_reads(backend, blob, bytes, chunk_bytes);
        drop(older);
        assert_freed(backend, blob);
    });
}

pub(super) fn a_newer_scan_keeps_nothing(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, _, _| {
        let held = backend.hold(blob).unwrap().unwrap();
        make(backend, release(&[blob]));
        let newer = backend.scan(Tree::Entries, b"", None).unwrap();
        drop(held);
        assert_freed(backend, blob);
        drop(newer);
    });
}

/// A commit whose requirement does not hold.
fn refused(commit: Commit) -> Commit {
    Commit {
        requires: vec![require("absent", Some(1))],
        writes: vec![put("key", "")],
        changes: vec![Bytes::from("told")],
        ..commit
    }
}

pub(super) fn a_refused_commit_adopts_nothing(harness: &dyn Harness) {
    let backend = open(harness);
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        let blob = blob(number);
        let bytes = put_blob(&*backend, blob, 2 * chunk_bytes, chunk_bytes);
        assert_eq!(refusal(&*backend, refused(adopt(&[blob]))), 0);
        assert!(backend.hold(blob).unwrap().is_none());
        assert_reads(&*backend, blob, &bytes, chunk_bytes);
        backend.discard(blob);
        assert_freed(&*backend, blob);
    }
}

pub(super) fn a_refused_commit_releases_nothing(harness: &dyn Harness) {
    for_each_size(harness, |backend, blob, bytes, chunk_bytes| {
        assert_eq!(refusal(backend, refused(release(&[blob]))), 0);
        backend.flush().unwrap();
        let held = backend.hold(blob).unwrap();
        assert!(held.is_some(), "it still has its owner");
        assert_reads(backend, blob, bytes, chunk_bytes);
    });
}

pub(super) fn requirements_come_before_blobs(harness: &dyn Harness) {
    // A copy that comes too late: the entry changed, and its blob is gone. It is told to read again, no more.
    for_each_size(harness, |backend, blob, _, _| {
        make(backend, release(&[blob]));
        assert_freed(backend, blob);
        assert_eq!(refusal(backend, refused(adopt(&[blob]))), 0);
    });
}
