//! Copying a store while it is written to: the copy is of one moment, and is a store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use common::{Random, StopOnDrop};
use komatik::{
    Durability, Error, Grant, ListOptions, Lock, Metadata, PasswordCost, PutMode, Since, Step,
    Store,
};

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn open(path: &Path) -> Store {
    Store::builder(path)
        .durability(Durability::Eventual)
        .password_cost(PasswordCost::new(8, 1))
        .open()
        .unwrap()
}

fn listed(store: &Store) -> BTreeMap<String, Metadata> {
    let items = store.list_with("", ListOptions::new().recursive()).unwrap();
    items
        .map(Result::unwrap)
        .filter_map(|item| Some((item.name.clone(), store.metadata(&item.name).ok()??)))
        .collect()
}

fn assert_sound(store: &Store) {
    let report = store.verify(go_on).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_copy_made_while_threads_write_is_of_one_moment() {
    const THREADS: u64 = 4;
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    let is_over = AtomicBool::new(false);
    let write = |thread: u64, begun: mpsc::Sender<()>| {
        let own = store.scoped(&format!("thread{thread}")).unwrap();
        let mut random = Random::new(thread);
        let mut number = 0_u64;
        let mut begun = Some(begun);
        while !is_over.load(Ordering::Relaxed) {
            number += 1;
            let size = 1_000 + random.below(60_000);
            let bytes = [&number.to_be_bytes()[..], &random.bytes(size)].concat();
            // At both ends of the keys, so that a copy that takes its time would see them differ.
            own.transaction(|transaction| {
                transaction.save("a", &number)?;
                transaction.put("m", &bytes)?;
                transaction.copy("m", "shared", PutMode::Overwrite)?;
                transaction.save("z", &number)?;
                let (new, old) = (number % 7, (number + 3) % 7);
                transaction.save(&format!("live/{new}"), &number)?;
                transaction.delete(&format!("live/{old}")).map(drop)
            })
            .unwrap();
            if let Some(begun) = begun.take() {
                begun.send(()).unwrap();
            }
        }
    };
    std::thread::scope(|threads| {
        let _stop = StopOnDrop(&is_over);
        let (begun, all) = mpsc::channel();
        for thread in 0..THREADS {
            let (write, begun) = (&write, begun.clone());
            threads.spawn(move || write(thread, begun));
        }
        drop(begun);
        // The first copy is to hold something of each.
        (0..THREADS).for_each(|_| all.recv().unwrap());
        for round in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(150));
            let path = directory.path().join(format!("copy{round}"));
            let mut steps = 0;
            store
                .backup(&path, |_| {
                    steps += 1;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert!(steps > 0);
            let copy = open(&path);
            assert_sound(&copy);
            for thread in 0..THREADS {
                let own = copy.scoped(&format!("thread{thread}")).unwrap();
                let number: u64 = own.load("a").unwrap().unwrap();
                assert_eq!(own.load("z").unwrap(), Some(number));
                let bytes = own.get("m").unwrap().unwrap();
                assert_eq!(bytes[..8], number.to_be_bytes());
                assert_eq!(own.get("shared").unwrap().unwrap(), bytes);
                let live = own.load(&format!("live/{}", number % 7)).unwrap();
                assert_eq!(live, Some(number));
                assert!(!own.exists(&format!("live/{}", (number + 3) % 7)).unwrap());
            }
        }
    });
    assert_sound(&store);
}

#[test]
fn a_copy_has_revisions_locks_tokens_and_goes_on_above() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    store.save("open", &1).unwrap();
    store.put("blob", vec![5; 300_000]).unwrap();
    store.put("secret", "hidden").unwrap();
    let token = store.grant("open", Grant::new()).unwrap();
    store.lock("secret", Lock::new().view("password")).unwrap();
    store.create_folder("made").unwrap();
    let newest = store.history().newest;
    let path = directory.path().join("copy");
    store.backup(&path, go_on).unwrap();
    let copy = open(&path);
    assert_eq!(listed(&copy), listed(&store));
    assert!(copy.exists("made").unwrap());
    assert_eq!(copy.get("blob").unwrap().unwrap(), vec![5; 300_000]);
    assert!(matches!(copy.get("secret"), Err(Error::Locked { .. })));
    let unlocked = copy.unlocked_with("password");
    assert_eq!(
        unlocked.get("secret").unwrap().as_deref(),
        Some(&b"hidden"[..])
    );
    assert!(copy.read_with(&token, "open").unwrap().is_some());
    assert!(copy.history().newest > newest);
    let revision = copy.save("open", &2).unwrap().revision;
    assert!(revision > newest);
    copy.close().unwrap();
    let copy = open(&path);
    assert_eq!(copy.load::<u32>("open").unwrap(), Some(2));
    assert_sound(&copy);
    assert_eq!(store.load::<u32>("open").unwrap(), Some(1));
}

#[test]
fn what_entries_share_is_copied_once_and_given_back_once() {
    const SIZE: usize = 1_000_000;
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    store.put("one", vec![1; SIZE]).unwrap();
    for name in ["two", "three", "four"] {
        store.copy("one", name, PutMode::Create).unwrap();
    }
    let path = directory.path().join("copy");
    store.backup(&path, go_on).unwrap();
    let copy = open(&path);
    assert_eq!(copy.stats().unwrap().chunk_bytes, 1_000_000);
    assert!(copy.stats().unwrap().pack_bytes < 1_100_000);
    for name in ["one", "two", "three"] {
        copy.delete(name).unwrap();
    }
    copy.compact(go_on).unwrap();
    assert_eq!(copy.get("four").unwrap().unwrap(), vec![1; SIZE]);
    assert_sound(&copy);
    copy.delete("four").unwrap();
    copy.compact(go_on).unwrap();
    assert_eq!(copy.stats().unwrap().chunk_bytes, 0);
    copy.close().unwrap();
    assert_sound(&open(&path));
}

#[test]
fn a_copy_goes_only_where_nothing_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    store.save("key", &1).unwrap();
    let path = directory.path().join("taken");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("letter"), "dear").unwrap();
    assert!(store.backup(&path, go_on).is_err());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    assert!(store.backup(directory.path().join("store"), go_on).is_err());
    assert!(matches!(
        store
            .scoped("below")
            .unwrap()
            .backup(directory.path().join("new"), go_on),
        Err(Error::Misuse { .. })
    ));
    std::fs::remove_file(path.join("letter")).unwrap();
    store.backup(&path, go_on).unwrap();
    assert_eq!(open(&path).load::<u32>("key").unwrap(), Some(1));
}

/// Wherever it is stopped, in the middle of a blob as well: what it made is gone, what was there is not, and it can be
/// called again.
#[test]
fn a_copy_that_was_stopped_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    for number in 0..600 {
        store.save(&format!("key{number}"), &number).unwrap();
    }
    store.put("blob", vec![3; 10_000_000]).unwrap();
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let count = |path: &Path| std::fs::read_dir(path).unwrap().count();
    let mut stopped_in_blob = 0;
    for path in [&empty, &directory.path().join("new/below/it")] {
        let mut last = 0;
        loop {
            let mut steps = 0;
            let copied = store.backup(path, |step| {
                steps += 1;
                if steps <= last {
                    return ControlFlow::Continue(());
                }
                stopped_in_blob += usize::from(step.phase == "content");
                ControlFlow::Break(())
            });
            if copied.is_ok() {
                break;
            }
            assert!(matches!(copied, Err(Error::Cancelled)), "{copied:?}");
            assert!(path != &empty || count(&empty) == 0);
            assert!(!directory.path().join("new").exists());
            last += 1;
        }
        assert!(last >= 10, "{last}");
        let copy = open(path);
        assert_eq!(copy.load::<u32>("key599").unwrap(), Some(599));
        assert_sound(&copy);
    }
    assert!(stopped_in_blob >= 2 * 9, "{stopped_in_blob}");
}

/// Whoever is to put it back, or to delete it, has to know which entry it is.
#[test]
fn what_is_damaged_is_told_with_its_key() {
    let bytes = Random::new(3).bytes(200_000);
    let text = "text".repeat(30_000);
    type Put<'a> = &'a dyn Fn(&Store);
    let puts: [Put<'_>; 2] = [
        &|store| drop(store.put("films/first", &bytes).unwrap()),
        &|store| drop(store.save("films/first", &text).unwrap()),
    ];
    for put in puts {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let store = open(&path);
        put(&store);
        store.close().unwrap();
        for pack in std::fs::read_dir(path.join("packs")).unwrap() {
            let pack = pack.unwrap().path();
            let mut damaged = std::fs::read(&pack).unwrap();
            let middle = damaged.len() / 2;
            damaged[middle] ^= 1;
            std::fs::write(&pack, damaged).unwrap();
        }
        let store = open(&path);
        let exported = store.export(std::io::sink(), go_on).map(drop);
        for failed in [store.backup(directory.path().join("copy"), go_on), exported] {
            match failed {
                Err(Error::Damaged { what, location }) => {
                    assert!(
                        location.starts_with("films/first, "),
                        "{what} at {location}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_copy_that_was_not_finished_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    store.save("key", &1).unwrap();
    // Ended between its last two steps.
    let path = directory.path().join("whole");
    store.backup(&path, go_on).unwrap();
    std::fs::remove_file(path.join("superblock")).unwrap();
    for pack in std::fs::read_dir(path.join("packs")).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    assert!(matches!(Store::open(&path), Err(Error::Damaged { .. })));
    assert!(path.join("trees").exists());
}

/// The original may go on before it is lost, and copies too: a place noted on one of them is none of another.
#[test]
fn a_place_noted_on_another_store_is_told_to_be_none_of_the_copy() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let original = open(&path("original"));
    original.save("a", &1).unwrap();
    for name in ["first", "second"] {
        original.backup(path(name), go_on).unwrap();
    }
    let save = |store: &Store, times: u32| {
        for number in 1..times {
            store.save("a", &number).unwrap();
        }
        store.save("a", &0).unwrap().revision
    };
    let noted = [original.history().newest, save(&original, 5), {
        save(&open(&path("first")), 5)
    }];
    let copy = open(&path("second"));
    save(&copy, 20);
    for place in noted {
        let mut watcher = copy.watch("", Since::After(place)).unwrap();
        let answer = watcher.try_recv();
        assert!(
            matches!(answer, Err(Error::Compacted { .. })),
            "{place}: {answer:?}"
        );
    }
    let mut all = copy.watch("", Since::Start).unwrap();
    let told = std::iter::from_fn(|| all.try_recv().unwrap()).count();
    assert_eq!(told, 20);
}

#[test]
fn a_copy_does_not_lie_within_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    store.put("a", "1").unwrap();
    for within in ["store/copy", "store/packs/a/b", "store/trees"] {
        let refused = store.backup(directory.path().join(within), |_| ControlFlow::Continue(()));
        assert!(
            matches!(refused, Err(Error::InvalidArgument { .. })),
            "{within}: {refused:?}"
        );
    }
    assert!(!directory.path().join("store/copy").exists());
    // Where it really lies counts.
    std::os::unix::fs::symlink(
        directory.path().join("store/packs"),
        directory.path().join("link"),
    )
    .unwrap();
    let refused = store.backup(directory.path().join("link/copy"), |_| {
        ControlFlow::Continue(())
    });
    assert!(
        matches!(refused, Err(Error::InvalidArgument { .. })),
        "{refused:?}"
    );
    store
        .backup(directory.path().join("store/../beside"), |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(directory.path().join("beside/superblock").exists());
}

/// The one that came second would remove what the first has made.
#[test]
fn of_backups_into_one_directory_one_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    store.put("key", "value").unwrap();
    for round in 0..20 {
        let path = directory.path().join(format!("copy{round}"));
        std::fs::create_dir(&path).unwrap();
        let together = std::sync::Barrier::new(3);
        let made: Vec<bool> = std::thread::scope(|threads| {
            let backup = || {
                together.wait();
                store.backup(&path, |_| ControlFlow::Continue(())).is_ok()
            };
            let threads = [(); 3].map(|()| threads.spawn(backup));
            threads.map(|thread| thread.join().unwrap()).to_vec()
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{round}");
        let copy = Store::open(&path).unwrap();
        assert_eq!(copy.get("key").unwrap().unwrap(), "value");
    }
}
