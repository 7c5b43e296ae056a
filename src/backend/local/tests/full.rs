//! A disk without room, in moments that only the inside can choose. See `tests/full_disk.rs` for the whole.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::process::Command;
use std::sync::atomic::Ordering;

use super::*;

/// A large chunk: few rows, so that packs are all that counts.
const LARGE_BYTES: usize = 256 * 1024;

/// A small file system of its own, gone when dropped.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "komatik-test"])
            .arg(directory.path())
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        if !is_mounted {
            println!("skipped: this user may not mount");
        }
        is_mounted.then_some(SmallDisk { directory })
    }

    fn store(&self) -> Local {
        Local::open(&self.directory.path().join("store"), slow()).unwrap()
    }

    /// Leaves so many bytes of room, by means of a file. The store may take some meanwhile.
    fn leave(&self, bytes: u64) -> File {
        let mut file = File::create(self.directory.path().join("other")).unwrap();
        let piece = vec![0; 64 * 1024];
        loop {
            let found = rustix::fs::statvfs(self.directory.path()).unwrap();
            let more = (found.f_bavail * found.f_frsize).saturating_sub(bytes);
            let more = piece.len().min(usize::try_from(more).unwrap());
            match file.write_all(&piece[..more]) {
                Ok(()) if more > 0 => {}
                Err(error) if error.kind() != ErrorKind::StorageFull => panic!("{error}"),
                _ => return file,
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .status();
    }
}

/// Two packs, mostly unused: 0, which comes first and needs 3.25 MiB of room to be emptied, and 1, which needs 2.35 MiB.
/// There is as much room as `left` says, and nothing else to do.
fn with_two_sparse_packs(disk: &SmallDisk, left: u64) -> (Local, File) {
    let local = disk.store();
    for (number, kib) in [(0_u64, 2048), (1, 8192), (2, 1200), (3, 4096)] {
        let bytes = vec![number.to_be_bytes()[7]; kib * 1024];
        (local.put_chunks(blob(number), 0, &bytes, LARGE_BYTES)).unwrap();
        let adopting = Commit {
            adopts: vec![blob(number)],
            ..rows(Durability::Immediate, vec![put(number.to_be_bytes(), b"")])
        };
        commit(&local, adopting).unwrap();
    }
    let alone = local.core.space.alone();
    release(&local, 1);
    release(&local, 3);
    local.flush().unwrap();
    local.core.give_back_blobs(&mut |_, _| Ok(())).unwrap();
    local.core.checkpoint().unwrap();
    let other = disk.leave(left);
    drop(alone);
    assert_eq!(local.core.packs.numbers(), [0, 1]);
    local.core.bell.ring();
    (local, other)
}

/// Whether the thread in the background looks for room once in two seconds at most.
fn sleeps(local: &Local) -> bool {
    let rounds = || local.core.rounds.load(Ordering::Acquire);
    let before = rounds();
    std::thread::sleep(Duration::from_secs(2));
    rounds() - before <= 1
}

fn is_emptied(local: &Local, pack: u64) -> bool {
    !local.core.packs.numbers().contains(&pack)
}

#[test]
fn a_pack_without_room_to_be_emptied_keeps_no_other_from_it() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let (local, _other) = with_two_sparse_packs(&disk, 2900 * 1024);
    eventually("the other is emptied", || is_emptied(&local, 1));
    assert!(!is_emptied(&local, 0));
    assert_sound(&local);
}

#[test]
fn packs_without_room_let_the_thread_sleep_and_are_emptied_once_there_is_some() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let (local, other) = with_two_sparse_packs(&disk, 2048 * 1024);
    // Until the checkpoint is due there are more.
    eventually("the thread sleeps", || sleeps(&local));
    assert_eq!(local.core.packs.numbers(), [0, 1]);
    other
        .set_len(other.metadata().unwrap().len() - 850 * 1024)
        .unwrap();
    eventually("one is emptied", || is_emptied(&local, 1));
    assert_sound(&local);
}

/// A store with a commit that no checkpoint covers, for want of room.
fn with_a_checkpoint_that_failed(disk: &SmallDisk) -> (Local, File) {
    let local = disk.store();
    let superblock = local.core.superblock.lock();
    write(&local, b"key", b"value").unwrap();
    let other = disk.leave(500 * 1024);
    drop(superblock);
    eventually("the checkpoint fails", || {
        local.core.headroom.check_not_short().is_err()
    });
    (local, other)
}

#[test]
fn a_checkpoint_that_found_no_room_is_made_once_there_is_some() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let (local, other) = with_a_checkpoint_that_failed(&disk);
    other.set_len(0).unwrap();
    eventually("the checkpoint", || {
        let applied = local.core.overlay.read().checkpoint();
        applied == local.core.writer.lock().revision()
    });
    local.core.headroom.check_not_short().unwrap();
    assert_sound(&local);
}

#[test]
fn who_closes_does_not_wait_until_the_checkpoint_is_tried_again() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let (local, _other) = with_a_checkpoint_that_failed(&disk);
    eventually("the thread sleeps", || sleeps(&local));
    let rounds = || local.core.rounds.load(Ordering::Acquire);
    let before = rounds();
    eventually("it tries again", || rounds() > before);
    // The next time is in three seconds.
    let begun = Instant::now();
    assert!(matches!(local.close(), Err(Error::NoSpace { .. })));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// What was replaced can go only once what replaced it is on the disk, which takes its time.
#[test]
fn who_finds_no_room_waits_for_what_is_about_to_be_given_back() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let local = disk.store();
    let _other = disk.leave(20 * MIB);
    put_blob(&local, 0, 64, Durability::Immediate).unwrap();
    let held = local.hold_syncs();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for number in 1..60 {
                put_blob(&local, number, 64, Durability::Eventual).unwrap();
                release(&local, number - 1);
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!writer.is_finished());
        drop(held);
        writer.join().unwrap();
    });
    assert_sound(&local);
    // Where nothing is about to be, nobody waits.
    let mut number = 100;
    while put_blob(&local, number, 64, Durability::Immediate).is_ok() {
        number += 1;
    }
    assert!((105..120).contains(&number), "{number}");
}

#[test]
fn an_upload_that_is_dropped_without_any_room_goes_once_there_is_some() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let local = disk.store();
    for index in 0..256 {
        let chunk = [7; 4096];
        local.put_chunks(blob(1), index, &chunk, 4096).unwrap();
    }
    local.flush().unwrap();
    assert!(local.stats().unwrap().chunk_bytes > 0);
    let other = disk.leave(0);
    // What the journal has taken ahead is used up.
    let full = (0..1000).find_map(|number| {
        let nothing = |stage: &mut crate::backend::local::stage::Stage<'_>| {
            stage.write(Tree::Pending, keys::doomed(blob(number)), None);
            Ok(())
        };
        local.core.commit_own(nothing).err()
    });
    assert!(matches!(full, Some(Error::NoSpace { .. })), "{full:?}");
    local.discard(blob(1));
    assert!(local.core.space.is_waiting());
    other.set_len(0).unwrap();
    eventually("its rows are given back", || {
        local.stats().unwrap().chunk_bytes == 0
    });
}

/// Beside a reader nothing comes back for now, and giving it back will need room.
#[test]
fn deletions_beside_a_reader_leave_the_room_that_giving_back_needs() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let local = disk.store();
    for number in 0..2 {
        put_blob(&local, number, 4, Durability::Immediate).unwrap();
    }
    let scan = local.scan(Tree::Entries, b"", None).unwrap();
    release(&local, 0);
    local.flush().unwrap();
    local.core.checkpoint().unwrap();
    let _other = disk.leave(1500 * 1024);
    // Who takes more than was left a moment ago has the disk asked.
    let refused = local.core.take_room(64 * MIB).map(drop);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    let releasing = Commit {
        releases: vec![blob(1)],
        ..rows(Durability::Eventual, vec![delete(1_u64.to_be_bytes())])
    };
    let refused = commit(&local, releasing);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    drop(scan);
    eventually("the first one is given back", || {
        local.stats().unwrap().chunk_bytes == 4 * CHUNK_BYTES as u64
    });
    release(&local, 1);
    assert_sound(&local);
}
