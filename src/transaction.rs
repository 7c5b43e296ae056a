//! Transactions: several writes in one step.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::blob::BlobWriter;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::json::{self, PatchBudget};
use crate::key::Key;
use crate::metadata::Metadata;
use crate::options::{MergeOptions, PutMode, PutOptions};
use crate::store::Store;

impl Store {
    /// Runs `body`, then does everything it asked of the [`Transaction`] in one step: for readers, for other writers,
    /// and after a crash, all of it has happened or nothing. Where `body` answers an error or panics, nothing has.
    ///
    /// `body` runs once, while other writers wait and readers go on: it should be quick. Before it runs they wait as well until
    /// what was written so far is as durable as it is to be, so that it sees all of that: transactions that wait for the disk come one
    /// a sync, where single writes of many threads share one. Large blobs are better written before, by [`Store::writer`], brought to
    /// the disk by [`BlobWriter::prepare`], and committed by [`Transaction::commit_blob`]. A write to the store itself from inside
    /// `body` is [`Error::Misuse`]; reading from it shows the state before. Two threads, each in a transaction on
    /// one store and writing to the other's, wait for each other for ever: write to several stores in the same order. So do a
    /// transaction that writes to another store and a [callback](Store::on) of that one that writes to the first. And so does
    /// a `body` that waits for another thread that writes to this store, or makes a [backup](Store::backup) of it: that one waits for
    /// `body`.
    ///
    /// One that only reads is the way to read several keys at one moment. One that is to do nothing for a reason of the program's own
    /// notes the reason outside, and answers [`Error::Cancelled`]:
    ///
    /// ```
    /// use komatik::{Error, Store};
    /// let store = Store::in_memory()?;
    /// store.save("stock/tea", &0)?;
    /// let mut left = 0;
    /// let sold = store.transaction(|order| {
    ///     left = order.load("stock/tea")?.unwrap_or(0);
    ///     if left == 0 {
    ///         return Err(Error::Cancelled);
    ///     }
    ///     order.save("stock/tea", &(left - 1))
    /// });
    /// assert!(matches!(sold, Err(Error::Cancelled)) && left == 0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A password that this view has not met before is verified while other writers wait, some 20 ms each; to read the entry
    /// before is better. Where too many wrong ones were tried, the method is refused at once:
    /// [`Error::TooManyTries`].
    ///
    /// A commit holds at most 1,000,000 rows, as many changes, and 64 MiB of keys, records and changes; chunks of blobs do not count.
    /// What goes beyond is refused as it is asked for, or in the end: [`Error::TooLarge`].
    ///
    /// ```
    /// use serde_json::json;
    /// let store = komatik::Store::in_memory()?;
    /// store.save("stock/tea", &3)?;
    /// store.transaction(|order| {
    ///     let left: u32 = order.load("stock/tea")?.unwrap_or(0);
    ///     order.save("stock/tea", &(left - 1))?;
    ///     order.save("orders/1", &json!({"item": "tea"}))
    /// })?;
    /// assert_eq!(store.load::<u32>("stock/tea")?, Some(2));
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `body` answers; [`Error::TooLarge`]; [`Error::Misuse`] inside another transaction on the same store;
    /// [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`].
    pub fn transaction<R>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<R>,
    ) -> Result<R> {
        self.transaction_with_revision(body)
            .map(|(answer, _)| answer)
    }

    /// As [`Store::transaction`], with the revision of the commit: whatever `body` has written is at it. `None` where it wrote
    /// nothing.
    ///
    /// ```
    /// use komatik::{PutMode, PutOptions};
    /// let store = komatik::Store::in_memory()?;
    /// let ((), revision) = store.transaction_with_revision(|tx| tx.save("count", &1))?;
    /// // Only where nobody else has written it since.
    /// let options = PutOptions::new().mode(PutMode::Update(revision.unwrap_or_default()));
    /// store.save_with("count", &2, options)?;
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn transaction_with_revision<R>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<R>,
    ) -> Result<(R, Option<u64>)> {
        self.run_once(|draft| {
            let mut transaction = Transaction { draft };
            let answer = body(&mut transaction)?;
            Ok((transaction.draft, answer))
        })
    }
}

/// Several writes that will happen in one step; see [`Store::transaction`].
///
/// Its methods do what those of [`Store`] do, with the same errors, for the scope, passwords and participant of the
/// store it was begun on. They read what the transaction itself has written. An entry that it has written has no
/// revision before the commit: its metadata says 0, and so may [`PutMode::Update`]. What it is then, tells
/// [`Store::transaction_with_revision`].
///
/// Locks, tokens and listings are not part of a transaction.
///
/// An error of one method may be handled and the transaction go on: that call has done nothing. Only a folder that
/// could not be deleted or moved whole makes the transaction fail in the end, [`Error::Misuse`] where its own
/// error was ignored.
pub struct Transaction<'a> {
    draft: Draft<'a>,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("store", self.draft.store)
            .finish_non_exhaustive()
    }
}

/// Every method has the errors of the method of [`Store`] it is named for.
impl Transaction<'_> {
    /// As [`Store::exists`].
    ///
    /// # Errors
    /// As there.
    pub fn exists(&mut self, key: &str) -> Result<bool> {
        let key = self.key(key)?;
        self.draft.exists(&key)
    }

    /// As [`Store::is_folder`].
    ///
    /// # Errors
    /// As there.
    pub fn is_folder(&mut self, folder: &str) -> Result<bool> {
        let store = self.draft.store;
        let folder = store.folder(folder)?;
        Ok(folder == *store.scope.as_folder() || self.draft.folder_exists(folder.as_prefix())?)
    }

    /// As [`Store::metadata`], with revision 0 for what this transaction has written.
    ///
    /// # Errors
    /// As there.
    pub fn metadata(&mut self, key: &str) -> Result<Option<Metadata>> {
        let key = self.key(key)?;
        let present = self.draft.read_open(&key)?;
        Ok(present.map(|present| self.draft.store.metadata_of(&key, &present)))
    }

    /// As [`Store::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let key = self.key(key)?;
        self.draft.load(&key)
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&mut self, key: &str) -> Result<Option<Bytes>> {
        let key = self.key(key)?;
        self.draft.get(&key)
    }

    /// As [`Store::save`].
    ///
    /// # Errors
    /// As there.
    pub fn save<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        self.save_with(key, value, PutOptions::default())
    }

    /// As [`Store::save_with`].
    ///
    /// # Errors
    /// As there.
    pub fn save_with<T: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &T,
        options: PutOptions,
    ) -> Result<()> {
        let key = self.key(key)?;
        let new = self.draft.store.new_document(&key, value, options)?;
        self.draft.put(&key, &new).map(drop)
    }

    /// As [`Store::merge`].
    ///
    /// # Errors
    /// As there.
    pub fn merge<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        self.merge_with(key, value, MergeOptions::default())
    }

    /// As [`Store::merge_with`].
    ///
    /// # Errors
    /// As there.
    pub fn merge_with<T: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &T,
        options: MergeOptions,
    ) -> Result<()> {
        let key = self.key(key)?;
        let source = json::to_value(value)?;
        self.draft.merge(&key, &source, &options).map(drop)
    }

    /// As [`Store::patch`].
    ///
    /// # Errors
    /// As there.
    pub fn patch(&mut self, key: &str, patch: &json_patch::Patch) -> Result<()> {
        self.patch_with(key, patch, PutMode::Overwrite)
    }

    /// As [`Store::patch_with`].
    ///
    /// # Errors
    /// As there.
    pub fn patch_with(
        &mut self,
        key: &str,
        patch: &json_patch::Patch,
        mode: PutMode,
    ) -> Result<()> {
        self.patch_within(key, patch, mode, &mut PatchBudget::default())
    }

    /// As [`Transaction::patch_with`], where the patch may cost what is left of the budget, and takes its costs from it.
    pub(crate) fn patch_within(
        &mut self,
        key: &str,
        patch: &json_patch::Patch,
        mode: PutMode,
        budget: &mut PatchBudget,
    ) -> Result<()> {
        let key = self.key(key)?;
        self.draft.patch(&key, patch, mode, budget).map(drop)
    }

    /// As [`Store::put`]. Other writers wait while the bytes are written: for many of them use
    /// [`Transaction::commit_blob`].
    ///
    /// # Errors
    /// As there.
    pub fn put(&mut self, key: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, bytes, PutOptions::default())
    }

    /// As [`Store::put_with`].
    ///
    /// # Errors
    /// As there.
    pub fn put_with(
        &mut self,
        key: &str,
        bytes: impl AsRef<[u8]>,
        options: PutOptions,
    ) -> Result<()> {
        let key = self.key(key)?;
        let new = self.draft.store.new_blob(&key, bytes.as_ref(), options)?;
        self.draft.put(&key, &new).map(drop)
    }

    /// As [`BlobWriter::commit`], for a writer that was opened on the same store, before the transaction or in it. The
    /// mode is asked as there; the passwords are those of the store the transaction was begun on. What was written is
    /// brought to the disk with the commit, while other writers wait, unless [`BlobWriter::prepare`] has done so before.
    ///
    /// # Errors
    /// As there; [`Error::Misuse`] for a writer of another store.
    pub fn commit_blob(&mut self, writer: BlobWriter) -> Result<()> {
        self.check_own(&writer)?;
        let (key, new) = writer.finish()?;
        self.draft.put(&key, &new).map(drop)
    }

    /// As [`Transaction::commit_blob`], under another key than the writer was opened for, in the scope of the store the
    /// transaction was begun on. For content that is there before it is known where it belongs. The mode of the writer is
    /// asked for this key; so is the lock of what it replaces. A content type that was not given is guessed from it, where
    /// its name tells one.
    ///
    /// # Errors
    /// As there; [`Error::InvalidKey`]; [`Error::Misuse`] for a writer that appends.
    pub fn commit_blob_as(&mut self, key: &str, writer: BlobWriter) -> Result<()> {
        let key = self.key(key)?;
        if writer.appends() {
            return Err(Error::Misuse {
                reason: "a writer that appends can be committed under its own key only",
            });
        }
        self.check_own(&writer)?;
        let (key, new) = writer.finish_as(key)?;
        self.draft.put(&key, &new).map(drop)
    }

    fn check_own(&self, writer: &BlobWriter) -> Result<()> {
        match writer.is_of(self.draft.store) {
            true => Ok(()),
            false => Err(Error::Misuse {
                reason: "a writer of one store in a transaction on another",
            }),
        }
    }

    /// As [`Store::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&mut self, key: &str) -> Result<bool> {
        let key = self.key(key)?;
        self.draft.delete(&key)
    }

    /// As [`Store::rename`].
    ///
    /// # Errors
    /// As there.
    pub fn rename(&mut self, from: &str, to: &str, mode: PutMode) -> Result<()> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        self.draft.rename(&from, &to, mode).map(drop)
    }

    /// As [`Store::copy`].
    ///
    /// # Errors
    /// As there.
    pub fn copy(&mut self, from: &str, to: &str, mode: PutMode) -> Result<()> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        self.draft.copy(&from, &to, mode).map(drop)
    }

    /// As [`Store::create_folder`].
    ///
    /// # Errors
    /// As there.
    pub fn create_folder(&mut self, folder: &str) -> Result<()> {
        let folder = self.key(folder)?;
        self.draft.create_folder(&folder)
    }

    /// As [`Store::delete_folder`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_folder(&mut self, folder: &str) -> Result<u64> {
        let folder = self.key(folder)?;
        self.draft.delete_folder(&folder)
    }

    /// As [`Store::rename_folder`].
    ///
    /// # Errors
    /// As there.
    pub fn rename_folder(&mut self, from: &str, to: &str) -> Result<u64> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        self.draft.rename_folder(&from, &to)
    }

    /// How many rows of folders were passed that the transaction itself had written or erased, each as often as it was.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only the service bounds what others ask for")
    )]
    pub(crate) fn passed_again(&self) -> u64 {
        self.draft.passed_again()
    }

    fn key(&self, name: &str) -> Result<Key> {
        self.draft.store.key(name)
    }
}
