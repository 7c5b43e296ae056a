//! What a store holds, as a map, and what looking at it answers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::SystemTime;

use komatik::{Access, Attributes, Digest, Kind, MAX_KEY_BYTES, PutMode};
use serde_json::Value;

use super::operation::{Caller, Mode, Read};

/// What an entry holds.
#[derive(Debug, Clone)]
pub enum Content {
    Document {
        value: Value,
        /// Size and digest of the stored form, which the model learns where it first meets them.
        stored: Rc<Cell<Option<(u64, Digest)>>>,
    },
    Blob(Rc<[u8]>, Digest),
    Folder,
}

impl Content {
    pub fn document(value: Value) -> Content {
        let stored = Rc::default();
        Content::Document { value, stored }
    }

    pub fn blob(bytes: Vec<u8>) -> Content {
        let digest = Digest::of(&bytes);
        Content::Blob(bytes.into(), digest)
    }

    pub fn kind(&self) -> Kind {
        match self {
            Content::Document { .. } => Kind::Document,
            Content::Blob(..) => Kind::Blob,
            Content::Folder => Kind::Folder,
        }
    }

    /// What readers get.
    pub fn shown(&self) -> Vec<u8> {
        match self {
            Content::Document { value, .. } => value.to_string().into_bytes(),
            Content::Blob(bytes, _) => bytes.to_vec(),
            Content::Folder => Vec::new(),
        }
    }

    /// Its size, where that is known.
    pub fn stored_bytes(&self) -> Option<u64> {
        match self {
            Content::Document { stored, .. } => stored.get().map(|(size, _)| size),
            Content::Blob(bytes, _) => u64::try_from(bytes.len()).ok(),
            Content::Folder => None,
        }
    }

    /// Its size, or what it cannot exceed: behind a view password no change tells the size of a document, whose stored
    /// form has at most nine bytes for a character of its text, as a digit becomes a float.
    pub fn stored_bytes_at_most(&self) -> u64 {
        match (self, self.stored_bytes()) {
            (_, Some(size)) => size,
            (Content::Document { value, .. }, None) => {
                9 * u64::try_from(value.to_string().len()).unwrap()
            }
            (Content::Blob(..) | Content::Folder, None) => 0,
        }
    }

    pub fn is_stored_as(&self, size: u64, digest: Digest) -> bool {
        let expected = match self {
            Content::Document { stored, .. } => {
                let expected = stored.get().unwrap_or((size, digest));
                stored.set(Some(expected));
                expected
            }
            Content::Blob(bytes, digest) => (u64::try_from(bytes.len()).unwrap(), *digest),
            Content::Folder => (0, Digest::of(&[])),
        };
        expected == (size, digest)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// No two locks have the same.
    pub id: u64,
    pub view: Option<&'static str>,
    pub edit: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub content: Content,
    pub content_type: String,
    pub attributes: Attributes,
    pub lock: Option<Lock>,
    /// 0 until the commit is made.
    pub revision: u64,
    /// `None` until the commit is made.
    pub created: Option<SystemTime>,
    pub updated: Option<SystemTime>,
}

/// Why an operation is refused. Keys are whole here, where the library names them as the caller does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    NotFound(String),
    AlreadyExists(String),
    RevisionMismatch(String, u64, Option<u64>),
    WrongKind(String),
    InvalidKey,
    InvalidDocument,
    InvalidArgument,
    Locked(String, Access),
    WrongPassword(String, Access),
    TokenRefused,
    Misuse,
    Cancelled,
}

/// What an operation answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Done,
    Flag(bool),
    Count(u64),
    /// The revision of the entry here.
    Revision(String),
    Metadata(Option<String>, Attribution),
    Bytes(Option<Vec<u8>>),
    Value(Option<Value>),
}

/// Whether metadata that a write answers tells the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    Told,
    /// Where the view has verified its password before.
    Perhaps,
    Hidden,
}

#[derive(Debug, Clone)]
pub enum ToldKind {
    Put,
    Delete,
    Move(String),
}

/// A change the history is to tell.
#[derive(Debug, Clone)]
pub struct Told {
    pub kind: ToldKind,
    pub key: String,
    pub content: Content,
    /// Whether size and digest are told.
    pub is_shown: bool,
    pub participant: Option<&'static str>,
}

/// What is asked of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Read,
    Write,
    ReadAndWrite,
    Relock,
}

/// What must be true of a key.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    Mode(PutMode),
    Unchanged(Option<u64>),
}

/// What is to replace an entry.
pub struct New {
    pub content: Content,
    pub content_type: String,
    pub attributes: Option<Attributes>,
}

pub type Result<T, E = Refusal> = std::result::Result<T, E>;

#[derive(Debug, Clone, Default)]
pub struct State {
    pub entries: BTreeMap<String, Entry>,
    /// The explicit ones, without a closing `/`.
    pub folders: BTreeSet<String>,
    /// How many there were.
    pub locks: u64,
    /// Rows written since [`State::draft`]; those of folders with a closing `/`.
    pub touched: BTreeSet<String>,
    pub told: Vec<Told>,
    /// Whether something was done in part, so that a transaction can only fail.
    pub is_doomed: bool,
}

pub fn whole_key(caller: Caller, key: &str) -> Result<String> {
    let key = caller.whole(key);
    if key.len() > MAX_KEY_BYTES {
        return Err(Refusal::InvalidKey);
    }
    Ok(key)
}

/// What the lock asks for, and what opens it.
fn demand(lock: Lock, need: Need) -> Option<(Access, [Option<&'static str>; 2])> {
    let view = lock
        .view
        .map(|view| (Access::View, [Some(view), lock.edit]));
    let edit = lock.edit.map(|edit| (Access::Edit, [Some(edit), None]));
    match need {
        Need::Read => view,
        Need::Write => edit,
        Need::ReadAndWrite | Need::Relock => edit.or(view),
    }
}

/// Whether the caller offers what the lock asks for.
pub fn check_lock(key: &str, lock: Option<Lock>, need: Need, caller: Caller) -> Result<()> {
    match lock.and_then(|lock| demand(lock, need)) {
        None => Ok(()),
        Some((_, opens)) if opens.iter().flatten().any(|it| caller.offers(it)) => Ok(()),
        Some((access, _)) if caller.passwords == 0 => Err(Refusal::Locked(key.to_owned(), access)),
        Some((access, _)) => Err(Refusal::WrongPassword(key.to_owned(), access)),
    }
}

pub fn type_of_blob(key: &str, is_typed: bool) -> String {
    let guess = if key.ends_with(".txt") {
        "text/plain"
    } else {
        "application/octet-stream"
    };
    if is_typed { "text/x-model" } else { guess }.to_owned()
}

impl State {
    /// The state before a commit.
    pub fn draft(&self) -> State {
        State {
            touched: BTreeSet::new(),
            told: Vec::new(),
            ..self.clone()
        }
    }

    /// The commit is made.
    pub fn stamp(&mut self, revision: u64, time: SystemTime) {
        for key in &self.touched {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.revision = revision;
                entry.created.get_or_insert(time);
                entry.updated.get_or_insert(time);
            }
        }
    }

    pub fn revision(&self, key: &str) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.revision)
    }

    pub fn resolve(&self, mode: Mode, key: &str) -> PutMode {
        let present = self.revision(key);
        match mode {
            Mode::Overwrite => PutMode::Overwrite,
            Mode::Create => PutMode::Create,
            Mode::Present => PutMode::Update(present.unwrap_or_default()),
            Mode::Other => PutMode::Update(present.map_or(7, |present| present + 1)),
        }
    }

    pub fn present(&self, key: &str) -> Result<&Entry> {
        let entry = self.entries.get(key);
        entry.ok_or_else(|| Refusal::NotFound(key.to_owned()))
    }

    pub fn folder_exists(&self, folder: &str) -> bool {
        !self.rows_below(folder).is_empty()
    }

    /// Rows below a folder, its own included, in their order.
    pub fn rows_below(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let folders = self.folders.iter().map(|folder| format!("{folder}/"));
        let rows = self.entries.keys().cloned().chain(folders);
        let rows: BTreeSet<String> = rows.filter(|row| row.starts_with(&prefix)).collect();
        rows.into_iter().collect()
    }

    fn check(&self, key: &str, expect: Expect) -> Result<()> {
        let found = self.revision(key);
        let expected = match expect {
            Expect::Mode(PutMode::Create) if found.is_some() => {
                return Err(Refusal::AlreadyExists(key.to_owned()));
            }
            Expect::Mode(PutMode::Update(expected)) => Some(expected),
            Expect::Unchanged(expected) => expected,
            Expect::Mode(_) => return Ok(()),
        };
        if found == expected {
            return Ok(());
        }
        let expected = expected.unwrap_or_default();
        Err(Refusal::RevisionMismatch(key.to_owned(), expected, found))
    }

    /// Whether nothing is against replacing what is at `key`.
    pub fn check_replaceable(
        &self,
        caller: Caller,
        key: &str,
        expect: Expect,
        need: Need,
    ) -> Result<()> {
        let lock = self.entries.get(key).and_then(|entry| entry.lock);
        check_lock(key, lock, need, caller)?;
        self.check(key, expect)
    }

    /// Tells of an entry with this content and lock.
    pub fn tell(
        &mut self,
        caller: Caller,
        kind: ToldKind,
        key: &str,
        (content, lock): (Content, Option<Lock>),
    ) {
        self.told.push(Told {
            kind,
            key: key.to_owned(),
            content,
            is_shown: lock.is_none_or(|lock| lock.view.is_none()),
            participant: caller.participant(),
        });
    }

    pub fn insert(&mut self, key: &str, entry: Entry) {
        self.touched.insert(key.to_owned());
        let entry = Entry {
            revision: 0,
            updated: None,
            ..entry
        };
        self.entries.insert(key.to_owned(), entry);
    }

    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        self.touched.insert(key.to_owned());
        self.entries.remove(key)
    }

    /// Leaves `new` at `key`.
    pub fn replace(&mut self, caller: Caller, key: &str, new: New) -> Answer {
        let old = self.entries.get(key);
        let lock = old.and_then(|old| old.lock);
        let attribution = match check_lock(key, lock, Need::Read, caller) {
            _ if new.attributes.is_some() => Attribution::Told,
            Ok(()) if lock.is_some() => Attribution::Perhaps,
            Ok(()) => Attribution::Told,
            Err(_) => Attribution::Hidden,
        };
        let kept = old.map(|old| old.attributes.clone());
        let entry = Entry {
            content: new.content.clone(),
            content_type: new.content_type,
            attributes: new.attributes.or(kept).unwrap_or_default(),
            lock,
            revision: 0,
            created: old.and_then(|old| old.created),
            updated: None,
        };
        self.tell(caller, ToldKind::Put, key, (new.content, lock));
        self.insert(key, entry);
        Answer::Metadata(Some(key.to_owned()), attribution)
    }

    /// The entry, once its lock lets it be read.
    pub fn readable(&self, caller: Caller, key: &str) -> Result<Option<&Entry>> {
        let Some(entry) = self.entries.get(key) else {
            return Ok(None);
        };
        check_lock(key, entry.lock, Need::Read, caller)?;
        Ok(Some(entry))
    }

    pub fn read(&self, caller: Caller, read: Read, key: &str) -> Result<Answer> {
        let key = whole_key(caller, key)?;
        if let Read::Exists = read {
            let exists = self.entries.contains_key(&key) || self.folder_exists(&key);
            return Ok(Answer::Flag(exists));
        }
        let entry = self.readable(caller, &key)?;
        Ok(match read {
            Read::Get => Answer::Bytes(entry.map(|entry| entry.content.shown())),
            Read::Metadata => Answer::Metadata(entry.map(|_| key), Attribution::Told),
            Read::Load | Read::Exists => match entry.map(|entry| &entry.content) {
                None => Answer::Value(None),
                Some(Content::Document { value, .. }) => Answer::Value(Some(value.clone())),
                Some(_) => return Err(Refusal::WrongKind(key)),
            },
        })
    }
}
