//! The backend in memory: the reference. What it does is what the [contract](super) says, in the plainest way.
//!
//! One lock guards everything, and a commit is done when `commit` returns: it settles at once, so both views are
//! one, and nothing here can poison.
//!
//! A scan shares the map of its tree with the present; the first commit to that tree after the scan was opened copies
//! the map, and leaves the old one to the scan. So a write while a scan of the same tree is open costs time and memory
//! in proportion to the tree, once for each time a scan was opened, and no scan ever waits for a writer.

mod blobs;
mod changelog;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use self::blobs::{Blobs, Chunk};
use self::changelog::Changelog;
use self::scan::{MemoryScan, OpenScans};
use super::{
    Backend, BackendStats, BlobId, Commit, HistoryRange, Hold, Outcome, Position, Requirement, Row,
    Scan, StoredChange, Tree, View, Write,
};
use crate::error::{Error, Result};
use crate::options::History;
use crate::report::{Finding, Progress, Report};
use crate::sync::{MappedMutexGuard, Mutex, MutexGuard};

/// The rows of one tree.
type Rows = BTreeMap<Bytes, Row>;

/// A backend that keeps everything in memory, and nothing when it is dropped.
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
}

impl Memory {
    /// An empty backend that keeps so much history: exactly so much, unlike one that drops whole files.
    pub(crate) fn new(history: History) -> Memory {
        let state = State {
            trees: BTreeMap::new(),
            row_bytes: 0,
            changelog: Changelog::new(history),
            blobs: Blobs::default(),
            scans: OpenScans::default(),
            closed: false,
        };
        Memory {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The state, unless the backend is closed.
    fn lock(&self) -> Result<MappedMutexGuard<'_, State>> {
        MutexGuard::try_map(self.state.lock(), |state| (!state.closed).then_some(state)).map_err(
            |_| Error::Misuse {
                reason: "the store is closed; open it again",
            },
        )
    }
}

/// Everything there is, under the one lock.
struct State {
    trees: BTreeMap<Tree, Arc<Rows>>,
    row_bytes: u64,
    changelog: Changelog,
    blobs: Blobs,
    scans: OpenScans,
    closed: bool,
}

impl State {
    fn row(&self, tree: Tree, key: &[u8]) -> Option<&Row> {
        self.trees.get(&tree)?.get(key)
    }

    fn holds(&self, required: &Requirement) -> bool {
        let row = self.row(required.tree, &required.key);
        row.map(|row| row.revision) == required.revision
    }

    fn write(&mut self, revision: u64, write: Write) {
        let Write { tree, key, value } = write;
        let rows = Arc::make_mut(self.trees.entry(tree).or_default());
        let key_bytes = length(&key);
        let added = value.as_ref().map_or(0, |value| key_bytes + length(value));
        let replaced = match value {
            Some(value) => rows.insert(key, Row { revision, value }),
            None => rows.remove(&key),
        };
        let removed = replaced.map_or(0, |row| key_bytes + length(&row.value));
        self.row_bytes = self.row_bytes + added - removed;
    }

    /// Gives back the released blobs that nobody can still be reading.
    fn sweep(&mut self) {
        self.blobs.sweep(self.scans.oldest());
    }

    fn rows_of(&self, tree: Tree) -> u64 {
        let rows = self.trees.get(&tree).map_or(0, |rows| rows.len());
        u64::try_from(rows).unwrap_or(u64::MAX)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Backend for Memory {
    fn get(&self, _view: View, tree: Tree, key: &[u8]) -> Result<Option<Row>> {
        Ok(self.lock()?.row(tree, key).cloned())
    }

    fn scan(&self, tree: Tree, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Scan>> {
        let mut state = self.lock()?;
        let rows = state.trees.get(&tree).cloned().unwrap_or_default();
        let revision = state.changelog.newest();
        state.scans.opened(revision);
        drop(state);
        let state = Arc::clone(&self.state);
        Ok(Box::new(MemoryScan::new(state, revision, rows, start, end)))
    }

    fn commit(&self, commit: Commit, ordered: &mut dyn FnMut(u64)) -> Result<Outcome> {
        commit.check()?;
        let mut state = self.lock()?;
        if let Some(refused) = commit.requires.iter().position(|it| !state.holds(it)) {
            return Ok(Outcome::Refused(refused));
        }
        // The last step that can fail: behind it the commit happens.
        state.blobs.check(&commit.adopts, &commit.releases)?;
        let revision = state.changelog.record(commit.changes);
        for write in commit.writes {
            state.write(revision, write);
        }
        state
            .blobs
            .change_owners(revision, &commit.adopts, &commit.releases);
        state.sweep();
        ordered(revision);
        Ok(Outcome::Ordered(revision))
    }

    fn settle(&self, revision: u64) -> Result<()> {
        if revision <= self.state.lock().changelog.newest() {
            return Ok(());
        }
        Err(Error::InvalidArgument {
            what: "revision",
            reason: format!("no commit has the revision {revision} yet"),
        })
    }

    fn changes(&self, after: Position, limit: usize) -> Result<Vec<StoredChange>> {
        self.lock()?.changelog.behind(after, limit)
    }

    fn history(&self) -> HistoryRange {
        self.state.lock().changelog.range()
    }

    fn put_chunks(&self, blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<()> {
        let chunks = blobs::cut(blob, first, bytes, chunk_bytes)?;
        self.lock()?.blobs.put(blob, chunks)
    }

    fn get_chunk(&self, blob: BlobId, index: u64) -> Result<Bytes> {
        // Checked without the lock: a checksum takes longer than all else.
        let chunk = self.lock()?.blobs.chunk(blob, index)?;
        chunk.checked(blob, index)
    }

    /// Nothing is gained by reading more at once.
    fn get_chunks(&self, blob: BlobId, first: u64, _most: usize) -> Result<Vec<Bytes>> {
        Ok(vec![self.get_chunk(blob, first)?])
    }

    fn hold(&self, blob: BlobId) -> Result<Option<Box<dyn Hold>>> {
        if !self.lock()?.blobs.hold(blob) {
            return Ok(None);
        }
        let state = Arc::clone(&self.state);
        Ok(Some(Box::new(MemoryHold { state, blob })))
    }

    fn discard(&self, blob: BlobId) {
        self.state.lock().blobs.discard(blob);
    }

    fn flush(&self) -> Result<()> {
        self.lock().map(|_| ())
    }

    fn stats(&self) -> Result<BackendStats> {
        let state = self.lock()?;
        Ok(BackendStats {
            entries: state.rows_of(Tree::Entries),
            tokens: state.rows_of(Tree::Tokens),
            row_bytes: state.row_bytes,
            chunk_bytes: state.blobs.owned_bytes(),
            dead_bytes: state.blobs.released_bytes(),
            ..BackendStats::default()
        })
    }

    fn verify(&self, progress: &mut Progress<'_>) -> Result<Report> {
        let chunks: Vec<(BlobId, u64, Chunk)> = self.lock()?.blobs.all();
        let total = u64::try_from(chunks.len()).ok();
        let mut report = Report::default();
        progress.step("chunks", 0, total)?;
        for (done, (blob, index, chunk)) in (1..).zip(&chunks) {
            if !chunk.is_sound(*blob, *index) {
                let location = blobs::location(*blob, *index);
                let finding = Finding::new("chunk", location, "the checksum differs");
                report.findings.push(finding);
            }
            progress.step("chunks", done, total)?;
        }
        Ok(report)
    }

    fn compact(&self, _progress: &mut Progress<'_>) -> Result<()> {
        self.lock().map(|_| ())
    }

    fn close(&self) -> Result<()> {
        self.lock()?.closed = true;
        Ok(())
    }
}

/// Counts as one reader of a blob until it is dropped.
struct MemoryHold {
    state: Arc<Mutex<State>>,
    blob: BlobId,
}

impl Hold for MemoryHold {}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.blobs.let_go(self.blob);
        state.sweep();
    }
}
