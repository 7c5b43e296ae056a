//! A disk that gives a chunk once, and not once more; a system without files to read it by.

use super::*;
use crate::options::{PutMode, WriteOptions};

/// So many chunks of 64 KiB each.
fn content(chunks: usize, byte: u8) -> Vec<u8> {
    vec![byte; chunks * 64 * 1024]
}

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn what_is_gone_when_it_is_copied_is_lost_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (damaged, into) = (
        directory.path().join("damaged"),
        directory.path().join("into"),
    );
    let store = Store::open(&damaged).unwrap();
    store.put("a", &content(3, 1)[..]).unwrap();
    store.copy("a", "b", PutMode::Create).unwrap();
    store.put("d", &content(2, 2)[..]).unwrap();
    store.copy("d", "c", PutMode::Create).unwrap();
    let mut writer = store.writer("c", WriteOptions::append()).unwrap();
    std::io::Write::write_all(&mut writer, &content(1, 3)).unwrap();
    writer.commit().unwrap();
    store.put("e", &content(1, 4)[..]).unwrap();
    store.close().unwrap();

    let salvage = Salvage::read(&damaged, &into).unwrap();
    let mut copy = Restore::begin(&into, salvage.revision()).unwrap();
    let mut lost = Vec::new();
    for (key, row) in salvage.rows(Tree::Entries) {
        // Each chunk is read for the digest first, and then for the copy.
        salvage.refuse_chunk(match &key[..] {
            b"a" => 3 + 2,
            b"c" => 3 + 3,
            _ => 0,
        });
        lost.extend(save_entry(&salvage, &mut copy, key, &row).unwrap());
    }
    copy.finish().unwrap();
    let lost: Vec<_> = lost.iter().map(|finding| &finding.location[..]).collect();
    assert_eq!(lost, ["a", "b", "c"], "b has the chunks of a");

    let store = Store::open(&into).unwrap();
    assert_eq!(store.get("d").unwrap().unwrap(), content(2, 2));
    assert_eq!(store.get("e").unwrap().unwrap(), content(1, 4));
    assert_eq!(store.verify(go_on).unwrap().findings, []);
    store.compact(go_on).unwrap();
    assert_eq!(
        store.stats().unwrap().chunk_bytes,
        content(3, 0).len() as u64,
        "the chunks that came before the one that was refused are gone"
    );
    store.delete("d").unwrap();
    store.compact(go_on).unwrap();
    assert_eq!(
        store.stats().unwrap().chunk_bytes,
        content(1, 0).len() as u64,
        "d is the only owner of its chunks"
    );
    assert_eq!(store.verify(go_on).unwrap().findings, []);
}

#[test]
fn nothing_is_lost_for_want_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let (damaged, into) = (
        directory.path().join("damaged"),
        directory.path().join("into"),
    );
    // Each in a pack of its own, of which not all are kept open.
    for number in 0..4 {
        let store = Store::open(&damaged).unwrap();
        let key = number.to_string();
        store.put(&key, &content(1, number)[..]).unwrap();
        store.close().unwrap();
    }
    let salvage = Salvage::read(&damaged, &into).unwrap();
    let mut copy = Restore::begin(&into, salvage.revision()).unwrap();
    let mut refused = 0;
    for (key, row) in salvage.rows(Tree::Entries) {
        salvage.refuse_files(2);
        match save_entry(&salvage, &mut copy, key, &row) {
            Err(Error::Io { .. }) => refused += 1,
            saved => assert_eq!(saved.unwrap(), None),
        }
        salvage.refuse_files(0);
        assert_eq!(save_entry(&salvage, &mut copy, key, &row).unwrap(), None);
    }
    assert!(refused > 1, "not only where the packs are looked through");
}
