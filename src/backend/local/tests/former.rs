//! Stores that builds of before wrote, of format 2: long keys lie in no layers of the trees.

use super::*;
use crate::backend::local::salvage::Salvage;
use crate::backend::local::trees::former_for_test;

const LONG: usize = 600;

fn key(number: u32) -> Vec<u8> {
    let long = "l".repeat(LONG);
    let folder = ["", "a/", &long][number as usize % 3];
    format!("{folder}{number:04}").into_bytes()
}

/// A store that was closed, as such a build leaves it.
fn former() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    let some = (0..150).map(|number| put(key(number), number.to_be_bytes()));
    commit(&local, rows(Durability::Immediate, some.collect())).unwrap();
    local.close().unwrap();
    former_for_test(&directory.path().join("trees"));
    tell_of_format_2(&directory);
    directory
}

fn tell_of_format_2(directory: &TempDir) {
    let path = directory.path().join("superblock");
    let mut bytes = std::fs::read(&path).unwrap();
    for slot in bytes.chunks_mut(4096) {
        slot[11] = 2;
        let crc = crc32fast::hash(&slot[..4092]);
        slot[4092..].copy_from_slice(&crc.to_be_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
}

fn assert_holds(local: &Local) {
    for number in 0..150 {
        assert_eq!(read(local, key(number)).unwrap(), number.to_be_bytes()[..]);
    }
    assert_sound(local);
}

#[test]
fn they_are_brought_along_when_they_are_opened() {
    let directory = former();
    let saved = tempfile::tempdir().unwrap();
    let salvage = Salvage::read(directory.path(), &saved.path().join("saved")).unwrap();
    assert_eq!(salvage.findings(), []);
    assert_eq!(salvage.rows(Tree::Entries).count(), 150);
    drop(salvage);
    for _ in 0..2 {
        let local = open(&directory);
        assert_holds(&local);
        local.close().unwrap();
    }
    let superblock = std::fs::read(directory.path().join("superblock")).unwrap();
    assert_eq!((superblock[11], superblock[4096 + 11]), (3, 3));
}

/// Where the superblock tells of the format before although they were: one of its halves is the older one.
#[test]
fn that_may_be_done_again() {
    let directory = former();
    open(&directory).close().unwrap();
    tell_of_format_2(&directory);
    assert_holds(&open(&directory));
}
