//! What entries and folders have in common: being there, moving, being copied and deleted.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::stores;
use komatik::{Attributes, Error, ListOptions, PutMode, PutOptions, Store};

const ANY: PutMode = PutMode::Overwrite;

fn text(store: &Store, key: &str) -> Option<String> {
    let bytes = store.get(key).unwrap()?;
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn folders_are_there_with_their_keys() {
    for case in stores() {
        let store = &case.store;
        store.put("a/b/c", "1").unwrap();
        store.put("a/b", "2").unwrap();
        store.put("ab", "3").unwrap();
        for (name, is_there) in [
            ("a", true),
            ("a/b", true),
            ("a/b/c", true),
            ("ab", true),
            ("a/", true),
            ("a/b/c/d", false),
            ("A", false),
            ("a/bc", false),
        ] {
            assert_eq!(store.exists(name).unwrap(), is_there, "{name}");
        }
        assert_eq!(store.metadata("a").unwrap(), None);
        assert!(matches!(store.exists(""), Err(Error::InvalidKey { .. })));
        assert!(store.delete("a/b").unwrap());
        assert!(!store.delete("a/b").unwrap());
        assert!(!store.delete("a").unwrap(), "a folder is no entry");
        assert!(store.exists("a/b").unwrap());
        assert!(store.delete("a/b/c").unwrap());
        assert!(!store.exists("a").unwrap(), "gone with its last key");
    }
}

#[test]
fn explicit_folders_stay() {
    for case in stores() {
        let store = &case.store;
        store.create_folder("x/y").unwrap();
        store.create_folder("x/y/").unwrap();
        assert!(store.exists("x").unwrap() && store.exists("x/y").unwrap());
        assert_eq!(store.metadata("x/y").unwrap(), None);
        assert_eq!(store.get("x/y").unwrap(), None);
        store.put("x/y/z", "1").unwrap();
        store.put("x/y", "an entry too").unwrap();
        store.delete("x/y/z").unwrap();
        store.delete("x/y").unwrap();
        assert!(store.exists("x/y").unwrap());
        assert_eq!(store.delete_folder("x/y").unwrap(), 0);
        assert!(!store.exists("x").unwrap());
        for root in ["", "/"] {
            assert!(matches!(
                store.create_folder(root),
                Err(Error::InvalidKey { .. })
            ));
            assert!(matches!(
                store.delete_folder(root),
                Err(Error::InvalidKey { .. })
            ));
            assert!(matches!(
                store.rename_folder(root, "a"),
                Err(Error::InvalidKey { .. })
            ));
            let scoped = store.scoped("x").unwrap();
            assert!(matches!(
                scoped.delete_folder(root),
                Err(Error::InvalidKey { .. })
            ));
        }
    }
}

#[test]
fn a_rename_carries_everything() {
    for case in stores() {
        let store = &case.store;
        let attributes: Attributes = [("by".to_owned(), "ann".to_owned())].into();
        let options = PutOptions::new()
            .attributes(attributes)
            .content_type("text/x");
        for size in [10, 200_000] {
            let put = store
                .put_with("from", vec![1; size], options.clone())
                .unwrap();
            let revision = store.rename("from", "to.pdf", ANY).unwrap();
            assert!(revision > put.revision);
            let moved = store.metadata("to.pdf").unwrap().unwrap();
            assert_eq!(moved.revision, revision);
            assert_eq!((moved.created, moved.digest), (put.created, put.digest));
            assert_eq!(
                (&moved.attributes, &moved.content_type),
                (&put.attributes, &put.content_type)
            );
            assert_eq!(store.get("to.pdf").unwrap().unwrap(), vec![1; size]);
            assert!(!store.exists("from").unwrap());
        }
        let present = store.metadata("to.pdf").unwrap().unwrap();
        assert_eq!(
            store.rename("to.pdf", "/to.pdf", PutMode::Create).unwrap(),
            present.revision
        );
        assert_eq!(store.metadata("to.pdf").unwrap().unwrap(), present);
        for (from, to) in [("missing", "missing"), ("missing", "to.pdf")] {
            assert!(matches!(
                store.rename(from, to, ANY),
                Err(Error::NotFound { .. })
            ));
        }
    }
}

type Run = fn(&Store, &str, &str, PutMode) -> komatik::Result<u64>;

#[test]
fn the_modes_of_rename_and_copy_are_about_the_target() {
    for case in stores() {
        let store = &case.store;
        let run: [Run; 2] = [
            |store, from, to, mode| store.rename(from, to, mode),
            |store, from, to, mode| store.copy(from, to, mode).map(|copy| copy.revision),
        ];
        for run in run {
            store.put("a", "a").unwrap();
            let target = store.save("b", &"b").unwrap().revision;
            assert!(matches!(
                run(store, "a", "b", PutMode::Create),
                Err(Error::AlreadyExists { .. })
            ));
            assert!(matches!(
                run(store, "a", "b", PutMode::Update(target + 1)),
                Err(Error::RevisionMismatch { .. })
            ));
            assert!(matches!(
                run(store, "a", "free", PutMode::Update(target)),
                Err(Error::RevisionMismatch { found: None, .. })
            ));
            assert_eq!(text(store, "b").as_deref(), Some("\"b\""));
            let revision = run(store, "a", "b", PutMode::Update(target)).unwrap();
            assert_eq!(store.metadata("b").unwrap().unwrap().revision, revision);
            assert_eq!(text(store, "b").as_deref(), Some("a"));
        }
    }
}

#[test]
fn copies_live_their_own_lives() {
    for case in stores() {
        let store = &case.store;
        for size in [10, 200_000] {
            store.put("a", vec![1; size]).unwrap();
            let copy = store.copy("a", "b", ANY).unwrap();
            assert_eq!(store.metadata("b").unwrap().unwrap(), copy);
            assert_eq!(store.copy("b", "b", PutMode::Create).unwrap(), copy);
            store.copy("a", "c", ANY).unwrap();
            store.put("a", "new").unwrap();
            store.delete("b").unwrap();
            assert_eq!(store.get("c").unwrap().unwrap(), vec![1; size]);
            store.copy("a", "c", ANY).unwrap();
            assert_eq!(text(store, "c").as_deref(), Some("new"));
        }
        assert!(matches!(
            store.copy("missing", "x", ANY),
            Err(Error::NotFound { .. })
        ));
        let old = store.put("old", "1").unwrap();
        let over = store.copy("a", "old", ANY).unwrap();
        assert_eq!(over.created, old.created);
    }
}

#[test]
fn folders_are_deleted_whole() {
    for case in stores() {
        let store = &case.store;
        for key in ["d", "d/1", "d/2/3", "d/2/4/5", "d.x", "d0", "e/d/1"] {
            store.put(key, key).unwrap();
        }
        store.create_folder("d/empty").unwrap();
        store.create_folder("d").unwrap();
        assert_eq!(store.delete_folder("d/2").unwrap(), 2);
        assert_eq!(
            store.scoped("d").unwrap().delete_folder("empty").unwrap(),
            0
        );
        assert_eq!(store.delete_folder("d/").unwrap(), 1);
        assert_eq!(store.delete_folder("d").unwrap(), 0);
        for key in ["d", "d.x", "d0", "e/d/1"] {
            assert_eq!(text(store, key).as_deref(), Some(key));
        }
        for key in ["d/1", "d/2", "d/empty"] {
            assert!(!store.exists(key).unwrap(), "{key}");
        }
    }
}

#[test]
fn folders_are_moved_whole() {
    for case in stores() {
        let store = &case.store;
        let bytes = vec![3; 3 * case.chunk_bytes + 7];
        for key in ["a/b", "a/b/1", "a/b/c/2", "a/bc"] {
            store.put(key, &bytes).unwrap();
        }
        store.create_folder("a/b/empty").unwrap();
        assert_eq!(store.rename_folder("a/b", "z/y").unwrap(), 2);
        for key in ["z/y/1", "z/y/c/2", "a/b", "a/bc"] {
            assert_eq!(store.get(key).unwrap().unwrap(), bytes, "{key}");
        }
        assert!(store.exists("z/y/empty").unwrap());
        assert!(!store.exists("a/b/1").unwrap() && !store.exists("a/b/empty").unwrap());
        assert_eq!(store.rename_folder("z/y", "z/y").unwrap(), 0);
        for (from, to) in [("missing", "x"), ("missing", "missing"), ("a/b", "x")] {
            assert!(
                matches!(store.rename_folder(from, to), Err(Error::NotFound { .. })),
                "{from}"
            );
        }
        assert!(matches!(
            store.rename_folder("z", "z/y/x"),
            Err(Error::InvalidArgument { .. })
        ));
        assert!(matches!(
            store.rename_folder("z/y", "z"),
            Err(Error::AlreadyExists { .. })
        ));
        store.create_folder("taken").unwrap();
        assert!(matches!(
            store.rename_folder("z", "taken"),
            Err(Error::AlreadyExists { .. })
        ));
        assert_eq!(
            store.rename_folder("z", "zz").unwrap(),
            2,
            "a longer name is not inside"
        );
        let long = ["k".repeat(250).as_str(); 4].join("/");
        assert_eq!(store.rename_folder("zz/y", &long).unwrap(), 2);
        let longer = format!("{long}/{}", "k".repeat(19));
        assert!(matches!(
            store.rename_folder(&long, &longer),
            Err(Error::InvalidArgument { .. })
        ));
        store.put("s/123456", "1").unwrap();
        let long = format!("{}x", &long[1..]);
        assert!(
            store
                .rename_folder("s", &format!("{long}/{}", "k".repeat(14)))
                .is_err()
        );
        assert_eq!(
            text(store, "s/123456").as_deref(),
            Some("1"),
            "nothing moved"
        );
        assert_eq!(
            store
                .rename_folder("s", &format!("{long}/{}", "k".repeat(12)))
                .unwrap(),
            1
        );
    }
}

/// How many entries there are below which folders of the root.
fn counted(store: &Store) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let options = ListOptions::new().recursive();
    for item in store.list_with("", options).unwrap() {
        let name = item.unwrap().name;
        let (folder, _) = name.split_once('/').unwrap();
        *counts.entry(folder.to_owned()).or_default() += 1;
    }
    counts
}

/// What a reader sees meanwhile is all of them, or none.
#[test]
fn a_hundred_thousand_entries_are_one_commit() {
    const ENTRIES: usize = 100_000;
    for case in stores().into_iter().take(2) {
        let store = &case.store;
        store
            .transaction(|many| {
                (0..ENTRIES).try_for_each(|n| many.save(&format!("big/{n:06}"), &n))
            })
            .unwrap();
        let newest = store.metadata("big/000000").unwrap().unwrap().revision;
        let whole = |folder: &str| BTreeMap::from([(folder.to_owned(), ENTRIES)]);
        let (big, huge) = (whole("big"), whole("huge"));
        let is_over = AtomicBool::new(false);
        thread::scope(|threads| {
            let reader = threads.spawn(|| {
                let mut seen = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let counts = counted(store);
                    if seen.last() != Some(&counts) {
                        seen.push(counts);
                    }
                }
                seen
            });
            let renamed = store.rename_folder("big", "huge");
            let moved = store.metadata("huge/099999");
            let deleted = store.delete_folder("huge");
            is_over.store(true, Ordering::Relaxed);
            let seen = reader.join().unwrap();
            assert_eq!((renamed.unwrap(), deleted.unwrap()), (100_000, 100_000));
            assert_eq!(moved.unwrap().unwrap().revision, newest + 1);
            let states = [&big, &huge, &BTreeMap::new()];
            let mut at = 0;
            for counts in &seen {
                // Each a whole state, and none before one that was seen already.
                let found = states[at..].iter().position(|state| *state == counts);
                at += found.unwrap_or_else(|| panic!("{}: {seen:?}", case.name));
            }
        });
        assert!(!store.exists("huge").unwrap() && !store.exists("big").unwrap());
        assert_eq!(store.put("next/1", "").unwrap().revision, newest + 3);
        let Some(path) = case.path() else { continue };
        store.close().unwrap();
        let again = Store::open(path).unwrap();
        assert_eq!(counted(&again), BTreeMap::from([("next".to_owned(), 1)]));
        assert_eq!(again.history().newest, newest + 3);
    }
}

#[test]
fn scopes_name_keys_their_own_way() {
    for case in stores() {
        let room = case.store.scoped("rooms").unwrap().scoped("42").unwrap();
        assert_eq!(room.put("a", "1").unwrap().key, "a");
        assert_eq!(text(&case.store, "rooms/42/a").as_deref(), Some("1"));
        assert_eq!(room.copy("a", "b/c", ANY).unwrap().key, "b/c");
        assert!(room.exists("b").unwrap() && !room.exists("rooms").unwrap());
        match room.rename("x", "y", ANY) {
            Err(Error::NotFound { key }) => assert_eq!(key, "x"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(room.get("../a"), Err(Error::InvalidKey { .. })));
    }
}

#[test]
fn what_moves_into_the_folder_of_its_name_is_never_gone() {
    for case in stores() {
        let store = &case.store;
        store.put("name", "x").unwrap();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..2_000 {
                    store.rename("name", "name/inner", PutMode::Create).unwrap();
                    store.rename("name/inner", "name", PutMode::Create).unwrap();
                }
                is_done.store(true, std::sync::atomic::Ordering::Release);
            });
            while !is_done.load(std::sync::atomic::Ordering::Acquire) {
                assert!(store.exists("name").unwrap(), "{}", case.name);
            }
        });
    }
}

#[test]
fn a_folder_is_told_from_an_entry() {
    for case in stores() {
        let store = &case.store;
        store.put("a/b/c", "x").unwrap();
        store.create_folder("made").unwrap();
        let expected = [
            ("", true),
            ("/", true),
            ("a", true),
            ("a/b/", true),
            ("made", true),
            ("a/b/c", false),
            ("a/b/c/d", false),
            ("none", false),
            ("mad", false),
        ];
        for (name, is_folder) in expected {
            assert_eq!(store.is_folder(name).unwrap(), is_folder, "{name}");
            let found = store.transaction(|tx| tx.is_folder(name)).unwrap();
            assert_eq!(found, is_folder, "{name}");
        }
        let scoped = store.scoped("a").unwrap();
        assert!(scoped.is_folder("").unwrap() && scoped.is_folder("b").unwrap());
        assert!(!scoped.is_folder("a").unwrap());
        let own = store.transaction(|tx| {
            tx.put("new/x", "x")?;
            tx.delete_folder("made")?;
            Ok((tx.is_folder("new")?, tx.is_folder("made")?))
        });
        assert_eq!(own.unwrap(), (true, false), "what the transaction has done");
        assert!(store.is_folder("a//b").is_err());
    }
}
