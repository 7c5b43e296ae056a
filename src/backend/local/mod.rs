//! The backend over a directory: journal, overlay, sled trees and packs.
//!
//! ```text
//! LOCK          held while the store is open
//! failed        where a write failed, for the next opening
//! superblock    store id, format, checkpoint, digest: outside of everything it describes
//! journal/      what makes commits durable, and the history of changes
//! trees/        sled: the state up to the checkpoint
//! packs/        chunks too large for a tree
//! ```
//!
//! The life of a commit: its chunks are in packs already, under a fresh blob id (`chunks`); the packs are synced; under
//! the writer lock the requirements are checked, it gets its revision, its frames are appended to the journal and its
//! rows enter the overlay (`commit`); the journal is synced for all who wait (`settle`). Later, in the background, the
//! overlay is applied to the trees, flushed and noted as the checkpoint (`checkpoint`), and what nobody owns any more
//! is given back (`space`). Opening replays the journal behind the checkpoint (`open`, `replay`); after a crash every row is
//! counted (`audit`), and revisions that may have been seen are left out (`revisions`).

mod aside;
mod audit;
mod checkpoint;
mod chunks;
mod commit;
mod durable;
mod emptying;
mod failure;
mod forked;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod headroom;
mod health;
mod journal;
mod keys;
mod layout;
mod lock_file;
mod open;
mod overlay;
mod pack;
mod paths;
mod place;
mod recent;
mod replay;
mod restore;
mod revisions;
mod row;
mod salvage;
mod settle;
mod space;
mod stage;
mod superblock;
mod trace;
mod trees;
mod verify;
mod view;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Backend, BackendStats, BlobId, Commit, HistoryRange, Hold, Outcome, Position, Row, Scan,
    StoredChange, Tree, View,
};
use crate::error::{Error, Result};
use crate::options::{Durability, History};
use crate::report::{Progress, Report};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Condvar, Instant, Mutex, RwLock};
use chunks::Uploads;
use commit::Writer;
use headroom::Headroom;
use health::Health;
use journal::{Journal, Seed};
use lock_file::LockFile;
use overlay::Overlay;
use pack::Packs;
use recent::Recent;
use revisions::Revisions;
use settle::{Disk, Settling};
use space::{LAST_EFFORT, Space};
use superblock::Superblock;
use trees::Trees;
use worker::Workers;

pub(crate) use restore::Restore;
pub(crate) use salvage::Salvage;
pub use trace::Trace;

/// Settings of the backend.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Whether a store is made where there is none.
    pub(crate) create: bool,
    /// Memory for blocks of rows, and for sled's cache.
    pub(crate) cache_bytes: u64,
    /// Memory for commits the trees do not hold yet.
    pub(crate) overlay_bytes: usize,
    /// What is kept for watchers from now on; `None` for as much as before.
    pub(crate) history: Option<History>,
    /// How long a commit that does not wait for the disk may be away from it.
    pub(crate) eventual_interval: Duration,
    /// Memory for overwritten rows that open scans still see.
    pub(crate) retained_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            create: true,
            cache_bytes: 64 * 1024 * 1024,
            overlay_bytes: 16 * 1024 * 1024,
            history: None,
            eventual_interval: Duration::from_millis(500),
            retained_bytes: 64 * 1024 * 1024,
        }
    }
}

/// A store in a directory. See the [module](self).
pub(crate) struct Local {
    core: Arc<Core>,
    workers: Workers,
}

/// What the threads of a store share.
struct Core {
    options: Options,
    health: Health,
    headroom: Headroom,
    journal: Journal,
    seed: Seed,
    trees: Arc<dyn Trees>,
    packs: Packs,
    overlay: RwLock<Overlay>,
    recent: Recent,
    /// Told when the overlay has room again.
    room: (Mutex<()>, Condvar),
    /// How often the thread that makes checkpoints has made one and given back space, or tried to.
    rounds: AtomicU64,
    writer: Mutex<Writer>,
    revisions: Revisions,
    settling: Settling,
    uploads: Uploads,
    space: Space,
    /// Held by whoever makes a checkpoint.
    superblock: Mutex<Superblock>,
    lock: Mutex<Option<LockFile>>,
    bell: worker::Bell,
}

impl Core {
    fn disk(&self) -> Disk<'_> {
        Disk {
            journal: &self.journal,
            packs: &self.packs,
            health: &self.health,
        }
    }

    /// Wakes those who wait for room, and those who only pause.
    fn tell_of_room(&self) {
        // With the lock: who has just found no reason to go on must not miss it.
        let _waiting = self.room.0.lock();
        self.room.1.notify_all();
    }

    /// Makes every commit ordered so far durable.
    fn sync(&self) -> Result<()> {
        self.settling.sync(&self.disk())
    }
}

impl Local {
    /// Opens the store in `directory`, or creates it.
    pub(crate) fn open(directory: &Path, options: Options) -> Result<Local> {
        Local::start(open::open(directory, options)?)
    }

    fn start(core: Core) -> Result<Local> {
        let core = Arc::new(core);
        core.health.has_opened();
        let workers = Workers::start(&core)?;
        Ok(Local { core, workers })
    }

    /// Opens the store on the trees that `open_trees` answers.
    #[cfg(test)]
    fn open_on(directory: &Path, options: Options, open_trees: &open::OpenTrees) -> Result<Local> {
        Local::start(open::open_with(directory, options, open_trees)?)
    }

    /// As long as it is kept, every sync takes long.
    #[cfg(test)]
    pub(crate) fn hold_syncs(&self) -> crate::sync::MutexGuard<'_, ()> {
        self.core.settling.test.hold.lock()
    }

    /// As on a disk that fails once.
    #[cfg(test)]
    pub(crate) fn fail_next_sync(&self) {
        let fail = &self.core.settling.test.fail_next;
        fail.store(true, crate::sync::atomic::Ordering::Relaxed);
    }

    /// In a process that was forked off, everything stays as it is: the threads are not there to be waited for, what sled
    /// would write as it is dropped is for the other process to write, and the lock is that one's.
    fn leave(&self) {
        self.workers.forget();
        std::mem::forget(Arc::clone(&self.core));
    }

    /// The first call closes, and later ones are refused.
    fn end(&self) -> Result<()> {
        let health = &self.core.health;
        health.begin_to_end(Instant::now() + LAST_EFFORT)?;
        if health.is_forked() {
            health.close();
            self.leave();
            return Ok(());
        }
        // What it could not sync or write, the end below cannot either, and answers.
        if !health.is_poisoned()
            && let Err(error) = self.core.give_back_at_last()
        {
            tracing::warn!(%error, "giving back space at the end");
        }
        health.close();
        self.core.bell.ring_now();
        self.core.tell_of_room();
        self.core.settling.wake();
        self.workers.join();
        let ended = self.core.shut_down();
        match self.core.is_left() {
            true => *self.core.lock.lock() = None,
            false => tracing::error!(
                "a thread still writes to the store, which stays locked until the process ends"
            ),
        }
        ended
    }
}

/// What became free while `compact` gave back was left to it, blobs and packs, also where its progress function ends it by a panic.
struct RingAtEnd<'a>(&'a Core);

impl Drop for RingAtEnd<'_> {
    fn drop(&mut self) {
        self.0.bell.ring();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        match self.end() {
            // It was closed before.
            Ok(()) | Err(Error::Misuse { .. }) => {}
            Err(error) => tracing::warn!(%error, "closing the store"),
        }
    }
}

impl Backend for Local {
    fn check_open(&self) -> Result<()> {
        self.core.health.check_open()
    }

    fn get(&self, view: View, tree: Tree, key: &[u8]) -> Result<Option<Row>> {
        self.core.health.check_open()?;
        self.core.get(view, tree, key)
    }

    fn scan(&self, tree: Tree, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Scan>> {
        self.core.health.check_open()?;
        Ok(Box::new(view::LocalScan::open(
            &self.core, tree, start, end,
        )))
    }

    fn commit(&self, commit: Commit, ordered: &mut dyn FnMut(u64)) -> Result<Outcome> {
        if commit.durability == Durability::Eventual {
            self.workers.start_syncing(&self.core)?;
        }
        self.core.commit(commit, ordered)
    }

    fn settle(&self, revision: u64) -> Result<()> {
        self.core.settling.settle(revision, &self.core.disk())
    }

    fn changes(&self, after: Position, limit: usize) -> Result<Vec<StoredChange>> {
        self.core.health.check_open()?;
        let newest = self.core.settling.settled();
        self.core.journal.changes(after, newest, limit)
    }

    fn history(&self) -> HistoryRange {
        // In this order: what is dropped in between was settled before it.
        let oldest = self.core.journal.oldest();
        let newest = self.core.settling.settled();
        HistoryRange { oldest, newest }
    }

    fn durable(&self) -> u64 {
        self.core.settling.synced()
    }

    fn put_chunks(&self, blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<()> {
        self.core.put_chunks(blob, first, bytes, chunk_bytes)
    }

    fn sync_chunks(&self, blob: BlobId) -> Result<()> {
        self.core.health.check_writable()?;
        self.core.sync_uploads(&[blob])
    }

    fn get_chunk(&self, blob: BlobId, index: u64) -> Result<Bytes> {
        self.core.health.check_open()?;
        self.core.get_chunk(blob, index)
    }

    fn get_chunks(&self, blob: BlobId, first: u64, most: usize) -> Result<Vec<Bytes>> {
        self.core.health.check_open()?;
        self.core.get_chunks(blob, first, most)
    }

    fn read_chunks(
        &self,
        blob: BlobId,
        first: u64,
        most: usize,
        skip: usize,
        buffer: &mut [u8],
    ) -> Result<Vec<usize>> {
        self.core.health.check_open()?;
        self.core.read_chunks(blob, first, most, skip, buffer)
    }

    fn hold(&self, blob: BlobId) -> Result<Option<Box<dyn Hold>>> {
        self.core.health.check_open()?;
        space::hold(&self.core, blob)
    }

    fn discard(&self, blob: BlobId) {
        self.core.discard(blob);
    }

    fn flush(&self) -> Result<()> {
        self.core.health.check_open()?;
        self.core.sync()
    }

    fn stats(&self) -> Result<BackendStats> {
        self.core.health.check_open()?;
        let totals = self.core.writer.lock().totals();
        let packs = self.core.packs.stats();
        Ok(BackendStats {
            entries: totals.entries,
            tokens: totals.tokens,
            row_bytes: totals.row_bytes,
            chunk_bytes: totals.chunk_bytes,
            dead_bytes: packs.dead_bytes(),
            journal_bytes: self.core.journal.bytes(),
            tree_bytes: self.core.trees.size_on_disk()?,
            pack_bytes: packs.total_bytes,
        })
    }

    fn verify(&self, progress: &mut Progress<'_>) -> Result<Report> {
        self.core.health.check_open()?;
        verify::verify(&self.core, progress)
    }

    fn compact(&self, progress: &mut Progress<'_>) -> Result<()> {
        self.core.health.check_writable()?;
        self.core.space.check_not_giving()?;
        self.core.checkpoint()?;
        {
            let _ring = RingAtEnd(&self.core);
            self.core.give_back(Some(progress))?;
        }
        self.core.checkpoint()
    }

    fn close(&self) -> Result<()> {
        self.core.health.check_open()?;
        self.core.space.check_not_giving()?;
        self.end()
    }
}
