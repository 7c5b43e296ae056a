//! A thread of a history: which calls it makes, and what the store answered.

use std::io::{Read, Write};

use komatik::{
    Error, Kind, ListOptions, Listing, MergeOptions, Metadata, PutMode, PutOptions, Store,
    Transaction, WriteOptions,
};
use serde_json::{Map, Value, json};

use super::folder::{Answer, Call, Content, Found, INNER, Item, KEYS, Key, Mode, Refusal};
use crate::common::Random;

/// A failing transaction fails with this.
const ENOUGH: Error = Error::Misuse { reason: "enough" };

/// What a thread knows: the revision it saw last at each key of each folder.
pub struct Client {
    random: Random,
    seen: Vec<[u64; KEYS.len()]>,
    /// The last number it made for a value.
    tag: u64,
}

impl Client {
    /// The thread of this number; `run` counts the processes that work on a store, one after the other.
    pub fn new(seed: u64, folders: usize, run: u64, thread: u64) -> Client {
        let mut random = Random::new(seed ^ (run << 48) ^ ((thread + 1) << 56));
        random.next();
        Client {
            random,
            seen: vec![[0; KEYS.len()]; folders],
            tag: (run << 40) + (thread << 32),
        }
    }

    /// The next call, and the folder it is for.
    pub fn choose(&mut self) -> (usize, Call) {
        let folder = self.random.below(self.seen.len());
        self.tag += 1;
        let tag = self.tag;
        let key = self.random.below(KEYS.len());
        let other = (key + 1 + self.random.below(KEYS.len() - 1)) % KEYS.len();
        // What moves into the folder of its own name is met often.
        let (key, other) = match self.random.below(4) {
            0 => INNER,
            1 => (INNER.1, INNER.0),
            _ => (key, other),
        };
        let mode = match self.random.below(4) {
            0 => Mode::Create,
            1 | 2 => Mode::Update(self.seen[folder][key]),
            _ => Mode::Overwrite,
        };
        let to_mode = match mode {
            Mode::Update(_) => Mode::Update(self.seen[folder][other]),
            mode => mode,
        };
        let call = match self.random.below(100) {
            0..12 => Call::Put(key, tag, mode),
            12..22 => Call::Save(key, tag, mode),
            22..34 => Call::Merge(key, tag, Mode::Overwrite),
            34..36 => Call::Merge(key, tag, mode),
            36..41 => Call::Delete(key),
            41 => Call::DeleteFolder,
            42..49 => Call::Rename(key, other, to_mode),
            49..53 => Call::Copy(key, other, to_mode),
            53..61 => self.together(tag),
            61..69 => Call::Get(key),
            69..79 => Call::Read(key),
            79..83 => Call::Metadata(key),
            83..89 => Call::Exists(Some(INNER.0)),
            89 => Call::Exists(Some(key)),
            90 => Call::Exists(None),
            91..97 => Call::List,
            _ => Call::Children,
        };
        (folder, call)
    }

    /// Three documents of one number, or less of them.
    fn together(&mut self, tag: u64) -> Call {
        let left_out = self.random.below(KEYS.len());
        let deletes = self.random.below(4) == 0;
        let mut writes = Vec::new();
        if self.random.below(4) > 0 {
            let keys = (0..KEYS.len()).filter(|key| *key != left_out);
            writes.extend(keys.map(|key| (key, Some(tag))));
        }
        if deletes {
            writes.push((left_out, None));
        }
        Call::Together(writes, self.random.below(8) == 0)
    }

    /// Keeps what it learned of revisions.
    pub fn learn(&mut self, folder: usize, call: &Call, answer: &Answer) {
        let seen = &mut self.seen[folder];
        match (call, answer) {
            (
                Call::Put(key, ..)
                | Call::Save(key, ..)
                | Call::Merge(key, ..)
                | Call::Copy(_, key, _)
                | Call::Rename(_, key, _),
                Answer::Written(revision),
            )
            | (Call::Read(key), Answer::Entry(Some((revision, _))))
            | (Call::Metadata(key), Answer::Revision(Some(revision))) => seen[*key] = *revision,
            (_, Answer::Listed(items) | Answer::Children(items, _)) => {
                items
                    .iter()
                    .for_each(|(key, revision, _)| seen[*key] = *revision);
            }
            (_, Answer::Saw(found)) => {
                for (seen, found) in seen.iter_mut().zip(found) {
                    *seen = found.as_ref().map_or(*seen, |(revision, _)| *revision);
                }
            }
            _ => {}
        }
    }
}

/// The bytes of a blob: sizes for a row, for chunks in trees and for chunks in packs.
fn bytes(tag: u64) -> Vec<u8> {
    let count = match tag % 37 {
        0 => 9_000,
        1..6 => 700,
        _ => 1 + tag % 5,
    };
    tag.to_le_bytes().repeat(count as usize)
}

fn document(tag: u64) -> Value {
    json!({member(tag): tag})
}

fn member(tag: u64) -> String {
    format!("m{tag:x}")
}

fn blob_of(found: &[u8]) -> Result<Content, String> {
    let tag = found.first_chunk().copied().map(u64::from_le_bytes);
    match tag {
        Some(tag) if found == bytes(tag) => Ok(Content::Blob(tag)),
        _ => Err(format!("{} bytes that nobody wrote", found.len())),
    }
}

fn document_of(members: &Map<String, Value>) -> Result<Content, String> {
    let mut tags = Vec::new();
    for (name, value) in members {
        let tag = value.as_u64().filter(|tag| member(*tag) == *name);
        tags.push(tag.ok_or_else(|| format!("a member that nobody wrote: {name} {value}"))?);
    }
    tags.sort_unstable();
    Ok(Content::Document(tags))
}

/// A blob has a zero in each of its numbers, JSON has none.
fn content_of(found: &[u8]) -> Result<Content, String> {
    match serde_json::from_slice(found) {
        Ok(members) => document_of(&members),
        Err(_) => blob_of(found),
    }
}

fn put_mode(mode: Mode) -> PutMode {
    match mode {
        Mode::Overwrite => PutMode::Overwrite,
        Mode::Create => PutMode::Create,
        Mode::Update(revision) => PutMode::Update(revision),
    }
}

/// A folder of a store.
pub struct Place {
    whole: Store,
    name: String,
    /// The store as seen from the folder.
    view: Store,
}

impl Place {
    pub fn new(store: &Store, number: usize) -> Place {
        let name = format!("folder{number}");
        Place {
            whole: store.clone(),
            view: store.scoped(&name).unwrap(),
            name,
        }
    }

    /// Makes a call. What no specification foresees is an error.
    pub fn perform(&self, call: &Call) -> Result<Answer, String> {
        match self.answer(call) {
            Ok(answer) => answer,
            Err(error) => refusal(&error, call).map(Answer::Refused),
        }
    }

    fn answer(&self, call: &Call) -> komatik::Result<Result<Answer, String>> {
        let view = &self.view;
        let written = |metadata: Metadata| Answer::Written(metadata.revision);
        Ok(Ok(match call {
            Call::Put(key, tag, mode) => put(view, KEYS[*key], *tag, *mode).map(written)?,
            Call::Save(key, tag, mode) => {
                let options = PutOptions::new().mode(put_mode(*mode));
                let saved = view.save_with(KEYS[*key], &document(*tag), options)?;
                written(saved)
            }
            Call::Merge(key, tag, mode) => {
                let options = MergeOptions::new().mode(put_mode(*mode));
                let merged = view.merge_with(KEYS[*key], &document(*tag), options)?;
                written(merged)
            }
            Call::Delete(key) => Answer::Was(view.delete(KEYS[*key])?),
            Call::DeleteFolder => Answer::Deleted(self.whole.delete_folder(&self.name)?),
            Call::Rename(from, to, mode) => {
                Answer::Written(view.rename(KEYS[*from], KEYS[*to], put_mode(*mode))?)
            }
            Call::Copy(from, to, mode) => {
                written(view.copy(KEYS[*from], KEYS[*to], put_mode(*mode))?)
            }
            Call::Together(writes, fails) => return together(view, writes, *fails),
            Call::Get(key) => {
                let content = view.get(KEYS[*key])?.map(|found| content_of(&found));
                return Ok(content.transpose().map(Answer::Content));
            }
            Call::Read(key) => return Ok(read(view, KEYS[*key])?.map(Answer::Entry)),
            Call::Metadata(key) => {
                Answer::Revision(view.metadata(KEYS[*key])?.map(|found| found.revision))
            }
            Call::Exists(Some(key)) => Answer::Was(view.exists(KEYS[*key])?),
            Call::Exists(None) => Answer::Was(self.whole.exists(&self.name)?),
            Call::List => {
                let options = ListOptions::new().recursive();
                Answer::Listed(list(view.list_with("", options)?)?.0)
            }
            Call::Children => {
                let (items, has_inner) = list(view.list("")?)?;
                Answer::Children(items, has_inner)
            }
        }))
    }
}

/// The refusal that an error is; it must name what was asked.
fn refusal(error: &Error, call: &Call) -> Result<Refusal, String> {
    match error {
        Error::NotFound { .. } => Ok(Refusal::NotFound),
        Error::AlreadyExists { .. } => Ok(Refusal::AlreadyExists),
        Error::WrongKind { .. } => Ok(Refusal::WrongKind),
        Error::RevisionMismatch {
            expected, found, ..
        } => Ok(Refusal::Mismatch {
            expected: *expected,
            found: *found,
        }),
        error => Err(format!("{call:?}: {error:?}")),
    }
}

/// By one call or by a writer, as the number says.
fn put(view: &Store, key: &str, tag: u64, mode: Mode) -> komatik::Result<Metadata> {
    if !tag.is_multiple_of(3) {
        return view.put_with(key, bytes(tag), PutOptions::new().mode(put_mode(mode)));
    }
    let options = PutOptions::new().mode(put_mode(mode));
    let mut writer = view.writer(key, WriteOptions::from(options))?;
    writer.write_all(&bytes(tag)).expect("there is room");
    writer.commit()
}

/// The content as the reader that was opened has it, however late it is read.
fn read(view: &Store, key: &str) -> komatik::Result<Result<Found, String>> {
    let Some(mut reader) = view.reader(key)? else {
        return Ok(Ok(None));
    };
    let mut found = Vec::new();
    if let Err(error) = reader.read_to_end(&mut found) {
        return Ok(Err(format!("{key}: {error}")));
    }
    let metadata = reader.metadata();
    Ok(content_of(&found).and_then(|content| {
        let kind = match content {
            Content::Blob(_) => Kind::Blob,
            Content::Document(_) => Kind::Document,
        };
        match metadata.kind == kind {
            true => Ok(Some((metadata.revision, content))),
            false => Err(format!("{key} is said to be a {}", metadata.kind)),
        }
    }))
}

/// What a listing tells: entries, and whether the inner folder is among them.
fn list(listing: Listing) -> komatik::Result<(Vec<Item>, bool)> {
    let (mut items, mut has_inner) = (Vec::new(), false);
    for item in listing {
        let item = item?;
        match item.metadata {
            None => has_inner = true,
            Some(metadata) => {
                let key = KEYS.iter().position(|key| *key == item.name);
                let key = key.expect("a key of the folder");
                items.push((key, metadata.revision, metadata.kind == Kind::Blob));
            }
        }
    }
    Ok((items, has_inner))
}

fn together(
    view: &Store,
    writes: &[(Key, Option<u64>)],
    fails: bool,
) -> komatik::Result<Result<Answer, String>> {
    let mut saw = Vec::new();
    let done = view.transaction(|transaction| {
        for key in KEYS {
            saw.push(look(transaction, key)?);
        }
        for (key, tag) in writes {
            match tag {
                Some(tag) => transaction.save(KEYS[*key], &document(*tag))?,
                None => {
                    transaction.delete(KEYS[*key])?;
                }
            }
        }
        if fails { Err(ENOUGH) } else { Ok(()) }
    });
    match done {
        Err(Error::Misuse { reason: "enough" }) if fails => {}
        done => done?,
    }
    let saw: Result<_, String> = saw.into_iter().collect();
    Ok(saw.map(Answer::Saw))
}

fn look(transaction: &mut Transaction<'_>, key: &str) -> komatik::Result<Result<Found, String>> {
    let Some(metadata) = transaction.metadata(key)? else {
        return Ok(Ok(None));
    };
    let found = transaction.get(key)?.unwrap_or_default();
    Ok(content_of(&found).map(|content| Some((metadata.revision, content))))
}
