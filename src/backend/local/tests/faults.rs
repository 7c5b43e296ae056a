//! Trees and syncs that fail.

use std::sync::atomic::Ordering;

use super::*;
use crate::backend::local::trees::fault::{FaultTrees, Lasting, Operation};

pub(super) fn open_faulty(directory: &TempDir) -> (Local, Arc<FaultTrees>) {
    open_faulty_with(directory, Options::default())
}

pub(super) fn open_faulty_with(directory: &TempDir, options: Options) -> (Local, Arc<FaultTrees>) {
    let opened = Mutex::new(None);
    let open_trees = |directory: &Path, options: &Options, left: open::Left| {
        let trees = open::open_trees(directory, options, left)?;
        let faulty = Arc::new(FaultTrees::new(trees));
        *opened.lock() = Some(Arc::clone(&faulty));
        Ok(faulty as Arc<dyn Trees>)
    };
    let local = Local::open_on(directory.path(), options, &open_trees).unwrap();
    let faulty = opened.lock().take().unwrap();
    (local, faulty)
}

/// Writes and makes checkpoints until something fails; answers how many writes were acknowledged.
fn write_until_failure(local: &Local) -> u32 {
    for number in 0_u32..200 {
        if write(local, number.to_be_bytes(), [7; 100]).is_err() {
            return number;
        }
        if number % 3 == 2 && compact(local).is_err() {
            return number + 1;
        }
    }
    panic!("nothing failed")
}

#[test]
fn trees_that_fail_cost_nothing_acknowledged() {
    for operation in [Operation::Apply, Operation::Flush] {
        for lasting in [Lasting::Once, Lasting::ForEver] {
            for nth in [1, 2, 3, 7] {
                let directory = tempfile::tempdir().unwrap();
                let (local, trees) = open_faulty(&directory);
                trees.fail(operation, nth, lasting);
                let acknowledged = write_until_failure(&local);
                let refused = write(&local, b"more", b"");
                assert!(
                    matches!(refused, Err(Error::Poisoned { .. })),
                    "{refused:?}"
                );
                assert!(matches!(compact(&local), Err(Error::Poisoned { .. })));
                let refused = local.put_chunks(blob(1), 0, b"more", 512);
                assert!(matches!(refused, Err(Error::Poisoned { .. })));
                for number in 0..acknowledged {
                    assert!(read(&local, number.to_be_bytes()).is_some());
                }
                drop(local);
                let told = directory.path().join("failed");
                assert!(told.exists());
                let local = open(&directory);
                assert!(!told.exists());
                for number in 0..acknowledged {
                    assert!(read(&local, number.to_be_bytes()).is_some(), "{number}");
                }
                assert_sound(&local);
                write(&local, b"more", b"").unwrap();
            }
        }
    }
}

#[test]
fn a_read_that_fails_refuses_one_commit_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let (local, trees) = open_faulty(&directory);
    write(&local, b"key", b"1").unwrap();
    compact(&local).unwrap();
    trees.fail(Operation::Get, 1, Lasting::Once);
    assert!(matches!(write(&local, b"key", b"2"), Err(Error::Io { .. })));
    trees.heal();
    assert_eq!(read(&local, b"key").unwrap(), "1");
    write(&local, b"key", b"3").unwrap();
    drop(local);
    let local = open(&directory);
    assert_eq!(read(&local, b"key").unwrap(), "3");
    assert_sound(&local);
}

#[test]
fn a_damaged_row_under_an_open_scan_does_not_stop_the_writers() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"key", b"1").unwrap();
    compact(&local).unwrap();
    let scan = local.scan(Tree::Entries, b"", None).unwrap();
    write(&local, b"key", b"2").unwrap();
    // Behind everybody's back.
    let garbage = (
        Tree::Entries,
        Bytes::from_static(b"key"),
        Some(Bytes::from_static(b"?")),
    );
    local
        .core
        .trees
        .apply(&mut std::iter::once(garbage))
        .unwrap();
    compact(&local).unwrap();
    assert_eq!(read(&local, b"key").unwrap(), "2");
    assert_sound(&local);
    drop(scan);
}

/// Which may take long: another commit is being made, and fails.
#[test]
fn a_commit_that_waits_for_its_turn_does_not_follow_one_that_failed() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"before", b"").unwrap();
    let before = local.history().newest;
    let turn = local.core.writer.lock();
    std::thread::scope(|threads| {
        let waits = threads.spawn(|| write(&local, b"key", b""));
        eventually("it has room and waits for its turn", || {
            local.core.headroom.is_being_written()
        });
        let failed = std::io::Error::other("injected fault");
        local.core.health.poison(Error::io("writing", failed));
        drop(turn);
        let refused = waits.join().unwrap();
        assert!(
            matches!(refused, Err(Error::Poisoned { .. })),
            "{refused:?}"
        );
    });
    assert_eq!(local.core.writer.lock().revision(), before);
    drop(local);
    let local = open(&directory);
    assert_eq!(read(&local, b"key"), None);
}

#[test]
fn a_sync_that_fails_acknowledges_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"before", b"").unwrap();
    let hooks = &local.core.settling.test;
    hooks.fail_next.store(true, Ordering::Relaxed);
    let held = hooks.hold.lock();
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0_u32..6)
            .map(|number| {
                threads.spawn({
                    let local = &local;
                    move || write(local, number.to_be_bytes(), b"")
                })
            })
            .collect();
        eventually("all are ordered", || {
            local.core.writer.lock().revision() == 7
        });
        drop(held);
        for writer in writers {
            let failed = writer.join().unwrap();
            assert!(matches!(failed, Err(Error::Poisoned { .. })), "{failed:?}");
        }
    });
    assert!(matches!(
        write(&local, b"more", b""),
        Err(Error::Poisoned { .. })
    ));
    assert!(matches!(local.flush(), Err(Error::Poisoned { .. })));
    assert_eq!(local.history().newest, 1);
    assert!(read(&local, b"before").is_some());
    assert!(read(&local, 1_u32.to_be_bytes()).is_none());
}

/// Who writes the log may panic, for example.
#[test]
fn a_sync_that_panics_leaves_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let hooks = &local.core.settling.test;
    hooks.panic_next.store(true, Ordering::Relaxed);
    let held = hooks.hold.lock();
    std::thread::scope(|threads| {
        let writers = [0_u32, 1, 2].map(|number| {
            let local = &local;
            threads.spawn(move || write(local, number.to_be_bytes(), b""))
        });
        eventually("all are ordered", || {
            local.core.writer.lock().revision() == 3
        });
        drop(held);
        let ended = writers.map(std::thread::ScopedJoinHandle::join);
        let panics = ended.iter().filter(|ended| ended.is_err()).count();
        assert_eq!(panics, 1, "{ended:?}");
        for ended in ended.into_iter().flatten() {
            assert!(matches!(ended, Err(Error::Poisoned { .. })), "{ended:?}");
        }
    });
    assert_eq!(local.history().newest, 0);
}

#[test]
fn a_thread_that_panics_poisons_the_store_instead_of_hanging_it() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(
        directory.path(),
        Options {
            overlay_bytes: 1000,
            ..slow()
        },
    )
    .unwrap();
    local.core.space.panic_for_test();
    let mut refused = Ok(0);
    for number in 0_u32..100 {
        refused = write(&local, number.to_be_bytes(), [0; 500]);
        if refused.is_err() {
            break;
        }
    }
    assert!(
        matches!(refused, Err(Error::Poisoned { .. })),
        "{refused:?}"
    );
}

/// What sled does when damage in its log is taken for the end of a segment.
fn lose(local: &Local, keys: &[u32]) {
    let lost = keys.iter().map(|key| {
        let key = Bytes::copy_from_slice(&key.to_be_bytes());
        (Tree::Entries, key, None)
    });
    local
        .core
        .trees
        .apply(&mut lost.collect::<Vec<_>>().into_iter())
        .unwrap();
    local.core.trees.flush().unwrap();
}

fn with_rows(history: History) -> (TempDir, Local) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history: Some(history),
        ..slow()
    };
    let local = Local::open(directory.path(), options).unwrap();
    for number in 0_u32..300 {
        write(&local, number.to_be_bytes(), [7; 1000]).unwrap();
    }
    put_blob(&local, 5, 4, Durability::Immediate).unwrap();
    compact(&local).unwrap();
    (directory, local)
}

#[test]
fn rows_that_sled_lost_silently_come_back_after_a_crash() {
    let (directory, local) = with_rows(History::unlimited());
    lose(&local, &[3, 4, 299]);
    let crashed = copy(directory.path());
    let local = open(&crashed);
    for number in 0_u32..300 {
        assert!(read(&local, number.to_be_bytes()).is_some(), "{number}");
    }
    assert_eq!(local.get_chunk(blob(5), 3).unwrap().len(), CHUNK_BYTES);
    assert_sound(&local);
}

/// Each time trees take rows they make them durable, which takes long where it is done for each commit.
#[test]
fn many_commits_come_back_at_once() {
    let (directory, local) = with_rows(History::unlimited());
    lose(&local, &[3, 299]);
    let crashed = copy(directory.path());
    let open_trees = |directory: &Path, options: &Options, left: open::Left| {
        let trees = FaultTrees::new(open::open_trees(directory, options, left)?);
        trees.fail(Operation::Apply, 10, Lasting::ForEver);
        Ok(Arc::new(trees) as Arc<dyn Trees>)
    };
    let local = Local::open_on(crashed.path(), slow(), &open_trees).unwrap();
    assert!(read(&local, 3_u32.to_be_bytes()).is_some());
    assert_sound(&local);
}

/// What is behind the checkpoint goes to the trees as well where the overlay has no room for it. The journal does not reach
/// back to the beginning, so that nothing else brings them back.
#[test]
fn rows_that_sled_lost_come_back_as_they_were_last() {
    let history = History::of_bytes(200_000);
    let (directory, local) = with_rows(history);
    let no_checkpoint = local.core.superblock.lock();
    for number in 200_u32..290 {
        let row = vec![put(number.to_be_bytes(), [9; 1000])];
        commit(&local, rows(Durability::Immediate, row)).unwrap();
    }
    assert!((2..200).contains(&local.core.journal.oldest()));
    lose(&local, &[299]);
    let crashed = copy(directory.path());
    drop(no_checkpoint);
    let options = Options {
        overlay_bytes: 16 * 1024,
        history: Some(history),
        ..slow()
    };
    let local = Local::open(crashed.path(), options).unwrap();
    for number in 0_u32..300 {
        let value = read(&local, number.to_be_bytes()).unwrap();
        assert_eq!(value[0] == 9, (200..290).contains(&number), "{number}");
    }
    assert_sound(&local);
}

/// An orderly end says nothing of the rows, until somebody has looked at them.
#[test]
fn rows_that_verify_misses_come_back_when_the_store_is_opened_again() {
    for damage in [None, Some(Bytes::from_static(b"damaged"))] {
        let (directory, local) = with_rows(History::unlimited());
        let key = Bytes::copy_from_slice(&7_u32.to_be_bytes());
        let write = (Tree::Entries, key, damage);
        local.core.trees.apply(&mut [write].into_iter()).unwrap();
        local.close().unwrap();
        let local = open(&directory);
        let found = local.get(View::Settled, Tree::Entries, &7_u32.to_be_bytes());
        assert!(!matches!(found, Ok(Some(_))));
        let found = findings(&local);
        assert!(
            found[0].problem.contains("open it again"),
            "{:?}",
            found[0].problem
        );
        local.close().unwrap();
        let local = open(&directory);
        assert_eq!(read(&local, 7_u32.to_be_bytes()).unwrap(), [7; 1000][..]);
        assert_sound(&local);
        local.close().unwrap();
    }
}

#[test]
fn rows_that_the_journal_cannot_give_back_are_told_and_nothing_is_removed() {
    let (directory, local) = with_rows(History::of_bytes(1));
    assert!(local.core.journal.oldest() > 100);
    lose(&local, &[3, 4]);
    let crashed = copy(directory.path());
    let refused = Local::open(crashed.path(), slow()).map(drop);
    assert!(
        matches!(refused, Err(Error::Damaged { what: "trees", .. })),
        "{refused:?}"
    );
    assert!(crashed.path().join("trees").exists());
    assert_eq!(
        std::fs::read_dir(crashed.path().join("packs"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn trees_that_do_not_open_are_made_anew_from_a_journal_that_has_everything() {
    for is_whole in [true, false] {
        let history = if is_whole {
            History::unlimited()
        } else {
            History::of_bytes(1)
        };
        let (directory, local) = with_rows(history);
        local.close().unwrap();
        for file in std::fs::read_dir(directory.path().join("trees")).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                std::fs::write(path, b"garbage").unwrap();
            }
        }
        let opened = Local::open(directory.path(), slow());
        assert!(!directory.path().join("trees.aside").exists());
        match opened {
            Ok(local) => {
                assert!(is_whole);
                assert!(read(&local, 299_u32.to_be_bytes()).is_some());
                assert_eq!(local.get_chunk(blob(5), 3).unwrap().len(), CHUNK_BYTES);
                assert_sound(&local);
            }
            Err(error) => {
                assert!(!is_whole, "{error:?}");
                assert!(
                    matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }),
                    "{error:?}"
                );
                let kept = std::fs::read(directory.path().join("trees/db")).unwrap();
                assert_eq!(kept, b"garbage");
            }
        }
    }
}

#[test]
fn a_rebuilding_that_was_cut_short_begins_again() {
    let (directory, local) = with_rows(History::unlimited());
    local.close().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::rename(path("trees"), path("trees.aside")).unwrap();
    std::fs::create_dir(path("trees")).unwrap();
    let local = open(&directory);
    assert!(read(&local, 299_u32.to_be_bytes()).is_some());
    assert_sound(&local);
    assert!(!path("trees.aside").exists());
}
