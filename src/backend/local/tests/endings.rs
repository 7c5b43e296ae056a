//! What an orderly end notes of the packs, and when the next opening does not rely on it.

use std::sync::atomic::Ordering;

use super::*;
use crate::backend::Row;
use crate::backend::local::trees::Trees;
use crate::backend::local::trees::sled::SledTrees;
use crate::backend::local::{keys, row};

/// How long a thread in the background takes to act, and more.
const A_WHILE: Duration = Duration::from_millis(600);
const BLOBS: std::ops::Range<u64> = 0..4;

fn closed() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in BLOBS {
        put_blob(&local, number, 256, Durability::Immediate).unwrap();
    }
    local.close().unwrap();
    directory
}

/// What sled lost of the rows of the packs, or has of an earlier end.
fn change_pack_rows(store: &TempDir, change: impl Fn(&[u8], Row) -> Option<Bytes>) {
    let trees = SledTrees::open(&store.path().join("trees"), MIB).unwrap();
    let (start, end) = (keys::pack(0), keys::pack(u64::MAX));
    let found = trees
        .range(Tree::Pending, &start, Some(&end), usize::MAX)
        .unwrap();
    assert!(found.len() > 1);
    let mut changed = found.into_iter().map(|(key, bytes)| {
        let row = row::open(Tree::Pending, &key, &bytes).unwrap();
        let changed = change(&key, row);
        (Tree::Pending, key, changed)
    });
    trees.apply(&mut changed).unwrap();
    trees.close().unwrap();
}

fn assert_nothing_is_given_back(store: &TempDir, case: &str) {
    let local = open(store);
    std::thread::sleep(A_WHILE);
    for number in BLOBS {
        let chunk = local.get_chunk(blob(number), 255);
        assert_eq!(
            chunk.unwrap()[..],
            [number.to_be_bytes()[7]; CHUNK_BYTES],
            "{case}"
        );
    }
    assert_sound(&local);
    local.close().unwrap();
    // What was counted is noted, and relied on.
    let local = open(store);
    assert!(local.core.packs.live().iter().all(|(_, live)| *live > MIB));
    assert_sound(&local);
}

#[test]
fn a_pack_of_which_the_row_is_gone_is_counted_and_not_removed() {
    let store = closed();
    change_pack_rows(&store, |_, _| None);
    assert_nothing_is_given_back(&store, "all rows are gone");
    let store = closed();
    let first = keys::pack(1);
    change_pack_rows(&store, |key, row| {
        (key != first).then(|| row::seal(Tree::Pending, key, &row))
    });
    assert_nothing_is_given_back(&store, "one row is gone");
}

#[test]
fn rows_of_packs_that_are_not_of_this_end_count_for_nothing() {
    let nothing = Bytes::copy_from_slice(&[0; 8]);
    let store = closed();
    change_pack_rows(&store, |key, row| {
        let former = Row {
            revision: row.revision - 1,
            value: nothing.clone(),
        };
        Some(row::seal(Tree::Pending, key, &former))
    });
    assert_nothing_is_given_back(&store, "they are of an earlier end");
    let store = closed();
    change_pack_rows(&store, |key, row| {
        let mut bytes = row::seal(Tree::Pending, key, &row).to_vec();
        bytes[19] ^= 1;
        Some(bytes.into())
    });
    assert_nothing_is_given_back(&store, "they are damaged");
}

#[test]
fn an_end_in_good_order_is_relied_on() {
    let store = closed();
    // One byte less in use than there is, as no count of rows would say.
    change_pack_rows(&store, |key, row| {
        let count = u64::from_be_bytes(row.value[..].try_into().unwrap()) - 1;
        let value = Bytes::copy_from_slice(&count.to_be_bytes());
        Some(row::seal(Tree::Pending, key, &Row { value, ..row }))
    });
    let noted: u64 = {
        let local = open(&store);
        local.core.packs.live().iter().map(|(_, live)| live).sum()
    };
    let counted: u64 = {
        let local = open(&closed());
        local.core.packs.live().iter().map(|(_, live)| live).sum()
    };
    assert!(noted < counted);
}

/// The first that meets it may be who gives space back, whose failures cost nothing else.
#[test]
fn an_end_that_cannot_be_brought_to_the_disk_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    put_blob(&local, 1, 1, Durability::Immediate).unwrap();
    local
        .core
        .settling
        .test
        .fail_next
        .store(true, Ordering::Relaxed);
    release(&local, 1);
    let ended = local.close();
    assert!(matches!(ended, Err(Error::Poisoned { .. })), "{ended:?}");
    assert!(open(&directory).close().is_ok());
}

#[test]
fn who_closes_waits_for_no_more_than_a_step_of_who_gives_space_back() {
    const BLOBS: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..BLOBS {
        // A step each.
        put_rows(&local, number, 999);
    }
    // So that the thread in the background does not come first.
    let alone = local.core.space.alone();
    (0..BLOBS).for_each(|number| release(&local, number));
    local.flush().unwrap();
    let mut done = 0;
    std::thread::scope(|threads| {
        let mut step = |_| {
            done += 1;
            if done == 1 {
                threads.spawn(|| local.close().unwrap());
            }
            std::thread::sleep(Duration::from_millis(100));
            std::ops::ControlFlow::Continue(())
        };
        let given = (local.core).give_back_all(&alone, &mut Progress::new(&mut step));
        drop(alone);
        assert!(matches!(given, Err(Error::Misuse { .. })), "{given:?}");
    });
    assert!(done < BLOBS / 2, "{done}");
    let local = open(&directory);
    compact(&local).unwrap();
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
    assert_sound(&local);
}

#[test]
fn who_closes_what_another_is_closing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    put_blob(&local, 1, 1, Durability::Immediate).unwrap();
    release(&local, 1);
    let held = local.hold_syncs();
    std::thread::scope(|threads| {
        let first = threads.spawn(|| local.close());
        eventually("the first is at it", || local.core.health.begins_to_end());
        let second = local.close();
        assert!(matches!(second, Err(Error::Misuse { .. })), "{second:?}");
        assert!(!first.is_finished());
        drop(held);
        first.join().unwrap().unwrap();
    });
    drop(open(&directory));
}
