//! The seam: what a store stands on. Bytes in, bytes out.
//!
//! A [`Backend`] keeps rows in a few ordered trees, chunks of blobs beside them, and a history of changes.
//! It knows nothing of documents, locks or keys; the store above knows nothing of files, journals or sled.
//! This crate brings two: one over a directory (journal, overlay, packs, sled), one in memory. Another one
//! passes the suite in `komatik::backend::conformance` (feature `conformance`), or is not a backend.
//!
//! # The contract
//!
//! * **Revisions.** Every commit gets a revision, higher than all before it, never used again. Each row it
//!   writes is stamped with it.
//! * **Two views.** [`View::Latest`] is the state after the last ordered commit: what a writer must decide on.
//!   [`View::Settled`] is the state after the last commit that is as durable as it asked to be: what readers see.
//!   Commits settle in revision order, whole.
//! * **One step.** A commit is there whole or not at all, for readers, for other writers and after a crash.
//!   What breaks a rule of form ([`Commit::check`]) is an error whatever the requirements; then come the requirements;
//!   only then does anybody look at the blobs.
//! * **Chunks** are put under a fresh [`BlobId`], where no reader looks, and belong to no one until a commit
//!   adopts the blob. What is never adopted is given back: at once by `discard`, after a crash at the next open.
//!   Each adoption counts one, each release takes one away, the adoptions of a commit before its releases; at none the
//!   chunks are given back, not before the releasing commit is durable, no [`Hold`] on the blob is left and no older
//!   scan is open. To adopt a blob that was neither put nor has an owner, or to release one without an owner, is a
//!   mistake a backend may refuse with `InvalidArgument`.
//! * **Failure.** When a write fails so that the state on disk is unknown, every later write answers
//!   [`Error::Poisoned`](crate::Error::Poisoned); reads go on, as far as what failed was not beneath them.
//! * **The end.** A backend that is dropped without [`Backend::close`] lets go of its files as well, before the drop
//!   returns, and what was settled is there when it is opened again. Scans and holds must be dropped first.

use std::sync::Arc;

use bytes::Bytes;

pub use crate::blob_id::BlobId;
use crate::error::Result;
use crate::options::Durability;
use crate::report::{Progress, Report};
pub(crate) use check::at_most;

mod check;
#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod local;
pub(crate) mod memory;

/// The trees of a store. Rows of a tree are ordered by the bytes of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// Key → entry record.
    Entries,
    /// Hash of a token → its grant.
    Tokens,
    /// Of the store itself; nothing lies in it so far.
    Meta,
    /// Where chunks lie. The backend's own: a commit that names it is refused.
    Chunks,
    /// Uploads under way, shared blobs and space to give back. The backend's own: a commit that names it is refused.
    Pending,
}

impl Tree {
    /// All trees, in their fixed order.
    pub const ALL: [Tree; 5] = [
        Tree::Entries,
        Tree::Tokens,
        Tree::Meta,
        Tree::Chunks,
        Tree::Pending,
    ];

    /// Whether commits from above may write it.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Tree::Entries | Tree::Tokens | Tree::Meta)
    }
}

/// The longest key of a row in bytes: a [`Key`](crate::Key) and a closing `/`.
pub const MAX_ROW_KEY_BYTES: usize = 1025;
/// The largest row, key and value together, in bytes. sled must never see more than 6 KiB, envelope included.
pub const MAX_ROW_BYTES: usize = 6 * 1024 - 64;
/// Chunks up to this size may lie in rows, larger ones where large bytes go.
pub const MAX_TREE_CHUNK_BYTES: usize = 4096;
/// The most rows one commit may write; also the most changes, adoptions and releases, each. An entry that was appended to owns
/// several blobs, so that fewer of them may be deleted in one commit.
pub const MAX_COMMIT_ROWS: usize = 1_000_000;
/// The most bytes one change may hold.
pub const MAX_CHANGE_BYTES: usize = 64 * 1024;
/// The most bytes one commit may hold: keys, values and changes together.
pub const MAX_COMMIT_BYTES: usize = 64 * 1024 * 1024;

/// A stored value and the revision of the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The commit that wrote the value.
    pub revision: u64,
    /// The value.
    pub value: Bytes,
}

/// Which state a read sees; see the contract above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// After the last commit that is as durable as it asked to be.
    Settled,
    /// After the last ordered commit, which a power cut may still undo. For deciding on a write only.
    Latest,
}

/// One row to put, or to delete where there is no value.
#[derive(Debug, Clone)]
pub struct Write {
    /// The tree of the row.
    pub tree: Tree,
    /// The key of the row, at most [`MAX_ROW_KEY_BYTES`].
    pub key: Bytes,
    /// The value, `None` to delete.
    pub value: Option<Bytes>,
}

/// What must hold, in the latest view, for a commit to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The tree of the row.
    pub tree: Tree,
    /// The key of the row.
    pub key: Bytes,
    /// The revision the row must have, `None` where there must be no row.
    pub revision: Option<u64>,
}

/// What is to happen in one step.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// How durable it must be before it settles.
    pub durability: Durability,
    /// All must hold, or nothing happens. In public trees only.
    pub requires: Vec<Requirement>,
    /// The rows, each key of a tree at most once.
    pub writes: Vec<Write>,
    /// What the history tells of it, in this order.
    pub changes: Vec<Bytes>,
    /// Blobs that gain one owner. Their chunks are made as durable as the commit, before it.
    pub adopts: Vec<BlobId>,
    /// Blobs that lose one owner.
    pub releases: Vec<BlobId>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is ordered: later commits and [`View::Latest`] see it. It is acknowledged once [`Backend::settle`] returns.
    Ordered(u64),
    /// The requirement of this number in [`Commit::requires`] does not hold. Nothing happened.
    Refused(usize),
}

/// A place in the history: the change `index` of the commit `revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The commit.
    pub revision: u64,
    /// The number of the change in the commit, from 0.
    pub index: u32,
}

impl Position {
    /// The place behind everything the commit `revision` tells.
    #[must_use]
    pub fn after(revision: u64) -> Position {
        Position {
            revision,
            index: u32::MAX,
        }
    }
}

/// One change as the history holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// Where it stands.
    pub position: Position,
    /// Whether it is the last one of its commit.
    pub last: bool,
    /// What [`Commit::changes`] held.
    pub bytes: Bytes,
}

/// How far the history reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRange {
    /// The first revision from which on every change is still there: 1 as long as nothing was dropped, at most one
    /// above `newest`.
    pub oldest: u64,
    /// The last settled revision, 0 before the first.
    pub newest: u64,
}

/// What a backend can say of its size without looking at every row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendStats {
    /// Rows of [`Tree::Entries`].
    pub entries: u64,
    /// Rows of [`Tree::Tokens`].
    pub tokens: u64,
    /// Bytes of all rows, keys included.
    pub row_bytes: u64,
    /// Bytes of chunks, of each blob once however many owners it has. One that has lost its last owner counts until it is given back, and
    /// of a large upload under way what is in commits already.
    pub chunk_bytes: u64,
    /// Bytes on disk that wait to be given back.
    pub dead_bytes: u64,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes of the sled trees on disk.
    pub tree_bytes: u64,
    /// Bytes of the packs on disk.
    pub pack_bytes: u64,
}

/// An open scan, in ascending order. It sees one moment, the one at which it was opened.
///
/// A backend may bound what it keeps for open scans (this crate's: 64 MiB of overwritten rows). Beyond the
/// bound a scan goes on in the present state: still in order, never a row twice, each row whole.
pub trait Scan: Send {
    /// The next row, `None` behind the last one.
    ///
    /// # Errors
    /// `Damaged` for a row, or for some that cannot be told from each other: the scan then stands behind them, at its end
    /// where nothing behind them can be reached. Any other error: the next call tries the same again.
    fn next(&mut self) -> Result<Option<(Bytes, Row)>>;

    /// Whether every row told so far is of the one moment; false once the bound was reached.
    fn is_of_one_moment(&self) -> bool;

    /// Goes forward to the first row at or behind `key`; never back: no row is told twice, none before the start or
    /// behind the end of the scan. Costs one descent, whatever lies between.
    fn seek(&mut self, key: &[u8]);

    /// Tells that about so many rows will be asked for. Any number may be; it is fetched that many at once where that is cheaper.
    fn expect(&mut self, rows: usize) {
        let _ = rows;
    }

    /// Lets go of the chunks of blobs that the rows name: whoever asks for nothing but rows keeps no space from coming back.
    /// Until then they stay for as long as the scan is open.
    fn let_chunks_go(&mut self) {}
}

/// Keeps the chunks of one blob from being given back while it lives.
pub trait Hold: Send + Sync {}

/// What [`Backend::read_chunks`] does with chunks that were read.
pub(crate) fn copy_chunks(chunks: &[Bytes], skip: usize, buffer: &mut [u8]) -> Vec<usize> {
    let (mut skip, mut filled) = (skip, 0);
    for chunk in chunks {
        let wanted = chunk.get(skip..).unwrap_or_default();
        let count = wanted.len().min(buffer.len() - filled);
        buffer[filled..filled + count].copy_from_slice(&wanted[..count]);
        filled += count;
        skip = 0;
    }
    chunks.iter().map(Bytes::len).collect()
}

/// What a store stands on; see the [contract](self).
pub trait Backend: Send + Sync {
    /// Fails where nothing may be done any more. It is asked before anything is waited for, and waits for nothing itself.
    ///
    /// # Errors
    /// `Misuse`.
    fn check_open(&self) -> Result<()> {
        Ok(())
    }

    /// One row.
    ///
    /// # Errors
    /// A damaged row, or the operating system.
    fn get(&self, view: View, tree: Tree, key: &[u8]) -> Result<Option<Row>>;

    /// The rows of `tree` from `start` (inclusive) to `end` (exclusive, `None` for the last), settled ones; none where
    /// `end` is not behind `start`.
    ///
    /// # Errors
    /// The operating system.
    fn scan(&self, tree: Tree, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Scan>>;

    /// Orders a commit. `ordered` is called once, with its revision, before any later commit can be ordered, before
    /// any view shows the commit and before this returns; not at all where the commit did not happen. It must be quick, must not call the backend, and must
    /// not drop a scan or hold of it.
    /// Slow only where the chunks it adopts are to be made durable first and [`Backend::sync_chunks`] has not done so, or where memory must be waited for, or, on a full disk,
    /// what was deleted before is to be given back.
    ///
    /// # Errors
    /// `TooLarge` above [`MAX_COMMIT_ROWS`], [`MAX_COMMIT_BYTES`], [`MAX_ROW_BYTES`] or [`MAX_ROW_KEY_BYTES`];
    /// `InvalidArgument` for a tree that is not public or a row written twice; `NoSpace` and `Io`. After any
    /// of them the commit did not happen. `Poisoned`: whether it did is not known until the store is opened again.
    fn commit(&self, commit: Commit, ordered: &mut dyn FnMut(u64)) -> Result<Outcome>;

    /// Waits until the commit is as durable as it asked to be, and settled. `revision` is one that [`Backend::commit`]
    /// gave; one settled long ago is answered at once, and one that was ordered before the backend was closed is told of as
    /// what it is, for it is there at the next opening.
    ///
    /// # Errors
    /// `Poisoned`: whether the commit survives is not known until the store is opened again.
    fn settle(&self, revision: u64) -> Result<()>;

    /// The settled changes behind a place, in order, at most `limit` of them; none when caught up. No limit of the history drops
    /// those of the newest commit.
    ///
    /// # Errors
    /// `Compacted` where the history no longer reaches back so far: where [`HistoryRange::oldest`] is above 1 and `after`
    /// lies before [`Position::after`]`(oldest - 1)`, unless it is known that no commit in between told of changes; and where `after` is in a commit that a power cut took back, `oldest` being
    /// then the first that there is behind it. `Damaged`; the operating system.
    fn changes(&self, after: Position, limit: usize) -> Result<Vec<StoredChange>>;

    /// How far the history reaches.
    fn history(&self) -> HistoryRange;

    /// The last commit that no power cut takes back, as far as is known. Where commits are seen before they are durable, it may
    /// lie below the newest settled one.
    fn durable(&self) -> u64 {
        self.history().newest
    }

    /// Stores `bytes` as chunks of `chunk_bytes` each (the last may be shorter), numbered from `first`.
    /// A blob is filled by one caller, each number once, with one size of chunk, and not once it is adopted. No bytes,
    /// no chunk.
    ///
    /// # Errors
    /// `Poisoned`, `NoSpace`, `Io`.
    fn put_chunks(&self, blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<()>;

    /// Makes the chunks put so far of a blob that no commit has adopted as durable as a commit that waits for the disk would make
    /// them, which then need not: others may have to wait while that commit is ordered. Does nothing to any other blob. Where a
    /// backend does nothing at all, the commit does it.
    ///
    /// # Errors
    /// As [`Backend::settle`].
    fn sync_chunks(&self, blob: BlobId) -> Result<()> {
        let _ = blob;
        Ok(())
    }

    /// One chunk of a blob that is held, seen by an open scan, or not yet adopted and the caller's own.
    ///
    /// # Errors
    /// `Damaged` where the chunk is missing or its checksum does not match; the operating system.
    fn get_chunk(&self, blob: BlobId, index: u64) -> Result<Bytes>;

    /// The chunks from `first` on that are best read together: at least one, at most `most` (which is at least 1). As for
    /// [`Backend::get_chunk`], and an error only where it is that of the first.
    ///
    /// # Errors
    /// As [`Backend::get_chunk`].
    fn get_chunks(&self, blob: BlobId, first: u64, most: usize) -> Result<Vec<Bytes>>;

    /// As [`Backend::get_chunks`], but into `buffer`: their bytes one behind the other, without the first `skip`, as many as it
    /// holds. Answers the lengths of the chunks. After an error the buffer may hold anything.
    ///
    /// # Errors
    /// As [`Backend::get_chunk`].
    fn read_chunks(
        &self,
        blob: BlobId,
        first: u64,
        most: usize,
        skip: usize,
        buffer: &mut [u8],
    ) -> Result<Vec<usize>> {
        let chunks = self.get_chunks(blob, first, most)?;
        Ok(copy_chunks(&chunks, skip, buffer))
    }

    /// Keeps an adopted blob from being given back; `None` where it is gone already (read the entry again) or was never
    /// adopted. `None` is allowed as soon as it has no owner, even while another hold or a scan keeps its chunks.
    ///
    /// # Errors
    /// The operating system.
    fn hold(&self, blob: BlobId) -> Result<Option<Box<dyn Hold>>>;

    /// Gives back a blob that no commit adopted; does nothing to any other. Never fails: what cannot be given back now
    /// is given back later, at the next open at the latest.
    fn discard(&self, blob: BlobId);

    /// Makes every commit ordered so far durable, also those that did not ask for it.
    ///
    /// # Errors
    /// As [`Backend::settle`].
    fn flush(&self) -> Result<()>;

    /// Sizes, from counters: cheap.
    ///
    /// # Errors
    /// The operating system.
    fn stats(&self) -> Result<BackendStats>;

    /// Reads everything the backend keeps and tells what is not as it was written; entries and their bytes are for the
    /// store above to count. Writers may go on meanwhile. Tells at least one step of progress.
    ///
    /// # Errors
    /// `Cancelled`, or the operating system; damage is a finding, not an error.
    fn verify(&self, progress: &mut Progress<'_>) -> Result<Report>;

    /// Gives back all the space that can be given back, now. Readers and writers may go on meanwhile.
    ///
    /// # Errors
    /// `Cancelled`, `Poisoned`, or the operating system.
    fn compact(&self, progress: &mut Progress<'_>) -> Result<()>;

    /// Makes everything durable and lets go of the files. Every later call that can fail answers an error, but for [`Backend::settle`].
    ///
    /// # Errors
    /// As [`Backend::settle`].
    fn close(&self) -> Result<()>;
}

/// A shared backend.
pub type SharedBackend = Arc<dyn Backend>;
