//! Copying a store into another directory while it is used.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

use super::{of_entry, overtaken};
use crate::backend::local::Restore;
use crate::backend::{Scan, Tree};
use crate::blob::READ_AHEAD_BYTES;
use crate::error::{Error, Result};
use crate::format::{Body, EntryRecord, Part};
use crate::report::{Progress, Step};
use crate::store::Store;

/// Progress is told every so many rows.
const ROWS_A_STEP: u64 = 256;
/// And every so many bytes of blobs.
const BYTES_A_STEP: u64 = 1024 * 1024;

impl Store {
    /// Copies the whole store, as it is at one moment, into `directory`, which must be missing or empty. The copy opens
    /// as a store: entries with their revisions, locks and attributes, and tokens; not the history, which
    /// begins anew, nor how much of it is kept, which is set again. It begins far above the revision of the original, at a revision drawn by chance: whoever watched the
    /// original, or another copy, and goes on with this one is told so ([`Error::Compacted`]) and misses nothing.
    ///
    /// Readers and writers go on meanwhile. The copy is durable when the call returns. One that was not finished is
    /// removed; where the process ended before, it does not open, and is yours to remove. Cost: everything is read,
    /// checked and written once. A store that overwrites more than 64 MiB of different rows while it is copied may make the call
    /// fail; nothing is lost, call it again.
    ///
    /// No password is needed: locks guard this face of the store, not its bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a directory within a store; [`Error::Misuse`] on a scoped view; [`Error::Cancelled`]; [`Error::Damaged`] for what cannot be copied;
    /// [`Error::Io`] of the kind [`ResourceBusy`](std::io::ErrorKind::ResourceBusy) where the moment could not be kept,
    /// of the kind [`DirectoryNotEmpty`](std::io::ErrorKind::DirectoryNotEmpty), and others; [`Error::NoSpace`].
    pub fn backup(
        &self,
        directory: impl AsRef<Path>,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<()> {
        if !self.scope.is_root() || !self.scope.is_whole() {
            return Err(Error::Misuse {
                reason: "a backup is of the whole store; call it on a view without a scope",
            });
        }
        let (scans, revision) = self.look_alone(|| {
            let backend = &self.shared.backend;
            let scans = [Tree::Entries, Tree::Tokens, Tree::Meta]
                .into_iter()
                .map(|tree| Ok((tree, backend.scan(tree, b"", None)?)))
                .collect::<Result<Vec<_>>>()?;
            Ok((scans, backend.history().newest))
        })?;
        let stats = self.shared.backend.stats()?;
        let mut backup = Backup {
            store: self,
            progress: Progress::new(&mut progress),
            rows: (0, stats.entries),
            bytes: (0, stats.chunk_bytes),
        };
        backup.tell_rows()?;
        let mut copy = Restore::begin(directory.as_ref(), revision)?;
        for (tree, mut scan) in scans {
            backup.tree(&mut copy, tree, &mut *scan)?;
        }
        backup.tell_rows()?;
        copy.finish()
    }
}

struct Backup<'a> {
    store: &'a Store,
    progress: Progress<'a>,
    /// How many are copied, and how many there were at the start.
    rows: (u64, u64),
    bytes: (u64, u64),
}

impl Backup<'_> {
    fn tell_rows(&mut self) -> Result<()> {
        let (done, total) = self.rows;
        self.progress.step("rows", done, Some(total.max(done)))
    }

    fn tree(&mut self, copy: &mut Restore, tree: Tree, scan: &mut dyn Scan) -> Result<()> {
        loop {
            let next = scan.next()?;
            if !scan.is_of_one_moment() {
                return Err(overtaken());
            }
            let Some((key, row)) = next else {
                return Ok(());
            };
            if tree == Tree::Entries {
                match self.content(copy, &key, &row.value) {
                    Err(Error::Damaged { .. }) if self.store.is_replaced(&key, row.revision) => {
                        return Err(overtaken());
                    }
                    content => content?,
                }
            }
            copy.row(tree, key, &row)?;
            self.rows.0 += 1;
            if self.rows.0.is_multiple_of(ROWS_A_STEP) {
                self.tell_rows()?;
            }
        }
    }

    fn content(&mut self, copy: &mut Restore, key: &[u8], value: &Bytes) -> Result<()> {
        let name = String::from_utf8_lossy(key);
        let record = EntryRecord::decode(&name, value)?;
        let Body::Parts(parts) = &record.body else {
            return Ok(());
        };
        let mut parts = parts.iter();
        let copied = parts.try_for_each(|part| self.part(copy, part));
        copied.map_err(|error| of_entry(&name, error))
    }

    fn part(&mut self, copy: &mut Restore, part: &Part) -> Result<()> {
        if copy.share(part.blob)? {
            return Ok(());
        }
        let chunk_bytes = usize::try_from(part.chunk_bytes)
            .map_err(|_| Error::damaged("entry", format!("blob {}", part.blob)))?;
        let count = part.size.div_ceil(u64::from(part.chunk_bytes));
        let mut ahead = VecDeque::new();
        let chunks = (0..count).map(|index| self.chunk(part, index, &mut ahead));
        copy.chunks(part.blob, chunk_bytes, chunks)
    }

    /// The chunk `index`; `ahead` holds it and some that follow, or is empty.
    fn chunk(&mut self, part: &Part, index: u64, ahead: &mut VecDeque<Bytes>) -> Result<Bytes> {
        if ahead.is_empty() {
            let chunk_bytes = u64::from(part.chunk_bytes);
            let left = (part.size - index * chunk_bytes).min(READ_AHEAD_BYTES);
            let most = usize::try_from(left.div_ceil(chunk_bytes)).unwrap_or(usize::MAX);
            ahead.extend((self.store.shared.backend).get_chunks(part.blob, index, most)?);
        }
        let chunk = ahead.pop_front();
        let chunk = chunk.ok_or_else(|| Error::damaged("blob", part.blob.to_string()))?;
        let (before, total) = self.bytes;
        let done = before + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.bytes.0 = done;
        if before / BYTES_A_STEP != done / BYTES_A_STEP {
            self.progress.step("content", done, Some(total.max(done)))?;
        }
        Ok(chunk)
    }
}
