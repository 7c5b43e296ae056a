//! What documents and blobs have in common: to be there, to be replaced, moved, copied and deleted.

mod expect;

use crate::backend::{Tree, View};
use crate::blob::Source;
use crate::draft::{Draft, Present};
use crate::error::{Error, Result};
use crate::format::{Body, ChangeAction, EntryRecord};
use crate::key::Key;
use crate::lock::{Known, Need, Trying};
use crate::metadata::{Attributes, Kind, Metadata};
use crate::options::{MAX_ATTRIBUTES_BYTES, PutMode};
use crate::store::Store;
use crate::upload::{Content, Upload};

pub(crate) use expect::Expect;

/// What an attribute counts beside its name and value: what the record needs for it.
const ATTRIBUTE_OVERHEAD_BYTES: usize = 8;
/// How often an unchanged row may name a blob that is gone before that is damage.
const SAME_ROW_TRIES: usize = 8;

/// An entry that is to replace what is at a key.
pub(crate) struct NewEntry {
    pub(crate) kind: Kind,
    pub(crate) content: Content,
    pub(crate) content_type: String,
    /// `None` keeps those of the entry that is replaced.
    pub(crate) attributes: Option<Attributes>,
    pub(crate) expect: Expect,
    /// What is asked of the lock of the entry that is replaced.
    pub(crate) need: Need,
}

/// Whether attributes are within their limit.
pub(crate) fn check_attributes(attributes: Option<&Attributes>) -> Result<()> {
    let found = attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() + value.len() + ATTRIBUTE_OVERHEAD_BYTES)
        .fold(0, usize::saturating_add);
    if found <= MAX_ATTRIBUTES_BYTES {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "bytes of attributes",
        limit: u64::try_from(MAX_ATTRIBUTES_BYTES).unwrap_or(u64::MAX),
        found: u64::try_from(found).unwrap_or(u64::MAX),
    })
}

/// The answer of a write, with the revision that only its commit knew.
pub(crate) fn stamped((mut metadata, revision): (Metadata, Option<u64>)) -> Metadata {
    if let Some(revision) = revision {
        metadata.revision = revision;
    }
    metadata
}

impl Store {
    /// Whether there is an entry or a folder of this name. Never asks for a password. Costs one descent where there is an
    /// entry, else up to three.
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::Damaged`]; the operating system.
    pub fn exists(&self, key: &str) -> Result<bool> {
        let key = self.key(key)?;
        if self.row(View::Settled, &key)?.is_some() {
            return Ok(true);
        }
        self.is_there(&key)
    }

    /// What is known of an entry, `None` where there is none. A folder is not an entry. Content is not read.
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::Locked`] and [`Error::WrongPassword`] where the entry has a view password;
    /// [`Error::Damaged`]; the operating system.
    pub fn metadata(&self, key: &str) -> Result<Option<Metadata>> {
        let key = self.key(key)?;
        let present = self.readable(&key)?;
        Ok(present.map(|present| self.metadata_of(&key, &present)))
    }

    /// Deletes an entry, its attributes and its lock. Answers whether there was one. Its space is given back once no
    /// reader is left.
    ///
    /// An entry whose row is damaged can be neither deleted nor replaced: [`Store::repair`] leaves it out.
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::Locked`] and [`Error::WrongPassword`] where the entry has an edit password;
    /// [`Error::Damaged`], [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`].
    pub fn delete(&self, key: &str) -> Result<bool> {
        let key = self.key(key)?;
        let (was_there, _) = self.write(|draft| draft.delete(&key))?;
        Ok(was_there)
    }

    /// Gives an entry another key, in one step and without copying its bytes. Answers its revision; metadata is
    /// not answered, as reading it may need a password that renaming does not.
    ///
    /// The entry keeps its time of creation, attributes and lock. `mode` says what must be true of `to`: an entry
    /// there is replaced, with its lock, whose edit password is asked for as well. To rename an entry to its own key
    /// does nothing, whatever the mode. Costs the same for any size, but for an entry of about 3 to 4 KiB that gets a
    /// very long key: it no longer fits into its record, and is copied.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no entry `from`; [`Error::AlreadyExists`], [`Error::RevisionMismatch`] as
    /// `mode` asks; as [`Store::delete`].
    pub fn rename(&self, from: &str, to: &str, mode: PutMode) -> Result<u64> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        let (present, moved) = self.write(|draft| draft.rename(&from, &to, mode))?;
        Ok(moved.unwrap_or(present))
    }

    /// Copies an entry to another key, in one step. Content of more than about 4 KiB is not copied: both entries share it
    /// until either is written anew.
    ///
    /// The copy has the attributes and the content type of `from`, and not its lock; an entry `to` that is replaced
    /// keeps its own lock and its time of creation. `mode` says what must be true of `to`. To copy an entry to its own
    /// key does nothing, whatever the mode.
    ///
    /// ```
    /// use komatik::{PutMode, Store};
    /// let store = Store::in_memory()?;
    /// store.put("plan.txt", "north")?;
    /// store.copy("plan.txt", "backup/plan.txt", PutMode::Create)?;
    /// store.rename("plan.txt", "old.txt", PutMode::Overwrite)?;
    /// assert_eq!(store.get("backup/plan.txt")?.as_deref(), Some(&b"north"[..]));
    /// assert!(!store.exists("plan.txt")?);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no entry `from`; [`Error::AlreadyExists`], [`Error::RevisionMismatch`] as
    /// `mode` asks; [`Error::Locked`] and [`Error::WrongPassword`] where `from` has a view password or `to` an edit
    /// password; [`Error::InvalidKey`], [`Error::Damaged`], [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`].
    pub fn copy(&self, from: &str, to: &str, mode: PutMode) -> Result<Metadata> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        self.write(|draft| draft.copy(&from, &to, mode))
            .map(stamped)
    }

    /// The row of an entry, whatever its lock says.
    pub(crate) fn row(&self, view: View, key: &Key) -> Result<Option<Present>> {
        let row = self
            .shared
            .backend
            .get(view, Tree::Entries, key.as_bytes())?;
        row.map(|row| {
            Ok(Present {
                revision: row.revision,
                record: EntryRecord::decode(key.as_str(), &row.value)?,
            })
        })
        .transpose()
    }

    /// The settled entry, once its lock lets it be read.
    pub(crate) fn readable(&self, key: &Key) -> Result<Option<Present>> {
        self.opened_row(View::Settled, key, Need::Read)
    }

    /// The row of an entry, once its lock lets be done what `need` says.
    fn opened_row(&self, view: View, key: &Key, need: Need) -> Result<Option<Present>> {
        let name = self.relative(key.as_str());
        let mut verified = None;
        let mut is_strengthened = false;
        loop {
            let Some(present) = self.row(view, key)? else {
                return Ok(None);
            };
            let Some(lock) = &present.record.lock else {
                return Ok(Some(present));
            };
            if verified != Some(lock.id) && self.known_lock(lock, need) != Known::Opens {
                // Which may take long, so the row is read anew.
                self.verify_lock(name, lock, need, Trying::Call)?;
                verified = Some(lock.id);
            } else if need == Need::Read && !is_strengthened && self.strengthen(name, lock) {
                is_strengthened = true;
            } else {
                return Ok(Some(present));
            }
        }
    }

    /// The entry and its held content, once its lock lets that be done.
    pub(crate) fn open_entry(
        &self,
        view: View,
        key: &Key,
        need: Need,
    ) -> Result<Option<(Present, Source)>> {
        let mut seen = None;
        let mut tries = 0;
        loop {
            let Some(present) = self.opened_row(view, key, need)? else {
                return Ok(None);
            };
            if let Some(source) = Source::open(&self.shared, &present.record.body, |_| false)? {
                return Ok(Some((present, source)));
            }
            // The row was replaced, but may still be the settled one until its successor has settled.
            tries = if seen == Some(present.revision) {
                tries + 1
            } else {
                0
            };
            if tries == SAME_ROW_TRIES {
                return Err(Error::damaged("blob", key.as_str()));
            }
            seen = Some(present.revision);
            self.settle_ordered()?;
        }
    }

    /// Whether `key` may be replaced as far as is known now: for finding out before much is written.
    pub(crate) fn check_replaceable(&self, key: &Key, expect: Expect, need: Need) -> Result<()> {
        let present = self.row(View::Latest, key)?;
        let name = self.relative(key.as_str());
        let found = present.as_ref().map(|present| present.revision);
        // The lock first: what the mode asks tells the revision.
        let checked = match present.and_then(|present| present.record.lock) {
            Some(lock) => self.verify_lock(name, &lock, need, Trying::Call),
            None => Ok(()),
        };
        checked
            .and_then(|()| expect.check(name, found))
            .map_err(|error| self.refused(error))
    }

    pub(crate) fn metadata_of(&self, key: &Key, present: &Present) -> Metadata {
        let name = self.relative(key.as_str());
        present.record.metadata(name, present.revision)
    }
}

impl Draft<'_> {
    /// How the caller names the key.
    pub(crate) fn name<'k>(&self, key: &'k Key) -> &'k str {
        self.store.relative(key.as_str())
    }

    /// The entry at `key`, which must be there.
    pub(crate) fn read_present(&mut self, key: &Key) -> Result<Present> {
        self.read(key.as_str())?.ok_or_else(|| Error::NotFound {
            key: self.name(key).to_owned(),
        })
    }

    /// The entry at `key`, once its lock lets it be read.
    pub(crate) fn read_open(&mut self, key: &Key) -> Result<Option<Present>> {
        let present = self.read(key.as_str())?;
        if let Some(present) = &present {
            self.check_lock(key.as_str(), &present.record, Need::Read)?;
        }
        Ok(present)
    }

    /// Replaces what is at `key`, or creates.
    pub(crate) fn put(&mut self, key: &Key, new: &NewEntry) -> Result<Metadata> {
        let present = self.read_to_replace(key, new.expect, new.need)?;
        self.replace(key, present, new)
    }

    /// What is at `key`, once nothing is against replacing it.
    pub(crate) fn read_to_replace(
        &mut self,
        key: &Key,
        expect: Expect,
        need: Need,
    ) -> Result<Option<Present>> {
        let present = self.read(key.as_str())?;
        if let Some(present) = &present {
            self.check_lock(key.as_str(), &present.record, need)?;
        }
        let found = present.as_ref().map(|present| present.revision);
        expect.check(self.name(key), found)?;
        Ok(present)
    }

    /// Leaves `new` in place of `present`; asks for nothing but room in the commit.
    pub(crate) fn replace(
        &mut self,
        key: &Key,
        present: Option<Present>,
        new: &NewEntry,
    ) -> Result<Metadata> {
        let updated = self.updated(present.as_ref());
        let old = present.map(|present| present.record);
        let (created, kept, lock) = match &old {
            Some(old) => (old.created, old.attributes.clone(), old.lock.clone()),
            None => (self.now, Attributes::new(), None),
        };
        let record = EntryRecord {
            kind: new.kind,
            created,
            updated,
            size: new.content.size,
            digest: new.content.digest,
            content_type: new.content_type.clone(),
            attributes: new.attributes.clone().unwrap_or(kept),
            lock,
            body: new.content.body.clone(),
            subtrees: new.content.subtrees.clone(),
        };
        let mut metadata = record.metadata(self.name(key), 0);
        if new.attributes.is_none() && !self.may_read(&record) {
            metadata.attributes.clear();
        }
        self.exchange(key, old.as_ref(), record, new.content.upload.as_ref())?;
        Ok(metadata)
    }

    /// When an entry is written that may have been there: later than it was made, also where that is the same microsecond, so
    /// that the two times tell whether it was made now; and not before it was last written, also where the clock was set back.
    fn updated(&self, present: Option<&Present>) -> u64 {
        let Some(Present { revision, record }) = present else {
            return self.now;
        };
        let made = match revision {
            // Written by this draft, which may have made it.
            0 => record.created,
            _ => record.created.saturating_add(1),
        };
        self.now.max(made).max(record.updated)
    }

    /// Whether the view is known to be let read; without slow work.
    fn may_read(&self, record: &EntryRecord) -> bool {
        record
            .lock
            .as_ref()
            .is_none_or(|lock| self.store.known_lock(lock, Need::Read) == Known::Opens)
    }

    /// Leaves `record` in place of `old`, with the blobs changing owners, and tells a put.
    fn exchange(
        &mut self,
        key: &Key,
        old: Option<&EntryRecord>,
        record: EntryRecord,
        upload: Option<&Upload>,
    ) -> Result<()> {
        self.tell(ChangeAction::Put, key.as_str(), &record)?;
        if let Some(old) = old {
            self.disown(&old.body);
        }
        self.own(&record.body);
        if let Some(upload) = upload {
            self.take_upload(upload);
        }
        self.write(key.as_str(), record);
        Ok(())
    }

    /// Deletes the entry at `key`; whether there was one.
    pub(crate) fn delete(&mut self, key: &Key) -> Result<bool> {
        let Some(present) = self.read(key.as_str())? else {
            self.note_done();
            return Ok(false);
        };
        self.delete_row(key.as_str(), &present.record)?;
        Ok(true)
    }

    /// Deletes what the row holds, once its lock lets that be done.
    pub(crate) fn delete_row(&mut self, row_key: &str, record: &EntryRecord) -> Result<()> {
        self.check_lock(row_key, record, Need::Write)?;
        self.tell(ChangeAction::Delete, name_of_row(row_key), record)?;
        self.disown(&record.body);
        self.erase(row_key);
        Ok(())
    }

    /// Moves the entry `from` to `to`. Answers the revision it had where there was nothing to do.
    pub(crate) fn rename(&mut self, from: &Key, to: &Key, mode: PutMode) -> Result<u64> {
        let present = self.read_present(from)?;
        if from == to {
            self.check_lock(from.as_str(), &present.record, Need::Write)?;
            self.note_done();
            return Ok(present.revision);
        }
        let replaced = self.read_to_replace(to, mode.into(), Need::Write)?;
        let replaced = replaced.map(|present| present.record);
        self.move_row(from.as_str(), to.as_str(), present.record, replaced)?;
        Ok(0)
    }

    /// Moves what the row `from` holds, once its lock lets that be done, to the row `to`, which holds `replaced`.
    pub(crate) fn move_row(
        &mut self,
        from: &str,
        to: &str,
        record: EntryRecord,
        replaced: Option<EntryRecord>,
    ) -> Result<()> {
        self.check_lock(from, &record, Need::Write)?;
        let source_body = record.body.clone();
        let mut moved = self.fitted(to, record)?;
        moved.updated = self.now.max(moved.updated);
        let name = name_of_row(from).to_owned();
        self.tell(ChangeAction::Move { from: name }, name_of_row(to), &moved)?;
        self.disown(&source_body);
        self.own(&moved.body);
        if let Some(replaced) = replaced {
            moved.updated = moved.updated.max(replaced.updated);
            self.disown(&replaced.body);
        }
        self.erase(from);
        self.write(to, moved);
        Ok(())
    }

    /// Copies the entry `from` to `to`.
    pub(crate) fn copy(&mut self, from: &Key, to: &Key, mode: PutMode) -> Result<Metadata> {
        let present = self.read_present(from)?;
        self.check_lock(from.as_str(), &present.record, Need::Read)?;
        if from == to {
            self.note_done();
            return Ok(self.store.metadata_of(from, &present));
        }
        let replaced = self.read_to_replace(to, mode.into(), Need::Write)?;
        let updated = self.updated(replaced.as_ref());
        let replaced = replaced.map(|present| present.record);
        let source = self.fitted(to.as_str(), present.record)?;
        let copy = EntryRecord {
            created: replaced.as_ref().map_or(self.now, |old| old.created),
            updated,
            lock: replaced.as_ref().and_then(|old| old.lock.clone()),
            ..source
        };
        let metadata = copy.metadata(self.name(to), 0);
        self.exchange(to, replaced.as_ref(), copy, None)?;
        Ok(metadata)
    }

    /// The record with its body in chunks where it does not fit into a row of this key.
    fn fitted(&mut self, row_key: &str, record: EntryRecord) -> Result<EntryRecord> {
        let bytes = match &record.body {
            Body::Inline(bytes) if !Body::fits_inline(row_key, bytes.len()) => bytes.clone(),
            Body::Inline(_) | Body::Parts(_) => return Ok(record),
        };
        let inline_bytes = self.store.inline_bytes(record.kind);
        let content = Content::of(&self.store.shared, row_key, &bytes, inline_bytes)?;
        if let Some(upload) = &content.upload {
            self.take_upload(upload);
        }
        Ok(EntryRecord {
            body: content.body,
            subtrees: content.subtrees,
            ..record
        })
    }
}

/// How changes name what a row holds: a folder without its closing `/`.
fn name_of_row(row_key: &str) -> &str {
    row_key.strip_suffix('/').unwrap_or(row_key)
}

#[cfg(test)]
mod tests;
