//! Giving space back beside those who read and works that take long.

use std::ops::ControlFlow;

use super::super::space::Alone;
use super::*;

/// Makes packs of 4 MiB, in each of which one chunk is in use. As long as the answer is kept, nobody else empties them.
fn make_sparse_packs(local: &Local, packs: u64) -> Alone<'_> {
    for number in 0..packs {
        put_blob(local, number, 256, Durability::Eventual).unwrap();
        put_blob(local, 1000 + number, 1, Durability::Eventual).unwrap();
    }
    let alone = local.core.space.alone();
    (0..packs).for_each(|number| release(local, number));
    local.flush().unwrap();
    alone
}

#[test]
fn what_becomes_free_while_packs_are_emptied_goes_before_they_all_are() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    put_blob(&local, 77, 100, Durability::Immediate).unwrap();
    local.close().unwrap();
    let local = open(&directory);
    let alone = make_sparse_packs(&local, 8);
    let chunk_bytes = || local.stats().unwrap().chunk_bytes;
    let mut seen = Vec::new();
    let mut progress = |step: crate::report::Step| {
        if step.phase == "packs" {
            if seen.is_empty() {
                release(&local, 77);
                local.flush().unwrap();
            }
            seen.push(chunk_bytes());
        }
        ControlFlow::Continue(())
    };
    let progress = &mut Progress::new(&mut progress);
    local.core.give_back_all(&alone, progress).unwrap();
    drop(alone);
    assert!(seen.len() > 2, "{seen:?}");
    assert_eq!(seen[0] - seen[2], 100 * CHUNK_BYTES as u64, "{seen:?}");
    assert_sound(&local);
}

/// A `compact` with a function of somebody else, which is called for each step with packs, and panics when it answers so.
fn compact_until_it_panics(local: &Local, mut panics: impl FnMut() -> bool) {
    let mut progress = |step: crate::report::Step| {
        if step.phase == "packs" && panics() {
            // Until the thread that gives back has looked, and left it to this one.
            std::thread::sleep(Duration::from_millis(2500));
            panic!("what a function of somebody else may do");
        }
        ControlFlow::Continue(())
    };
    let compacted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        local.compact(&mut Progress::new(&mut progress))
    }));
    assert!(compacted.is_err());
}

#[test]
fn a_progress_function_that_panics_leaves_nothing_lying() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    drop(make_sparse_packs(&local, 8));
    compact_until_it_panics(&local, || {
        (1000..1008).for_each(|number| release(&local, number));
        local.flush().unwrap();
        true
    });
    eventually("all is given back", || {
        local.stats().unwrap().chunk_bytes == 0
    });
    assert_sound(&local);
}

/// Nobody writes any more, and the blobs are gone already.
#[test]
fn packs_that_a_compact_left_empty_go_though_it_panicked() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    drop(make_sparse_packs(&local, 8));
    let mut told = 0;
    compact_until_it_panics(&local, || {
        told += 1;
        if told == 1 {
            (1000..1008).for_each(|number| release(&local, number));
            local.flush().unwrap();
        }
        told > 1
    });
    assert!(!local.core.space.is_waiting());
    eventually("all packs are removed", || {
        local.stats().unwrap().pack_bytes < MIB
    });
    assert_sound(&local);
}

#[test]
fn who_writes_waits_for_nothing_that_only_a_reader_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let alone = local.core.space.alone();
    for number in 0..2 {
        put_blob(&local, number, 1, Durability::Immediate).unwrap();
    }
    let held = local.hold(blob(0)).unwrap().unwrap();
    release(&local, 0);
    local.flush().unwrap();
    assert!(local.core.space.is_waiting() && !local.core.is_space_coming());
    let scan = local.scan(Tree::Entries, b"", None).unwrap();
    release(&local, 1);
    local.flush().unwrap();
    drop(held);
    assert!(local.core.is_space_coming());
    local.core.give_back_blobs(&mut |_, _| Ok(())).unwrap();
    assert!(local.core.space.is_waiting() && !local.core.is_space_coming());
    drop(scan);
    assert!(local.core.is_space_coming());
    drop(alone);
}

/// A commit for each would push out of the journal what others have written.
#[test]
fn many_small_blobs_go_in_few_commits() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    for number in 0..3000 {
        put_blob(&local, number, 1, Durability::Eventual).unwrap();
    }
    let alone = local.core.space.alone();
    (0..3000).for_each(|number| release(&local, number));
    local.flush().unwrap();
    let before = local.core.writer.lock().revision();
    local.core.give_back_blobs(&mut |_, _| Ok(())).unwrap();
    let commits = local.core.writer.lock().revision() - before;
    assert!((6..10).contains(&commits), "{commits}");
    drop(alone);
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
    assert_sound(&local);
}

/// As [`slow`], with a journal that gives nothing back of what the trees hold.
fn forgetful() -> Options {
    Options {
        history: Some(History::of_bytes(1)),
        ..slow()
    }
}

/// Behind everybody's back.
fn damage(local: &Local, tree: Tree, key: Bytes) {
    local.core.checkpoint().unwrap();
    let garbage = (tree, key, Some(Bytes::from_static(b"?")));
    (local.core.trees.apply(&mut std::iter::once(garbage))).unwrap();
}

/// And a large one in several; what is damaged keeps no other, nor the store from being opened.
#[test]
fn blobs_of_every_size_go_and_only_the_damaged_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), forgetful()).unwrap();
    let sizes = [1, 3000, 2, 999, 1000, 1001, 5];
    for (number, size) in (0..).zip(sizes) {
        put_rows(&local, number, size);
    }
    damage(&local, Tree::Chunks, keys::chunk(blob(2), 1));
    let alone = local.core.space.alone();
    (0..7).for_each(|number| release(&local, number));
    damage(&local, Tree::Pending, keys::doomed(blob(6)));
    local.core.give_back_blobs(&mut |_, _| Ok(())).unwrap();
    drop(alone);
    assert!(!local.core.space.is_waiting());
    let left = || local.stats().unwrap().chunk_bytes;
    assert_eq!(left(), (2 + 5) * ROW_CHUNK_BYTES as u64);
    assert!(local.core.journal.oldest() > 1);
    local.close().unwrap();
    let local = Local::open(directory.path(), forgetful()).unwrap();
    put_rows(&local, 7, 3);
    release(&local, 7);
    local.flush().unwrap();
    eventually("what is whole goes", || !local.core.space.is_waiting());
    let left = local.stats().unwrap().chunk_bytes;
    assert_eq!(left, (2 + 5) * ROW_CHUNK_BYTES as u64);
}

#[test]
fn an_upload_whose_row_is_damaged_keeps_nothing_else_from_being_given_back() {
    const SPILLED: usize = 1024;
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), forgetful()).unwrap();
    for number in 0..3 {
        let bytes = vec![7; SPILLED * ROW_CHUNK_BYTES];
        (local.put_chunks(blob(number), 0, &bytes, ROW_CHUNK_BYTES)).unwrap();
    }
    // Two that are dropped, and one that is left to the next opening.
    for number in [0, 2] {
        damage(&local, Tree::Pending, keys::upload(blob(number)));
    }
    let goes = |local: &Local, number| {
        put_rows(local, number, 3);
        release(local, number);
        local.flush().unwrap();
        eventually("what is whole goes", || !local.core.space.is_waiting());
        let left = local.stats().unwrap().chunk_bytes;
        assert_eq!(left, (2 * SPILLED * ROW_CHUNK_BYTES) as u64);
    };
    local.discard(blob(0));
    local.discard(blob(1));
    goes(&local, 10);
    assert!(local.hold(blob(0)).unwrap().is_none());
    assert!(local.core.journal.oldest() > 1);
    local.close().unwrap();
    let local = Local::open(directory.path(), forgetful()).unwrap();
    goes(&local, 11);
}

#[test]
fn a_journal_that_was_moved_is_not_sound() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    write(&local, b"key", b"value").unwrap();
    let [journal, elsewhere] = ["journal", "elsewhere"].map(|name| directory.path().join(name));
    std::fs::rename(&journal, &elsewhere).unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    let refused = local.verify(&mut Progress::new(&mut go_on));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    std::fs::rename(&elsewhere, &journal).unwrap();
    assert_sound(&local);
}
