//! Blobs: bytes put whole, streamed in and out, or appended to.

mod parts;
mod reader;
mod source;
#[cfg(test)]
mod tests;
mod upload;
mod writer;

use bytes::Bytes;

pub(crate) use reader::Ahead;
pub use reader::{BlobReader, Chunks};
pub(crate) use source::{READ_AHEAD_BYTES, Source};
pub use upload::UploadOptions;
pub use writer::BlobWriter;

use crate::backend::View;
use crate::draft::Draft;
use crate::entry::{NewEntry, check_attributes, stamped};
use crate::error::{Error, Result};
use crate::format::EntryRecord;
use crate::json;
use crate::key::Key;
use crate::lock::Need;
use crate::metadata::{Kind, Metadata};
use crate::options::{MAX_CONTENT_TYPE_BYTES, PutOptions};
use crate::store::Store;
use crate::upload::{Content, is_inline};

/// The content type of a blob whose name tells none.
const UNKNOWN_CONTENT_TYPE: &str = "application/octet-stream";

impl Store {
    /// Puts bytes as a blob, in place of whatever is at `key`: [`Store::put_with`] with default options.
    ///
    /// # Errors
    /// As [`Store::put_with`].
    pub fn put(&self, key: &str, bytes: impl AsRef<[u8]>) -> Result<Metadata> {
        self.put_with(key, bytes, PutOptions::default())
    }

    /// Puts bytes as a blob, as the options say.
    ///
    /// An entry that is there, blob or document, is replaced in one step; readers of it go on undisturbed. It keeps its
    /// lock, its time of creation and, where the options give none, its attributes (which the answer leaves out where
    /// it has a view password that this view is not known to have); where they give no content type, it is guessed anew from the name. Up to about 4 KiB (1 KiB where the write does not
    /// wait for the disk) lie in the record of the entry, more in chunks. For what is not in memory, see [`Store::upload`] and [`Store::writer`].
    ///
    /// ```
    /// use komatik::{Error, PutOptions, Store};
    /// let store = Store::in_memory()?;
    /// let logo = store.put_with("logo.svg", "<svg/>", PutOptions::create())?;
    /// assert_eq!((logo.size, logo.content_type.as_str()), (6, "image/svg+xml"));
    ///
    /// // Replaced only where nobody else was faster:
    /// store.put_with("logo.svg", "<svg></svg>", PutOptions::update(logo.revision))?;
    /// let late = store.put_with("logo.svg", "", PutOptions::update(logo.revision));
    /// assert!(matches!(late, Err(Error::RevisionMismatch { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`], [`Error::RevisionMismatch`]: as the mode asks.
    /// * [`Error::Locked`], [`Error::WrongPassword`]: the entry that is there has an edit password.
    /// * [`Error::InvalidArgument`]: a content type that is empty, above
    ///   [`MAX_CONTENT_TYPE_BYTES`] or not of visible ASCII.
    /// * [`Error::TooLarge`]: above [`MAX_ATTRIBUTES_BYTES`](crate::MAX_ATTRIBUTES_BYTES) of attributes, each counted
    ///   with 8 bytes more.
    /// * [`Error::InvalidKey`], [`Error::Damaged`], [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`].
    pub fn put_with(
        &self,
        key: &str,
        bytes: impl AsRef<[u8]>,
        options: PutOptions,
    ) -> Result<Metadata> {
        let (key, bytes) = (self.key(key)?, bytes.as_ref());
        if !is_inline(key.as_str(), bytes.len(), self.inline_bytes(Kind::Blob)) {
            self.check_replaceable(&key, options.mode.into(), Need::Write)?;
        }
        let new = self.new_blob(&key, bytes, options)?;
        self.sync_upload(new.content.upload.as_ref())?;
        self.write(|draft| draft.put(&key, &new)).map(stamped)
    }

    /// The whole content of an entry, compared with its digest: the bytes of a blob, the JSON text of a document.
    /// `None` where nothing is stored. For what does not fit into memory, see [`Store::reader`].
    ///
    /// # Errors
    /// [`Error::Locked`] and [`Error::WrongPassword`] where the entry has a view password; [`Error::InvalidKey`];
    /// [`Error::Damaged`]; the operating system.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let key = self.key(key)?;
        let Some((present, source)) = self.open_entry(View::Settled, &key, Need::Read)? else {
            return Ok(None);
        };
        let bytes = source.read_all(key.as_str(), &present.record.digest)?;
        shown(&key, &present.record, bytes).map(Some)
    }

    /// Opens an entry for reading piece by piece, `None` where nothing is stored. A document reads as its JSON text,
    /// which is made in memory.
    ///
    /// The reader sees the entry as it is now, to its last byte, whatever is written meanwhile.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn reader(&self, key: &str) -> Result<Option<BlobReader>> {
        let key = self.key(key)?;
        let Some((present, source)) = self.open_entry(View::Settled, &key, Need::Read)? else {
            return Ok(None);
        };
        let metadata = self.metadata_of(&key, &present);
        let record = &present.record;
        let source = match (&source, record.kind) {
            // What lies in memory, or must, is compared with its digest at once.
            (Source::Memory(_), _) | (_, Kind::Document) => {
                let bytes = source.read_all(key.as_str(), &record.digest)?;
                Source::Memory(shown(&key, record, bytes)?)
            }
            _ => source,
        };
        Ok(Some(BlobReader::new(source, metadata)))
    }

    /// Bytes on their way to `key`.
    pub(crate) fn new_blob(
        &self,
        key: &Key,
        bytes: &[u8],
        options: PutOptions,
    ) -> Result<NewEntry> {
        self.check_participant()?;
        check_attributes(options.attributes.as_ref())?;
        Ok(NewEntry {
            kind: Kind::Blob,
            content_type: content_type(key, options.content_type)?,
            content: Content::of(
                &self.shared,
                key.as_str(),
                bytes,
                self.inline_bytes(Kind::Blob),
            )?,
            attributes: options.attributes,
            expect: options.mode.into(),
            need: Need::Write,
        })
    }
}

impl Draft<'_> {
    /// The whole content of the entry at `key`, as [`Store::get`] answers it.
    pub(crate) fn get(&mut self, key: &Key) -> Result<Option<Bytes>> {
        let Some(present) = self.read_open(key)? else {
            return Ok(None);
        };
        let source = self.source(key.as_str(), &present.record)?;
        let bytes = source.read_all(key.as_str(), &present.record.digest)?;
        shown(key, &present.record, bytes).map(Some)
    }
}

/// Content as readers get it: a document as its JSON text.
fn shown(key: &Key, record: &EntryRecord, bytes: Bytes) -> Result<Bytes> {
    match record.kind {
        Kind::Document => {
            let value = json::load(key.as_str(), &bytes)?;
            Ok(Bytes::from(json::to_text(&value)))
        }
        Kind::Blob | Kind::Folder => Ok(bytes),
    }
}

/// The content type of a blob: as given, or guessed from the name.
fn content_type(key: &Key, given: Option<String>) -> Result<String> {
    let Some(given) = given else {
        let guess = mime_guess::from_path(key.name()).first_raw();
        return Ok(guess.unwrap_or(UNKNOWN_CONTENT_TYPE).to_owned());
    };
    let is_visible = |byte| matches!(byte, b' '..=b'~');
    let reason = if given.is_empty() {
        "it is empty"
    } else if given.len() > MAX_CONTENT_TYPE_BYTES {
        "it is longer than 128 bytes"
    } else if !given.bytes().all(is_visible) {
        "it holds more than visible ASCII"
    } else {
        return Ok(given);
    };
    Err(Error::InvalidArgument {
        what: "content type",
        reason: reason.to_owned(),
    })
}
