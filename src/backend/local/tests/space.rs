//! Space that is given back, and space that must not be.

use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::*;

fn pack_bytes(local: &Local) -> u64 {
    local.stats().unwrap().pack_bytes
}

#[test]
fn what_is_overwritten_and_deleted_goes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    let mut number = 0;
    for round in 0..20 {
        for _ in 0..200 {
            put_blob(&local, number, 1, Durability::Eventual).unwrap();
            if round > 0 {
                release(&local, number - 200);
            }
            number += 1;
        }
    }
    (number - 200..number).for_each(|last| release(&local, last));
    eventually("the packs are given back", || pack_bytes(&local) < MIB);
    eventually("and so are the rows", || {
        local.stats().unwrap().chunk_bytes == 0
    });
    let files = std::fs::read_dir(directory.path().join("packs")).unwrap();
    let on_disk: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk < MIB, "{on_disk}");
    assert_sound(&local);
}

#[test]
fn space_is_wanted_early_where_much_comes_and_something_waits_to_go() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    for (number, chunks) in [(1, 1), (2, 2048), (3, 1)] {
        put_blob(&local, number, chunks, Durability::Immediate).unwrap();
    }
    // The thread in the background may be at it.
    let is_wanted = |mib| {
        eventually("nobody else gives back", || {
            local.core.give_back(None).unwrap()
        });
        local.core.is_space_wanted(mib * MIB)
    };
    let assert_wanted = |mib| eventually("it is wanted", || is_wanted(mib));
    assert!(!is_wanted(64), "nothing waits");
    // It waits for the disk.
    release(&local, 1);
    assert!(!is_wanted(15), "more is in use");
    assert_wanted(17);
    release(&local, 2);
    compact(&local).unwrap();
    release(&local, 3);
    assert!(!is_wanted(7), "it is little");
    assert_wanted(8);
}

/// What was coming may come behind who looks for room, and before he looks for what is coming.
#[test]
fn who_finds_no_room_looks_again_before_he_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    let looks = Cell::new(0);
    let take = || match looks.replace(looks.get() + 1) {
        0 => Err(Error::NoSpace {
            doing: "taking room".to_owned(),
            source: std::io::ErrorKind::StorageFull.into(),
        }),
        _ => local.core.take_room(0),
    };
    let nothing_comes = || 0;
    drop(local.core.take_patiently(take, nothing_comes).unwrap());
    assert_eq!(looks.get(), 2);
}

/// Packs with few blobs in use. In the first one, which is the emptiest, it is blob 0, once `damage` was at it; that has the pack's path.
fn with_a_pack_that_cannot_be_emptied(damage: impl FnOnce(&Local, &Path)) -> (TempDir, Local) {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..320 {
        put_blob(&local, number, 8, Durability::Eventual).unwrap();
    }
    local.core.checkpoint().unwrap();
    let packs = std::fs::read_dir(directory.path().join("packs")).unwrap();
    let first = packs.map(|pack| pack.unwrap().path()).min().unwrap();
    damage(&local, &first);
    let stays = |number: u64| number == 0 || (number > 40 && number % 10 == 5);
    let gone = (0..320).filter(|number| !stays(*number));
    gone.for_each(|number| release(&local, number));
    // What is in use twice, and 8 MiB.
    eventually("the others are emptied", || pack_bytes(&local) < 17 * MIB);
    assert!(local.get_chunk(blob(0), 0).is_err());
    for number in (1..320).filter(|number| stays(*number)) {
        assert!(local.get_chunk(blob(number), 0).is_ok(), "{number}");
        assert!(local.get_chunk(blob(number), 7).is_ok(), "{number}");
    }
    (directory, local)
}

/// A frame whose header is damaged is not found, so its chunk cannot be moved, and its pack not be emptied.
#[test]
fn a_pack_that_cannot_be_emptied_keeps_no_other_from_it() {
    let (_directory, local) = with_a_pack_that_cannot_be_emptied(|_, pack| {
        let file = std::fs::OpenOptions::new().write(true).open(pack).unwrap();
        file.write_all_at(&[0xff; 4], 32).unwrap();
    });
    assert!(local.get_chunk(blob(0), 7).is_ok());
}

#[test]
fn a_chunk_whose_row_is_damaged_keeps_no_other_where_it_is() {
    let (_directory, local) = with_a_pack_that_cannot_be_emptied(|local, _| {
        let garbage = Some(Bytes::from_static(b"?"));
        let damaged = (Tree::Chunks, keys::chunk(blob(0), 0), garbage);
        (local.core.trees.apply(&mut std::iter::once(damaged))).unwrap();
    });
    assert!(local.get_chunk(blob(0), 7).is_ok());
}

/// Reading this file fails, as that of a bad sector does.
#[cfg(target_os = "linux")]
#[test]
fn a_pack_that_the_disk_does_not_give_back_keeps_no_other_from_being_emptied() {
    with_a_pack_that_cannot_be_emptied(|local, pack| {
        std::fs::remove_file(pack).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", pack).unwrap();
        let read = local.get_chunk(blob(0), 0);
        assert!(matches!(read, Err(Error::Io { .. })), "{read:?}");
    });
}

#[test]
fn many_uploads_under_way_take_little_memory_and_one_commit_adopts_them_all() {
    const SMALL_BYTES: usize = 4096;
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    let most = 9 * 1024 * 1024;
    for number in 0..150_u64 {
        let bytes = [number.to_be_bytes()[7]; 200_000];
        (local.put_chunks(blob(number), 0, &bytes, SMALL_BYTES)).unwrap();
        let waiting = local.core.uploads.waiting_bytes_for_test();
        assert!(waiting < most, "{waiting} after {number}");
    }
    assert!(local.core.uploads.waiting_bytes_for_test() > most / 2);
    local.discard(blob(1));
    let adopting = Commit {
        adopts: (2..150).map(blob).collect(),
        ..rows(Durability::Immediate, vec![put(b"all", b"")])
    };
    commit(&local, adopting).unwrap();
    local.discard(blob(0));
    assert_eq!(local.core.uploads.waiting_bytes_for_test(), 0);
    for number in 2..150 {
        let last = local.get_chunk(blob(number), 200_000 / SMALL_BYTES as u64);
        let rest = [number.to_be_bytes()[7]; 200_000 % SMALL_BYTES];
        assert_eq!(last.unwrap()[..], rest);
    }
    assert_sound(&local);
}

#[test]
fn who_holds_a_blob_reads_on_while_its_pack_is_rewritten_and_it_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..200 {
        put_blob(&local, number, 8, Durability::Eventual).unwrap();
    }
    let hold = local.hold(blob(7)).unwrap().unwrap();
    let scan = local.scan(Tree::Entries, b"", None).unwrap();
    (0..199).for_each(|number| release(&local, number));
    compact(&local).unwrap();
    // The scan keeps them all.
    assert_eq!(
        local.get_chunk(blob(100), 7).unwrap()[..],
        [100; CHUNK_BYTES]
    );
    drop(scan);
    compact(&local).unwrap();
    assert!(pack_bytes(&local) < 9 * MIB, "{}", pack_bytes(&local));
    for index in 0..8 {
        assert_eq!(
            local.get_chunk(blob(7), index).unwrap()[..],
            [7; CHUNK_BYTES]
        );
        assert_eq!(
            local.get_chunk(blob(199), index).unwrap()[..],
            [199; CHUNK_BYTES]
        );
    }
    assert!(matches!(
        local.get_chunk(blob(8), 0),
        Err(Error::Damaged { .. })
    ));
    drop(hold);
    compact(&local).unwrap();
    assert!(local.get_chunk(blob(7), 0).is_err());
    assert_eq!(local.stats().unwrap().chunk_bytes, 8 * CHUNK_BYTES as u64);
    assert_sound(&local);
}

#[test]
fn few_packs_of_an_upload_under_way_are_left_alone_and_not_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    let uploaded = blob(1000);
    for number in 0..20 {
        put_blob(&local, number, 256, Durability::Eventual).unwrap();
        local
            .put_chunks(uploaded, number, &[8; CHUNK_BYTES], CHUNK_BYTES)
            .unwrap();
    }
    (0..20).for_each(|number| release(&local, number));
    local.flush().unwrap();
    compact(&local).unwrap();
    // No more than two for each upload, however large it is.
    let left_alone = pack_bytes(&local);
    assert!((4 * MIB..16 * MIB).contains(&left_alone), "{left_alone}");
    let adopting = Commit {
        adopts: vec![uploaded],
        ..rows(Durability::Immediate, vec![put(b"uploaded", b"")])
    };
    commit(&local, adopting).unwrap();
    eventually("the packs are rewritten", || pack_bytes(&local) < 5 * MIB);
    for index in 0..20 {
        assert_eq!(
            local.get_chunk(uploaded, index).unwrap()[..],
            [8; CHUNK_BYTES]
        );
    }
    assert_sound(&local);
}

#[test]
fn uploads_that_are_dropped_refused_or_left_open_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    write(&local, b"taken", b"").unwrap();
    // 2,000 rows: part of them in commits of their own.
    let bytes = vec![1; 2 * 1024 * 1024];
    local.put_chunks(blob(1), 0, &bytes, 1024).unwrap();
    local.discard(blob(1));
    local.put_chunks(blob(2), 0, &bytes, CHUNK_BYTES).unwrap();
    let refused = Commit {
        adopts: vec![blob(2)],
        requires: vec![crate::backend::Requirement {
            tree: Tree::Entries,
            key: Bytes::from_static(b"taken"),
            revision: None,
        }],
        ..rows(Durability::Immediate, vec![put(b"taken", b"")])
    };
    let outcome = local.commit(refused, &mut |_| ()).unwrap();
    assert_eq!(outcome, Outcome::Refused(0));
    assert_eq!(local.get_chunk(blob(2), 9).unwrap()[..], [1; CHUNK_BYTES]);
    local.discard(blob(2));
    // Nobody comes back for these two.
    local.put_chunks(blob(3), 0, &bytes, CHUNK_BYTES).unwrap();
    local.put_chunks(blob(4), 0, &bytes, 5000).unwrap();
    local.put_chunks(blob(4), 420, &bytes, 5000).unwrap();
    local
        .put_chunks(blob(4), 840, &bytes.repeat(4), 5000)
        .unwrap();
    local.close().unwrap();
    drop(local);
    let local = open(&directory);
    compact(&local).unwrap();
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
    assert_eq!(local.core.packs.stats().live_bytes, 0);
    assert!(pack_bytes(&local) < MIB);
    assert_sound(&local);
}

#[test]
fn who_stops_giving_back_may_go_on_later() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..20 {
        put_rows(&local, number, 600);
    }
    let scan = local.scan(Tree::Entries, b"", None).unwrap();
    (0..20).for_each(|number| release(&local, number));
    local.flush().unwrap();
    // Else the thread in the background may be first.
    let alone = local.core.space.alone();
    drop(scan);
    let mut steps = 0;
    let stopped = local.core.give_back_blobs(&mut |_, _| {
        steps += 1;
        match steps {
            5 => Err(Error::Cancelled),
            _ => Ok(()),
        }
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
    // Four steps of a thousand rows, some of which say that the last of a blob are gone.
    let left = local.stats().unwrap().chunk_bytes / ROW_CHUNK_BYTES as u64;
    assert!((20 * 600 - 4000..20 * 600 - 3980).contains(&left), "{left}");
    drop(alone);
    compact(&local).unwrap();
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
    assert_sound(&local);
}

/// Two of them would each count the chunks that one moves and the other deletes.
#[test]
fn one_at_a_time_gives_back() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    put_blob(&local, 1, 1, Durability::Immediate).unwrap();
    let alone = local.core.space.alone();
    release(&local, 1);
    std::thread::scope(|threads| {
        let second = threads.spawn(|| compact(&local));
        // The thread in the background passes by, and goes on making checkpoints.
        eventually("a checkpoint", || {
            let applied = local.core.overlay.read().checkpoint();
            applied == local.core.writer.lock().revision()
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!second.is_finished());
        assert!(local.get_chunk(blob(1), 0).is_ok());
        drop(alone);
        second.join().unwrap().unwrap();
    });
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
}

#[test]
fn who_is_told_of_the_progress_of_compact_cannot_wait_for_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    let mut told = 0;
    for number in 0..10 {
        put_rows(&local, number, 600);
    }
    let alone = local.core.space.alone();
    (0..10).for_each(|number| release(&local, number));
    local.flush().unwrap();
    let mut calls = |_| {
        told += 1;
        assert!(matches!(compact(&local), Err(Error::Misuse { .. })));
        assert!(matches!(local.close(), Err(Error::Misuse { .. })));
        std::ops::ControlFlow::Continue(())
    };
    // As `compact` does, and nobody else meanwhile.
    let progress = &mut Progress::new(&mut calls);
    local.core.give_back_all(&alone, progress).unwrap();
    drop(alone);
    assert!(told >= 6, "{told}");
    compact(&local).unwrap();
    local.close().unwrap();
}

#[test]
fn a_progress_function_that_panics_costs_no_space() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..10 {
        put_rows(&local, number, 600);
    }
    let alone = local.core.space.alone();
    (0..10).for_each(|number| release(&local, number));
    local.flush().unwrap();
    let mut told = 0;
    let mut calls = |_| {
        told += 1;
        assert!(told < 4, "what a function of somebody else may do");
        std::ops::ControlFlow::Continue(())
    };
    let given = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let progress = &mut Progress::new(&mut calls);
        local.core.give_back_all(&alone, progress)
    }));
    assert!(given.is_err());
    drop(alone);
    compact(&local).unwrap();
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
    assert!(!local.core.space.is_waiting());
    assert_sound(&local);
}

#[test]
fn a_blob_that_is_being_given_back_still_waits() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..3 {
        put_rows(&local, number, 600);
    }
    let alone = local.core.space.alone();
    (0..3).for_each(|number| release(&local, number));
    local.flush().unwrap();
    let mut steps = 0;
    let given = local.core.give_back_blobs(&mut |_, _| {
        steps += 1;
        assert!(local.core.space.is_waiting());
        Ok(())
    });
    given.unwrap();
    assert_eq!(steps, 2);
    assert!(!local.core.space.is_waiting());
    drop(alone);
}

#[test]
fn a_blob_that_cannot_be_given_back_is_not_waited_for_nor_held() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    put_blob(&local, 1, 2, Durability::Immediate).unwrap();
    compact(&local).unwrap();
    // Behind everybody's back.
    let key = crate::backend::local::keys::chunk(blob(1), 1);
    let garbage = (Tree::Chunks, key, Some(Bytes::from_static(b"?")));
    (local.core.trees.apply(&mut std::iter::once(garbage))).unwrap();
    release(&local, 1);
    local.flush().unwrap();
    compact(&local).unwrap();
    assert!(local.stats().unwrap().chunk_bytes > 0);
    assert!(!local.core.space.is_waiting());
    assert!(local.hold(blob(1)).unwrap().is_none());
}

/// Nothing can go before what replaced it is on the disk, and the disk is slow.
#[test]
fn who_replaces_faster_than_the_disk_is_waits_for_it() {
    const BYTES: u64 = 64 * CHUNK_BYTES as u64;
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    put_blob(&local, 0, 64, Durability::Immediate).unwrap();
    let held = local.hold_syncs();
    let put = AtomicU64::new(0);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for number in 1..200 {
                put_blob(&local, number, 64, Durability::Eventual).unwrap();
                release(&local, number - 1);
                put.store(number, Ordering::Relaxed);
            }
        });
        eventually("it puts some", || put.load(Ordering::Relaxed) > 0);
        std::thread::sleep(Duration::from_millis(500));
        let bytes = put.load(Ordering::Relaxed) * BYTES;
        assert!(bytes < 64 * MIB, "{bytes}");
        drop(held);
        writer.join().unwrap();
    });
    assert_sound(&local);
}

#[test]
fn what_was_moved_is_on_the_disk_before_its_old_pack_goes() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    for number in 0..4 {
        put_blob(&local, number, 4, Durability::Immediate).unwrap();
    }
    let before = local.core.packs.numbers();
    (0..2).for_each(|number| release(&local, number));
    local.flush().unwrap();
    compact(&local).unwrap();
    let after = local.core.packs.numbers();
    assert!(before.iter().all(|number| !after.contains(number)));
    assert!(local.core.packs.unsynced().is_empty());
    assert_sound(&local);
}

/// A replay would else look for chunks that are gone.
#[test]
fn a_pack_goes_after_the_superblock_tells_of_what_emptied_it() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    put_blob(&local, 1, 128, Durability::Immediate).unwrap();
    // Else the thread in the background may be first.
    let alone = local.core.space.alone();
    release(&local, 1);
    local.flush().unwrap();
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    let progress = &mut Progress::new(&mut go_on);
    local.core.give_back_all(&alone, progress).unwrap();
    assert!(local.core.packs.numbers().is_empty());
    let told = local.core.superblock.lock().content().checkpoint;
    assert_eq!(told, local.core.writer.lock().revision());
    drop(alone);
}
