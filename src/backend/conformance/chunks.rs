//! Chunks: put, read, adopted, discarded.

use super::Harness;
use super::tools::{
    CHUNK_SIZES, adopt, assert_missing, assert_reads, blob, content, eventually, make, open,
    put_blob, release,
};
use crate::backend::{Backend, BlobId};
use crate::error::Error;

fn assert_gone(backend: &dyn Backend, blob: BlobId) {
    eventually("the chunks are given back", || {
        matches!(backend.get_chunk(blob, 0), Err(Error::Damaged { .. }))
    });
}

pub(super) fn a_blob_reads_back_before_and_after_adoption(harness: &dyn Harness) {
    let backend = open(harness);
    let mut number = 0;
    for chunk_bytes in CHUNK_SIZES {
        for length in [
            1,
            chunk_bytes - 1,
            chunk_bytes,
            chunk_bytes + 1,
            3 * chunk_bytes,
            3 * chunk_bytes + 7,
        ] {
            number += 1;
            let bytes = put_blob(&*backend, blob(number), length, chunk_bytes);
            assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
            make(&*backend, adopt(&[blob(number)]));
            let held = backend.hold(blob(number)).unwrap();
            assert!(held.is_some(), "an adopted blob is there");
            assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        }
    }
    backend.flush().unwrap();
    let held = backend.hold(blob(1)).unwrap();
    let bytes = content(blob(1), 1);
    assert_reads(&*backend, blob(1), &bytes, CHUNK_SIZES[0]);
    drop(held);
}

pub(super) fn a_blob_is_put_in_several_calls(harness: &dyn Harness) {
    let backend = open(harness);
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        let bytes = content(blob(number), 10 * chunk_bytes + 3);
        let mut first = 0;
        let mut left = bytes.as_slice();
        for chunks in [1, 3, 2, 4, 1] {
            let (now, later) = left.split_at(left.len().min(chunks * chunk_bytes));
            backend
                .put_chunks(blob(number), first, now, chunk_bytes)
                .unwrap();
            // What was put can be read by its owner while the rest is still to come.
            let again = backend.get_chunk(blob(number), first).unwrap();
            assert!(now.starts_with(&again));
            first += u64::try_from(chunks).unwrap();
            left = later;
        }
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        make(&*backend, adopt(&[blob(number)]));
        let held = backend.hold(blob(number)).unwrap();
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        drop(held);
    }
}

pub(super) fn no_bytes_make_no_chunk(harness: &dyn Harness) {
    let backend = open(harness);
    for chunk_bytes in CHUNK_SIZES {
        backend.put_chunks(blob(1), 0, b"", chunk_bytes).unwrap();
        assert_missing(&*backend, blob(1), 0);
    }
    backend.discard(blob(1));
    // No number was taken either.
    let bytes = put_blob(&*backend, blob(1), 100, 1024);
    backend.put_chunks(blob(1), 1, b"", 1024).unwrap();
    assert_reads(&*backend, blob(1), &bytes, 1024);
}

pub(super) fn a_chunk_that_is_not_there_is_damage(harness: &dyn Harness) {
    let backend = open(harness);
    assert_missing(&*backend, blob(1), 0);
    put_blob(&*backend, blob(1), 2_000, 1024);
    for index in [2, 3, u64::MAX] {
        assert_missing(&*backend, blob(1), index);
    }
    assert_missing(&*backend, blob(0), 0);
    assert_missing(&*backend, blob(2), 0);
}

pub(super) fn blobs_do_not_mix(harness: &dyn Harness) {
    let backend = open(harness);
    for (chunk_bytes, base) in CHUNK_SIZES.into_iter().zip([0, 100, 200]) {
        let length = 4 * chunk_bytes + 5;
        let contents = [1, 2, 3].map(|n| content(blob(base + n), length));
        // Chunk by chunk in turn, so that neighbours on disk belong to different blobs.
        for index in 0..5_usize {
            for (n, bytes) in (1..).zip(&contents) {
                let piece = bytes.chunks(chunk_bytes).nth(index).unwrap();
                let first = u64::try_from(index).unwrap();
                backend
                    .put_chunks(blob(base + n), first, piece, chunk_bytes)
                    .unwrap();
            }
        }
        make(&*backend, adopt(&[blob(base + 1), blob(base + 3)]));
        backend.discard(blob(base + 2));
        make(&*backend, release(&[blob(base + 3)]));
        let held = backend.hold(blob(base + 1)).unwrap().unwrap();
        assert_gone(&*backend, blob(base + 2));
        assert_gone(&*backend, blob(base + 3));
        assert_reads(&*backend, blob(base + 1), &contents[0], chunk_bytes);
        drop(held);
    }
}

pub(super) fn a_sync_of_chunks_changes_nothing(harness: &dyn Harness) {
    let backend = open(harness);
    // Of what is nobody's there is nothing to do.
    backend.sync_chunks(blob(99)).unwrap();
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        let bytes = content(blob(number), 5 * chunk_bytes + 1);
        let (before, behind) = bytes.split_at(3 * chunk_bytes);
        (backend.put_chunks(blob(number), 0, before, chunk_bytes)).unwrap();
        backend.sync_chunks(blob(number)).unwrap();
        assert!(backend.hold(blob(number)).unwrap().is_none());
        (backend.put_chunks(blob(number), 3, behind, chunk_bytes)).unwrap();
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        make(&*backend, adopt(&[blob(number)]));
        backend.sync_chunks(blob(number)).unwrap();
        let held = backend.hold(blob(number)).unwrap();
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        drop(held);
        put_blob(&*backend, blob(50 + number), 3 * chunk_bytes, chunk_bytes);
        backend.sync_chunks(blob(50 + number)).unwrap();
        backend.discard(blob(50 + number));
        assert_gone(&*backend, blob(50 + number));
    }
}

pub(super) fn a_discarded_blob_is_given_back(harness: &dyn Harness) {
    let backend = open(harness);
    backend.discard(blob(1));
    for (number, chunk_bytes) in (2..).zip(CHUNK_SIZES) {
        put_blob(&*backend, blob(number), 3 * chunk_bytes, chunk_bytes);
        backend.discard(blob(number));
        assert_gone(&*backend, blob(number));
        assert!(backend.hold(blob(number)).unwrap().is_none());
        backend.discard(blob(number));
    }
}

pub(super) fn discard_leaves_an_adopted_blob(harness: &dyn Harness) {
    let backend = open(harness);
    for (number, chunk_bytes) in (1..).zip(CHUNK_SIZES) {
        let bytes = put_blob(&*backend, blob(number), 2 * chunk_bytes, chunk_bytes);
        make(&*backend, adopt(&[blob(number)]));
        backend.discard(blob(number));
        backend.flush().unwrap();
        let held = backend.hold(blob(number)).unwrap().unwrap();
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        make(&*backend, release(&[blob(number)]));
        backend.discard(blob(number));
        assert_reads(&*backend, blob(number), &bytes, chunk_bytes);
        drop(held);
    }
}

pub(super) fn many_blobs_are_adopted_in_one_commit(harness: &dyn Harness) {
    let backend = open(harness);
    let blobs: Vec<BlobId> = (1..=500).map(blob).collect();
    let lengths = [100, 5_000, 1, 1_024];
    let contents: Vec<Vec<u8>> = blobs
        .iter()
        .zip(lengths.into_iter().cycle())
        .map(|(blob, length)| put_blob(&*backend, *blob, length, 1024))
        .collect();
    make(&*backend, adopt(&blobs));
    for (blob, bytes) in blobs.iter().zip(&contents) {
        let held = backend.hold(*blob).unwrap();
        assert_reads(&*backend, *blob, bytes, 1024);
        drop(held);
    }
    make(&*backend, release(&blobs));
    for blob in blobs {
        assert_gone(&*backend, blob);
    }
}

pub(super) fn blobs_are_put_from_several_threads(harness: &dyn Harness) {
    let backend = open(harness);
    let upload = &|thread: u64| {
        for round in 0..10 {
            let blob = blob(thread * 100 + round);
            let size = CHUNK_SIZES[usize::try_from(round % 3).unwrap()];
            let bytes = put_blob(&*backend, blob, 2 * size + 9, size);
            if round % 4 == 3 {
                backend.discard(blob);
                continue;
            }
            make(&*backend, adopt(&[blob]));
            let held = backend.hold(blob).unwrap().unwrap();
            assert_reads(&*backend, blob, &bytes, size);
            drop(held);
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || upload(thread));
        }
    });
}
