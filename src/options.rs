//! What the calls of the store can be asked for.

mod access;

use std::time::Duration;

pub use access::{Grant, Lock, PasswordCost};

use crate::metadata::Attributes;

/// Default size of a chunk in bytes.
pub const DEFAULT_CHUNK_BYTES: usize = 64 * 1024;
/// Smallest size of a chunk in bytes.
pub const MIN_CHUNK_BYTES: usize = 512;
/// Largest size of a chunk in bytes.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// Most bytes of attribute names and values of one entry, together; each attribute counts eight more.
pub const MAX_ATTRIBUTES_BYTES: usize = 512;
/// Longest content type in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 128;
/// Largest document in bytes of its MessagePack form.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;
/// Deepest nesting of arrays and objects in a document.
pub const MAX_DOCUMENT_DEPTH: usize = 128;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// A power cut: the write is on the disk before the call returns.
    #[default]
    Immediate,
    /// The end of the process once the call returns; a power cut after at most the
    /// [interval](crate::StoreBuilder::eventual_interval), or after [`flush`](crate::Store::flush).
    Eventual,
}

/// How much of the history is kept for watchers; the store remembers it. What any limit asks to drop is dropped, oldest first,
/// by whole segments of the journal (an eighth of `bytes`, from 64 KiB to 8 MiB; 8 MiB where there is no such limit; a 32nd
/// of what is kept, up to 1 GiB, where that is more), the newest never, and when something is written: so somewhat more than the limit is
/// kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Keep at most about this many bytes of journal.
    pub bytes: Option<u64>,
    /// Keep at most about this many commits.
    pub revisions: Option<u64>,
    /// Keep changes at most about this long.
    pub age: Option<Duration>,
}

impl Default for History {
    fn default() -> Self {
        History {
            bytes: Some(64 * 1024 * 1024),
            revisions: None,
            age: None,
        }
    }
}

impl History {
    /// Keeps everything, for ever.
    #[must_use]
    pub fn unlimited() -> History {
        History {
            bytes: None,
            revisions: None,
            age: None,
        }
    }

    /// Keeps about this many bytes of journal.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> History {
        History {
            bytes: Some(bytes),
            ..History::unlimited()
        }
    }

    /// Also limits the number of commits.
    #[must_use]
    pub fn revisions(self, revisions: u64) -> History {
        History {
            revisions: Some(revisions),
            ..self
        }
    }

    /// Also limits the age.
    #[must_use]
    pub fn age(self, age: Duration) -> History {
        History {
            age: Some(age),
            ..self
        }
    }
}

/// What must be true of the key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum PutMode {
    /// Nothing: create, or replace.
    #[default]
    Overwrite,
    /// The key must be free.
    Create,
    /// The entry must be at this revision.
    Update(u64),
}

/// How to save or put. [`PutOptions::default`] overwrites, keeps the attributes of what was there and guesses the content type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// What must be true of the key.
    pub mode: PutMode,
    /// New attributes; `None` keeps those of the entry that is replaced.
    pub attributes: Option<Attributes>,
    /// Content type of a blob; `None` guesses it from the name. Not used for documents.
    pub content_type: Option<String>,
}

impl PutOptions {
    /// Overwrites.
    #[must_use]
    pub fn new() -> PutOptions {
        PutOptions::default()
    }

    /// The key must be free.
    #[must_use]
    pub fn create() -> PutOptions {
        PutOptions::new().mode(PutMode::Create)
    }

    /// The entry must be at this revision.
    #[must_use]
    pub fn update(revision: u64) -> PutOptions {
        PutOptions::new().mode(PutMode::Update(revision))
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(self, mode: PutMode) -> PutOptions {
        PutOptions { mode, ..self }
    }

    /// Sets the attributes.
    #[must_use]
    pub fn attributes(self, attributes: Attributes) -> PutOptions {
        PutOptions {
            attributes: Some(attributes),
            ..self
        }
    }

    /// Sets the content type of a blob.
    #[must_use]
    pub fn content_type(self, content_type: impl Into<String>) -> PutOptions {
        PutOptions {
            content_type: Some(content_type.into()),
            ..self
        }
    }
}

/// What a writer does to the entry that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum WriteMode {
    /// Replace it, or create.
    #[default]
    Overwrite,
    /// The key must be free, at the start and at `commit`.
    Create,
    /// Replace it; it must be at this revision, at the start and at `commit`.
    Update(u64),
    /// Write behind its last byte, or create. At `commit` it must still be as it was at the start.
    Append,
}

/// How to open a [`BlobWriter`](crate::BlobWriter).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// What happens to the entry that is there.
    pub mode: WriteMode,
    /// New attributes; `None` keeps those of the entry that is there.
    pub attributes: Option<Attributes>,
    /// Content type; `None` guesses it from the name, or keeps it when appending.
    pub content_type: Option<String>,
}

impl WriteOptions {
    /// Overwrites.
    #[must_use]
    pub fn new() -> WriteOptions {
        WriteOptions::default()
    }

    /// The key must be free.
    #[must_use]
    pub fn create() -> WriteOptions {
        WriteOptions::new().mode(WriteMode::Create)
    }

    /// The entry must be at this revision.
    #[must_use]
    pub fn update(revision: u64) -> WriteOptions {
        WriteOptions::new().mode(WriteMode::Update(revision))
    }

    /// Writes behind the last byte.
    #[must_use]
    pub fn append() -> WriteOptions {
        WriteOptions::new().mode(WriteMode::Append)
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(self, mode: WriteMode) -> WriteOptions {
        WriteOptions { mode, ..self }
    }

    /// Sets the attributes.
    #[must_use]
    pub fn attributes(self, attributes: Attributes) -> WriteOptions {
        WriteOptions {
            attributes: Some(attributes),
            ..self
        }
    }

    /// Sets the content type.
    #[must_use]
    pub fn content_type(self, content_type: impl Into<String>) -> WriteOptions {
        WriteOptions {
            content_type: Some(content_type.into()),
            ..self
        }
    }
}

impl From<PutOptions> for WriteOptions {
    fn from(options: PutOptions) -> Self {
        WriteOptions {
            mode: match options.mode {
                PutMode::Overwrite => WriteMode::Overwrite,
                PutMode::Create => WriteMode::Create,
                PutMode::Update(revision) => WriteMode::Update(revision),
            },
            attributes: options.attributes,
            content_type: options.content_type,
        }
    }
}

/// What merging does with two arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Arrays {
    /// Merge element by element; the longer tail stays.
    #[default]
    ByIndex,
    /// The source replaces the target.
    Replace,
    /// The source's elements follow the target's.
    Append,
    /// Those of the source's elements that the target does not hold follow the target's.
    Union,
}

/// What merging does with `null` in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Nulls {
    /// It is stored like any value.
    #[default]
    Store,
    /// It removes the member from the target.
    Remove,
}

/// How to merge one document into another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MergeOptions {
    /// What happens to arrays.
    pub arrays: Arrays,
    /// What happens to `null`.
    pub nulls: Nulls,
    /// What must be true of the key.
    pub mode: PutMode,
}

impl MergeOptions {
    /// Objects by member, arrays by index, `null` stored.
    #[must_use]
    pub fn new() -> MergeOptions {
        MergeOptions::default()
    }

    /// JSON Merge Patch, RFC 7396: arrays are replaced, `null` removes.
    #[must_use]
    pub fn rfc7396() -> MergeOptions {
        MergeOptions::new()
            .arrays(Arrays::Replace)
            .nulls(Nulls::Remove)
    }

    /// Sets what happens to arrays.
    #[must_use]
    pub fn arrays(self, arrays: Arrays) -> MergeOptions {
        MergeOptions { arrays, ..self }
    }

    /// Sets what happens to `null`.
    #[must_use]
    pub fn nulls(self, nulls: Nulls) -> MergeOptions {
        MergeOptions { nulls, ..self }
    }

    /// Sets what must be true of the key.
    #[must_use]
    pub fn mode(self, mode: PutMode) -> MergeOptions {
        MergeOptions { mode, ..self }
    }
}

/// What to list, and how. [`ListOptions::default`] lists the direct children of a folder, all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Entries at any depth, with names relative to the folder listed; folders are told only where they are explicit and empty.
    pub recursive: bool,
    /// Only what follows this name: the [`cursor`](crate::ListItem::cursor) of the last item of the page before.
    pub after: Option<String>,
    /// At most so many items.
    pub limit: Option<usize>,
    /// Only names that begin with this text, which need not end at a `/`. No other names are read.
    pub prefix: Option<String>,
    /// Only names that hold this text.
    pub contains: Option<String>,
    /// Only names that match this pattern: `*` and `?` within a segment, `**` across, `[a-z]`, `{a,b}`; `\` takes the
    /// special meaning of what follows it. It is matched by character, and has at most 4,096 bytes and 16 levels of braces.
    pub glob: Option<String>,
}

impl ListOptions {
    /// Direct children, all of them.
    #[must_use]
    pub fn new() -> ListOptions {
        ListOptions::default()
    }

    /// Entries at any depth.
    #[must_use]
    pub fn recursive(self) -> ListOptions {
        ListOptions {
            recursive: true,
            ..self
        }
    }

    /// Only what follows this cursor.
    #[must_use]
    pub fn after(self, after: impl Into<String>) -> ListOptions {
        ListOptions {
            after: Some(after.into()),
            ..self
        }
    }

    /// At most so many items.
    #[must_use]
    pub fn limit(self, limit: usize) -> ListOptions {
        ListOptions {
            limit: Some(limit),
            ..self
        }
    }

    /// Only names that begin with this text.
    #[must_use]
    pub fn prefix(self, text: impl Into<String>) -> ListOptions {
        ListOptions {
            prefix: Some(text.into()),
            ..self
        }
    }

    /// Only names that hold this text.
    #[must_use]
    pub fn contains(self, text: impl Into<String>) -> ListOptions {
        ListOptions {
            contains: Some(text.into()),
            ..self
        }
    }

    /// Only names that match this pattern.
    #[must_use]
    pub fn glob(self, pattern: impl Into<String>) -> ListOptions {
        ListOptions {
            glob: Some(pattern.into()),
            ..self
        }
    }
}
