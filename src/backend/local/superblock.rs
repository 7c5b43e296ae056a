//! The superblock: what is known of the store outside of the journal and the trees, so that either can be found
//! empty, older than it was or damaged.
//!
//! One file, `superblock`, of two slots of 4 KiB. The slot number `sequence % 2` is written in turn and synced, so that a
//! write cut short leaves the other one, which holds the content before. All numbers are big-endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | format version |
//! | 12 | 16 | store id |
//! | 28 | 8 | sequence number of this writing |
//! | 36 | 8 | revision of the checkpoint |
//! | 44 | 16 | digest of all rows at the checkpoint |
//! | 60 | 8 | how often the store was opened |
//! | 68 | 8 | when it was made, in microseconds since 1970 |
//! | 76 | 1 | 1 where it was closed in good order |
//! | 77 | 8 | no commit of a higher revision was ever begun, but one that leaves out all up to here |
//! | 85 | 1 | 1 where it was set how much history is kept; else the next three are zeros |
//! | 86 | 8 | bytes of history that are kept, all ones for no limit |
//! | 94 | 8 | commits, likewise |
//! | 102 | 8 | age in microseconds, likewise |
//! | 110 | 3982 | zeros |
//! | 4092 | 4 | CRC-32 of all before |
//!
//! The places of magic, version and CRC are the same in every format to come.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(fuzzing)]
pub(super) mod fuzzing;

use super::durable::sync_directory;
use super::layout::{NEW_SUPERBLOCK, SUPERBLOCK};
use super::row::MAX_REVISION;
use crate::error::{Error, Result};
use crate::options::History;

const MAGIC: [u8; 8] = *b"KOMATIK\0";
/// The version of a store that this crate writes. It reads the one before as well, in which long keys lie in no layers of the trees, and
/// writes this one once they do.
const FORMAT_VERSION: u32 = 3;
const FORMAT_WITHOUT_LAYERS: u32 = 2;
const SLOT_BYTES: usize = 4096;
const CRC_OFFSET: usize = SLOT_BYTES - 4;

type Slot = [u8; SLOT_BYTES];

/// What a superblock tells, besides whose it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The revision up to which the trees hold everything durably.
    pub(crate) checkpoint: u64,
    /// The digest of all rows at the checkpoint.
    pub(crate) digest: [u8; 16],
    /// How often the store was opened.
    pub(crate) opens: u64,
    /// Whether it was closed in good order.
    pub(crate) clean: bool,
    /// When the store was made, in microseconds since 1970.
    pub(crate) created_micros: u64,
    /// No commit of a higher revision was ever begun, but one that leaves out all up to here.
    pub(crate) reserved: u64,
    /// How much history is kept, where it was set.
    pub(crate) history: Option<History>,
}

/// The superblock of an open store.
#[derive(Debug)]
pub(crate) struct Superblock {
    file: File,
    path: PathBuf,
    store_id: [u8; 16],
    sequence: u64,
    content: Content,
    has_layers: bool,
}

impl Superblock {
    /// Makes the superblock of a new store. It is there whole or not at all: a short one is damage and never a beginning.
    pub(crate) fn create(
        directory: &Path,
        store_id: [u8; 16],
        content: Content,
    ) -> Result<Superblock> {
        let path = directory.join(SUPERBLOCK);
        let failed = |error| Error::io(format!("creating {}", path.display()), error);
        if path.try_exists().map_err(failed)? {
            return Err(failed(ErrorKind::AlreadyExists.into()));
        }
        let mut superblock = Superblock {
            file: new_file(directory).map_err(failed)?,
            path: path.clone(),
            store_id,
            sequence: 0,
            content,
            has_layers: true,
        };
        superblock
            .file
            .set_len(2 * SLOT_BYTES as u64)
            .map_err(failed)?;
        superblock.store(content)?;
        superblock.file.sync_all().map_err(failed)?;
        std::fs::rename(directory.join(NEW_SUPERBLOCK), &path).map_err(failed)?;
        sync_directory(directory)?;
        Ok(superblock)
    }

    /// Reads the superblock; `None` where there is no such file.
    ///
    /// # Errors
    /// `Unsupported` for a format to come or the file of another program, `Damaged` where neither slot is whole.
    pub(crate) fn load(directory: &Path) -> Result<Option<Superblock>> {
        Superblock::load_or(directory, unreadable)
    }

    /// As [`Superblock::load`], where there was a store: the file of another program is damage.
    pub(crate) fn load_of_store(directory: &Path) -> Result<Option<Superblock>> {
        Superblock::load_or(directory, |_, path| damaged(path))
    }

    fn load_or(
        directory: &Path,
        unreadable: fn(&[Slot; 2], &Path) -> Error,
    ) -> Result<Option<Superblock>> {
        let path = directory.join(SUPERBLOCK);
        let failed = |error| Error::io(format!("reading {}", path.display()), error);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let slots = [
            read_slot(&file, 0).map_err(failed)?,
            read_slot(&file, 1).map_err(failed)?,
        ];
        let newest = newest_slot(&slots, &path)?.ok_or_else(|| unreadable(&slots, &path))?;
        Ok(Some(Superblock {
            file,
            path,
            store_id: newest.store_id,
            sequence: newest.sequence,
            content: newest.content,
            has_layers: newest.version >= FORMAT_VERSION,
        }))
    }

    /// The store's id, the same for all its life.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// What it tells.
    pub(crate) fn content(&self) -> Content {
        self.content
    }

    /// Whether long keys lie in layers of the trees.
    pub(crate) fn has_layers(&self) -> bool {
        self.has_layers
    }

    /// Writes new content, durably, and that long keys lie in layers. On an error the content before is still there.
    pub(crate) fn store(&mut self, content: Content) -> Result<()> {
        // Counted up only once it is there: a second try must not touch the slot that is whole.
        let sequence = self.sequence + 1;
        let slot = encode(self.store_id, sequence, content);
        self.file
            .write_all_at(&slot, slot_offset(sequence))
            .and_then(|()| self.file.sync_data())
            .map_err(|error| Error::io(format!("writing {}", self.path.display()), error))?;
        self.sequence = sequence;
        self.content = content;
        self.has_layers = true;
        Ok(())
    }
}

fn new_file(directory: &Path) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(directory.join(NEW_SUPERBLOCK))
}

fn slot_offset(sequence: u64) -> u64 {
    sequence % 2 * SLOT_BYTES as u64
}

/// A slot, with zeros for what is missing at the end of the file.
fn read_slot(file: &File, sequence: u64) -> std::io::Result<Slot> {
    let mut slot = [0; SLOT_BYTES];
    match file.read_exact_at(&mut slot, slot_offset(sequence)) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(slot),
    }
}

struct Decoded {
    version: u32,
    store_id: [u8; 16],
    sequence: u64,
    content: Content,
}

/// What the bytes of a slot are.
enum Reading {
    Whole(Decoded),
    /// Whole, of a format that this version does not know.
    Other(u32),
    Torn,
}

/// The newer of the slots that are whole, where one is.
fn newest_slot(slots: &[Slot; 2], path: &Path) -> Result<Option<Decoded>> {
    let mut newest: Option<Decoded> = None;
    for slot in slots {
        match decode(slot) {
            Reading::Other(version) => return Err(other_format(version, path)),
            Reading::Whole(slot)
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.sequence < slot.sequence) =>
            {
                newest = Some(slot);
            }
            Reading::Whole(_) | Reading::Torn => {}
        }
    }
    Ok(newest)
}

fn other_format(version: u32, path: &Path) -> Error {
    Error::Unsupported {
        found: format!(
            "{} is of format version {version}, this version reads {FORMAT_WITHOUT_LAYERS} and {FORMAT_VERSION}",
            path.display()
        ),
    }
}

/// A file that shows no trace of ours was never one.
fn unreadable(slots: &[Slot; 2], path: &Path) -> Error {
    let is_foreign = |slot: &Slot| !slot.starts_with(&MAGIC) && slot.iter().any(|byte| *byte != 0);
    if slots.iter().all(is_foreign) {
        return Error::Unsupported {
            found: format!("{} is not the superblock of a store", path.display()),
        };
    }
    damaged(path)
}

fn damaged(path: &Path) -> Error {
    Error::damaged("superblock", path.display().to_string())
}

fn encode(store_id: [u8; 16], sequence: u64, content: Content) -> Slot {
    let mut slot = [0; SLOT_BYTES];
    slot[0..8].copy_from_slice(&MAGIC);
    slot[8..12].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
    slot[12..28].copy_from_slice(&store_id);
    slot[28..36].copy_from_slice(&sequence.to_be_bytes());
    slot[36..44].copy_from_slice(&content.checkpoint.to_be_bytes());
    slot[44..60].copy_from_slice(&content.digest);
    slot[60..68].copy_from_slice(&content.opens.to_be_bytes());
    slot[68..76].copy_from_slice(&content.created_micros.to_be_bytes());
    slot[76] = u8::from(content.clean);
    slot[77..85].copy_from_slice(&content.reserved.to_be_bytes());
    if let Some(history) = content.history {
        slot[85] = 1;
        let age = history.age.map(|age| {
            let micros = age.as_micros();
            u64::try_from(micros).unwrap_or(u64::MAX)
        });
        for (offset, limit) in [(86, history.bytes), (94, history.revisions), (102, age)] {
            let limit = limit.unwrap_or(u64::MAX);
            slot[offset..offset + 8].copy_from_slice(&limit.to_be_bytes());
        }
    }
    let crc = crc32fast::hash(&slot[..CRC_OFFSET]);
    slot[CRC_OFFSET..].copy_from_slice(&crc.to_be_bytes());
    slot
}

fn decode(slot: &Slot) -> Reading {
    let crc = u32::from_be_bytes(field(slot, CRC_OFFSET));
    if !slot.starts_with(&MAGIC) || crc32fast::hash(&slot[..CRC_OFFSET]) != crc {
        return Reading::Torn;
    }
    let version = u32::from_be_bytes(field(slot, 8));
    if ![FORMAT_WITHOUT_LAYERS, FORMAT_VERSION].contains(&version) {
        return Reading::Other(version);
    }
    let [sequence, checkpoint, opens, reserved] =
        [28, 36, 60, 77].map(|offset| u64::from_be_bytes(field(slot, offset)));
    if sequence.max(checkpoint).max(opens).max(reserved) > MAX_REVISION {
        return Reading::Torn;
    }
    Reading::Whole(Decoded {
        version,
        store_id: field(slot, 12),
        sequence,
        content: Content {
            checkpoint,
            digest: field(slot, 44),
            opens,
            created_micros: u64::from_be_bytes(field(slot, 68)),
            clean: slot[76] == 1,
            reserved,
            history: (slot[85] == 1).then(|| {
                let [bytes, revisions, age] = [86, 94, 102].map(|offset| {
                    let limit = u64::from_be_bytes(field(slot, offset));
                    (limit < u64::MAX).then_some(limit)
                });
                let age = age.map(Duration::from_micros);
                History {
                    bytes,
                    revisions,
                    age,
                }
            }),
        },
    })
}

fn field<const N: usize>(slot: &Slot, offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&slot[offset..offset + N]);
    bytes
}

#[cfg(test)]
mod tests;
