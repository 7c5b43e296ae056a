//! Getting everything in again. The archive may come from anybody: nothing in it is trusted.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use tar::{Archive, EntryType, PaxExtensions};

use super::archive::{About, End, FORMAT, Manifest, Member, undo};
use crate::draft::Draft;
use crate::entry::NewEntry;
use crate::error::{Error, Result};
use crate::format::to_micros;
use crate::json::parse_json;
use crate::key::Key;
use crate::metadata::Digest;
use crate::options::{Durability, MAX_DOCUMENT_BYTES, PutMode, PutOptions, WriteOptions};
use crate::report::{Progress, Step};
use crate::store::Store;

/// The longest path of a member: a key and what stands around it.
const MAX_PATH_BYTES: u64 = 2048;
/// The largest of the small members: what is told of an entry, and headers that extend others.
const MAX_SMALL_BYTES: u64 = 64 * 1024;
/// The largest JSON text read: one character of a string takes up to six.
const MAX_TEXT_BYTES: u64 = 8 * MAX_DOCUMENT_BYTES as u64;
/// What is copied in one go.
const PIECE_BYTES: usize = 256 * 1024;

impl Store {
    /// Stores every entry and folder of an archive that [`Store::export`] wrote, below the scope of this view. Answers
    /// how many entries there were. With [`PutMode::Create`] no key may be taken; with [`PutMode::Overwrite`] what is
    /// there is replaced, as by a put: it keeps its lock, and its edit password is asked for.
    ///
    /// Entries get the content types, attributes and times of the archive, no time later than now, and new revisions.
    /// Blobs take about 1 MiB of memory whatever their size; a document is in memory as a whole.
    ///
    /// Each entry is one commit; all are durable when the call returns. Where it fails, what came before stays: with
    /// `PutMode::Overwrite` it can simply be repeated.
    ///
    /// To read the archive it need not be trusted: every key is checked, links and anything else that an export does not
    /// write are refused, and content is compared with its digest before it becomes visible. What the archive tells of the entries,
    /// such as attributes, is compared at its end.
    ///
    /// Which entries there are, only the archive says: also what a program itself keeps in the store can be in it, such as
    /// the accounts of a service, made by who made the archive. Import into a folder, by [`Store::scoped`]; or into a view
    /// [`without`](Store::without) what is to be kept, which refuses an archive that has any of it; or leave it out, by
    /// [`Store::import_filtered`].
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it is no such archive, or of a later format; a `mode` that names a revision.
    /// * [`Error::Damaged`]: the archive is cut short, cannot be read on, or a content is not what its digest says.
    /// * [`Error::InvalidKey`]: a member whose name is no key of this view.
    /// * [`Error::Cancelled`]; what `reader` answers; and those of [`Store::put_with`] and [`Store::save_with`].
    pub fn import(
        &self,
        reader: impl Read,
        mode: PutMode,
        progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<u64> {
        self.import_filtered(reader, mode, |_| true, progress)
    }

    /// As [`Store::import`], but leaves out what `filter` answers `false` for. It is asked once for each entry and each explicit
    /// folder, by the name that it would have in this view. Answers how many entries were stored.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use komatik::{PutMode, Store};
    /// let store = Store::in_memory()?;
    /// store.put("plan.txt", "north")?;
    /// store.save(".accounts/mallory", &1)?;
    /// let mut archive = Vec::new();
    /// store.export(&mut archive, |_step| ControlFlow::Continue(()))?;
    ///
    /// let other = Store::in_memory()?;
    /// let wanted = |name: &str| !name.starts_with(".accounts");
    /// other.import_filtered(&archive[..], PutMode::Create, wanted, |_step| ControlFlow::Continue(()))?;
    /// assert!(other.exists("plan.txt")? && !other.exists(".accounts")?);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn import_filtered(
        &self,
        reader: impl Read,
        mode: PutMode,
        mut filter: impl FnMut(&str) -> bool,
        mut progress: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<u64> {
        if let PutMode::Update(_) = mode {
            return Err(Error::InvalidArgument {
                what: "mode",
                reason: "an import cannot ask for a revision".to_owned(),
            });
        }
        let quick = self.with_durability(Durability::Eventual);
        let mut import = Import {
            store: &quick,
            mode,
            filter: &mut filter,
            progress: Progress::new(&mut progress),
            about: None,
            metadata: blake3::Hasher::new(),
            done: 0,
            left_out: 0,
        };
        let imported = import.run(Source(reader));
        // Also where it failed: what is there stays.
        let flushed = self.flush();
        imported?;
        flushed?;
        Ok(import.done)
    }
}

/// What the archive is read from. Goes on where a signal came in between; what it answers else is told apart from what the
/// reader of archives complains of, which quotes the bytes that it finds.
struct Source<R>(R);

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error| undo("reading the archive", error).into()),
            }
        }
    }
}

struct Import<'a> {
    store: &'a Store,
    mode: PutMode,
    filter: &'a mut dyn FnMut(&str) -> bool,
    progress: Progress<'a>,
    /// What was told of the entry whose content is to come next, and its name.
    about: Option<(String, About)>,
    /// Of all that was told of entries.
    metadata: blake3::Hasher,
    done: u64,
    /// Entries that the filter did not want.
    left_out: u64,
}

impl Import<'_> {
    fn run(&mut self, reader: impl Read) -> Result<()> {
        let mut archive = Archive::new(reader);
        // Raw: the crate would read an extending header into memory whatever its size.
        let entries = archive.entries().map_err(reading)?.raw(true);
        let mut path: Option<Vec<u8>> = None;
        let mut is_first = true;
        for entry in entries {
            let mut entry = entry.map_err(|error| match reading(error) {
                Error::Damaged { .. } if is_first => no_export(),
                error => error,
            })?;
            match entry.header().entry_type() {
                EntryType::GNULongName => path = Some(long_name(&mut entry)?),
                EntryType::XHeader => path = extended_path(&mut entry)?.or(path),
                EntryType::XGlobalHeader => {}
                kind => {
                    let path = path
                        .take()
                        .unwrap_or_else(|| entry.path_bytes().into_owned());
                    let path = String::from_utf8(path)
                        .map_err(|_| refused("a member's name is not UTF-8"))?;
                    let member = Member::parse(&path)
                        .ok_or_else(|| refused("it holds what no export writes"))?;
                    check_type(&member, kind)?;
                    if is_first != (member == Member::Manifest) {
                        return Err(no_export());
                    }
                    is_first = false;
                    let seconds = entry.header().mtime().map_err(reading)?;
                    let size = entry.size();
                    if self.member(&member, seconds, &mut Whole { entry, left: size })? {
                        return Ok(());
                    }
                }
            }
        }
        Err(if is_first { no_export() } else { cut_short() })
    }

    /// Takes in a member, changed at these seconds since 1970; answers whether it is the last.
    fn member(
        &mut self,
        member: &Member<'_>,
        seconds: u64,
        data: &mut Whole<impl Read>,
    ) -> Result<bool> {
        let is_content = matches!(member, Member::File(_) | Member::Document(_));
        if !is_content && self.about.is_some() {
            return Err(refused("metadata without its entry"));
        }
        match member {
            Member::Manifest => {
                let manifest: Manifest = of_json(&data.read_all(MAX_SMALL_BYTES)?)?;
                if manifest.format != FORMAT {
                    return Err(refused("it is of a later format"));
                }
            }
            Member::Metadata(key) => {
                self.store.key(key)?;
                let text = data.read_all(MAX_SMALL_BYTES)?;
                self.metadata.update(&text);
                self.about = Some(((*key).to_owned(), of_json(&text)?));
            }
            Member::Folder(folder) => {
                let Some(folder) = self.wanted(folder)? else {
                    return Ok(false);
                };
                let made = seconds.saturating_mul(1_000_000);
                self.store
                    .write(|draft| draft.create_folder_as_of(&folder, made))?;
            }
            Member::File(key) | Member::Document(key) if self.wanted(key)?.is_none() => {
                self.leave_out(key, data)?;
            }
            Member::File(key) => self.blob(key, data)?,
            Member::Document(key) => self.document(key, data)?,
            Member::End => {
                let end: End = of_json(&data.read_all(MAX_SMALL_BYTES)?)?;
                if end.entries != self.done + self.left_out {
                    return Err(cut_short());
                }
                let metadata = self.metadata.finalize().to_hex();
                return match end.metadata {
                    Some(told) if told != metadata.as_str() => {
                        Err(Error::damaged("archive", "metadata of its entries"))
                    }
                    _ => Ok(true),
                };
            }
        }
        Ok(false)
    }

    /// The key of a member; `None` where it is to be left out.
    fn wanted(&mut self, name: &str) -> Result<Option<Key>> {
        let key = self.store.key(name)?;
        // Not by the name in the archive, which may begin with a `/`.
        let is_wanted = (self.filter)(self.store.relative(key.as_str()));
        Ok(is_wanted.then_some(key))
    }

    fn leave_out(&mut self, name: &str, data: &mut Whole<impl Read>) -> Result<()> {
        self.take_about(name)?;
        let mut piece = vec![0; PIECE_BYTES];
        while data.read(&mut piece).map_err(reading)? > 0 {
            self.progress.step("entries", self.done, None)?;
        }
        self.left_out += 1;
        Ok(())
    }

    fn blob(&mut self, name: &str, data: &mut Whole<impl Read>) -> Result<()> {
        let about = self.take_about(name)?;
        let mut options = WriteOptions::from(PutOptions::new().mode(self.mode));
        options.content_type = about.as_ref().and_then(|about| about.content_type.clone());
        options.attributes = about.as_ref().map(|about| about.attributes.clone());
        let mut writer = self.store.writer(name, options)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = data.read(&mut piece).map_err(reading)?;
            if count == 0 {
                break;
            }
            io::Write::write_all(&mut writer, &piece[..count]).map_err(reading)?;
            self.progress.step("entries", self.done, None)?;
        }
        let (key, new) = writer.finish()?;
        check_digest(about.as_ref(), new.content.digest, name)?;
        self.commit(&key, &new, about)
    }

    fn document(&mut self, name: &str, data: &mut Whole<impl Read>) -> Result<()> {
        let about = self.take_about(name)?;
        let text = data.read_all(MAX_TEXT_BYTES)?;
        check_digest(about.as_ref(), Digest::of(&text), name)?;
        let value = parse_json(&text).map_err(|error| refused(&error.to_string()))?;
        let mut options = PutOptions::new().mode(self.mode);
        options.attributes = about.as_ref().map(|about| about.attributes.clone());
        let key = self.store.key(name)?;
        let new = self.store.new_document(&key, &value, options)?;
        self.commit(&key, &new, about)
    }

    /// What was told of the entry, which must be about this one.
    fn take_about(&mut self, name: &str) -> Result<Option<About>> {
        match self.about.take() {
            None => Ok(None),
            Some((about, told)) if about == name => Ok(Some(told)),
            Some(_) => Err(refused("metadata without its entry")),
        }
    }

    fn commit(&mut self, key: &Key, new: &NewEntry, about: Option<About>) -> Result<()> {
        let about = about.unwrap_or_default();
        self.store.write(|draft| {
            draft.put(key, new)?;
            set_times(draft, key, &about)
        })?;
        self.done += 1;
        self.progress.step("entries", self.done, None)
    }
}

/// Fails where the content is not what the archive told of it.
fn check_digest(about: Option<&About>, found: Digest, name: &str) -> Result<()> {
    match about.and_then(|about| about.blake3.as_deref()) {
        Some(expected) if expected != found.to_string() => Err(Error::damaged("archive", name)),
        _ => Ok(()),
    }
}

/// Gives an entry that this draft has put the times of the archive.
fn set_times(draft: &mut Draft<'_>, key: &Key, about: &About) -> Result<()> {
    let Some(present) = draft.read(key.as_str())? else {
        return Ok(());
    };
    let mut record = present.record;
    // Those ahead of the clock would keep every later write at the same time.
    let now = to_micros(SystemTime::now());
    record.created = about.created.map_or(record.created, |time| time.min(now));
    record.updated = about.updated.map_or(record.updated, |time| time.min(now));
    draft.write(key.as_str(), record);
    Ok(())
}

fn check_type(member: &Member<'_>, kind: EntryType) -> Result<()> {
    let fits = match member {
        Member::Folder(_) => kind.is_dir(),
        _ => kind.is_file(),
    };
    if fits {
        Ok(())
    } else {
        Err(refused("it holds links or special files"))
    }
}

/// The bytes of a member. To end before its size is an error, not an end.
struct Whole<R> {
    entry: R,
    left: u64,
}

impl<R: Read> Whole<R> {
    /// All of it, where it is at most so large.
    fn read_all(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            return Err(Error::TooLarge {
                what: "bytes of a member of the archive",
                limit,
                found: self.left,
            });
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(reading)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.entry.read(buffer)?;
        if count == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(cut_short().into());
        }
        let read = u64::try_from(count).unwrap_or(u64::MAX);
        self.left = self.left.saturating_sub(read);
        Ok(count)
    }
}

fn small<R: Read>(entry: &mut tar::Entry<'_, R>, limit: u64) -> Result<Vec<u8>> {
    let left = entry.size();
    Whole { entry, left }.read_all(limit)
}

/// The path that a GNU header gives the next member.
fn long_name<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>> {
    let mut path = small(entry, MAX_PATH_BYTES)?;
    if path.last() == Some(&0) {
        path.pop();
    }
    Ok(path)
}

/// The path that a POSIX header gives the next member.
fn extended_path<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<Vec<u8>>> {
    let bytes = small(entry, MAX_SMALL_BYTES)?;
    let mut path = None;
    for extension in PaxExtensions::new(&bytes) {
        let extension = extension.map_err(reading)?;
        match extension.key_bytes() {
            b"path" => path = Some(extension.value_bytes().to_owned()),
            // Read as raw, members have the size of their own header.
            b"size" => return Err(refused("a size that is told twice")),
            _ => {}
        }
    }
    Ok(path)
}

fn of_json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| refused(&error.to_string()))
}

/// An error that came through the reader of archives: one of this crate, or a complaint of that reader.
fn reading(error: io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|_| Error::damaged("archive", "a header, which cannot be read"))
}

fn no_export() -> Error {
    refused("it does not begin as an export does")
}

fn refused(reason: &str) -> Error {
    Error::InvalidArgument {
        what: "archive",
        reason: reason.to_owned(),
    }
}

fn cut_short() -> Error {
    Error::damaged("archive", "its end: it is cut short")
}
