//! Copying a store into another directory while it is used.

use std::ops::ControlFlow;
use std::path::Path;

use crate::backend::local::Restore;
use crate::backend::{Scan, Tree};
use crate::error::{Error, Result};
use crate::format::{Body, EntryRecord, Part};
use crate::report::{Progress, Step};
use crate::store::Store;

/// Progress is told every so many rows.
const ROWS_A_STEP: u64 = 256;

impl Store {
    /// Copies the whole store, as it is at one moment, into `directory`, which must be missing or empty. The copy opens
    /// as a store: entries with their revisions, locks and attributes, tokens and settings; not the history, which
    /// begins anew behind the revision of the copy.
    ///
    /// Readers and writers go on meanwhile. The copy is durable when the call returns; one that was not finished does
    /// not open. Cost: everything is read, checked and written once. A store that overwrites more than 64 MiB of rows
    /// while it is copied may make the call fail; nothing is lost, call it again.
    ///
    /// No password is needed: locks guard this face of the store, not its bytes.
    ///
    /// # Errors
    /// [`Error::Misuse`] on a scoped view; [`Error::Cancelled`]; [`Error::Damaged`] for what cannot be copied;
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn backup(
        &self,
        directory: impl AsRef<Path>,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<()> {
        if !self.scope.is_root() {
            return Err(Error::Misuse {
                reason: "a backup is of the whole store; call it on a view without a scope",
            });
        }
        let progress = &mut Progress::new(&mut progress);
        let (scans, revision) = self.look_alone(|| {
            let backend = &self.shared.backend;
            let scans = [Tree::Entries, Tree::Tokens, Tree::Meta]
                .into_iter()
                .map(|tree| Ok((tree, backend.scan(tree, b"", None)?)))
                .collect::<Result<Vec<_>>>()?;
            Ok((scans, backend.history().newest))
        })?;
        let mut copy = Restore::begin(directory.as_ref(), revision)?;
        let total = self.shared.backend.stats()?.entries;
        let mut done = 0;
        for (tree, mut scan) in scans {
            self.copy_tree(&mut copy, tree, &mut *scan, &mut |_| {
                done += 1;
                if done % ROWS_A_STEP == 0 {
                    progress.step("rows", done, Some(total.max(done)))?;
                }
                Ok(())
            })?;
            if !scan.is_of_one_moment() {
                return Err(Error::io(
                    "copying the store, which was overwritten faster; call it again",
                    std::io::ErrorKind::ResourceBusy.into(),
                ));
            }
        }
        progress.step("rows", done, Some(done))?;
        copy.finish()
    }

    fn copy_tree(
        &self,
        copy: &mut Restore,
        tree: Tree,
        scan: &mut dyn Scan,
        told: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while let Some((key, row)) = scan.next()? {
            if tree == Tree::Entries {
                let name = String::from_utf8_lossy(&key);
                let record = EntryRecord::decode(&name, &row.value)?;
                if let Body::Parts(parts) = &record.body {
                    for part in parts {
                        self.copy_part(copy, part)?;
                    }
                }
            }
            told(&key)?;
            copy.row(tree, key, &row)?;
        }
        Ok(())
    }

    fn copy_part(&self, copy: &mut Restore, part: &Part) -> Result<()> {
        if copy.share(part.blob) {
            return Ok(());
        }
        let chunk_bytes = u64::from(part.chunk_bytes);
        let chunks = (0..part.size.div_ceil(chunk_bytes))
            .map(|index| self.shared.backend.get_chunk(part.blob, index));
        let chunk_bytes = usize::try_from(chunk_bytes)
            .map_err(|_| Error::damaged("entry", format!("blob {}", part.blob)))?;
        copy.chunks(part.blob, chunk_bytes, chunks)
    }
}
