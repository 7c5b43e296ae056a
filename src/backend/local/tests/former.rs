//! Stores that builds of before wrote, of format 2: long keys lie in no layers of the trees.

use super::*;
use crate::backend::local::salvage::Salvage;
use crate::backend::local::trees::TreeWrite;
use crate::backend::local::trees::sled::SledTrees;

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
    let trees = directory.path().join("trees");
    let rows = take_all(SledTrees::open(&trees, MIB).unwrap());
    std::fs::remove_dir_all(&trees).unwrap();
    let without_layers = SledTrees::open_anyhow(&trees, MIB, false).unwrap();
    without_layers.apply(&mut rows.into_iter()).unwrap();
    without_layers.close().unwrap();
    tell_of_format_2(&directory);
    directory
}

/// All rows, and closes.
fn take_all(trees: SledTrees) -> Vec<TreeWrite> {
    let mut rows = Vec::new();
    for tree in Tree::ALL {
        let found = trees.range(tree, b"", None, usize::MAX).unwrap();
        rows.extend(
            found
                .into_iter()
                .map(|(key, value)| (tree, key, Some(value))),
        );
    }
    trees.close().unwrap();
    rows
}

/// Also where the journal cannot help.
fn assert_is_saved_whole(directory: &TempDir) {
    let beside = tempfile::tempdir().unwrap();
    let read = |store: &Path| Salvage::read(store, &beside.path().join("saved")).unwrap();
    let salvage = read(directory.path());
    assert_eq!(salvage.findings(), []);
    assert_eq!(salvage.rows(Tree::Entries).count(), 150);
    let of_the_trees = copy(directory.path());
    std::fs::remove_dir_all(of_the_trees.path().join("journal")).unwrap();
    let salvage = read(of_the_trees.path());
    assert_eq!(salvage.rows(Tree::Entries).count(), 150);
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
    assert_is_saved_whole(&directory);
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

/// Some keys were moved, and then the process ended.
#[test]
fn where_that_was_cut_short_it_goes_on_and_nothing_is_lost_to_a_repair() {
    let directory = former();
    let trees = SledTrees::open(&directory.path().join("trees"), MIB).unwrap();
    for number in (2..60).step_by(3) {
        trees.take_in_only_for_test(&key(number));
    }
    trees.close().unwrap();
    assert_is_saved_whole(&directory);
    assert_holds(&open(&directory));
}
