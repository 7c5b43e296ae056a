//! The trees over sled 0.34.7, and everything that must be known of it. No other file of the crate calls it.
//!
//! * It is flushed by us and by no timer: a timer's failure would only be logged. It reuses its space without one.
//! * Plain inserts, removes, reads and flushes only. Its batches and transactions lock every database of the
//!   process, its `flush_async` and subscribers can wait for themselves.
//! * Its log is written by seven threads for all that a process does, never more, and each of them may wait for the file to be cut
//!   shorter, which is one more thing for them to do: with seven writes in front of that, all wait for ever. So little is
//!   handed to it between two flushes that there never are so many, by one store of the process at a time.
//! * An error of a read it takes for the end of its log, which it then wipes: what it reads of it is read before, see `log`.
//! * On damaged files it panics in many places, so that every call is made where a panic is caught. After an error or a
//!   panic it may wait for ever in a write or when it is dropped: then it is written to no more, and dropped by a
//!   thread that is not waited for.
//! * Panics are told without their text, which can hold rows.

mod files;
mod guard;
mod log;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::sled::{Config, Db, IVec};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::blocks::{BlockStore, BlockTrees, MAX_BLOCK_BYTES};
use super::layers::{Layers, SLICE_BYTES};
use super::{MAX_TREE_ROW_BYTES, check_bytes, closed};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;
use files::{
    create_directory, refuse_large_leaves, remove_damaged_conf, remove_unfinished_snapshots,
    sync_files,
};
use guard::{guarded, timed_out};
use log::read_log;
use threads::{check_threads, note_threads};

const WHAT: &str = "sled trees";
/// sled lets go of its file somewhat after it is dropped.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How long a sled that may hang is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// So much is handed to sled between two flushes. What it makes of that in its log is three times as much, and at most some ten
/// times, with leaves that are split and others that are moved out of the way: less than three of its writes of 512 KiB.
const APPLY_BYTES: usize = 128 * 1024;
/// Which counts for a block that is removed as well: three such in a leaf make it one with its neighbour. 20,000 blocks of 700 bytes,
/// put and removed in and out of order: 0.9 MB at most of sled's log between two flushes, and 13 MB where this was not counted.
const REMOVED_BYTES: usize = 768;
/// Which counts for each byte of a key that comes or goes, where it is longer than the next: the nodes of sled's index are
/// written again as a whole when a leaf is split. 200 bytes in common: 0.6 MB between two flushes, and 2.8 MB not counted.
const INDEX_BYTES: usize = 8;
const SHORT_KEY_BYTES: usize = 32;
/// Held by who hands rows to sled, until they are flushed.
static TURN: Mutex<()> = Mutex::new(());
/// How long another store is waited for.
const TURN_WAIT: Duration = Duration::from_secs(30);
const MIN_CACHE_BYTES: u64 = 1024 * 1024;

/// The trees on disk: rows in blocks, blocks in layers, and those in sled.
pub(crate) type SledTrees = BlockTrees<Layers<SledBlocks>>;

/// One sled database with one sled tree for each [`Tree`].
pub(crate) struct SledBlocks {
    directory: PathBuf,
    is_new: bool,
    /// `None` once closed.
    open: RwLock<Option<Opened>>,
    /// Why sled is written to no more.
    failed: Mutex<Option<String>>,
    /// Bytes handed to it since the last flush.
    unflushed: AtomicUsize,
    #[cfg(test)]
    log_end: AtomicUsize,
    /// The most that its log grew between two flushes.
    #[cfg(test)]
    pub(super) most_log_bytes: AtomicUsize,
}

struct Opened {
    db: Db,
    trees: [::sled::Tree; Tree::ALL.len()],
}

impl Opened {
    fn tree(&self, tree: Tree) -> &::sled::Tree {
        let [entries, tokens, meta, chunks, pending] = &self.trees;
        match tree {
            Tree::Entries => entries,
            Tree::Tokens => tokens,
            Tree::Meta => meta,
            Tree::Chunks => chunks,
            Tree::Pending => pending,
        }
    }
}

impl SledTrees {
    /// Opens the trees in `directory`, or makes them. The caller has seen to it that nobody else does.
    pub(crate) fn open(directory: &Path, cache_bytes: u64) -> Result<SledTrees> {
        // Before sled sees them, too: a damaged one makes it wipe the log from there on.
        refuse_large_leaves(directory)?;
        let trees = SledTrees::open_anyhow(directory, cache_bytes, true)?;
        refuse_large_leaves(directory)?;
        Ok(trees)
    }

    /// As [`SledTrees::open`], but reads also what sled keeps in files of their own, which nobody can rely on, and moves nothing:
    /// where long keys lie in no layers, they are read where they are.
    pub(crate) fn open_anyhow(
        directory: &Path,
        cache_bytes: u64,
        has_layers: bool,
    ) -> Result<SledTrees> {
        // Most for blocks, which answer by themselves. sled reads a leaf from its file where it has to, which costs the applying
        // more than the readers: with half of it for each, loads of 34 MiB of documents took 6.1 us and not 3.7, merges 25
        // and not 19; less than a quarter for sled gained nothing.
        let leaves = cache_bytes / 4;
        let blocks = usize::try_from(cache_bytes - leaves).unwrap_or(usize::MAX);
        let sled = SledBlocks::open(directory, leaves)?;
        let slice_bytes = match has_layers {
            true => SLICE_BYTES,
            false => MAX_TREE_ROW_BYTES,
        };
        Ok(BlockTrees::over(Layers::over(sled, slice_bytes), blocks))
    }

    /// Moves long keys into layers that lie in none. Where it ends early, it can be repeated.
    pub(crate) fn take_in(&self) -> Result<()> {
        self.store.take_in()
    }

    #[cfg(test)]
    pub(crate) fn take_in_only_for_test(&self, key: &[u8]) {
        self.store.take_in_only(key).unwrap();
    }

    /// Whether sled found nothing to open. With a superblock beside it that tells of rows, they are lost.
    pub(crate) fn is_new(&self) -> bool {
        self.store.store().is_new
    }
}

impl SledBlocks {
    fn open(directory: &Path, cache_bytes: u64) -> Result<SledBlocks> {
        check_threads()?;
        create_directory(directory)?;
        remove_unfinished_snapshots(directory)?;
        remove_damaged_conf(directory)?;
        read_log(directory)?;
        let config = Config::new()
            .path(directory)
            .cache_capacity(cache_bytes.max(MIN_CACHE_BYTES))
            .flush_every_ms(None);
        let db = open_patiently(&config, directory)?;
        let is_new = !db.was_recovered();
        let trees = SledBlocks {
            directory: directory.to_owned(),
            is_new,
            open: RwLock::new(None),
            failed: Mutex::new(None),
            unflushed: AtomicUsize::new(0),
            #[cfg(test)]
            log_end: AtomicUsize::new(usize::MAX),
            #[cfg(test)]
            most_log_bytes: AtomicUsize::new(0),
        };
        let opened = guarded(directory, "opening", || {
            let tree = |tree| db.open_tree(tree_name(tree));
            let trees = [
                tree(Tree::Entries)?,
                tree(Tree::Tokens)?,
                tree(Tree::Meta)?,
                tree(Tree::Chunks)?,
                tree(Tree::Pending)?,
            ];
            db.flush()?;
            Ok(trees)
        });
        match opened {
            Ok(opened) => {
                note_threads();
                *trees.open.write() = Some(Opened { db, trees: opened });
            }
            Err(error) => {
                let _ = drop_aside(directory, db);
                return Err(error);
            }
        }
        sync_files(directory)?;
        Ok(trees)
    }

    /// After a flush: how far the log has come since the one before.
    #[cfg(test)]
    fn note_log_bytes(&self, opened: &Opened) {
        let end = usize::try_from(opened.db.context.pagecache.log.stable_offset()).unwrap_or(0);
        let bytes = end.saturating_sub(self.log_end.swap(end, Ordering::Relaxed));
        self.most_log_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn panic_for_test(&self) -> Result<()> {
        self.read("testing", |_| panic!("as sled does on damaged files"))
    }

    fn read<R>(
        &self,
        doing: &'static str,
        call: impl FnOnce(&Opened) -> ::sled::Result<R>,
    ) -> Result<R> {
        let opened = self.open.read();
        let opened = opened.as_ref().ok_or_else(closed)?;
        let result = guarded(&self.directory, doing, || call(opened));
        result.inspect_err(|error| self.fail(error))
    }

    fn change(
        &self,
        doing: &'static str,
        call: impl FnOnce(&Opened) -> ::sled::Result<()>,
    ) -> Result<()> {
        self.refuse_when_failed()?;
        self.read(doing, call)
    }

    /// Reads count as well: looking for a row may split a leaf, which is a write.
    fn fail(&self, error: &Error) {
        self.failed.lock().get_or_insert_with(|| error.to_string());
    }

    fn refuse_when_failed(&self) -> Result<()> {
        match &*self.failed.lock() {
            Some(cause) => Err(Error::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl BlockStore for SledBlocks {
    type Turn = Option<MutexGuard<'static, ()>>;

    fn turn(&self) -> Self::Turn {
        // Not for ever: a sled whose files have failed may hang, and that must not be every store's end.
        let turn = TURN.try_lock_for(TURN_WAIT);
        if turn.is_none() {
            let directory = self.directory.display();
            tracing::warn!(%directory, "another store has not brought its rows to the disk in time; going on beside it");
        }
        turn
    }

    fn floor(&self, tree: Tree, key: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let found = self.read("reading", |opened| {
            let last = opened.tree(tree).range(..=key).next_back().transpose()?;
            match last {
                Some((found, _)) if found[..] > *key => Err(out_of_order()),
                last => Ok(last),
            }
        })?;
        Ok(found.map(owned))
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        // sled panics where a range ends before it starts.
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        self.read("reading", |opened| {
            let tree = opened.tree(tree);
            let blocks = match end {
                Some(end) => tree.range(start..end),
                None => tree.range(start..),
            };
            let blocks: Vec<_> = blocks
                .take(limit)
                .map(|block| block.map(owned))
                .collect::<::sled::Result<_>>()?;
            match is_ascending(&blocks, start) {
                true => Ok(blocks),
                false => Err(out_of_order()),
            }
        })
    }

    fn write(&self, tree: Tree, key: &[u8], block: Option<&[u8]>) -> Result<()> {
        let mut bytes = key.len() + block.map_or(0, <[u8]>::len);
        check_bytes(bytes, MAX_BLOCK_BYTES)?;
        let mut is_other_block = true;
        self.change("writing", |opened| {
            let tree = opened.tree(tree);
            match block {
                Some(block) => {
                    is_other_block = tree.insert(key, IVec::from(block))?.is_none();
                }
                None => drop(tree.remove(key)?),
            }
            if is_other_block {
                // The leaf is split, or becomes one with its neighbour, when somebody comes to it next.
                tree.contains_key(key)?;
            }
            Ok(())
        })?;
        if is_other_block {
            bytes += INDEX_BYTES * key.len().saturating_sub(SHORT_KEY_BYTES);
        }
        if block.is_none() {
            bytes += REMOVED_BYTES;
        }
        match self.unflushed.fetch_add(bytes, Ordering::Relaxed) + bytes >= APPLY_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&self) -> Result<()> {
        self.unflushed.store(0, Ordering::Relaxed);
        self.change("flushing", |opened| {
            opened.db.flush()?;
            #[cfg(test)]
            self.note_log_bytes(opened);
            Ok(())
        })
    }

    fn size_on_disk(&self) -> Result<u64> {
        let opened = self.open.read();
        let opened = opened.as_ref().ok_or_else(closed)?;
        guarded(&self.directory, "measuring", || opened.db.size_on_disk())
    }

    fn check(&self) -> Result<Vec<Finding>> {
        match refuse_large_leaves(&self.directory) {
            Ok(()) => Ok(Vec::new()),
            Err(error @ Error::Damaged { .. }) => Ok(vec![Finding::new(
                WHAT,
                self.directory.display().to_string(),
                error.to_string(),
            )]),
            Err(error) => Err(error),
        }
    }

    fn close(&self) -> Result<()> {
        let flushed = match self.refuse_when_failed() {
            Ok(()) => self.flush(),
            failed => failed,
        };
        // Whoever hangs inside sled holds the lock.
        let mut open = self
            .open
            .try_write_for(CLOSE_WAIT)
            .ok_or_else(|| timed_out(&self.directory))?;
        if let Some(opened) = open.take() {
            drop(open);
            drop_aside(&self.directory, opened)?;
        }
        flushed
    }
}

impl Drop for SledBlocks {
    fn drop(&mut self) {
        if let Some(opened) = self.open.get_mut().take() {
            let _ = drop_aside(&self.directory, opened);
        }
    }
}

/// The name of a sled tree. Stored: never to be changed.
fn tree_name(tree: Tree) -> &'static str {
    match tree {
        Tree::Entries => "e",
        Tree::Tokens => "t",
        Tree::Meta => "m",
        Tree::Chunks => "c",
        Tree::Pending => "p",
    }
}

fn open_patiently(config: &Config, directory: &Path) -> Result<Db> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let mut is_locked = false;
        let opened = guarded(directory, "opening", || {
            config
                .open()
                .inspect_err(|error| is_locked = is_lock_conflict(error))
        });
        match opened {
            Err(_) if is_locked && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) if is_locked => {
                return Err(Error::InUse {
                    path: directory.to_owned(),
                    by: None,
                });
            }
            opened => return opened,
        }
    }
}

/// Only the text tells it from other errors.
fn is_lock_conflict(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn owned((key, block): (IVec, IVec)) -> (Bytes, Bytes) {
    (Bytes::from_owner(key), Bytes::from_owner(block))
}

fn out_of_order() -> ::sled::Error {
    ::sled::Error::ReportableBug("rows out of order".to_owned())
}

/// Whether rows are in order from `start` on. Leaves that came back from different times need not be, and who goes on from
/// the last row of them would never come to an end.
fn is_ascending(rows: &[(Bytes, Bytes)], start: &[u8]) -> bool {
    rows.first().is_none_or(|(first, _)| first[..] >= *start)
        && rows.is_sorted_by(|(before, _), (after, _)| before < after)
}

/// Drops what belongs to sled in a thread of its own, which is left behind where it hangs.
fn drop_aside(directory: &Path, sled: impl Send + 'static) -> Result<()> {
    let (done, is_done) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new().name("komatik-close".to_owned());
    let work = move || {
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(sled)));
        let _ = done.send(dropped.is_ok());
    };
    if let Err(error) = thread.spawn(work) {
        let doing = format!("closing the trees in {}", directory.display());
        return Err(Error::io(doing, error));
    }
    match is_done.recv_timeout(CLOSE_WAIT) {
        Ok(true) => Ok(()),
        // As it does where its last write fails: that says nothing of what it holds.
        Ok(false) => Err(Error::io(
            format!("closing the trees in {}", directory.display()),
            std::io::Error::other("sled panicked"),
        )),
        Err(_) => Err(timed_out(directory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under others nothing that is stored would be found.
    #[test]
    fn the_names_of_the_trees_stay() {
        assert_eq!(Tree::ALL.map(tree_name), ["e", "t", "m", "c", "p"]);
    }

    #[test]
    fn rows_out_of_order_are_found() {
        let rows = |keys: &[&'static str]| -> Vec<_> {
            let row = |key: &&'static str| (Bytes::from_static(key.as_bytes()), Bytes::new());
            keys.iter().map(row).collect()
        };
        assert!(is_ascending(&rows(&[]), b"b"));
        assert!(is_ascending(&rows(&["b", "ba", "c"]), b"b"));
        assert!(!is_ascending(&rows(&["b", "c"]), b"ba"));
        assert!(!is_ascending(&rows(&["b", "d", "c"]), b"b"));
        assert!(!is_ascending(&rows(&["b", "b"]), b"b"));
    }
}
