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
use super::row::MAX_REVISION;
use crate::error::{Error, Result};
use crate::options::History;

const FILE_NAME: &str = "superblock";
const NEW_FILE_NAME: &str = "superblock.new";
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
        let path = directory.join(FILE_NAME);
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
        std::fs::rename(directory.join(NEW_FILE_NAME), &path).map_err(failed)?;
        sync_directory(directory)?;
        Ok(superblock)
    }

    /// Reads the superblock; `None` where there is no such file.
    ///
    /// # Errors
    /// `Unsupported` for a format to come or the file of another program, `Damaged` where neither slot is whole.
    pub(crate) fn load(directory: &Path) -> Result<Option<Superblock>> {
        let path = directory.join(FILE_NAME);
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
        let newest = newest_slot(&slots, &path)?;
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
        .open(directory.join(NEW_FILE_NAME))
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

fn newest_slot(slots: &[Slot; 2], path: &Path) -> Result<Decoded> {
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
    newest.ok_or_else(|| unreadable(slots, path))
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
mod tests {
    use super::*;

    const ID: [u8; 16] = *b"0123456789abcdef";

    fn content(checkpoint: u64) -> Content {
        Content {
            checkpoint,
            digest: [7; 16],
            opens: 3,
            clean: checkpoint.is_multiple_of(2),
            created_micros: 1_700_000_000_000_000,
            reserved: checkpoint + 0x0506,
            history: None,
        }
    }

    fn load(directory: &Path) -> Superblock {
        Superblock::load(directory).unwrap().unwrap()
    }

    /// The bytes of a slot, with a CRC that fits.
    fn sealed(mut slot: Slot) -> Slot {
        let crc = crc32fast::hash(&slot[..CRC_OFFSET]);
        slot[CRC_OFFSET..].copy_from_slice(&crc.to_be_bytes());
        slot
    }

    #[test]
    fn the_bytes_are_those_of_format_3() {
        let slot = encode(ID, 0x0102, content(0x0304));
        let mut golden = b"KOMATIK\0\0\0\0\x030123456789abcdef".to_vec();
        golden.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4]);
        golden.extend([7; 16]);
        golden.extend([
            0, 0, 0, 0, 0, 0, 0, 3, 0x00, 0x06, 0x0a, 0x24, 0x18, 0x1e, 0x40, 0x00, 1,
        ]);
        golden.extend([0, 0, 0, 0, 0, 0, 0x08, 0x0a]);
        assert_eq!(slot[..85], golden);
        assert!(slot[85..CRC_OFFSET].iter().all(|byte| *byte == 0));
        let crc = crc32fast::hash(&slot[..CRC_OFFSET]);
        assert_eq!(crc, 0x83bf_23cd);
        assert_eq!(slot[CRC_OFFSET..], crc.to_be_bytes());
        let history = History::of_bytes(0x0506).age(Duration::from_micros(7));
        let slot = encode(
            ID,
            0x0102,
            Content {
                history: Some(history),
                ..content(0x0304)
            },
        );
        let mut golden = vec![1, 0, 0, 0, 0, 0, 0, 5, 6];
        golden.extend([0xff; 8]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(slot[85..110], golden);
        assert!(slot[110..CRC_OFFSET].iter().all(|byte| *byte == 0));
        assert!(
            matches!(decode(&slot), Reading::Whole(decoded) if decoded.content.history == Some(history))
        );
    }

    /// Numbers are added to them.
    #[test]
    fn numbers_that_no_store_comes_to_are_not_ours() {
        let most = Content {
            opens: MAX_REVISION,
            reserved: MAX_REVISION,
            ..content(MAX_REVISION - 0x0506)
        };
        let is_whole = |slot: &Slot| matches!(decode(slot), Reading::Whole(_));
        let slot = encode(ID, MAX_REVISION, most);
        assert!(is_whole(&slot));
        for offset in [28, 36, 60, 77] {
            let mut slot = slot;
            slot[offset] = 0x80;
            assert!(!is_whole(&sealed(slot)), "{offset}");
        }
    }

    #[test]
    fn what_was_stored_last_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Superblock::load(directory.path()).unwrap().is_none());
        let mut superblock = Superblock::create(directory.path(), ID, content(0)).unwrap();
        assert_eq!(load(directory.path()).content(), content(0));
        for checkpoint in 1..6 {
            superblock.store(content(checkpoint)).unwrap();
            let loaded = load(directory.path());
            assert_eq!(
                (loaded.store_id(), loaded.content()),
                (ID, content(checkpoint))
            );
        }
        // Goes on where the file is, not where this handle began.
        load(directory.path()).store(content(9)).unwrap();
        assert_eq!(load(directory.path()).content(), content(9));
        assert_eq!(
            std::fs::metadata(directory.path().join(FILE_NAME))
                .unwrap()
                .len(),
            8192
        );
    }

    #[test]
    fn one_that_is_there_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        // What is left of a creation cut short is in nobody's way.
        std::fs::write(directory.path().join(NEW_FILE_NAME), [1; 9000]).unwrap();
        Superblock::create(directory.path(), ID, content(1)).unwrap();
        let refused = Superblock::create(directory.path(), [0; 16], content(2));
        assert!(matches!(refused, Err(Error::Io { .. })));
        assert_eq!(load(directory.path()).store_id(), ID);
    }

    #[test]
    fn either_slot_may_be_damaged_at_any_byte() {
        let old = encode(ID, 4, content(4));
        let new = encode(ID, 5, content(5));
        let path = Path::new("superblock");
        for byte in 0..SLOT_BYTES {
            for flip in [1, 0x80, 0xff] {
                let mut torn = new;
                torn[byte] ^= flip;
                assert_eq!(newest_slot(&[old, torn], path).unwrap().content, content(4));
                let mut torn = old;
                torn[byte] ^= flip;
                assert_eq!(newest_slot(&[torn, new], path).unwrap().content, content(5));
            }
            let mut cut = new;
            cut[..byte].copy_from_slice(&encode(ID, 3, content(3))[..byte]);
            let survivor = newest_slot(&[old, cut], path).unwrap();
            assert!(survivor.sequence >= 4, "cut at {byte}");
        }
    }

    #[test]
    fn a_write_after_damage_goes_to_the_damaged_slot() {
        let directory = tempfile::tempdir().unwrap();
        let mut superblock = Superblock::create(directory.path(), ID, content(1)).unwrap();
        superblock.store(content(2)).unwrap();
        let path = directory.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut superblock = load(directory.path());
        assert_eq!(superblock.content(), content(1));
        superblock.store(content(3)).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written[SLOT_BYTES..], bytes[SLOT_BYTES..]);
        assert_eq!(load(directory.path()).content(), content(3));
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let error = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Superblock::load(directory.path()).unwrap_err()
        };
        let mut torn = encode(ID, 1, content(1));
        torn[50] ^= 1;
        for damaged in [&[][..], &[0; 8192], &[torn, torn].concat(), &torn[..100]] {
            assert!(matches!(
                error(damaged),
                Error::Damaged {
                    what: "superblock",
                    ..
                }
            ));
        }
        assert!(matches!(error(&[b'x'; 8192]), Error::Unsupported { .. }));
        let mut future = encode(ID, 1, content(1));
        future[11] = 4;
        let future = sealed(future);
        let text = error(&[encode(ID, 2, content(2)), future].concat()).to_string();
        assert!(
            text.contains("format version 4, this version reads 2 and 3"),
            "{text}"
        );
    }
}
