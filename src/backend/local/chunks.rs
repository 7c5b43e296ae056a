//! Chunks: on their way in, until a commit adopts them, and on their way out.
//!
//! The rows of an upload wait in memory for the commit that adopts it. A large upload does not let them pile up: from
//! time to time they go into a commit of their own, together with a pending row by which the next open finds what was
//! never adopted.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::Core;
use super::headroom::WRITTEN_PER_ROW_BYTE;
use super::health::is_out_of_files;
use super::journal::RowWrite;
use super::keys::{self, ChunkRow};
use super::pack::{ChunkLocation, Packs};
use super::view::LATEST;
use crate::backend::{BlobId, MAX_TREE_CHUNK_BYTES, Tree, View, copy_chunks};
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};

/// Rows of one upload that wait in memory.
const MAX_WAITING_BYTES: usize = 256 * 1024;
/// Rows of all uploads that do: also what one commit adopts is no more.
const MAX_WAITING_BYTES_OF_ALL: usize = 8 * 1024 * 1024;
/// Packs in which the chunks of one upload lie whose rows wait: such a pack is not emptied, however little of it is in use.
const MAX_WAITING_PACKS: usize = 2;
/// What a waiting row takes besides its bytes, roughly.
const ROW_BYTES: usize = 128;
/// How often a chunk may be moved while somebody looks for it.
const MAX_MOVES: usize = 16;

/// Uploads under way.
#[derive(Default)]
pub(super) struct Uploads {
    rows: Mutex<HashMap<BlobId, Staging>>,
    /// Of all rows that wait.
    waiting_bytes: AtomicUsize,
    /// Shared by those who put chunks; the end of the store waits for them.
    putting: RwLock<()>,
}

/// Chunks one behind the other.
enum Run {
    /// In their rows.
    Here(Vec<Bytes>),
    /// In a pack.
    Packed(Vec<ChunkLocation>),
}

/// What a commit needs to adopt an upload.
#[derive(Clone, Default)]
pub(super) struct Staging {
    /// Rows of chunks that no commit holds yet.
    pub(super) rows: Vec<RowWrite>,
    waiting_bytes: usize,
    /// Packs that hold chunks of those rows.
    waiting_packs: BTreeSet<u64>,
    /// Whether earlier rows are in a commit already, and the pending row with them.
    pub(super) has_rows_in_trees: bool,
    /// Packs that hold chunks of the upload which no sync has covered.
    pub(super) packs: BTreeSet<u64>,
    /// How often chunks were added.
    additions: u64,
}

impl Uploads {
    /// The upload, `None` where there is none of this name.
    pub(super) fn staging(&self, blob: BlobId) -> Option<Staging> {
        self.rows.lock().get(&blob).cloned()
    }

    /// Bytes of the rows of these uploads that no commit holds yet.
    pub(super) fn bytes_of(&self, blobs: &[BlobId]) -> usize {
        if blobs.is_empty() {
            return 0;
        }
        let uploads = self.rows.lock();
        let stagings = blobs.iter().filter_map(|blob| uploads.get(blob));
        stagings.map(|staging| staging.waiting_bytes).sum()
    }

    /// The upload is adopted.
    pub(super) fn forget(&self, blob: BlobId) -> Option<Staging> {
        let staging = self.rows.lock().remove(&blob)?;
        self.waiting_bytes
            .fetch_sub(staging.waiting_bytes, Ordering::Relaxed);
        Some(staging)
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes_for_test(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Packs in which chunks of uploads under way lie that no row tells.
    pub(super) fn waiting_packs(&self) -> BTreeSet<u64> {
        let uploads = self.rows.lock();
        uploads
            .values()
            .flat_map(|staging| staging.waiting_packs.iter().copied())
            .collect()
    }

    /// Whether nobody puts chunks.
    pub(super) fn is_free(&self) -> bool {
        self.putting.try_write().is_some()
    }

    /// Forgets all uploads, the store being closed; answers the chunks that no commit holds.
    pub(super) fn abandon(&self) -> Vec<ChunkLocation> {
        let _nobody_puts = self.putting.write();
        let uploads = std::mem::take(&mut *self.rows.lock());
        let mut chunks = Vec::new();
        for staging in uploads.into_values() {
            // Not set to nothing: who discards an upload beside this subtracts its own.
            self.waiting_bytes
                .fetch_sub(staging.waiting_bytes, Ordering::Relaxed);
            chunks.extend(locations(&staging.rows));
        }
        chunks
    }

    fn chunk(&self, key: &[u8], blob: BlobId) -> Option<Bytes> {
        let uploads = self.rows.lock();
        let rows = &uploads.get(&blob)?.rows;
        rows.iter().find(|row| row.key == key)?.value.clone()
    }

    /// Adds rows; answers those that are to go into a commit now, and whether they are the first.
    fn add(
        &self,
        blob: BlobId,
        rows: Vec<RowWrite>,
        packs: BTreeSet<u64>,
    ) -> Option<(Vec<RowWrite>, bool)> {
        let mut uploads = self.rows.lock();
        let staging = uploads.entry(blob).or_default();
        let bytes = rows.iter().map(waiting_bytes).sum::<usize>();
        let of_all = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        staging.waiting_bytes += bytes;
        staging.rows.extend(rows);
        staging.waiting_packs.extend(&packs);
        staging.packs.extend(packs);
        staging.additions += 1;
        let is_much = staging.waiting_bytes > MAX_WAITING_BYTES
            || of_all > MAX_WAITING_BYTES_OF_ALL
            || staging.waiting_packs.len() > MAX_WAITING_PACKS;
        is_much.then(|| (staging.rows.clone(), !staging.has_rows_in_trees))
    }

    /// The packs that are to be synced for these uploads, and of each how often chunks had been added by now.
    pub(super) fn unsynced(&self, blobs: &[BlobId]) -> (BTreeSet<u64>, Vec<(BlobId, u64)>) {
        let uploads = self.rows.lock();
        let (mut packs, mut seen) = (BTreeSet::new(), Vec::new());
        for blob in blobs {
            if let Some(staging) = uploads.get(blob) {
                packs.extend(&staging.packs);
                seen.push((*blob, staging.additions));
            }
        }
        (packs, seen)
    }

    /// What was there when [`Uploads::unsynced`] looked is durable. Where chunks were added since, nothing is noted: they may lie
    /// in the same packs. What is moved to another pack is synced there first.
    pub(super) fn synced(&self, seen: &[(BlobId, u64)]) {
        let mut uploads = self.rows.lock();
        for (blob, additions) in seen {
            if let Some(staging) = uploads.get_mut(blob)
                && staging.additions == *additions
            {
                staging.packs.clear();
            }
        }
    }

    /// The first `count` rows are in a commit.
    fn committed(&self, blob: BlobId, count: usize) {
        if let Some(staging) = self.rows.lock().get_mut(&blob) {
            let gone = staging.rows.drain(..count);
            let bytes = gone.map(|row| waiting_bytes(&row)).sum();
            staging.waiting_bytes -= bytes;
            let waiting = locations(&staging.rows).into_iter();
            staging.waiting_packs = waiting.map(|location| location.pack).collect();
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            staging.has_rows_in_trees = true;
        }
    }
}

fn waiting_bytes(row: &RowWrite) -> usize {
    ROW_BYTES + row.value.as_ref().map_or(0, Bytes::len)
}

impl Core {
    /// See [`Backend::put_chunks`](crate::backend::Backend::put_chunks).
    pub(super) fn put_chunks(
        &self,
        blob: BlobId,
        first: u64,
        bytes: &[u8],
        chunk_bytes: usize,
    ) -> Result<()> {
        self.health.check_writable()?;
        if chunk_bytes == 0 {
            return Err(Error::InvalidArgument {
                what: "chunk_bytes",
                reason: "it is 0".to_owned(),
            });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // What goes to the trees is written to the journal, and again by the next checkpoint, which must find its room.
        let writes = match chunk_bytes <= MAX_TREE_CHUNK_BYTES {
            true => WRITTEN_PER_ROW_BYTE,
            false => 1,
        };
        self.wait_for_space()?;
        let room = self.take_room((bytes.len() as u64).saturating_mul(writes))?;
        let _putting = self.uploads.putting.read();
        self.health.check_writable()?;
        let (rows, packs) = rows_of_chunks(&self.packs, blob, first, bytes, chunk_bytes)
            .map_err(|error| self.poison_unless_harmless(error))?;
        drop(room);
        self.packs
            .sync_sealed()
            .map_err(|error| self.health.poison(error))?;
        if !packs.is_empty() && self.is_space_wanted(bytes.len() as u64) {
            self.bell.ring_now();
        }
        match self.uploads.add(blob, rows, packs) {
            None => Ok(()),
            Some((rows, is_first)) => self.spill(blob, rows, is_first),
        }
    }

    /// A full disk has cost nothing, nor has a file that could not be opened; of any other failure nobody knows what it has.
    fn poison_unless_harmless(&self, error: Error) -> Error {
        match error {
            error @ Error::Io { .. } if !is_out_of_files(&error) => self.health.poison(error),
            error => error,
        }
    }

    /// Puts waiting rows into a commit of their own.
    fn spill(&self, blob: BlobId, rows: Vec<RowWrite>, is_first: bool) -> Result<()> {
        self.wait_for_room()?;
        let count = rows.len();
        self.commit_own(|stage| {
            if is_first {
                stage.write(Tree::Pending, keys::upload(blob), Some(Bytes::new()));
            }
            for row in rows {
                stage.write(row.tree, row.key, row.value);
            }
            Ok(())
        })?;
        self.uploads.committed(blob, count);
        Ok(())
    }

    /// Makes the chunks of uploads durable; those a commit is about to adopt. What was synced before costs nothing, also where
    /// others have appended to the same pack since.
    pub(super) fn sync_uploads(&self, blobs: &[BlobId]) -> Result<()> {
        let (packs, seen) = self.uploads.unsynced(blobs);
        let packs: Vec<u64> = packs.into_iter().collect();
        self.packs
            .sync(&packs)
            .map_err(|error| self.health.poison(error))?;
        self.uploads.synced(&seen);
        Ok(())
    }

    /// See [`Backend::get_chunk`](crate::backend::Backend::get_chunk).
    pub(super) fn get_chunk(&self, blob: BlobId, index: u64) -> Result<Bytes> {
        let key = keys::chunk(blob, index);
        let damaged = || Error::damaged("chunk", format!("chunk {index} of blob {blob}"));
        for _ in 0..MAX_MOVES {
            let value = match self.uploads.chunk(&key, blob) {
                Some(value) => value,
                None => match self.get(View::Latest, Tree::Chunks, &key)? {
                    Some(row) => row.value,
                    None => return Err(damaged()),
                },
            };
            match ChunkRow::decode(&value).ok_or_else(damaged)? {
                ChunkRow::Here(bytes) => return Ok(bytes),
                ChunkRow::Packed(location) => {
                    if let Some(bytes) = self.packs.read(blob, index, &location)? {
                        return Ok(bytes);
                    }
                }
            }
        }
        // Where somebody moved the store, its files are not damaged.
        self.packs.check_place()?;
        Err(damaged())
    }

    /// See [`Backend::get_chunks`](crate::backend::Backend::get_chunks).
    pub(super) fn get_chunks(&self, blob: BlobId, first: u64, most: usize) -> Result<Vec<Bytes>> {
        let read = match self.run_of_chunks(blob, first, most) {
            Run::Here(chunks) => Some(chunks),
            // Where the disk refuses one of them, those before it are still to be had.
            Run::Packed(locations) => (self.packs.read_run(blob, first, &locations))
                .ok()
                .flatten(),
        };
        match read {
            Some(chunks) if !chunks.is_empty() => Ok(chunks),
            // Of an upload, or just moved, or damaged: that is looked after there.
            _ => Ok(vec![self.get_chunk(blob, first)?]),
        }
    }

    /// See [`Backend::read_chunks`](crate::backend::Backend::read_chunks).
    pub(super) fn read_chunks(
        &self,
        blob: BlobId,
        first: u64,
        most: usize,
        skip: usize,
        buffer: &mut [u8],
    ) -> Result<Vec<usize>> {
        let read = match self.run_of_chunks(blob, first, most) {
            Run::Here(chunks) => Some(copy_chunks(&chunks, skip, buffer)),
            Run::Packed(locations) => self.packs.read_into(blob, first, &locations, skip, buffer),
        };
        match read {
            Some(lengths) if !lengths.is_empty() => Ok(lengths),
            // As above, and one at a time: what the disk refuses is not asked for once more than it must be.
            _ => Ok(copy_chunks(&[self.get_chunk(blob, first)?], skip, buffer)),
        }
    }

    /// The chunks from this one on that lie together.
    fn run_of_chunks(&self, blob: BlobId, first: u64, most: usize) -> Run {
        let (mut here, mut packed) = (Vec::new(), Vec::<ChunkLocation>::new());
        let end = first.saturating_add(most as u64);
        let (start, end) = (keys::chunk(blob, first), keys::chunk(blob, end));
        // What cannot be read is told by who reads its first chunk alone.
        let rows = match most {
            // One is found sooner by its key.
            0 | 1 => (self.get(View::Latest, Tree::Chunks, &start).ok().flatten())
                .map_or(Vec::new(), |row| vec![(start, Ok(row))]),
            _ => (self.rows(Tree::Chunks, &start, Some(&end), LATEST, most))
                .map_or(Vec::new(), |(rows, _)| rows),
        };
        for (index, (key, row)) in (first..).zip(rows) {
            let row = row.ok().filter(|_| key == keys::chunk(blob, index));
            match row.and_then(|row| ChunkRow::decode(&row.value)) {
                Some(ChunkRow::Here(chunk)) if packed.is_empty() => here.push(chunk),
                Some(ChunkRow::Packed(location))
                    if here.is_empty()
                        && packed.last().is_none_or(|last| location.follows(last)) =>
                {
                    packed.push(location);
                }
                _ => break,
            }
        }
        match here.is_empty() {
            true => Run::Packed(packed),
            false => Run::Here(here),
        }
    }

    /// See [`Backend::discard`](crate::backend::Backend::discard).
    pub(super) fn discard(&self, blob: BlobId) {
        // In a process that was forked off a lock may be held by nobody, for ever.
        if self.health.is_forked() {
            return;
        }
        let staging = {
            // In one step for who notes what is in use at the end.
            let _putting = self.uploads.putting.read();
            let Some(staging) = self.uploads.forget(blob) else {
                return;
            };
            self.packs.give_back(&locations(&staging.rows));
            staging
        };
        if staging.has_rows_in_trees {
            let doomed = self.doom_upload(blob);
            if let Err(error) = doomed {
                tracing::debug!(%error, "an upload is doomed later");
                self.space.abandon(blob);
            }
        }
        self.bell.ring();
    }
}

/// Writes chunks to packs, where they are too large for a row; answers their rows, and the packs.
pub(super) fn rows_of_chunks(
    packs: &Packs,
    blob: BlobId,
    first: u64,
    bytes: &[u8],
    chunk_bytes: usize,
) -> Result<(Vec<RowWrite>, BTreeSet<u64>)> {
    let mut written = BTreeSet::new();
    let values: Vec<ChunkRow> = if chunk_bytes <= MAX_TREE_CHUNK_BYTES {
        bytes
            .chunks(chunk_bytes)
            .map(|chunk| ChunkRow::Here(Bytes::copy_from_slice(chunk)))
            .collect()
    } else {
        let locations = packs.append(blob, first, bytes, chunk_bytes)?;
        written.extend(locations.iter().map(|location| location.pack));
        locations.into_iter().map(ChunkRow::Packed).collect()
    };
    let rows = (first..).zip(values).map(|(index, value)| RowWrite {
        tree: Tree::Chunks,
        key: keys::chunk(blob, index),
        value: Some(value.encode()),
    });
    Ok((rows.collect(), written))
}

/// Where the chunks of these rows lie in packs.
fn locations(rows: &[RowWrite]) -> Vec<ChunkLocation> {
    rows.iter()
        .filter_map(|row| match ChunkRow::decode(row.value.as_ref()?)? {
            ChunkRow::Packed(location) => Some(location),
            ChunkRow::Here(_) => None,
        })
        .collect()
}
