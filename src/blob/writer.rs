//! Writing a blob piece by piece.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::parts::count_kept;
use super::source::Source;
use super::{UNKNOWN_CONTENT_TYPE, content_type};
use crate::backend::View;
use crate::digest::ContentHasher;
use crate::draft::Present;
use crate::entry::{Expect, NewEntry, check_attributes, stamped};
use crate::error::{Error, Result};
use crate::format::{Body, EntryRecord, Part};
use crate::key::Key;
use crate::lock::Need;
use crate::metadata::{Attributes, Kind, Metadata};
use crate::options::{WriteMode, WriteOptions};
use crate::store::Store;
use crate::upload::Uploader;

/// Writes a blob piece by piece, in about 1 MiB of memory whatever its size. Made by [`Store::writer`].
///
/// Nothing is visible before [`commit`](BlobWriter::commit), the one step that makes it so. A writer that is dropped
/// leaves nothing behind, and its space is given back. [`flush`](Write::flush) promises nothing: what is written
/// becomes durable with the commit, not before. Errors that come through `std::io` hold the [`Error`] in
/// [`io::Error::get_ref`]; after one the writer can only be dropped.
///
/// ```
/// use std::io::Write;
/// use komatik::{Store, WriteOptions};
/// let store = Store::in_memory()?;
/// let mut writer = store.writer("log.txt", WriteOptions::append())?;
/// writeln!(writer, "started")?;
/// assert!(!store.exists("log.txt")?);
/// writer.commit()?;
/// assert_eq!(store.get("log.txt")?.as_deref(), Some(&b"started\n"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is written before `commit`"]
pub struct BlobWriter {
    store: Store,
    key: Key,
    attributes: Option<Attributes>,
    content_type: String,
    /// Whether it comes from the name of the key.
    is_type_guessed: bool,
    expect: Expect,
    need: Need,
    /// Parts of the entry that is appended to, which stay as they are.
    kept: Vec<Part>,
    uploader: Uploader,
    written: u64,
    prepared: bool,
    failed: bool,
}

impl Store {
    /// Opens a writer of the blob `key`. The mode and the lock are asked at once, and again at the commit.
    ///
    /// To append costs what is appended, a copy of less than 4 KiB of what is there, and now and then one of more; besides, at most the
    /// last 64 KiB are read, for the digest, which is that of the whole.
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`], [`Error::RevisionMismatch`]: as the mode asks.
    /// * [`Error::WrongKind`]: to append to a document.
    /// * [`Error::Locked`], [`Error::WrongPassword`]: the entry that is there has an edit password; to append, also
    ///   a view password.
    /// * [`Error::InvalidArgument`], [`Error::TooLarge`]: content type and attributes as for
    ///   [`put_with`](Store::put_with).
    /// * [`Error::InvalidKey`]; [`Error::Damaged`]; the operating system.
    pub fn writer(&self, key: &str, options: WriteOptions) -> Result<BlobWriter> {
        let key = self.key(key)?;
        self.check_participant()?;
        check_attributes(options.attributes.as_ref())?;
        let is_type_guessed = options.content_type.is_none();
        let type_of_name = content_type(&key, options.content_type.clone())?;
        let expect = match options.mode {
            WriteMode::Append => return self.appender(key, options, type_of_name),
            WriteMode::Overwrite => Expect::Anything,
            WriteMode::Create => Expect::Free,
            WriteMode::Update(revision) => Expect::Revision(revision),
        };
        self.check_replaceable(&key, expect, Need::Write)?;
        Ok(BlobWriter {
            uploader: Uploader::new(&self.shared, self.inline_bytes(Kind::Blob)),
            store: self.clone(),
            key,
            attributes: options.attributes,
            content_type: type_of_name,
            is_type_guessed,
            expect,
            need: Need::Write,
            kept: Vec::new(),
            written: 0,
            prepared: false,
            failed: false,
        })
    }

    fn appender(
        &self,
        key: Key,
        options: WriteOptions,
        type_of_name: String,
    ) -> Result<BlobWriter> {
        let opened = self
            .open_entry(View::Latest, &key, Need::ReadAndWrite)
            .map_err(|error| self.refused(error))?;
        let (expect, kept, uploader, kept_type) = match &opened {
            None => (
                Expect::Unchanged(None),
                Vec::new(),
                Uploader::new(&self.shared, self.inline_bytes(Kind::Blob)),
                None,
            ),
            Some((Present { revision, record }, source)) => {
                if record.kind != Kind::Blob {
                    return Err(self.refused(Error::WrongKind {
                        key: self.relative(key.as_str()).to_owned(),
                        expected: Kind::Blob.as_str(),
                        found: record.kind.as_str(),
                    }));
                }
                let (kept, uploader) = resume(self, record, source)?;
                let kept_type = Some(record.content_type.clone());
                (
                    Expect::Unchanged(Some(*revision)),
                    kept,
                    uploader,
                    kept_type,
                )
            }
        };
        Ok(BlobWriter {
            store: self.clone(),
            key,
            attributes: options.attributes,
            content_type: match options.content_type {
                Some(_) => type_of_name,
                None => kept_type.unwrap_or(type_of_name),
            },
            is_type_guessed: false,
            expect,
            need: Need::ReadAndWrite,
            kept,
            uploader,
            written: 0,
            prepared: false,
            failed: false,
        })
    }
}

/// What of an entry stays where it is, and an uploader that has the rest and goes on behind it.
fn resume(store: &Store, record: &EntryRecord, source: &Source) -> Result<(Vec<Part>, Uploader)> {
    let mut kept = match &record.body {
        Body::Inline(_) => Vec::new(),
        Body::Parts(parts) => parts.clone(),
    };
    kept.truncate(count_kept(&kept));
    let hasher = resume_hash(record, source)?;
    let mut uploader = Uploader::resume(&store.shared, hasher, store.inline_bytes(Kind::Blob));
    let kept_bytes = kept.iter().map(|part| part.size).sum();
    source.read_from(kept_bytes, |piece| uploader.store(piece))?;
    Ok((kept, uploader))
}

/// A hasher that has seen the whole content.
fn resume_hash(record: &EntryRecord, source: &Source) -> Result<ContentHasher> {
    let mut tail = Vec::new();
    source.read_from(ContentHasher::tail_start(record.size), |piece| {
        tail.extend_from_slice(piece);
        Ok(())
    })?;
    if let Some(hasher) = ContentHasher::resume(record.size, record.subtrees.clone(), &tail) {
        return Ok(hasher);
    }
    let mut hasher = ContentHasher::new();
    source.read_from(0, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(hasher)
}

impl BlobWriter {
    /// Bytes written through this writer so far; what an append found is not counted.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that the entry would have if this writer were committed now: of what an append found, and what was written.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.uploader.size()
    }

    /// Makes what was written the content of the entry, in one step.
    ///
    /// # Errors
    /// As [`Store::writer`], for what has changed since; [`Error::RevisionMismatch`] where an entry that is appended
    /// to has changed (one that was missing counts as revision 0); [`Error::Misuse`] where a write failed before;
    /// [`Error::NoSpace`], [`Error::Io`]. Nothing has happened then. After [`Error::Poisoned`] it may have.
    pub fn commit(mut self) -> Result<Metadata> {
        self.prepare()?;
        let store = self.store.clone();
        let (key, new) = self.finish()?;
        store.write(|draft| draft.put(&key, &new)).map(stamped)
    }

    /// Brings what was written to the disk, still seen by nobody, so that the commit is quick: for a writer that a
    /// [transaction](Store::transaction) commits, during which other writers wait. [`commit`](BlobWriter::commit) does it by
    /// itself. Afterwards nothing can be written any more. Does not wait for the disk where the store that it was opened on does
    /// not, as [`Durability`](crate::Durability) says.
    ///
    /// ```
    /// use std::io::Write;
    /// use komatik::{Store, WriteOptions};
    /// let store = Store::in_memory()?;
    /// let mut photo = store.writer("photos/1.jpg", WriteOptions::create())?;
    /// photo.write_all(&[7; 1_000_000])?;
    /// photo.prepare()?;
    /// store.transaction(|tx| {
    ///     tx.commit_blob(photo)?;
    ///     tx.save("albums/1", &["photos/1.jpg"])
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] where a write failed before; [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`]. After one the
    /// writer can only be dropped.
    pub fn prepare(&mut self) -> Result<()> {
        self.check_usable()?;
        self.prepared = true;
        let upload = self.uploader.put_rest(self.key.as_str(), &self.kept);
        let prepared = upload.and_then(|upload| self.store.sync_upload(upload));
        self.failed = prepared.is_err();
        prepared
    }

    /// What is to be committed, and where.
    pub(crate) fn finish(self) -> Result<(Key, NewEntry)> {
        self.check_usable()?;
        let content = self.uploader.finish(self.key.as_str(), self.kept)?;
        let new = NewEntry {
            kind: Kind::Blob,
            content,
            content_type: self.content_type,
            attributes: self.attributes,
            expect: self.expect,
            need: self.need,
        };
        Ok((self.key, new))
    }

    /// As [`BlobWriter::finish`], for another key than it was opened for: where its name tells a type, that is the better guess.
    pub(crate) fn finish_as(mut self, key: Key) -> Result<(Key, NewEntry)> {
        let guess = content_type(&key, None)?;
        if self.is_type_guessed && guess != UNKNOWN_CONTENT_TYPE {
            self.content_type = guess;
        }
        self.key = key;
        self.finish()
    }

    /// Whether it goes on behind what an entry has.
    pub(crate) fn appends(&self) -> bool {
        matches!(self.expect, Expect::Unchanged(_))
    }

    /// Whether it writes to the store whose shared state this is.
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        Arc::ptr_eq(&self.store.shared, &store.shared)
    }

    /// Writes all of `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.check_writable()?;
        let appended = self.uploader.append(bytes);
        self.failed = appended.is_err();
        appended?;
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Writes the next bytes of `source`. Answers whether it has come to its end.
    pub(super) fn append_from(&mut self, source: &mut dyn Read) -> Result<bool> {
        self.check_writable()?;
        let appended = self.uploader.append_from(source);
        self.failed = appended.is_err();
        let (count, is_end) = appended?;
        self.written += count;
        Ok(is_end)
    }

    fn check_writable(&self) -> Result<()> {
        if self.prepared {
            return Err(Error::Misuse {
                reason: "nothing can be written once the writer is prepared",
            });
        }
        self.check_usable()
    }

    /// A write that failed may have left a part of its bytes: they must never become an entry.
    fn check_usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::Misuse {
                reason: "an earlier write to this writer failed; drop it and begin anew",
            });
        }
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.append(buffer)?;
        Ok(buffer.len())
    }

    /// Does nothing: what is written becomes durable with [`commit`](BlobWriter::commit).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("key", &self.key)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
