//! Repair: what can be saved is saved, what is lost is named, and the damaged store is not touched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use komatik::{Error, Grant, History, Lock, PasswordCost, Repaired, Step, Store};

/// What `filled` leaves: 160 and a copy and a folder, less one that is deleted.
const ENTRIES: u64 = 161;

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A closed store of documents, blobs of every kind of body, a lock, a folder and a shared blob.
fn filled(directory: &Path, history: History) -> BTreeMap<String, Vec<u8>> {
    let store = Store::builder(directory)
        .password_cost(PasswordCost::new(8, 1))
        .history(history)
        .open()
        .unwrap();
    let mut contents = BTreeMap::new();
    for number in 0_u8..40 {
        let key = format!("documents/{number}");
        store.save(&key, &[number; 30]).unwrap();
        for (kind, size) in [("inline", 3_000), ("medium", 20_000), ("large", 200_000)] {
            let key = format!("blobs/{kind}/{number}");
            store.put(&key, vec![number; size]).unwrap();
        }
    }
    store.delete("blobs/large/7").unwrap();
    store
        .copy("blobs/large/1", "copy", komatik::PutMode::Create)
        .unwrap();
    store.create_folder("empty").unwrap();
    store
        .lock("documents/1", Lock::new().edit("secret"))
        .unwrap();
    store.grant("documents/2", Grant::new()).unwrap();
    for item in store
        .list_with("", komatik::ListOptions::new().recursive())
        .unwrap()
    {
        let item = item.unwrap();
        if !item.is_folder {
            let content = store.get(&item.name).unwrap().unwrap();
            contents.insert(item.name, content.to_vec());
        }
    }
    store.close().unwrap();
    contents
}

/// Every file below a directory, with its bytes and when it was changed.
fn files(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(path.clone(), (fs::read(&path).unwrap(), changed));
        }
    }
    found
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Damages a filled store, repairs it, and checks that what the repair does not name is there.
fn repaired(history: History, damage: impl FnOnce(&Path)) -> (Repaired, Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (damaged, into) = (
        directory.path().join("store"),
        directory.path().join("into"),
    );
    let contents = filled(&damaged, history);
    damage(&damaged);
    let before = files(&damaged);
    let repaired = Store::repair(&damaged, &into, go_on).unwrap();
    assert!(files(&damaged) == before, "the damaged store has changed");
    assert_eq!(names(directory.path()), ["into", "store"]);
    let store = Store::open(&into).unwrap();
    let report = store.verify(go_on).unwrap();
    assert!(report.is_sound(), "{report:?}");
    for (key, content) in contents {
        let is_named = repaired.lost.iter().any(|lost| lost.location == key);
        match store.get(&key).unwrap() {
            Some(found) => assert!(found == content && !is_named, "{key}"),
            None => assert!(!repaired.lost.is_empty(), "{key} is lost without a word"),
        }
    }
    (repaired, store, directory)
}

/// Flips a byte in the middle of each of these files.
fn flip(paths: impl IntoIterator<Item = PathBuf>) {
    for path in paths {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(path, bytes).unwrap();
    }
}

fn below(directory: &Path, name: &str) -> Vec<PathBuf> {
    files(&directory.join(name)).into_keys().collect()
}

#[test]
fn a_sound_store_is_saved_whole() {
    let (repaired, store, _directory) = repaired(History::default(), |_| {});
    assert_eq!(repaired.lost, []);
    assert_eq!(repaired.entries, store.stats().unwrap().entries);
    assert!(store.get("blobs/large/7").unwrap().is_none());
    assert!(store.exists("empty").unwrap());
    assert!(store.put("documents/1", "no password").is_err());
    assert_eq!(store.tokens().unwrap().len(), 1);
    let next = store.put("next", "").unwrap().revision;
    assert!(next > store.metadata("copy").unwrap().unwrap().revision);
}

/// The copies hold what the store holds, and nobody else may look into that either.
#[cfg(unix)]
#[test]
fn nobody_else_may_look_into_the_copies_that_a_repair_makes() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let [damaged, into] = ["store", "into"].map(|name| directory.path().join(name));
    filled(&damaged, History::default());
    let mut modes = Vec::new();
    let look = |_| {
        let copies = names(directory.path()).into_iter();
        for name in copies.filter(|name| name.contains(".repair-")) {
            let copy = fs::metadata(directory.path().join(name)).unwrap();
            modes.push(copy.permissions().mode() & 0o777);
        }
        ControlFlow::Continue(())
    };
    Store::repair(&damaged, &into, look).unwrap();
    assert!(!modes.is_empty());
    assert!(modes.iter().all(|mode| *mode == 0o700), "{modes:?}");
}

/// Its journal has no commit at all.
#[test]
fn a_copy_that_nobody_has_used_is_saved_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let store = Store::open(path("store")).unwrap();
    store.put("a", vec![1; 100_000]).unwrap();
    store.backup(path("copy"), go_on).unwrap();
    for (from, to) in [("copy", "saved"), ("saved", "saved again")] {
        let repaired = Store::repair(path(from), path(to), go_on).unwrap();
        assert_eq!((repaired.entries, repaired.lost), (1, Vec::new()), "{from}");
    }
}

#[test]
fn a_damaged_chunk_costs_the_entries_that_need_it_and_names_them() {
    let (repaired, store, _directory) =
        repaired(History::default(), |store| flip(below(store, "packs")));
    assert!(
        !repaired.lost.is_empty() && repaired.lost.len() < 20,
        "{:?}",
        repaired.lost
    );
    for lost in &repaired.lost {
        assert!(!store.exists(&lost.location).unwrap(), "{lost:?}");
    }
}

#[test]
fn without_its_trees_the_journal_gives_everything_back() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        fs::remove_dir_all(store.join("trees")).unwrap();
    });
    assert_eq!(repaired.entries, ENTRIES);
    assert_eq!(repaired.lost.len(), 1, "{:?}", repaired.lost);
}

#[test]
fn trees_that_are_junk_are_done_without() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        for path in below(store, "trees") {
            let length = fs::metadata(&path).unwrap().len();
            fs::write(&path, vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
        }
    });
    assert_eq!(repaired.entries, ENTRIES);
}

#[test]
fn without_its_superblock_the_journal_tells_whose_store_it_was() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        fs::remove_file(store.join("superblock")).unwrap();
    });
    assert_eq!(repaired.entries, ENTRIES);
    assert_eq!(repaired.lost.len(), 1, "{:?}", repaired.lost);
}

#[test]
fn a_superblock_that_is_another_file_is_as_good_as_none() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        fs::copy(store.join("trees/db"), store.join("superblock")).unwrap();
    });
    assert_eq!(repaired.entries, ENTRIES);
    assert_eq!(repaired.lost.len(), 1, "{:?}", repaired.lost);
}

#[test]
fn without_superblock_and_journal_the_packs_tell_whose_store_it_was() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        fs::remove_file(store.join("superblock")).unwrap();
        fs::remove_dir_all(store.join("journal")).unwrap();
    });
    assert_eq!(repaired.entries, ENTRIES);
}

#[test]
fn whole_trees_alone_are_enough_for_what_lies_in_them() {
    let (repaired, store, _directory) = repaired(History::default(), |store| {
        fs::remove_file(store.join("superblock")).unwrap();
        for name in ["journal", "packs"] {
            fs::remove_dir_all(store.join(name)).unwrap();
        }
    });
    assert_eq!(repaired.entries, 81, "documents and what is inline");
    assert!(store.exists("blobs/inline/39").unwrap());
    let lost: Vec<&str> = repaired.lost.iter().map(|lost| &*lost.location).collect();
    for key in ["copy", "blobs/large/39", "blobs/medium/0"] {
        assert!(lost.contains(&key), "{key}: {lost:?}");
    }
}

#[test]
fn a_damaged_journal_leaves_what_the_trees_hold() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        flip(below(store, "journal"));
    });
    assert_eq!(repaired.entries, ENTRIES);
    assert!(!repaired.lost.is_empty());
}

/// The trees know better than a journal that ends before them.
/// Chunks and commits tell by themselves whether they are sound, and whose.
#[test]
fn headers_of_packs_and_of_the_journal_cost_nothing() {
    let zeros = |path: PathBuf, bytes: usize| {
        let mut content = fs::read(&path).unwrap();
        content[..bytes].fill(0);
        fs::write(path, content).unwrap();
    };
    let (saved, store, _directory) = repaired(History::unlimited(), |store| {
        for pack in below(store, "packs") {
            zeros(pack, 32);
        }
    });
    assert_eq!(saved.entries, ENTRIES);
    assert!(!saved.lost.is_empty());
    let is_header = |lost: &komatik::Finding| lost.location.ends_with(".pack");
    assert!(saved.lost.iter().all(is_header), "{:?}", saved.lost);
    assert_eq!(store.stats().unwrap().entries, ENTRIES);
    // All that there is comes from the journal.
    let (saved, ..) = repaired(History::unlimited(), |store| {
        fs::remove_dir_all(store.join("trees")).unwrap();
        for segment in below(store, "journal") {
            zeros(segment, 40);
        }
    });
    assert_eq!(saved.entries, ENTRIES);
    let of_what: Vec<&str> = saved.lost.iter().map(|lost| lost.what).collect();
    assert!(of_what.contains(&"journal"), "{:?}", saved.lost);
}

#[test]
fn trees_that_were_put_aside_are_the_whole_ones() {
    let (saved, store, _directory) = repaired(History::of_bytes(1), |store| {
        fs::rename(store.join("trees"), store.join("trees.aside")).unwrap();
        fs::create_dir(store.join("trees")).unwrap();
        // Else the journal has them as well.
        for segment in below(store, "journal") {
            fs::remove_file(segment).unwrap();
        }
    });
    assert_eq!(saved.entries, ENTRIES);
    assert_eq!(store.stats().unwrap().entries, ENTRIES);
}

#[test]
fn no_revision_is_given_again() {
    let mut last = 0;
    let (_, store, _directory) = repaired(History::of_bytes(1), |store| {
        let opened = Store::open(store).unwrap();
        for number in 0..100 {
            last = opened.put("last", [number]).unwrap().revision;
        }
        // As a kill leaves it, but for the journal, which alone has these commits.
        let left: Vec<_> = files(store).into_iter().collect();
        opened.close().unwrap();
        fs::remove_dir_all(store).unwrap();
        for (path, (bytes, _)) in left {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::remove_dir_all(store.join("journal")).unwrap();
    });
    let next = store.put("next", "1").unwrap().revision;
    assert!(next > last, "{next} after {last}");
}

#[test]
fn an_older_journal_brings_back_nothing_that_was_deleted_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (damaged, into) = (
        directory.path().join("store"),
        directory.path().join("into"),
    );
    filled(&damaged, History::unlimited());
    let older = files(&damaged.join("journal"));
    let store = Store::builder(&damaged)
        .history(History::unlimited())
        .open()
        .unwrap();
    store.delete("documents/3").unwrap();
    store.close().unwrap();
    for (path, (bytes, _)) in older {
        fs::write(path, bytes).unwrap();
    }
    assert!(matches!(Store::open(&damaged), Err(Error::Damaged { .. })));
    let repaired = Store::repair(&damaged, &into, go_on).unwrap();
    let lost: Vec<_> = repaired.lost.iter().map(|lost| lost.what).collect();
    assert_eq!(lost, ["journal"], "{:?}", repaired.lost);
    assert_eq!(repaired.entries, ENTRIES - 1);
    assert!(!Store::open(&into).unwrap().exists("documents/3").unwrap());
}

#[test]
fn what_cannot_be_begun_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (store, into) = (
        directory.path().join("store"),
        directory.path().join("into"),
    );
    assert!(Store::repair(&store, &into, go_on).is_err());
    filled(&store, History::default());
    let open = Store::open(&store).unwrap();
    let found = Store::repair(&store, &into, go_on);
    assert!(matches!(found, Err(Error::InUse { .. })), "{found:?}");
    drop(open);
    fs::create_dir(&into).unwrap();
    fs::write(into.join("file"), "").unwrap();
    assert!(Store::repair(&store, &into, go_on).is_err());
    assert_eq!(fs::read(into.join("file")).unwrap(), b"");
    let found = Store::repair(&store, directory.path().join("new"), |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    assert_eq!(names(directory.path()), ["into", "store"]);
}

/// Whatever lies beside, and under whatever names: only `into` is written to.
#[test]
fn nothing_that_is_there_is_taken_for_room_to_work_in() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let contents = filled(&at("data.repair"), History::default());
    fs::create_dir(at("other.repair")).unwrap();
    fs::write(at("other.repair/letter"), "dear").unwrap();
    let before = files(directory.path());
    for into in ["data", "other"] {
        let repaired = Store::repair(at("data.repair"), at(into), go_on).unwrap();
        assert_eq!((repaired.entries, &repaired.lost[..]), (ENTRIES, &[][..]));
        let store = Store::open(at(into)).unwrap();
        for (key, content) in &contents {
            assert_eq!(&store.get(key).unwrap().unwrap()[..], &content[..], "{key}");
        }
        drop(store);
        fs::remove_dir_all(at(into)).unwrap();
    }
    assert!(files(directory.path()) == before);
    Store::open(at("data.repair")).unwrap();
}

#[test]
fn a_store_is_not_repaired_into_itself() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    filled(&at("store"), History::default());
    std::os::unix::fs::symlink(at("store"), at("link")).unwrap();
    let before = files(&at("store"));
    for (damaged, into) in [
        ("store", "store"),
        ("store", "link"),
        ("link", "store/below"),
        ("store", "link/below/and/below"),
        ("store", "new/../store/below"),
        ("store", "."),
        ("link", "../"),
    ] {
        let found = Store::repair(at(damaged), at(into), go_on);
        let is_refused = matches!(&found, Err(Error::InvalidArgument { what: "into", .. }));
        assert!(is_refused, "{damaged} into {into}: {found:?}");
    }
    assert!(files(&at("store")) == before);
    assert_eq!(names(directory.path()), ["link", "store"]);
    // One is named like the other, and that is all.
    Store::repair(at("link"), at("store2"), go_on).unwrap();
    assert_eq!(names(directory.path()), ["link", "store", "store2"]);
}

/// A repair that is stopped leaves no half of a store, and nothing of the copies it made.
#[test]
fn what_was_begun_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    filled(&at("store"), History::default());
    fs::create_dir(at("empty")).unwrap();
    for into in ["new/below", "empty"] {
        let mut steps = 0;
        let found = Store::repair(at("store"), at(into), |_| {
            steps += 1;
            assert!(steps < 2 || at(into).join("trees").exists());
            match steps {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    }
    assert_eq!(names(directory.path()), ["empty", "store"]);
    assert_eq!(names(&at("empty")), [""; 0]);
}

/// A directory in place of a file answers reads with an error, as a bad sector does.
#[test]
fn what_the_disk_does_not_give_back_is_named_and_the_rest_is_saved() {
    let (repaired, _store, _directory) = repaired(History::default(), |store| {
        for directory in ["journal", "packs"] {
            let path = below(store, directory).remove(0);
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
    });
    let named = |what| repaired.lost.iter().filter(move |lost| lost.what == what);
    let journal: Vec<_> = named("file").map(|lost| &lost.location[..]).collect();
    assert_eq!(journal, ["journal/00000000000000000001.journal at 0"]);
    assert!(repaired.entries > 100, "{}", repaired.entries);
    let lost = u64::try_from(named("entry").count()).unwrap();
    assert_eq!(repaired.entries + lost, ENTRIES);
}

/// With neither trees nor an old journal most of the store is gone; what the journal still tells of is saved.
#[test]
fn what_nothing_tells_of_any_more_is_lost_and_that_is_said() {
    let (repaired, _store, _directory) = repaired(History::of_bytes(0), |store| {
        assert!(below(store, "journal").len() < 3);
        fs::remove_dir_all(store.join("trees")).unwrap();
    });
    assert!(
        (1..ENTRIES).contains(&repaired.entries),
        "{}",
        repaired.entries
    );
    assert!(!repaired.lost.is_empty());
}
