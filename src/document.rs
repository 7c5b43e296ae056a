//! Documents: saved, loaded, merged and patched as JSON values, whatever the Rust type.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::backend::View;
use crate::draft::{Draft, Present};
use crate::entry::{Expect, NewEntry, check_attributes, stamped};
use crate::error::{Error, Result};
use crate::format::EntryRecord;
use crate::json::PatchBudget;
use crate::key::Key;
use crate::lock::Need;
use crate::metadata::{Attributes, Kind, Metadata};
use crate::options::{MergeOptions, PutMode, PutOptions};
use crate::store::{Shared, Store};
use crate::upload::Content;
use crate::{json, merge};

impl Store {
    /// Saves a value as a document, in place of whatever is at `key`: [`Store::save_with`] with default options.
    ///
    /// What is stored is JSON: to load it as [`serde_json::Value`] gives what [`serde_json::to_value`] makes of it. The
    /// order of members is kept, and integers and floats return bit for bit.
    ///
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Window { width: u32, title: String }
    ///
    /// let store = komatik::Store::in_memory()?;
    /// let window = Window { width: 800, title: "Main".into() };
    /// store.save("settings/window", &window)?;
    /// assert_eq!(store.load::<Window>("settings/window")?, Some(window));
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::save_with`].
    pub fn save<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Metadata> {
        self.save_with(key, value, PutOptions::default())
    }

    /// Saves a value as a document, as the options say. The content type of the options is not used.
    ///
    /// An entry that is there, document or blob, is replaced in one step; it keeps its lock, its time of creation and,
    /// where the options give none, its attributes (which the answer leaves out where it has a view password that this
    /// view is not known to have). The size and the digest are those of the MessagePack form.
    ///
    /// # Errors
    /// * [`Error::InvalidDocument`]: what JSON cannot hold, such as NaN or a map key that is no text, more than
    ///   [`MAX_DOCUMENT_DEPTH`](crate::MAX_DOCUMENT_DEPTH) levels, or a member name that begins with
    ///   `$serde_json::private::`, which `serde_json` keeps for itself.
    /// * [`Error::TooLarge`]: above [`MAX_DOCUMENT_BYTES`](crate::MAX_DOCUMENT_BYTES) of MessagePack, or
    ///   [`MAX_ATTRIBUTES_BYTES`](crate::MAX_ATTRIBUTES_BYTES) of attributes, each counted with 8 bytes more.
    /// * [`Error::AlreadyExists`], [`Error::RevisionMismatch`]: as the mode asks.
    /// * [`Error::Locked`], [`Error::WrongPassword`]: the entry that is there has an edit password.
    /// * [`Error::InvalidKey`], [`Error::Damaged`], [`Error::Poisoned`], [`Error::NoSpace`], [`Error::Io`].
    pub fn save_with<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: PutOptions,
    ) -> Result<Metadata> {
        let key = self.key(key)?;
        let new = self.new_document(&key, value, options)?;
        self.sync_upload(new.content.upload.as_ref())?;
        self.write(|draft| draft.put(&key, &new)).map(stamped)
    }

    /// Loads a document, `None` where nothing is stored.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a blob; [`Error::InvalidDocument`] where the value is no `T`; [`Error::Locked`] and
    /// [`Error::WrongPassword`] where the entry has a view password; [`Error::InvalidKey`]; [`Error::Damaged`];
    /// the operating system.
    pub fn load<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let key = self.key(key)?;
        let stored = self.stored_document(&key)?;
        stored
            .map(|(_, bytes)| json::load(key.as_str(), &bytes))
            .transpose()
    }

    /// Loads a part of a document: what the JSON pointer (RFC 6901) names. `None` where nothing is stored or the
    /// document has no such place. The document is read whole.
    ///
    /// ```
    /// let store = komatik::Store::in_memory()?;
    /// store.save("menu", &serde_json::json!({"items": [{"name": "tea"}]}))?;
    /// assert_eq!(store.load_at::<String>("menu", "/items/0/name")?.as_deref(), Some("tea"));
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidDocument`] for what is no JSON pointer; as [`Store::load`].
    pub fn load_at<T: DeserializeOwned>(&self, key: &str, pointer: &str) -> Result<Option<T>> {
        let part = self.part_at(key, pointer)?;
        part.and_then(|(_, part)| part)
            .map(json::from_value)
            .transpose()
    }

    /// As [`Store::load_at`], with the metadata of the same moment; the part is `None` where there is no such place.
    pub(crate) fn part_at(
        &self,
        key: &str,
        pointer: &str,
    ) -> Result<Option<(Metadata, Option<Value>)>> {
        let key = self.key(key)?;
        let Some((present, bytes)) = self.stored_document(&key)? else {
            // What is no pointer is told as that here too.
            json::take_at(&mut Value::Null, pointer)?;
            return Ok(None);
        };
        let mut document = json::load(key.as_str(), &bytes)?;
        let part = json::take_at(&mut document, pointer)?;
        Ok(Some((self.metadata_of(&key, &present), part)))
    }

    /// Merges a value into a document, or creates one: [`Store::merge_with`] with default options.
    ///
    /// ```
    /// use serde_json::{Value, json};
    /// let store = komatik::Store::in_memory()?;
    /// store.merge("settings", &json!({"size": {"width": 800}, "tags": ["a"]}))?;
    /// store.merge("settings", &json!({"size": {"height": 600}, "tags": ["b", "c"]}))?;
    /// assert_eq!(
    ///     store.load::<Value>("settings")?,
    ///     Some(json!({"size": {"width": 800, "height": 600}, "tags": ["b", "c"]}))
    /// );
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::merge_with`].
    pub fn merge<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Metadata> {
        self.merge_with(key, value, MergeOptions::default())
    }

    /// Merges a value into a document, or creates one, in one step: of two merges at the same time neither is lost.
    /// What becomes of arrays and `null`, the options say.
    ///
    /// A merge that changes nothing writes nothing: it answers the present metadata, and no change is told. The
    /// document is read and written whole. Attributes are kept.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a blob; [`Error::Locked`] and [`Error::WrongPassword`] where the entry has a
    /// password; as [`Store::save_with`] and [`Store::load`].
    pub fn merge_with<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: MergeOptions,
    ) -> Result<Metadata> {
        let key = self.key(key)?;
        let source = json::to_value(value)?;
        self.write(|draft| draft.merge(&key, &source, &options))
            .map(stamped)
    }

    /// Applies a JSON patch (RFC 6902) to a document, in one step, all of it or nothing.
    ///
    /// A patch that changes nothing writes nothing: it answers the present metadata, and no change is told. The
    /// document is read and written whole. Attributes are kept.
    ///
    /// ```
    /// use serde_json::json;
    /// let store = komatik::Store::in_memory()?;
    /// store.save("todo", &json!({"items": ["ice", "wood"]}))?;
    /// let patch: komatik::Patch = serde_json::from_value(json!([
    ///     {"op": "test", "path": "/items/0", "value": "ice"},
    ///     {"op": "remove", "path": "/items/0"},
    /// ]))?;
    /// store.patch("todo", &patch)?;
    /// assert_eq!(store.load_at::<String>("todo", "/items/0")?.as_deref(), Some("wood"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] where nothing is stored; [`Error::InvalidDocument`] where the patch does not fit, a `test` in
    /// it fails, its copies together take more than 256 MiB of memory, or it goes over more than 100,000,000
    /// values: those it brings, and those it shifts to other places; as [`Store::merge_with`].
    pub fn patch(&self, key: &str, patch: &json_patch::Patch) -> Result<Metadata> {
        self.patch_with(key, patch, PutMode::Overwrite)
    }

    /// As [`Store::patch`], where the entry is as `mode` asks: at a revision, say.
    ///
    /// # Errors
    /// [`Error::RevisionMismatch`] and [`Error::AlreadyExists`] as the mode asks; as [`Store::patch`].
    pub fn patch_with(
        &self,
        key: &str,
        patch: &json_patch::Patch,
        mode: PutMode,
    ) -> Result<Metadata> {
        let key = self.key(key)?;
        self.write(|draft| draft.patch(&key, patch, mode, &mut PatchBudget::default()))
            .map(stamped)
    }

    /// Fails where a document that is merged or patched through the view has come to more than it takes.
    pub(crate) fn check_values(&self, document: &Value) -> Result<()> {
        json::check_values(document, self.most_values)
    }

    /// A value on its way to `key`.
    pub(crate) fn new_document<T: Serialize + ?Sized>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
    ) -> Result<NewEntry> {
        self.check_participant()?;
        check_attributes(options.attributes.as_ref())?;
        let bytes = json::encode(value)?;
        new_entry(
            &self.shared,
            key,
            bytes,
            options.attributes,
            options.mode.into(),
        )
    }

    /// A document and its stored form.
    fn stored_document(&self, key: &Key) -> Result<Option<(Present, Bytes)>> {
        let Some((present, source)) = self.open_entry(View::Settled, key, Need::Read)? else {
            return Ok(None);
        };
        check_kind(self.relative(key.as_str()), &present.record)?;
        let bytes = source.read_document(key.as_str(), &present.record.digest)?;
        Ok(Some((present, bytes)))
    }
}

impl Draft<'_> {
    /// The document at `key`, once its lock lets it be read.
    pub(crate) fn load<T: DeserializeOwned>(&mut self, key: &Key) -> Result<Option<T>> {
        let Some(present) = self.read_open(key)? else {
            return Ok(None);
        };
        let bytes = self.stored_document(key, &present.record)?;
        json::load(key.as_str(), &bytes).map(Some)
    }

    pub(crate) fn merge(
        &mut self,
        key: &Key,
        source: &Value,
        options: &MergeOptions,
    ) -> Result<Metadata> {
        let present = self.read_to_replace(key, options.mode.into(), Need::ReadAndWrite)?;
        self.edit(key, present, |value| {
            merge::merge(value, source.clone(), options)
        })
    }

    pub(crate) fn patch(
        &mut self,
        key: &Key,
        patch: &json_patch::Patch,
        mode: PutMode,
        budget: &mut PatchBudget,
    ) -> Result<Metadata> {
        let present = self.read_to_replace(key, mode.into(), Need::ReadAndWrite)?;
        let present = match present {
            Some(present) => present,
            // It answers that nothing is there.
            None => self.read_present(key)?,
        };
        self.edit(key, Some(present), |value| {
            json::patch_within(value, patch, budget)
        })
    }

    /// Changes a document, or one made of `null`; writes nothing where nothing is changed.
    fn edit(
        &mut self,
        key: &Key,
        present: Option<Present>,
        change: impl FnOnce(&mut Value) -> Result<()>,
    ) -> Result<Metadata> {
        let (mut value, before) = match &present {
            Some(present) => self.document(key, &present.record)?,
            None => (Value::Null, Bytes::new()),
        };
        change(&mut value)?;
        self.store.check_values(&value)?;
        let after = json::encode(&value)?;
        match &present {
            Some(present) if before == after => {
                self.note_done();
                Ok(self.store.metadata_of(key, present))
            }
            _ => {
                let shared = &self.store.shared;
                let new = new_entry(shared, key, after, None, Expect::Anything)?;
                self.replace(key, present, &new)
            }
        }
    }

    /// A document as a value and as the bytes stored.
    fn document(&mut self, key: &Key, record: &EntryRecord) -> Result<(Value, Bytes)> {
        let bytes = self.stored_document(key, record)?;
        Ok((json::load(key.as_str(), &bytes)?, bytes))
    }

    fn stored_document(&mut self, key: &Key, record: &EntryRecord) -> Result<Bytes> {
        check_kind(self.name(key), record)?;
        self.source(key.as_str(), record)?
            .read_document(key.as_str(), &record.digest)
    }
}

fn new_entry(
    shared: &std::sync::Arc<Shared>,
    key: &Key,
    bytes: Vec<u8>,
    attributes: Option<Attributes>,
    expect: Expect,
) -> Result<NewEntry> {
    Ok(NewEntry {
        kind: Kind::Document,
        content: Content::of_vec(shared, key.as_str(), bytes)?,
        content_type: String::new(),
        attributes,
        expect,
        need: Need::Write,
    })
}

fn check_kind(name: &str, record: &EntryRecord) -> Result<()> {
    if record.kind == Kind::Document {
        return Ok(());
    }
    Err(Error::WrongKind {
        key: name.to_owned(),
        expected: Kind::Document.as_str(),
        found: record.kind.as_str(),
    })
}
