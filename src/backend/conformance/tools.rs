//! What the cases are written with.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Harness;
use crate::backend::{
    Backend, BlobId, Commit, Outcome, Position, Requirement, Row, SharedBackend, StoredChange,
    Tree, View, Write,
};
use crate::error::Error;
use crate::options::{DEFAULT_CHUNK_BYTES, Durability, History, MIN_CHUNK_BYTES};

/// The trees a commit may write.
pub(super) const PUBLIC: [Tree; 3] = [Tree::Entries, Tree::Tokens, Tree::Meta];

/// Sizes of chunks: where a backend may choose another place for small ones, both places are seen.
pub(super) const CHUNK_SIZES: [usize; 3] = [MIN_CHUNK_BYTES, 1024, DEFAULT_CHUNK_BYTES];

/// How long what may happen in the background may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens the harness with a history nothing in this suite outgrows.
pub(super) fn open(harness: &dyn Harness) -> SharedBackend {
    harness.open(History::unlimited()).unwrap()
}

/// Waits for what a backend may do in the background.
pub(super) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A row to put into the entries.
pub(super) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Write {
    put_in(Tree::Entries, key, value)
}

/// A row to put.
pub(super) fn put_in(tree: Tree, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Write {
    Write {
        tree,
        key: key.into(),
        value: Some(value.into()),
    }
}

/// A row to delete from the entries.
pub(super) fn delete(key: impl Into<Bytes>) -> Write {
    delete_in(Tree::Entries, key)
}

/// A row to delete.
pub(super) fn delete_in(tree: Tree, key: impl Into<Bytes>) -> Write {
    Write {
        tree,
        key: key.into(),
        value: None,
    }
}

/// What must be true of a row of the entries.
pub(super) fn require(key: &'static str, revision: Option<u64>) -> Requirement {
    Requirement {
        tree: Tree::Entries,
        key: Bytes::from(key),
        revision,
    }
}

/// Many rows `prefix` ‖ number, all with one value.
pub(super) fn numbered(prefix: &str, numbers: Range<usize>, value: &'static str) -> Vec<Write> {
    numbers
        .map(|number| put(format!("{prefix}{number:06}"), value))
        .collect()
}

/// A commit of rows that need not survive a power cut: the fast one.
pub(super) fn rows(writes: Vec<Write>) -> Commit {
    Commit {
        durability: Durability::Eventual,
        writes,
        ..Commit::default()
    }
}

/// A commit of changes alone.
pub(super) fn changes<const N: usize>(changes: [&'static str; N]) -> Commit {
    Commit {
        changes: changes.map(Bytes::from).to_vec(),
        ..rows(Vec::new())
    }
}

/// A commit, immediately durable, that adopts.
pub(super) fn adopt(blobs: &[BlobId]) -> Commit {
    Commit {
        adopts: blobs.to_vec(),
        ..Commit::default()
    }
}

/// A commit, immediately durable, that releases.
pub(super) fn release(blobs: &[BlobId]) -> Commit {
    Commit {
        releases: blobs.to_vec(),
        ..Commit::default()
    }
}

/// Orders a commit that must not be refused, and answers its revision.
pub(super) fn order(backend: &dyn Backend, commit: Commit) -> u64 {
    match backend.commit(commit, &mut |_| {}).unwrap() {
        Outcome::Ordered(revision) => revision,
        Outcome::Refused(index) => panic!("requirement {index} was refused"),
    }
}

/// Orders a commit that must not be refused, waits until it is settled, and answers its revision.
pub(super) fn make(backend: &dyn Backend, commit: Commit) -> u64 {
    let revision = order(backend, commit);
    backend.settle(revision).unwrap();
    revision
}

/// Asks for a commit that must fail; `ordered` must not be called.
pub(super) fn fail(backend: &dyn Backend, commit: Commit) -> Error {
    backend
        .commit(commit, &mut |revision| panic!("{revision} was ordered"))
        .unwrap_err()
}

/// Asks for a commit that must be refused, and answers which requirement it was; `ordered` must not be called.
pub(super) fn refusal(backend: &dyn Backend, commit: Commit) -> usize {
    let outcome = backend.commit(commit, &mut |revision| panic!("{revision} was ordered"));
    match outcome.unwrap() {
        Outcome::Refused(index) => index,
        Outcome::Ordered(revision) => panic!("it was not refused, but is {revision}"),
    }
}

/// A settled row of the entries.
pub(super) fn row(backend: &dyn Backend, key: &str) -> Option<Row> {
    backend
        .get(View::Settled, Tree::Entries, key.as_bytes())
        .unwrap()
}

/// The settled value of an entry.
pub(super) fn value(backend: &dyn Backend, key: &str) -> Option<Bytes> {
    row(backend, key).map(|row| row.value)
}

/// What is left of a scan: keys and values.
pub(super) fn rest(scan: &mut dyn crate::backend::Scan) -> Vec<(Bytes, Bytes)> {
    std::iter::from_fn(|| scan.next().unwrap())
        .map(|(key, row)| (key, row.value))
        .collect()
}

/// What is left of a scan: keys as text.
pub(super) fn keys(scan: &mut dyn crate::backend::Scan) -> Vec<String> {
    rest(scan)
        .into_iter()
        .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
        .collect()
}

/// All settled rows of a tree.
pub(super) fn contents(backend: &dyn Backend, tree: Tree) -> Vec<(Bytes, Bytes)> {
    rest(backend.scan(tree, b"", None).unwrap().as_mut())
}

/// Every settled change.
pub(super) fn all_changes(backend: &dyn Backend) -> Vec<StoredChange> {
    backend.changes(Position::after(0), usize::MAX).unwrap()
}

/// The name of a blob of this suite.
pub(super) fn blob(number: u64) -> BlobId {
    BlobId((0x0190_0000_0000_0000_u128 << 64 | u128::from(number)).to_be_bytes())
}

/// Bytes that differ from blob to blob and from chunk to chunk.
pub(super) fn content(blob: BlobId, length: usize) -> Vec<u8> {
    let mut state = u64::from(crc32fast::hash(&blob.0)) | 1;
    std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_be_bytes())
    })
    .flatten()
    .take(length)
    .collect()
}

/// Puts a blob of this length, and answers its bytes.
pub(super) fn put_blob(
    backend: &dyn Backend,
    blob: BlobId,
    length: usize,
    chunk_bytes: usize,
) -> Vec<u8> {
    let bytes = content(blob, length);
    backend.put_chunks(blob, 0, &bytes, chunk_bytes).unwrap();
    bytes
}

/// Whether the blob reads back as these bytes, chunk by chunk, and ends with them.
pub(super) fn assert_reads(backend: &dyn Backend, blob: BlobId, bytes: &[u8], chunk_bytes: usize) {
    let mut index = 0;
    for expected in bytes.chunks(chunk_bytes) {
        let found = backend.get_chunk(blob, index).unwrap();
        assert!(found == expected, "chunk {index} of {blob} differs");
        index += 1;
    }
    assert_missing(backend, blob, index);
    let chunks: Vec<_> = bytes.chunks(chunk_bytes).collect();
    for most in [1, 2, 7, usize::MAX] {
        let mut read = 0;
        while read < chunks.len() {
            let first = u64::try_from(read).unwrap();
            let found = backend.get_chunks(blob, first, most).unwrap();
            let found: Vec<&[u8]> = found.iter().map(AsRef::as_ref).collect();
            assert!(
                (1..=most).contains(&found.len()),
                "{} of {most}",
                found.len()
            );
            assert!(chunks[read..].starts_with(&found), "from {read} on, {most}");
            let whole = found.concat();
            for (skip, wanted) in [
                (0, whole.len()),
                (1, 3),
                (0, 1),
                (chunks[read].len() - 1, 2),
            ] {
                assert_fills(backend, blob, (first, most), &whole, skip, wanted);
            }
            read += found.len();
        }
        assert!(backend.get_chunks(blob, index, most).is_err());
    }
}

/// Whether the bytes of chunks come into a buffer as well, all that it holds or those of the chunks.
fn assert_fills(
    backend: &dyn Backend,
    blob: BlobId,
    (first, most): (u64, usize),
    whole: &[u8],
    skip: usize,
    wanted: usize,
) {
    let mut buffer = vec![0; wanted];
    let lengths = backend.read_chunks(blob, first, most, skip, &mut buffer);
    let there: usize = lengths.unwrap().iter().sum();
    let count = there.saturating_sub(skip).min(wanted);
    let expected = whole.get(skip..skip + count);
    assert_eq!(expected, Some(&buffer[..count]), "{wanted} from {skip} on");
}

/// Whether there is no such chunk.
pub(super) fn assert_missing(backend: &dyn Backend, blob: BlobId, index: u64) {
    let found = backend.get_chunk(blob, index);
    assert!(
        matches!(found, Err(Error::Damaged { .. })),
        "chunk {index} of {blob}: {found:?}"
    );
}

/// Waits until the chunks of a blob are given back.
pub(super) fn assert_freed(backend: &dyn Backend, blob: BlobId) {
    eventually("the chunks are given back", || {
        let is_held = backend.hold(blob).unwrap().is_some();
        !is_held && matches!(backend.get_chunk(blob, 0), Err(Error::Damaged { .. }))
    });
}
