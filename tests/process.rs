//! What a process may do while it has a store open: work in another directory, move it. That it forks is in `forking.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use komatik::{Error, History, Store};

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
