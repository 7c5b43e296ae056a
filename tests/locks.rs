//! Who may do what with a locked entry.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::{Case, stores_with};
use komatik::{
    Access, Error, Events, Grant, Lock, PasswordCost, PutMode, Result, Since, Store, UploadOptions,
    WriteOptions,
};
use serde_json::{Value, json};

const CHEAP: PasswordCost = PasswordCost::new(8, 1);

/// A store of each kind, whose passwords cost next to nothing.
fn stores() -> Vec<Case> {
    stores_with(|builder| builder.password_cost(CHEAP))
}

/// What a call needs of the table of [`Lock`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    Read,
    Write,
    ReadAndWrite,
    Relock,
}

type Operation = (&'static str, Needs, fn(&Store) -> Result<()>);

/// Every call of the store that reads or changes one entry: the blob `k`, or the document `d` beside it, which has the
/// same lock.
const OPERATIONS: &[Operation] = &[
    ("get", Needs::Read, |store| store.get("k").map(drop)),
    ("reader", Needs::Read, |store| store.reader("k").map(drop)),
    ("metadata", Needs::Read, |store| {
        store.metadata("k").map(drop)
    }),
    ("load", Needs::Read, |store| {
        store.load::<Value>("d").map(drop)
    }),
    ("load_at", Needs::Read, |store| {
        store.load_at::<Value>("d", "").map(drop)
    }),
    ("copy from", Needs::Read, |store| {
        store.copy("k", "l", PutMode::Create).map(drop)
    }),
    ("grant", Needs::Read, |store| {
        store.grant("k", Grant::new()).map(drop)
    }),
    ("export", Needs::Read, |store| {
        let mut archive = Vec::new();
        let exported = store.export(&mut archive, |_| ControlFlow::Continue(()));
        assert!(exported.is_ok() || archive.is_empty(), "nothing is written");
        exported.map(drop)
    }),
    ("transaction get", Needs::Read, |store| {
        store.transaction(|tx| tx.get("k").map(drop))
    }),
    ("put", Needs::Write, |store| store.put("k", "new").map(drop)),
    ("put large", Needs::Write, |store| {
        store.put("k", vec![0; 10_000]).map(drop)
    }),
    ("save", Needs::Write, |store| {
        store.save("d", &json!(1)).map(drop)
    }),
    ("writer", Needs::Write, |store| {
        store.writer("k", WriteOptions::new()).map(drop)
    }),
    ("upload", Needs::Write, |store| {
        store
            .upload("k", &mut &b"new"[..], UploadOptions::new())
            .map(drop)
    }),
    ("delete", Needs::Write, |store| store.delete("k").map(drop)),
    ("rename from", Needs::Write, |store| {
        store.rename("k", "l", PutMode::Create).map(drop)
    }),
    ("rename to", Needs::Write, |store| {
        store.rename("free", "k", PutMode::Overwrite).map(drop)
    }),
    ("copy to", Needs::Write, |store| {
        store.copy("free", "k", PutMode::Overwrite).map(drop)
    }),
    ("delete_folder", Needs::Write, |store| {
        store.delete_folder("folder").map(drop)
    }),
    ("transaction put", Needs::Write, |store| {
        store.transaction(|tx| tx.put("k", "new").map(drop))
    }),
    ("merge", Needs::ReadAndWrite, |store| {
        store.merge("d", &json!({"a": 1})).map(drop)
    }),
    ("patch", Needs::ReadAndWrite, |store| {
        let patch = serde_json::from_value(json!([{"op": "add", "path": "/a", "value": 1}]));
        store.patch("d", &patch.unwrap()).map(drop)
    }),
    ("append", Needs::ReadAndWrite, |store| {
        store.writer("k", WriteOptions::append()).map(drop)
    }),
    ("lock", Needs::Relock, |store| {
        store.lock("k", Lock::new().view("n"))
    }),
    ("unlock", Needs::Relock, |store| store.unlock("k").map(drop)),
];

/// The entries a password of the table stands before.
const LOCKED: [&str; 3] = ["k", "d", "folder/k"];

/// Entries with such a lock, in a folder of their own.
fn fixture(store: &Store, view: bool, edit: bool) -> Store {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let folder = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let store = store.scoped(&folder.to_string()).unwrap();
    for key in ["k", "free", "folder/k"] {
        store.put(key, "content").unwrap();
    }
    store.save("d", &json!({})).unwrap();
    let mut lock = Lock::new();
    lock.view = view.then(|| "view".to_owned());
    lock.edit = edit.then(|| "edit".to_owned());
    if view || edit {
        for key in LOCKED {
            store.lock(key, lock.clone()).unwrap();
        }
    }
    store
}

/// What the table says: which password is asked for, if any.
fn asked(view: bool, edit: bool, needs: Needs) -> Option<Access> {
    match needs {
        Needs::Read => view.then_some(Access::View),
        Needs::Write => edit.then_some(Access::Edit),
        Needs::ReadAndWrite | Needs::Relock if edit => Some(Access::Edit),
        Needs::ReadAndWrite | Needs::Relock => view.then_some(Access::View),
    }
}

#[test]
fn every_operation_asks_for_what_the_table_says() {
    for case in stores() {
        for (view, edit) in [(false, false), (true, false), (false, true), (true, true)] {
            for offered in [None, Some("wrong"), Some("view"), Some("edit")] {
                for operation in OPERATIONS {
                    check_operation(&case, (view, edit), offered, operation);
                }
            }
        }
    }
}

fn check_operation(
    case: &Case,
    (view, edit): (bool, bool),
    offered: Option<&str>,
    (name, needs, operation): &Operation,
) {
    let store = fixture(&case.store, view, edit);
    let caller = offered.map_or(store.clone(), |it| store.unlocked_with(it));
    let found = operation(&caller);
    let case = format!(
        "{name}, {}, view {view}, edit {edit}, offered {offered:?}",
        case.name
    );
    let opens = match asked(view, edit, *needs) {
        None => true,
        Some(Access::View) => offered == Some("view") || edit && offered == Some("edit"),
        Some(_) => offered == Some("edit"),
    };
    match found {
        Ok(()) => assert!(opens, "{case}"),
        Err(Error::Locked { key, needs: access }) => {
            assert!(!opens && offered.is_none(), "{case}");
            assert!(LOCKED.contains(&key.as_str()), "{case}: {key}");
            assert_eq!(Some(access), asked(view, edit, *needs), "{case}");
        }
        Err(Error::WrongPassword { key, needs: access }) => {
            assert!(!opens && offered.is_some(), "{case}");
            assert!(LOCKED.contains(&key.as_str()), "{case}: {key}");
            assert_eq!(Some(access), asked(view, edit, *needs), "{case}");
        }
        Err(other) => panic!("{case}: {other}"),
    }
}

#[test]
fn overwriting_keeps_the_lock_deleting_drops_it_and_renaming_carries_it() {
    for case in stores() {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        store.lock("a", Lock::new().view("v")).unwrap();
        store.put("a", "2").unwrap();
        assert!(matches!(store.get("a"), Err(Error::Locked { .. })));
        store.rename("a", "b", PutMode::Create).unwrap();
        assert!(matches!(store.get("b"), Err(Error::Locked { .. })));
        store.delete("b").unwrap();
        store.put("b", "3").unwrap();
        assert!(store.get("b").unwrap().is_some());
    }
}

#[test]
fn a_lock_gives_a_new_revision_and_is_told() {
    for case in stores() {
        let store = case.store.clone();
        let put = store.put("a", "1").unwrap();
        let mut watcher = store.watch("", Since::Now).unwrap();
        store.lock("a", Lock::new().view("v").edit("e")).unwrap();
        let owner = store.unlocked_with("e");
        assert!(owner.unlock("a").unwrap());
        assert!(!owner.unlock("a").unwrap(), "there is none any more");
        let told = [(); 3].map(|()| watcher.try_recv().unwrap());
        assert_eq!(told[0].as_ref().unwrap().revision, put.revision + 1);
        assert_eq!(told[1].as_ref().unwrap().digest, Some(put.digest));
        assert!(told[2].is_none());
        assert!(!format!("{told:?}").contains("argon2"));
    }
}

#[test]
fn a_lock_needs_an_entry_and_a_password() {
    for case in stores() {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        let ask = |lock| store.lock("a", lock).unwrap_err();
        for lock in [
            Lock::new(),
            Lock::new().view(""),
            Lock::new().view("v").edit("e".repeat(1025)),
        ] {
            assert!(matches!(ask(lock), Error::InvalidArgument { .. }));
        }
        for result in [
            store.lock("missing", Lock::new().view("v")),
            store.unlock("missing").map(drop),
        ] {
            assert!(matches!(result, Err(Error::NotFound { .. })));
        }
        let dear = Store::builder_in_memory().password_cost(PasswordCost::new(1, 1));
        assert!(matches!(dear.open(), Err(Error::InvalidArgument { .. })));
    }
}

#[test]
fn a_view_verifies_once_and_may_offer_several() {
    // 20 ms and more each, so that forty of them would be seen.
    let cost = PasswordCost::new(32 * 1024, 2);
    let store = Store::builder_in_memory()
        .password_cost(cost)
        .open()
        .unwrap();
    store.put("a", "1").unwrap();
    store.lock("a", Lock::new().view("v")).unwrap();
    let view = store.unlocked_with("other").unlocked_with("v");
    let begun = Instant::now();
    view.get("a").unwrap();
    let first = begun.elapsed();
    let begun = Instant::now();
    (0..40).for_each(|_| drop(view.get("a").unwrap()));
    assert!(
        begun.elapsed() < first * 20,
        "{first:?} {:?}",
        begun.elapsed()
    );
    // A wrong password is remembered as well: no more tries, no more waiting.
    let wrong = store.unlocked_with("wrong");
    let begun = Instant::now();
    for _ in 0..40 {
        assert!(matches!(wrong.get("a"), Err(Error::WrongPassword { .. })));
    }
    assert!(begun.elapsed() < first * 20);
}

#[test]
fn secrets_are_shown_nowhere() {
    for case in stores() {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        let secret = "correct horse";
        let lock = Lock::new().view(secret).edit("battery");
        assert!(!format!("{lock:?}").contains("horse"));
        store.lock("a", lock).unwrap();
        let view = store.unlocked_with(secret);
        assert!(!format!("{view:?}").contains("horse"));
        let wrong = store.unlocked_with("wrong horse");
        let error = wrong.get("a").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("horse"));
        let metadata = format!("{:?}", view.list("").unwrap().next().unwrap());
        assert!(!metadata.contains("argon2") && !metadata.contains("horse"));
    }
}

#[test]
fn callbacks_and_locks_do_not_wait_for_each_other() {
    for case in stores() {
        let store = case.store.clone();
        let inner = store.clone();
        let _subscription = store.on(Events::UPDATED, move |change| {
            if change.key == "a" && inner.get("b").unwrap().is_none() {
                inner.put("b", "1").unwrap();
                inner.lock("b", Lock::new().view("v")).unwrap();
            }
        });
        store.put("a", "1").unwrap();
        assert!(matches!(store.get("b"), Err(Error::Locked { .. })));
    }
}
