//! The format of an export: a tar archive anybody can open.
//!
//! | member | holds |
//! |---|---|
//! | `komatik.json` | the first: `{"format": 1}` |
//! | `metadata/KEY.json` | before the content of each entry: content type, attributes, times, digest |
//! | `files/KEY` | the bytes of a blob |
//! | `documents/KEY.json` | the JSON text of a document |
//! | `folders/KEY/` | an explicit folder |
//! | `end.json` | the last: `{"entries": N, "metadata": BLAKE3 of all metadata in order}`. Without it the archive is cut short |
//!
//! No two keys share a member. Where a key is both an entry and a folder (`a` and `a/b`), a file system cannot hold
//! both and other programs may refuse to unpack one of them; [`Store::import`](crate::Store::import) takes both.

use std::borrow::Cow;
use std::io::{BufWriter, Read, Write};

use serde::{Deserialize, Serialize};
use tar::{Builder, EntryType, Header};

use crate::error::{Error, Result};
use crate::metadata::Attributes;

/// The version of the format above.
pub(super) const FORMAT: u64 = 1;

/// The first member.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u64,
}

/// The last member.
#[derive(Serialize, Deserialize)]
pub(super) struct End {
    pub(super) entries: u64,
    /// BLAKE3 of what all metadata members hold, one behind the other, in hexadecimal; earlier archives have none.
    #[serde(default)]
    pub(super) metadata: Option<String>,
}

/// What an archive tells of an entry beside its content. Locks and tokens are not part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    pub(super) attributes: Attributes,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<u64>,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) updated: Option<u64>,
    /// BLAKE3 of what the member of the content holds, in hexadecimal; earlier archives have none for documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blake3: Option<String>,
}

/// What a member is, by its path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Member<'a> {
    Manifest,
    End,
    Metadata(&'a str),
    File(&'a str),
    Document(&'a str),
    Folder(&'a str),
}

impl<'a> Member<'a> {
    /// The member of this path; `None` for what no export writes.
    pub(super) fn parse(path: &'a str) -> Option<Member<'a>> {
        match path {
            "komatik.json" => return Some(Member::Manifest),
            "end.json" => return Some(Member::End),
            _ => {}
        }
        let (room, name) = path.split_once('/')?;
        match room {
            "metadata" => name.strip_suffix(".json").map(Member::Metadata),
            "files" => Some(Member::File(name)),
            "documents" => name.strip_suffix(".json").map(Member::Document),
            "folders" => Some(Member::Folder(name.strip_suffix('/').unwrap_or(name))),
            _ => None,
        }
    }

    /// The path of the member.
    pub(super) fn path(&self) -> Cow<'static, str> {
        match self {
            Member::Manifest => "komatik.json".into(),
            Member::End => "end.json".into(),
            Member::Metadata(key) => format!("metadata/{key}.json").into(),
            Member::File(key) => format!("files/{key}").into(),
            Member::Document(key) => format!("documents/{key}.json").into(),
            Member::Folder(key) => format!("folders/{key}/").into(),
        }
    }
}

/// The name of the pseudo member that holds the path of the next one where that is long, as GNU tar writes it.
const LONG_NAME: &[u8] = b"././@LongLink";

/// What is written in one go.
const BUFFER_BYTES: usize = 256 * 1024;

/// The caller's writer, as long as it is to be written to.
struct Gate<W> {
    writer: W,
    is_open: bool,
}

impl<W> Gate<W> {
    fn open(&mut self) -> std::io::Result<&mut W> {
        match self.is_open {
            true => Ok(&mut self.writer),
            false => Err(std::io::Error::other("the archive was given up")),
        }
    }
}

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.open()?.flush()
    }
}

/// Writes an archive, member by member. Once it is dropped nothing more is written: the archive of one that was not
/// [finished](Pack::finish) is cut short.
pub(super) struct Pack<W: Write> {
    builder: Builder<BufWriter<Gate<W>>>,
    metadata: blake3::Hasher,
}

/// The builder and its buffer write what is left as they are dropped, also while a panic of the writer goes through them.
impl<W: Write> Drop for Pack<W> {
    fn drop(&mut self) {
        self.builder.get_mut().get_mut().is_open = false;
    }
}

impl<W: Write> Pack<W> {
    pub(super) fn new(writer: W) -> Pack<W> {
        let gate = Gate {
            writer,
            is_open: true,
        };
        Pack {
            builder: Builder::new(BufWriter::with_capacity(BUFFER_BYTES, gate)),
            metadata: blake3::Hasher::new(),
        }
    }

    /// Adds a member of exactly `size` bytes, changed at `micros`.
    pub(super) fn add(
        &mut self,
        member: &Member<'_>,
        micros: u64,
        size: u64,
        data: impl Read,
    ) -> Result<()> {
        let path = member.path();
        // Paths are set as bytes: going through the path type of the system would change some legal keys.
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(micros / 1_000_000);
        header.set_size(size);
        if let Member::Folder(_) = member {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
        }
        if !set_name(&mut header, path.as_bytes()) {
            self.add_long_name(path.as_bytes())?;
        }
        header.set_cksum();
        self.append(&header, data)
    }

    /// Adds a small member.
    pub(super) fn add_json(
        &mut self,
        member: &Member<'_>,
        micros: u64,
        value: &impl Serialize,
    ) -> Result<()> {
        let text = serde_json::to_vec(value)
            .map_err(|error| Error::io(WRITING, std::io::Error::from(error)))?;
        if let Member::Metadata(_) = member {
            self.metadata.update(&text);
        }
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.add(member, micros, size, &text[..])
    }

    /// Ends the archive, of so many entries.
    pub(super) fn finish(&mut self, entries: u64) -> Result<()> {
        let metadata = Some(self.metadata.finalize().to_hex().to_string());
        self.add_json(&Member::End, 0, &End { entries, metadata })?;
        let finished = self.builder.finish();
        let flushed = finished.and_then(|()| self.builder.get_mut().flush());
        flushed.map_err(|error| undo(WRITING, error))
    }

    fn add_long_name(&mut self, path: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_mode(0o644);
        header.set_size(
            u64::try_from(path.len())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        );
        set_name(&mut header, LONG_NAME);
        header.set_cksum();
        self.append(&header, path.chain(&[0][..]))
    }

    fn append(&mut self, header: &Header, data: impl Read) -> Result<()> {
        let appended = self.builder.append(header, data);
        appended.map_err(|error| undo(WRITING, error))
    }
}

/// Sets the name in the header, cut where it does not fit; answers whether it does.
fn set_name(header: &mut Header, path: &[u8]) -> bool {
    let name = &mut header.as_old_mut().name;
    let fits = path.len().min(name.len());
    name[..fits].copy_from_slice(&path[..fits]);
    fits == path.len()
}

const WRITING: &str = "writing the archive";

/// The error that came through `std::io`: one of this crate, if it was that, else one of the caller's stream.
pub(super) fn undo(doing: &'static str, error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::io(doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_paths_are_one_to_one() {
        let members = [
            Member::Manifest,
            Member::End,
            Member::Metadata("a"),
            Member::Metadata("a.json"),
            Member::File("end.json"),
            Member::File("a/b"),
            Member::Document("a"),
            Member::Document("a.json"),
            Member::Folder("a/b"),
        ];
        let mut paths = std::collections::HashSet::new();
        for member in &members {
            let path = member.path();
            assert_eq!(Member::parse(&path).as_ref(), Some(member));
            assert!(paths.insert(path));
        }
        for other in [
            "",
            "a",
            "files",
            "documents/a",
            "metadata/a",
            "/files/a",
            "./files/a",
        ] {
            assert_eq!(Member::parse(other), None, "{other}");
        }
    }
}
