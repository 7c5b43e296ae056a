//! The bytes of a superblock, and what becomes of writes that are cut short.

use super::*;
use crate::backend::local::durable::SYNCED;

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
        std::fs::metadata(directory.path().join(SUPERBLOCK))
            .unwrap()
            .len(),
        8192
    );
}

#[test]
fn its_name_is_durable_once_it_is_made() {
    let directory = tempfile::tempdir().unwrap();
    SYNCED.take();
    Superblock::create(directory.path(), ID, content(0)).unwrap();
    assert_eq!(SYNCED.take(), [directory.path()]);
}

#[test]
fn one_that_is_there_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    // What is left of a creation cut short is in nobody's way.
    std::fs::write(directory.path().join(NEW_SUPERBLOCK), [1; 9000]).unwrap();
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
            assert_eq!(
                newest_slot(&[old, torn], path).unwrap().unwrap().content,
                content(4)
            );
            let mut torn = old;
            torn[byte] ^= flip;
            assert_eq!(
                newest_slot(&[torn, new], path).unwrap().unwrap().content,
                content(5)
            );
        }
        let mut cut = new;
        cut[..byte].copy_from_slice(&encode(ID, 3, content(3))[..byte]);
        let survivor = newest_slot(&[old, cut], path).unwrap().unwrap();
        assert!(survivor.sequence >= 4, "cut at {byte}");
    }
}

#[test]
fn a_write_after_damage_goes_to_the_damaged_slot() {
    let directory = tempfile::tempdir().unwrap();
    let mut superblock = Superblock::create(directory.path(), ID, content(1)).unwrap();
    superblock.store(content(2)).unwrap();
    let path = directory.path().join(SUPERBLOCK);
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
    let path = directory.path().join(SUPERBLOCK);
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
