//! The record of an entry, the value of a row of [`Tree::Entries`](crate::backend::Tree::Entries).
//!
//! | name | holds |
//! |---|---|
//! | `k` | kind: 0 document, 1 blob, 2 explicit folder |
//! | `c` `u` | created, updated: microseconds since 1970 |
//! | `s` | size in bytes |
//! | `d` | BLAKE3 of the content, 32 bytes |
//! | `t` | content type of a blob |
//! | `a` | attributes, a map of text to text |
//! | `l` | lock: `i` 16 random bytes, new with every lock; `v` and `e` PHC strings of the view and edit passwords |
//! | `b` | the body, where it is inline |
//! | `p` | else its parts in order: `i` blob id, `s` size in bytes, `c` size of a chunk in bytes |
//! | `h` | chaining values of the hash over the content, for appending; 32 bytes each |

mod plain;

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{decode, encode, from_micros};
use crate::blob_id::BlobId;
use crate::error::{Error, Result};
use crate::metadata::{Attributes, Digest, Kind, Metadata};
use crate::options::{MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};

/// Bodies up to this many bytes lie in the record.
pub(crate) const INLINE_BYTES: usize = 4096;
/// A key and an inline body together; leaves room for the rest of the record in a row.
const INLINE_WITH_KEY_BYTES: usize = 4608;

/// What a row of the entries holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryRecord {
    pub(crate) kind: Kind,
    /// Microseconds since 1970.
    pub(crate) created: u64,
    /// Microseconds since 1970.
    pub(crate) updated: u64,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    pub(crate) content_type: String,
    pub(crate) attributes: Attributes,
    pub(crate) lock: Option<LockRecord>,
    pub(crate) body: Body,
    /// Chaining values of the completed subtrees of the hash, for appending.
    pub(crate) subtrees: Vec<[u8; 32]>,
}

/// Where the content of an entry lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// In the record itself.
    Inline(Bytes),
    /// In the chunks of blobs, one after the other.
    Parts(Vec<Part>),
}

impl Body {
    /// Whether a body of so many bytes lies in the record of this key.
    pub(crate) fn fits_inline(key: &str, body_bytes: usize) -> bool {
        body_bytes <= INLINE_BYTES && key.len() + body_bytes <= INLINE_WITH_KEY_BYTES
    }

    /// The blobs the body owns.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        match self {
            Body::Inline(_) => [].iter(),
            Body::Parts(parts) => parts.iter(),
        }
        .map(|part| part.blob)
    }
}

/// A run of a body: all of one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) blob: BlobId,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes of each chunk but the last.
    pub(crate) chunk_bytes: u32,
}

impl Part {
    /// Whether there can be such a part at all. Chunks are as large as a store may have asked for, always.
    fn is_possible(&self) -> bool {
        let chunk_bytes = usize::try_from(self.chunk_bytes).unwrap_or(usize::MAX);
        (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&chunk_bytes) && self.size > 0
    }
}

/// The hashed passwords of an entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LockRecord {
    /// New with every `lock`; tokens are bound to it.
    pub(crate) id: [u8; 16],
    /// PHC string.
    pub(crate) view: Option<String>,
    /// PHC string.
    pub(crate) edit: Option<String>,
}

impl std::fmt::Debug for LockRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockRecord")
            .field("view", &self.view.is_some())
            .field("edit", &self.edit.is_some())
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    k: u8,
    c: u64,
    u: u64,
    s: u64,
    d: ByteArray<32>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    t: &'a str,
    #[serde(default, skip_serializing_if = "is_without")]
    a: Cow<'a, Attributes>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    l: Option<StoredLock<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    b: Option<&'a serde_bytes::Bytes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    p: Vec<StoredPart>,
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    h: &'a serde_bytes::Bytes,
}

#[derive(Serialize, Deserialize)]
struct StoredLock<'a> {
    i: ByteArray<16>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    v: Option<&'a str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    e: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct StoredPart {
    i: ByteArray<16>,
    s: u64,
    c: u32,
}

fn is_without(attributes: &Attributes) -> bool {
    attributes.is_empty()
}

fn is_empty(bytes: &serde_bytes::Bytes) -> bool {
    bytes.is_empty()
}

/// What a record takes besides its content, its content type, its parts and its subtrees, at most, where it has neither attributes
/// nor a lock. Room that is not used stays in memory until the record is applied.
const RECORD_BYTES: usize = 96;
/// What one of its parts takes, at most.
const PART_BYTES: usize = 40;

impl EntryRecord {
    /// The lock, where it asks for a password to read.
    pub(crate) fn view_lock(&self) -> Option<&LockRecord> {
        self.lock.as_ref().filter(|lock| lock.view.is_some())
    }

    /// The bytes of the record.
    pub(crate) fn encode(&self) -> Bytes {
        let Some(bytes) = plain::write(self) else {
            return Bytes::from(self.encode_any());
        };
        debug_assert!(
            bytes == self.encode_any(),
            "both ways to write a record give the same"
        );
        Bytes::from(bytes)
    }

    fn encode_any(&self) -> Vec<u8> {
        let (inline, parts) = match &self.body {
            Body::Inline(bytes) => (Some(serde_bytes::Bytes::new(bytes)), &[][..]),
            Body::Parts(parts) => (None, parts.as_slice()),
        };
        let stored = Stored {
            k: kind_to_number(self.kind),
            c: self.created,
            u: self.updated,
            s: self.size,
            d: ByteArray::new(*self.digest.as_bytes()),
            t: &self.content_type,
            a: Cow::Borrowed(&self.attributes),
            l: self.lock.as_ref().map(|lock| StoredLock {
                i: ByteArray::new(lock.id),
                v: lock.view.as_deref(),
                e: lock.edit.as_deref(),
            }),
            b: inline,
            p: parts
                .iter()
                .map(|part| StoredPart {
                    i: ByteArray::new(part.blob.0),
                    s: part.size,
                    c: part.chunk_bytes,
                })
                .collect(),
            h: serde_bytes::Bytes::new(self.subtrees.as_flattened()),
        };
        encode(&stored, self.most_bytes())
    }

    /// How many bytes it takes at most, without attributes and lock.
    fn most_bytes(&self) -> usize {
        let body = match &self.body {
            Body::Inline(bytes) => bytes.len(),
            Body::Parts(parts) => parts.len() * PART_BYTES,
        };
        RECORD_BYTES + self.content_type.len() + body + self.subtrees.as_flattened().len()
    }

    /// Reads the bytes of a record, which its body shares; `key` names it in the error.
    pub(crate) fn decode(key: &str, bytes: &Bytes) -> Result<EntryRecord> {
        let damaged = || Error::damaged("entry", key);
        let stored = match plain::read(bytes) {
            Some(stored) => stored,
            None => decode("entry", key, bytes)?,
        };
        debug_assert!(
            decode::<Stored<'_>>("entry", key, bytes)
                .is_ok_and(|it| encode(&it, 0) == encode(&stored, 0)),
            "both ways to read a record tell the same"
        );
        let body = match (stored.b, stored.p.is_empty()) {
            (Some(inline), true) => Body::Inline(bytes.slice_ref(inline)),
            (None, _) => Body::Parts(
                stored
                    .p
                    .into_iter()
                    .map(|part| Part {
                        blob: BlobId(part.i.into_array()),
                        size: part.s,
                        chunk_bytes: part.c,
                    })
                    .collect(),
            ),
            (Some(_), false) => return Err(damaged()),
        };
        let record = EntryRecord {
            kind: kind_from_number(stored.k).ok_or_else(damaged)?,
            created: stored.c,
            updated: stored.u,
            size: stored.s,
            digest: Digest::from(stored.d.into_array()),
            content_type: stored.t.to_owned(),
            attributes: stored.a.into_owned(),
            lock: stored.l.map(|lock| LockRecord {
                id: lock.i.into_array(),
                view: lock.v.map(str::to_owned),
                edit: lock.e.map(str::to_owned),
            }),
            body,
            subtrees: stored
                .h
                .chunks(32)
                .map(<[u8; 32]>::try_from)
                .collect::<Result<_, _>>()
                .map_err(|_| damaged())?,
        };
        if record.is_consistent() {
            Ok(record)
        } else {
            Err(damaged())
        }
    }

    /// Whether the sizes fit each other; a reader divides by them.
    fn is_consistent(&self) -> bool {
        match &self.body {
            Body::Inline(bytes) => u64::try_from(bytes.len()) == Ok(self.size),
            Body::Parts(parts) => {
                let total = parts
                    .iter()
                    .try_fold(0_u64, |total, part| total.checked_add(part.size));
                total == Some(self.size) && parts.iter().all(Part::is_possible)
            }
        }
    }

    /// What the public face tells of the entry.
    pub(crate) fn metadata(&self, key: &str, revision: u64) -> Metadata {
        let (content_type, attributes) = (self.content_type.clone(), self.attributes.clone());
        self.told(key, revision, content_type, attributes)
    }

    /// As [`EntryRecord::metadata`], of a record that is not needed any more.
    pub(crate) fn into_metadata(mut self, key: &str, revision: u64) -> Metadata {
        let content_type = std::mem::take(&mut self.content_type);
        let attributes = std::mem::take(&mut self.attributes);
        self.told(key, revision, content_type, attributes)
    }

    fn told(
        &self,
        key: &str,
        revision: u64,
        content_type: String,
        attributes: Attributes,
    ) -> Metadata {
        Metadata {
            key: key.to_owned(),
            kind: self.kind,
            revision,
            created: from_micros(self.created),
            updated: from_micros(self.updated),
            size: self.size,
            digest: self.digest,
            content_type: match self.kind {
                Kind::Document => "application/json".to_owned(),
                Kind::Blob | Kind::Folder => content_type,
            },
            attributes,
            view_locked: self.view_lock().is_some(),
            edit_locked: self.lock.as_ref().is_some_and(|lock| lock.edit.is_some()),
        }
    }
}

pub(super) fn kind_to_number(kind: Kind) -> u8 {
    match kind {
        Kind::Document => 0,
        Kind::Blob => 1,
        Kind::Folder => 2,
    }
}

pub(super) fn kind_from_number(number: u8) -> Option<Kind> {
    match number {
        0 => Some(Kind::Document),
        1 => Some(Kind::Blob),
        2 => Some(Kind::Folder),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EntryRecord {
        EntryRecord {
            kind: Kind::Blob,
            created: 1,
            updated: 2_000_000,
            size: 3,
            digest: Digest::from([7; 32]),
            content_type: "text/plain".into(),
            attributes: [("a".to_owned(), "b".to_owned())].into(),
            lock: Some(LockRecord {
                id: [9; 16],
                view: None,
                edit: Some("$argon2id$x".into()),
            }),
            body: Body::Inline(Bytes::from_static(b"abc")),
            subtrees: vec![],
        }
    }

    #[test]
    fn a_record_without_attributes_and_lock_takes_the_short_way() {
        let plain = EntryRecord {
            attributes: Attributes::new(),
            lock: None,
            ..record()
        };
        let parts = EntryRecord {
            content_type: String::new(),
            body: Body::Parts(vec![Part {
                blob: BlobId([1; 16]),
                size: 3,
                chunk_bytes: 65_536,
            }]),
            subtrees: vec![[5; 32]],
            ..plain.clone()
        };
        for record in [plain, parts] {
            let bytes = record.encode();
            assert_eq!(plain::write(&record).unwrap(), bytes);
            assert!(plain::read(&bytes).is_some());
            assert_eq!(EntryRecord::decode("k", &bytes).unwrap(), record);
            for length in 0..bytes.len() {
                assert!(plain::read(&bytes[..length]).is_none(), "{length}");
            }
            assert!(plain::read(&[&bytes[..], &[0]].concat()).is_none());
        }
        assert!(plain::write(&record()).is_none());
        assert!(plain::read(&record().encode()).is_none());
    }

    /// The bytes on disk of every shape of record: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let digest = "07".repeat(32);
        assert_eq!(
            hex(&record().encode()),
            format!(
                "89a16b01a16301a175ce001e8480a17303a164c420{digest}a174aa746578742f706c61696e\
                 a16181a161a162a16c82a169c410{}a165ab246172676f6e3269642478a162c403616263",
                "09".repeat(16)
            )
        );
        let parts = EntryRecord {
            kind: Kind::Document,
            size: 70_000,
            content_type: String::new(),
            attributes: Attributes::new(),
            lock: None,
            body: Body::Parts(vec![Part {
                blob: BlobId([1; 16]),
                size: 70_000,
                chunk_bytes: 65_536,
            }]),
            subtrees: vec![[5; 32]],
            ..record()
        };
        assert_eq!(
            hex(&parts.encode()),
            format!(
                "87a16b00a16301a175ce001e8480a173ce00011170a164c420{digest}a17091\
                 83a169c410{}a173ce00011170a163ce00010000a168c420{}",
                "01".repeat(16),
                "05".repeat(32)
            )
        );
        for record in [record(), parts] {
            assert_eq!(EntryRecord::decode("k", &record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_damage() {
        let wrong = EntryRecord {
            size: 4,
            ..record()
        };
        assert!(EntryRecord::decode("k", &wrong.encode()).is_err());
        let mut long = record().encode().to_vec();
        long.push(0);
        assert!(EntryRecord::decode("k", &long.into()).is_err());
    }

    /// Else a reader would ask for very many chunks at once, or for one larger than any.
    #[test]
    fn a_size_of_chunks_that_no_store_has_is_damage() {
        let cut = |chunk_bytes| {
            let part = Part {
                blob: BlobId([1; 16]),
                size: 3,
                chunk_bytes,
            };
            let body = Body::Parts(vec![part]);
            EntryRecord { body, ..record() }.encode()
        };
        for chunk_bytes in [512, 65_536, 1_048_576] {
            assert!(EntryRecord::decode("k", &cut(chunk_bytes)).is_ok());
        }
        for chunk_bytes in [0, 1, 511, 1_048_577, u32::MAX] {
            assert!(EntryRecord::decode("k", &cut(chunk_bytes)).is_err());
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        assert!(!format!("{:?}", record()).contains("argon2"));
    }
}
