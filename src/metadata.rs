//! What is known of an entry, and of a change to one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// What a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A JSON value.
    Document,
    /// Bytes with a content type.
    Blob,
    /// A folder made by `create_folder`. Only changes tell of these: a folder is not an entry.
    Folder,
}

impl Kind {
    /// `document`, `blob` or `folder`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Document => "document",
            Kind::Blob => "blob",
            Kind::Folder => "folder",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A BLAKE3 hash of stored bytes. Shown and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex())
    }
}

/// Answers [`Error::InvalidArgument`] for what are not 64 hexadecimal digits, in either case.
impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hash = blake3::Hash::from_hex(text);
        let hash = hash.map_err(|_| Error::InvalidArgument {
            what: "digest",
            reason: "it is not of 64 hexadecimal digits".to_owned(),
        })?;
        Ok(Digest(hash.into()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Small metadata of the user's own. Names and values together at most
/// [`MAX_ATTRIBUTES_BYTES`](crate::MAX_ATTRIBUTES_BYTES), each attribute counted with eight bytes more.
pub type Attributes = BTreeMap<String, String>;

/// What is known of an entry besides its content. Serializes as the object that the command's `--json` tells, as do
/// [`Change`], [`ListItem`](crate::ListItem) and what the care of a store answers; times are RFC 3339 texts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The key, relative to the scope of the store it was asked of.
    pub key: String,
    /// Document or blob.
    pub kind: Kind,
    /// The commit that last wrote the entry. Revisions of a store only grow; some belong to no entry, and after a crash up to a
    /// million are left out.
    pub revision: u64,
    /// When the entry was made: the key first written since it last did not exist, or the one it was renamed from.
    pub created: SystemTime,
    /// When the entry was last written, renamed or locked. A write over an earlier one leaves it later than `created`. An
    /// [import](crate::Store::import) gives an entry both times of the archive, neither later than the import itself.
    pub updated: SystemTime,
    /// Bytes stored: of the blob, or of the document's MessagePack form (its JSON text has another length).
    pub size: u64,
    /// BLAKE3 of the bytes `size` counts.
    pub digest: Digest,
    /// `application/json` for a document; for a blob as given, or guessed from the name.
    pub content_type: String,
    /// The user's own metadata.
    pub attributes: Attributes,
    /// Whether a password is needed to read.
    pub view_locked: bool,
    /// Whether a password is needed to write, merge, move or delete.
    pub edit_locked: bool,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was written: content, metadata or lock.
    Put,
    /// It was deleted.
    Delete,
    /// It came here from another key, which no longer exists.
    Move {
        /// The key it had, relative to the same scope.
        from: String,
    },
}

impl ChangeKind {
    /// `put`, `delete` or `move`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            ChangeKind::Put => "put",
            ChangeKind::Delete => "delete",
            ChangeKind::Move { .. } => "move",
        }
    }
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The commit. All changes of one transaction share it.
    pub revision: u64,
    /// Whether it is the last change of its commit that this reader gets; after it, `revision` is a safe place to resume from.
    pub last: bool,
    /// The key, relative to the scope of the store it was asked of.
    pub key: String,
    /// What happened.
    pub kind: ChangeKind,
    /// What the key names, or named.
    pub entry: Kind,
    /// Size of the entry after a put or move, before a delete. `None` where it had a view password then.
    pub size: Option<u64>,
    /// Digest of the entry after a put or move, before a delete. `None` where it had a view password then: from the
    /// digest of a short secret the secret can be found.
    pub digest: Option<Digest>,
    /// Who did it, where the store was [`acting_as`](crate::Store::acting_as) somebody.
    pub participant: Option<String>,
    /// When the commit was made.
    pub time: SystemTime,
}
