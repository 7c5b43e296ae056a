//! What a process may do while it has a store open: work in another directory, fork.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test that panics fails; a process can be forked and waited for in no other way"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use komatik::{Durability, Error, History, Store, WriteOptions};

/// After so many seconds a process that waits for ever is ended.
const PATIENCE: libc::c_uint = 60;
/// How one ends that found everything as it should be.
const AS_IT_SHOULD: libc::c_int = 0;
const NOT_AS_IT_SHOULD: libc::c_int = 1;

/// Runs `child` in a process of its own; answers that process. It ends there, and nothing of the caller's is dropped.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the C library makes its allocator usable behind a fork; the child calls nothing that needs another thread,
    // and ends by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: both take a number and touch no memory.
            unsafe { libc::alarm(PATIENCE) };
            // Past the harness, which would print it in its own process.
            std::panic::set_hook(Box::new(|panic| {
                drop(writeln!(std::io::stderr(), "{panic}"))
            }));
            let ended = catch_unwind(AssertUnwindSafe(child));
            let code = if ended.is_ok() {
                AS_IT_SHOULD
            } else {
                NOT_AS_IT_SHOULD
            };
            // SAFETY: as above.
            unsafe { libc::_exit(code) }
        }
        process => {
            // What it owns is the other process's.
            std::mem::forget(child);
            let child = process;
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            child
        }
    }
}

fn assert_ended_well(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the status is written to a variable of ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == AS_IT_SHOULD,
        "status {status:#x}"
    );
}

fn assert_misuse<T: std::fmt::Debug>(answer: komatik::Result<T>) {
    assert!(matches!(answer, Err(Error::Misuse { .. })), "{answer:?}");
}

fn assert_is_of_no_use(store: &Store) {
    assert_misuse(store.get("parent"));
    assert_misuse(store.list(""));
    assert_misuse(store.put("child", "no"));
    assert_misuse(store.delete("parent"));
    assert_misuse(store.flush());
    assert_misuse(store.compact(|_| ControlFlow::Continue(())));
    assert_misuse(store.writer("large", WriteOptions::new()));
    assert_misuse(store.transaction(|tx| tx.put("child", "no")));
}

fn assert_sound(store: &Store) {
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// What is opened by name later on is looked for where the store is, not below where the process is by then.
#[test]
fn a_store_that_was_opened_by_a_relative_path_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let before = directory.path().join("before");
    let after = directory.path().join("after");
    // What a store of the same name would have: only a path that is resolved again finds it.
    std::fs::create_dir_all(after.join("store/packs")).unwrap();
    std::fs::create_dir(&before).unwrap();
    std::env::set_current_dir(&before).unwrap();
    let store = Store::open("store").unwrap();
    std::env::set_current_dir(&after).unwrap();
    store.put("large", vec![7; 3_000_000]).unwrap();
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    store.backup("copy", |_| ControlFlow::Continue(())).unwrap();
    store.close().unwrap();
    assert!(names(&after.join("store/packs")).is_empty());
    for place in [before.join("store"), after.join("copy")] {
        let store = Store::open(place).unwrap();
        assert_eq!(store.get("large").unwrap().unwrap(), vec![7; 3_000_000]);
        assert_sound(&store);
    }
    assert!(Store::open("").is_err());
}

/// A process that is forked off has the same files open, and would write over what the other one writes.
#[test]
fn a_forked_process_writes_nothing_and_leaves_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = Store::open(&path).unwrap();
    let eventual = store.with_durability(Durability::Eventual);
    eventual.put("parent", "1").unwrap();
    store.put("more", vec![1; 3_000_000]).unwrap();
    let mut writer = store.writer("begun", WriteOptions::new()).unwrap();
    // Another thread has the gate that writes go through; in the child there is no such thread.
    let (entered, is_inside) = std::sync::mpsc::channel();
    let (leave, is_over) = std::sync::mpsc::channel::<()>();
    let other = {
        let store = store.clone();
        std::thread::spawn(move || {
            store.transaction(|tx| {
                entered.send(()).unwrap();
                let _ = is_over.recv();
                tx.put("other", "1")
            })
        })
    };
    is_inside.recv().unwrap();
    let child = fork(|| {
        assert_is_of_no_use(&store);
        assert!(writer.write_all(&vec![1; 3_000_000]).is_err());
        // SAFETY: the process ends without using or dropping once more what the other one goes on to use.
        unsafe {
            drop(std::ptr::read(&writer));
            drop(std::ptr::read(&store));
            drop(std::ptr::read(&eventual));
        }
    });
    assert_ended_well(child);
    drop(leave);
    other.join().unwrap().unwrap();
    let second = Store::open(&path);
    assert!(
        matches!(&second, Err(Error::InUse { by: Some(_), .. })),
        "{second:?}"
    );
    store.put("after", vec![2; 3_000_000]).unwrap();
    assert_sound(&store);
    writer.write_all(&vec![3; 3_000_000]).unwrap();
    writer.commit().unwrap();
    drop((store, eventual));
    let store = Store::open(&path).unwrap();
    assert_eq!(store.get("parent").unwrap().unwrap(), "1");
    assert_eq!(store.get("after").unwrap().unwrap(), vec![2; 3_000_000]);
    assert_eq!(store.get("begun").unwrap().unwrap(), vec![3; 3_000_000]);
    assert!(!store.exists("child").unwrap());
    assert_sound(&store);
}

/// sled has threads for all that a process does, which a process that is forked off does not have.
#[test]
fn a_forked_process_opens_no_store_where_one_was_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    Store::open(&path).unwrap().put("a", "1").unwrap();
    let child = fork(|| {
        assert_misuse(Store::open(&path));
        assert_misuse(Store::open(directory.path().join("another")));
        let saved = directory.path().join("saved");
        assert_misuse(Store::repair(&path, saved, |_| ControlFlow::Continue(())));
    });
    assert_ended_well(child);
    assert_sound(&Store::open(&path).unwrap());
}

fn contents_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let bytes = std::fs::read(directory.join(&name)).unwrap();
        (name, bytes)
    };
    names(directory).into_iter().map(read).collect()
}

/// Both stores number their packs from the same number on.
#[test]
fn a_store_that_was_moved_touches_nothing_of_the_one_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let builder = |path| Store::builder(path).history(History::of_bytes(1));
    let moved = builder(at("store")).open().unwrap();
    moved.put("large", vec![7; 9_000_000]).unwrap();
    moved
        .backup(at("copy"), |_| ControlFlow::Continue(()))
        .unwrap();
    std::fs::rename(at("store"), at("moved")).unwrap();
    std::fs::rename(at("copy"), at("store")).unwrap();
    let there = Store::open(at("store")).unwrap();
    there.put("more", vec![8; 100_000]).unwrap();
    there.close().unwrap();
    let parts = ["store/packs", "store/journal", "store"];
    let files = |part: &str| match part {
        "store" => names(&at(part))
            .into_iter()
            .map(|name| (name, Vec::new()))
            .collect(),
        part => contents_of(&at(part)),
    };
    let before = parts.map(files);

    // Gives a pack back, fills the journal, and makes packs.
    let _ = moved.delete("large");
    let _ = moved.compact(|_| ControlFlow::Continue(()));
    let mut acknowledged = 0;
    let refused = loop {
        match moved.put(&format!("small{acknowledged}"), vec![1; 500]) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "it goes on");
    };
    assert!(
        matches!(refused, Error::Io { .. } | Error::Poisoned { .. }),
        "{refused:?}"
    );
    assert!(moved.put("large", vec![7; 9_000_000]).is_err());
    drop(moved);
    assert!(before == parts.map(files));
    let there = Store::open(at("store")).unwrap();
    assert_eq!(there.get("large").unwrap().unwrap(), vec![7; 9_000_000]);
    assert_sound(&there);
    let moved = builder(at("moved")).open().unwrap();
    for number in 0..acknowledged {
        assert!(moved.exists(&format!("small{number}")).unwrap(), "{number}");
    }
    assert_sound(&moved);
}

#[test]
fn a_store_stays_where_it_is_when_the_link_to_it_leads_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("one")).unwrap();
    std::fs::create_dir_all(at("two/packs")).unwrap();
    std::os::unix::fs::symlink(at("one"), at("current")).unwrap();
    let store = Store::open(at("current")).unwrap();
    std::fs::remove_file(at("current")).unwrap();
    std::os::unix::fs::symlink(at("two"), at("current")).unwrap();
    store.put("large", vec![7; 3_000_000]).unwrap();
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    drop(store);
    assert!(names(&at("two/packs")).is_empty());
    let store = Store::open(at("one")).unwrap();
    assert_eq!(store.get("large").unwrap().unwrap(), vec![7; 3_000_000]);
}

#[test]
fn only_its_owner_may_look_into_a_directory_that_a_store_made() {
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let given = directory.path().join("given");
    std::fs::create_dir(&given).unwrap();
    std::fs::set_permissions(&given, PermissionsExt::from_mode(0o750)).unwrap();
    Store::open(&given).unwrap();
    assert_eq!(mode(&given), 0o750);
    let store = Store::open(directory.path().join("above/made")).unwrap();
    assert_eq!(mode(&directory.path().join("above/made")), 0o700);
    let copy = directory.path().join("copy");
    store.backup(&copy, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(mode(&copy), 0o700);
    let ordinary = directory.path().join("ordinary");
    std::fs::create_dir(&ordinary).unwrap();
    assert_eq!(mode(&directory.path().join("above")), mode(&ordinary));
}
