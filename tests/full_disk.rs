//! A disk that fills up, or cannot be written: a typed error, nothing acknowledged is lost, and the store goes on once
//! there is room.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use komatik::{Durability, Error, History, Store, WriteOptions};

/// A small file system of its own, gone when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(mib: u32) -> Option<SmallDisk> {
        SmallDisk::mount_with(&format!("size={mib}m"))
    }

    fn mount_with(options: &str) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "komatik-test"])
            .arg(directory.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(SmallDisk { directory })
    }

    /// Lets it be written to, or not.
    fn remount(&self, access: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{access}")])
            .arg(self.directory.path())
            .status();
        assert!(status.unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
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

fn open(path: &Path) -> komatik::Result<Store> {
    Store::builder(path)
        .durability(Durability::Immediate)
        .overlay_bytes(1024 * 1024)
        .history(History::of_bytes(1024 * 1024))
        .open()
}

fn assert_holds(store: &Store, acknowledged: &BTreeMap<String, usize>) {
    for (key, size) in acknowledged {
        let found = store.get(key).unwrap().map(|bytes| bytes.len());
        assert_eq!(found, Some(*size), "{key}");
    }
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Fills the disk with contents of this size; answers what was acknowledged.
fn fill(store: &Store, sizes: &[usize]) -> BTreeMap<String, usize> {
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        let size = sizes[number % sizes.len()] + number % 100;
        let key = format!("key{number}");
        match store.put(&key, vec![7; size]) {
            Ok(_) => drop(acknowledged.insert(key, size)),
            Err(Error::NoSpace { .. }) => return acknowledged,
            Err(error) => panic!("{error:?}"),
        }
    }
    acknowledged
}

/// What is replaced makes room for what replaces it, also where nobody waits for the disk.
#[test]
fn a_small_disk_is_enough_for_what_is_replaced_and_deleted() {
    let Some(disk) = SmallDisk::mount(128) else {
        println!("skipped: this user may not mount");
        return;
    };
    let path = disk.path("store");
    for (size, count) in [(10 * 1024 * 1024, 100), (20_000, 20_000)] {
        let store = Store::builder(&path)
            .durability(Durability::Eventual)
            .history(History::of_bytes(1024 * 1024))
            .open()
            .unwrap();
        let content = vec![7; size];
        for number in 0..count {
            store.put("replaced", content.clone()).unwrap();
            if number % 3 == 0 {
                store.put("deleted", content.clone()).unwrap();
                store.delete("deleted").unwrap();
            }
        }
        assert_holds(&store, &BTreeMap::from([("replaced".to_owned(), size)]));
        store.close().unwrap();
    }
}

fn fills_up(sizes: &[usize]) {
    let Some(disk) = SmallDisk::mount(48) else {
        println!("skipped: this user may not mount");
        return;
    };
    let ballast = disk.path("ballast");
    std::fs::write(&ballast, vec![0; 16 * 1024 * 1024]).unwrap();
    let store = open(&disk.path("store")).unwrap();
    let acknowledged = fill(&store, sizes);
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    assert_holds(&store, &acknowledged);
    // Deleting goes on. What lay in packs makes room; sled keeps its file as large as it was, and uses it again.
    for key in acknowledged.keys() {
        store.delete(key).unwrap();
    }
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    let after = store.put("after", vec![1; 100_000]);
    let lay_in_packs = *sizes.iter().max().unwrap() > 10_000;
    assert!(after.is_ok() || !lay_in_packs, "{after:?}");

    // Somebody else takes what is left: the store refuses to write, and goes on reading.
    let acknowledged = fill(&store, sizes);
    fill_with(&disk.path("other"));
    let refused = loop {
        if let Err(error) = store.delete("after").and_then(|_| store.put("after", "")) {
            break error;
        }
    };
    let is_typed = matches!(refused, Error::NoSpace { .. } | Error::Poisoned { .. });
    assert!(is_typed, "{refused:?}");
    for (key, size) in &acknowledged {
        assert_eq!(store.get(key).unwrap().unwrap().len(), *size);
    }
    drop(store);
    std::fs::remove_file(&ballast).unwrap();
    let store = open(&disk.path("store")).unwrap();
    assert_holds(&store, &acknowledged);
    store.put("after", vec![1; 100_000]).unwrap();
    drop(store);
    let store = open(&disk.path("store")).unwrap();
    assert_eq!(store.get("after").unwrap().unwrap().len(), 100_000);
    assert_holds(&store, &acknowledged);
}

/// There is room for bytes, and none for one more file.
#[test]
fn a_disk_without_room_for_files_takes_small_writes_and_deletions() {
    let Some(disk) = SmallDisk::mount_with("size=256m,nr_inodes=100") else {
        println!("skipped: this user may not mount");
        return;
    };
    let path = disk.path("store");
    // Of more than is written here: a segment that is removed gives its inode back.
    let store = Store::builder(&path)
        .durability(Durability::Immediate)
        .overlay_bytes(1024 * 1024)
        .history(History::of_bytes(8 * 1024 * 1024))
        .open()
        .unwrap();
    let mut acknowledged = BTreeMap::new();
    let put = |store: &Store, acknowledged: &mut BTreeMap<String, usize>, numbers| {
        for number in numbers {
            let key = format!("key{number}");
            store.put(&key, vec![7; 900]).unwrap();
            acknowledged.insert(key, 900);
        }
    };
    put(&store, &mut acknowledged, 0..200);
    let others = (0..).map(|number| disk.path(&format!("other{number}")));
    let mut others: Vec<PathBuf> = others
        .take_while(|path| std::fs::File::create(path).is_ok())
        .collect();
    // Twice what a segment of this history holds.
    put(&store, &mut acknowledged, 200..2000);
    for number in 0..700 {
        let key = format!("key{number}");
        store.delete(&key).unwrap();
        acknowledged.remove(&key);
    }
    assert_holds(&store, &acknowledged);
    let refused = store.put("large", vec![1; 100_000]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    let segments = || std::fs::read_dir(path.join("journal")).unwrap().count();
    let before = segments();
    std::fs::remove_file(others.pop().unwrap()).unwrap();
    put(&store, &mut acknowledged, 3000..3010);
    assert_eq!((before, segments()), (1, 2));
    drop(store);
    // An opening makes files.
    for other in others {
        std::fs::remove_file(other).unwrap();
    }
    let store = open(&path).unwrap();
    assert_holds(&store, &acknowledged);
}

fn fill_with(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

#[test]
fn with_small_rows() {
    fills_up(&[3_000]);
}

#[test]
fn with_large_blobs() {
    fills_up(&[700_000, 100_000]);
}

#[test]
fn with_all_sizes() {
    fills_up(&[100, 20_000, 3_500, 300_000]);
}

/// The full disk is met before anything fails, so the store stays in use: what deletes goes through, and so does
/// everything once there is room.
#[test]
fn without_opening_the_store_again() {
    let Some(disk) = SmallDisk::mount(24) else {
        println!("skipped: this user may not mount");
        return;
    };
    let ballast = disk.path("ballast");
    std::fs::write(&ballast, vec![0; 12 * 1024 * 1024]).unwrap();
    let store = open(&disk.path("store")).unwrap();
    let mut acknowledged = BTreeMap::new();
    let refused = loop {
        let (key, size) = (format!("key{}", acknowledged.len()), 3_000);
        match store.put(&key, vec![7; size]) {
            Ok(_) => drop(acknowledged.insert(key, size)),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused:?}");
    assert_holds(&store, &acknowledged);
    for key in ["key0", "key1", "key2"] {
        assert!(store.delete(key).unwrap());
        acknowledged.remove(key);
    }
    std::fs::remove_file(&ballast).unwrap();
    for number in 0..100 {
        let key = format!("after{number}");
        store.put(&key, vec![8; 10_000]).unwrap();
        acknowledged.insert(key, 10_000);
    }
    assert_holds(&store, &acknowledged);
}

/// A deletion that is acknowledged and cannot be brought to the trees would keep all others from giving back anything.
fn everything_is_deleted(delete: impl Fn(&Store, &BTreeMap<String, usize>)) {
    let Some(disk) = SmallDisk::mount(96) else {
        println!("skipped: this user may not mount");
        return;
    };
    // With as much in memory as a store has where nobody says otherwise.
    let store = Store::builder(disk.path("store"))
        .durability(Durability::Eventual)
        .history(History::of_bytes(1024 * 1024))
        .open()
        .unwrap();
    let folder = store.scoped("folder").unwrap();
    let acknowledged = fill(&folder, &[5_000]);
    assert!(acknowledged.len() > 8_000, "{}", acknowledged.len());
    delete(&folder, &acknowledged);
    assert_eq!(store.list("folder").unwrap().count(), 0);
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    store.put("after", vec![1; 30_000_000]).unwrap();
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_full_disk_takes_one_deletion_after_the_other() {
    everything_is_deleted(|folder, acknowledged| {
        for key in acknowledged.keys() {
            assert!(folder.delete(key).unwrap(), "{key}");
        }
    });
}

#[test]
fn a_full_disk_takes_deletions_in_parts_where_one_is_too_large() {
    everything_is_deleted(|folder, acknowledged| {
        let keys: Vec<&String> = acknowledged.keys().collect();
        let delete = |keys: &[&String]| {
            folder.transaction(|all| keys.iter().try_for_each(|key| all.delete(key).map(drop)))
        };
        match delete(&keys) {
            Err(Error::NoSpace { .. }) => {
                keys.chunks(200).for_each(|part| delete(part).unwrap());
            }
            deleted => deleted.unwrap(),
        }
    });
}

/// Packs grow with the store, and to move what is in use out of one takes as much room as that. What little there is
/// belongs to the deletions.
#[test]
fn packs_are_not_emptied_into_room_that_is_not_there() {
    let Some(disk) = SmallDisk::mount(480) else {
        println!("skipped: this user may not mount");
        return;
    };
    let store = open(&disk.path("store")).unwrap();
    let eventual = store.with_durability(Durability::Eventual);
    let mut keys: Vec<String> = fill(&eventual, &[250_000]).into_keys().collect();
    // Two of five stay everywhere, so that no pack is empty, and none is worth less than the room there is.
    keys.sort_by_key(|key| key["key".len()..].parse::<u64>().unwrap());
    let (stay, go): (Vec<_>, Vec<_>) = (0..keys.len()).partition(|number| number % 5 < 2);
    let free_mib = || {
        let room = rustix::fs::statvfs(disk.directory.path()).unwrap();
        room.f_bavail * room.f_frsize / 1024 / 1024
    };
    let mut least = free_mib();
    assert!((3..12).contains(&least), "{least}");
    for chunk in go.chunks(100) {
        for number in chunk {
            store.delete(&keys[*number]).unwrap();
        }
        // As long as something may be moved in the background.
        for _ in 0..10 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            least = least.min(free_mib());
        }
    }
    assert!(least >= 2, "{least} MiB were left");
    for number in &stay {
        assert!(store.get(&keys[*number]).unwrap().is_some());
    }
    // With those gone as well all of it comes back.
    for number in &stay {
        store.delete(&keys[*number]).unwrap();
    }
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    store.put("after", vec![1; 100_000_000]).unwrap();
}

/// Opening needs room as well.
#[test]
fn a_full_disk_refuses_to_open_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(32) else {
        println!("skipped: this user may not mount");
        return;
    };
    let (path, other) = (disk.path("store"), disk.path("other"));
    let store = open(&path).unwrap();
    let mut acknowledged = BTreeMap::new();
    for number in 0..300 {
        let (key, size) = (format!("key{number}"), 3_000 + number * 7);
        store.put(&key, vec![7; size]).unwrap();
        acknowledged.insert(key, size);
    }
    fill_with(&other);
    drop(store);
    for path in [&path, &disk.path("new"), &path] {
        let refused = open(path);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    }
    std::fs::remove_file(&other).unwrap();
    for _ in 0..2 {
        let store = open(&path).unwrap();
        assert_holds(&store, &acknowledged);
        store.put("after", vec![1; 100_000]).unwrap();
        drop(store);
    }
    assert_holds(&open(&path).unwrap(), &acknowledged);
    open(&disk.path("new"))
        .unwrap()
        .put("key", "value")
        .unwrap();
}

/// A file system that nobody can write to: the store does not open, and says why; nothing of it changes, and what it
/// holds can be had by repair.
#[test]
fn a_directory_that_cannot_be_written_is_refused_and_can_be_saved() {
    let Some(disk) = SmallDisk::mount(64) else {
        println!("skipped: this user may not mount");
        return;
    };
    let path = disk.path("store");
    let store = open(&path).unwrap();
    let mut acknowledged = BTreeMap::new();
    for (number, size) in [100, 5_000, 200_000].into_iter().enumerate() {
        let key = format!("key{number}");
        store.put(&key, vec![7; size]).unwrap();
        acknowledged.insert(key, size);
    }
    drop(store);
    disk.remount("ro");
    for path in [&path, &disk.path("new"), &disk.path("new/below")] {
        match open(path) {
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            }
            other => panic!("{other:?}"),
        }
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let saved = elsewhere.path().join("saved");
    let repaired = Store::repair(&path, &saved, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((repaired.entries, &repaired.lost[..]), (3, &[][..]));
    assert_holds(&open(&saved).unwrap(), &acknowledged);
    disk.remount("rw");
    assert!(!disk.path("new").exists());
    let store = open(&path).unwrap();
    assert_holds(&store, &acknowledged);
    store.put("after", "").unwrap();
}

/// Chunks that lie in trees are written twice: first to the journal, then by the checkpoint, without which nothing that is
/// deleted gives its room back.
#[test]
fn with_chunks_in_trees_room_is_left_for_the_checkpoint() {
    let Some(disk) = SmallDisk::mount(12) else {
        println!("skipped: this user may not mount");
        return;
    };
    let builder = Store::builder(disk.path("store")).chunk_bytes(2048);
    let store = builder
        .history(History::of_bytes(64 * 1024))
        .open()
        .unwrap();
    let acknowledged = fill(&store, &[1_000_000]);
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    assert_holds(&store, &acknowledged);
    for key in acknowledged.keys() {
        store.delete(key).unwrap();
    }
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    store.put("after", vec![1; 3_000]).unwrap();
}

/// A part of what a failed write was given may be there.
#[test]
fn a_writer_whose_write_failed_is_never_committed() {
    let Some(disk) = SmallDisk::mount(24) else {
        println!("skipped: this user may not mount");
        return;
    };
    let ballast = disk.path("ballast");
    std::fs::write(&ballast, vec![0; 12 * 1024 * 1024]).unwrap();
    let store = open(&disk.path("store")).unwrap();
    store.put("key", "before").unwrap();
    let mut writer = store.writer("key", WriteOptions::new()).unwrap();
    let refused = loop {
        if let Err(error) = writer.write_all(&[7; 100_000]) {
            break error;
        }
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(&ballast).unwrap();
    assert!(writer.write_all(b"more").is_err());
    let committed = writer.commit();
    assert!(
        matches!(committed, Err(Error::Misuse { .. })),
        "{committed:?}"
    );
    assert_eq!(store.get("key").unwrap().unwrap(), "before");
    store.put("key", vec![8; 100_000]).unwrap();
    assert_holds(&store, &BTreeMap::from([("key".to_owned(), 100_000)]));
}
