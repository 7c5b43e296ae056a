//! Getting everything out, in a form that other programs can read.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use bytes::{Buf, Bytes};

use super::archive::{About, FORMAT, Manifest, Member, Pack};
use super::{of_entry, overtaken};
use crate::backend::{Scan, Tree};
use crate::blob::{Ahead, Source};
use crate::error::{Error, Result};
use crate::format::EntryRecord;
use crate::json;
use crate::lock::{Need, Trying};
use crate::metadata::{Digest, Kind};
use crate::report::{Progress, Step};
use crate::store::Store;

impl Store {
    /// Writes every entry and explicit folder in the scope of this view to `writer`, as a tar archive. Answers how many
    /// entries there were.
    ///
    /// Blobs become files under `files/`, documents JSON files under `documents/`, content types, attributes and times
    /// JSON files under `metadata/`; keys are relative to the scope. Locks and tokens are not part of an export, nor
    /// is the history: for all of a store, take a backup. [`Store::import`] reads it back.
    ///
    /// The archive shows one moment, that of the call, also while others write; it takes constant memory, but for one
    /// document at a time. Space that is freed meanwhile is given back afterwards. A store that overwrites more than
    /// 64 MiB of different rows while it is read may make the call fail; nothing is lost, call it again.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use komatik::{PutMode, Store};
    /// let store = Store::in_memory()?;
    /// store.put("plan.txt", "north")?;
    /// let mut archive = Vec::new();
    /// store.export(&mut archive, |_step| ControlFlow::Continue(()))?;
    ///
    /// let other = Store::in_memory()?;
    /// other.import(&archive[..], PutMode::Create, |_step| ControlFlow::Continue(()))?;
    /// assert_eq!(other.get("plan.txt")?.as_deref(), Some(&b"north"[..]));
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Locked`] and [`Error::WrongPassword`] with the key of an entry that this view cannot read, before
    /// anything is written; [`Error::Cancelled`]; [`Error::Damaged`]; [`Error::Io`] of the kind
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) where the moment could not be kept; what `writer` answers. What was written until
    /// then is cut short, and [`Store::import`] says so at its end; nothing is written after the failure.
    pub fn export(
        &self,
        writer: impl Write,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<u64> {
        let progress = Progress::new(&mut progress);
        // Both scans are opened first, so that both see the same entries but for what is written in between.
        let (mut ahead, scan) = (self.scan_scope()?, self.scan_scope()?);
        let total = self.check_readable(&mut *ahead)?;
        drop(ahead);
        let mut export = Export {
            store: self,
            pack: Pack::new(writer),
            progress,
            done: 0,
            total,
        };
        export.run(scan)?;
        export.pack.finish(export.done)?;
        Ok(export.done)
    }

    fn scan_scope(&self) -> Result<Box<dyn Scan>> {
        let prefix = self.scope.as_prefix();
        let end = crate::list::end_of(prefix);
        let backend = &self.shared.backend;
        backend.scan(Tree::Entries, prefix.as_bytes(), end.as_deref())
    }

    /// Asks for every lock in the scope; answers how many entries there are.
    fn check_readable(&self, scan: &mut dyn Scan) -> Result<u64> {
        let mut entries = 0;
        while let Some((key, record, _)) = self.next_entry(scan)? {
            self.ask_to_read(&key, &record)?;
            entries += u64::from(record.kind != Kind::Folder);
        }
        Ok(entries)
    }

    fn ask_to_read(&self, key: &str, record: &EntryRecord) -> Result<()> {
        if let Some(lock) = &record.lock {
            let name = self.relative(key);
            self.verify_lock(name, lock, Need::Read, Trying::Call)?;
            self.strengthen(name, lock);
        }
        Ok(())
    }

    /// The next row that the view sees, its key and its revision, as long as they are of the moment of the scan.
    fn next_entry(&self, scan: &mut dyn Scan) -> Result<Option<(String, EntryRecord, u64)>> {
        loop {
            let next = scan.next()?;
            if !scan.is_of_one_moment() {
                return Err(overtaken());
            }
            let Some((key, row)) = next else {
                return Ok(None);
            };
            let key = std::str::from_utf8(&key)
                .map_err(|_| Error::damaged("key", String::from_utf8_lossy(&key)))?
                .to_owned();
            if self.scope.hides(&key) {
                continue;
            }
            let record = EntryRecord::decode(&key, &row.value)?;
            return Ok(Some((key, record, row.revision)));
        }
    }
}

struct Export<'a, W: Write> {
    store: &'a Store,
    pack: Pack<W>,
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl<W: Write> Export<'_, W> {
    fn run(&mut self, mut scan: Box<dyn Scan>) -> Result<()> {
        let manifest = Manifest { format: FORMAT };
        self.pack.add_json(&Member::Manifest, 0, &manifest)?;
        while let Some((key, record, revision)) = self.store.next_entry(&mut *scan)? {
            match self.member(&key, &record) {
                Err(Error::Damaged { .. }) if self.store.is_replaced(key.as_bytes(), revision) => {
                    return Err(overtaken());
                }
                member => member?,
            }
        }
        Ok(())
    }

    fn member(&mut self, key: &str, record: &EntryRecord) -> Result<()> {
        let store = self.store;
        let name = store.relative(key);
        // Asked before, but for what was written between the two scans.
        store.ask_to_read(key, record)?;
        match record.kind {
            // The row of the scope itself.
            _ if name.is_empty() => return Ok(()),
            Kind::Folder => {
                let folder = name.strip_suffix('/').unwrap_or(name);
                let member = Member::Folder(folder);
                return self.pack.add(&member, record.updated, 0, io::empty());
            }
            Kind::Document => self.document(name, key, record)?,
            Kind::Blob => self.blob(name, key, record)?,
        }
        self.done += 1;
        self.step()
    }

    fn step(&mut self) -> Result<()> {
        self.progress.step("entries", self.done, Some(self.total))
    }

    /// Tells of an entry whose content comes next and has this digest.
    fn about(&mut self, name: &str, record: &EntryRecord, digest: Digest) -> Result<()> {
        let is_blob = record.kind == Kind::Blob;
        let about = About {
            content_type: is_blob.then(|| record.content_type.clone()),
            attributes: record.attributes.clone(),
            created: Some(record.created),
            updated: Some(record.updated),
            blake3: Some(digest.to_string()),
        };
        let member = Member::Metadata(name);
        self.pack.add_json(&member, record.updated, &about)
    }

    fn document(&mut self, name: &str, key: &str, record: &EntryRecord) -> Result<()> {
        let body = open(self.store, key, record)?
            .read_all(key, &record.digest)
            .map_err(|error| of_entry(key, error))?;
        let value = json::decode(&body).map_err(|_| Error::damaged("document", key))?;
        let text = json::to_text(&value);
        self.about(name, record, Digest::of(&text))?;
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let member = Member::Document(name);
        self.pack.add(&member, record.updated, size, &text[..])
    }

    fn blob(&mut self, name: &str, key: &str, record: &EntryRecord) -> Result<()> {
        self.about(name, record, record.digest)?;
        let (done, total) = (self.done, self.total);
        let reader = Content {
            source: open(self.store, key, record)?,
            ahead: Ahead::default(),
            key,
            record,
            position: 0,
            chunk: Bytes::new(),
            hasher: blake3::Hasher::new(),
            progress: &mut self.progress,
            step: (done, total),
        };
        let member = Member::File(name);
        self.pack.add(&member, record.updated, record.size, reader)
    }
}

/// The body of a row of an open scan, which keeps the chunks as long as it can: nothing need be held.
fn open(store: &Store, key: &str, record: &EntryRecord) -> Result<Source> {
    Source::open(&store.shared, &record.body, |_| true)?
        .ok_or_else(|| Error::damaged("content", key))
}

/// A body as a stream, compared with its digest at the end.
struct Content<'a, 'b> {
    source: Source,
    ahead: Ahead,
    key: &'a str,
    record: &'a EntryRecord,
    /// Where the chunk ends.
    position: u64,
    /// What is left of the present chunk.
    chunk: Bytes,
    hasher: blake3::Hasher,
    progress: &'a mut Progress<'b>,
    step: (u64, u64),
}

impl Content<'_, '_> {
    fn next_chunk(&mut self) -> Result<()> {
        let (done, total) = self.step;
        self.progress.step("entries", done, Some(total))?;
        let next = self.ahead.chunk_at(&self.source, self.position, true);
        let (start, chunk) = next.map_err(|error| of_entry(self.key, error))?;
        self.hasher.update(&chunk);
        self.position = start + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.chunk = chunk;
        let is_last = self.position >= self.record.size;
        if is_last && self.hasher.finalize().as_bytes() != self.record.digest.as_bytes() {
            return Err(Error::damaged("content", self.key));
        }
        Ok(())
    }
}

impl Read for Content<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && self.position < self.record.size {
            self.next_chunk()?;
        }
        let count = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Commit, View, Write as RowWrite};
    use crate::metadata::Digest;

    #[test]
    fn damaged_content_does_not_get_out() {
        let store = Store::in_memory().unwrap();
        for (name, size) in [("inline", 10), ("chunks", 200_000)] {
            store.put(name, vec![7; size]).unwrap();
            let key = store.key(name).unwrap();
            let mut record = store.row(View::Settled, &key).unwrap().unwrap().record;
            record.digest = Digest::of(b"something else");
            let commit = Commit {
                writes: vec![RowWrite {
                    tree: Tree::Entries,
                    key: Bytes::copy_from_slice(name.as_bytes()),
                    value: Some(record.encode()),
                }],
                ..Commit::default()
            };
            store.shared.backend.commit(commit, &mut |_| {}).unwrap();
            match store.export(io::sink(), |_| ControlFlow::Continue(())) {
                Err(Error::Damaged { location, .. }) => assert_eq!(location, name),
                other => panic!("{other:?}"),
            }
            store.delete(name).unwrap();
        }
    }
}
