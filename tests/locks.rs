//! Who may do what with a locked entry.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::time::Instant;

use common::{Case, stores_with};
use komatik::{Error, Events, Lock, PasswordCost, PutMode, Since, Store};

const CHEAP: PasswordCost = PasswordCost::new(8, 1);

/// A store of each kind, whose passwords cost next to nothing.
fn stores() -> Vec<Case> {
    stores_with(|builder| builder.password_cost(CHEAP))
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

/// More of them than are verified in one go.
#[test]
fn a_folder_of_many_locks_is_deleted_whole_or_not_at_all() {
    const ENTRIES: u64 = 1_100;
    for case in stores() {
        let store = case.store.clone();
        for number in 0..ENTRIES {
            let key = format!("folder/{number:04}");
            store.put(&key, "1").unwrap();
            store.lock(&key, Lock::new().edit("e")).unwrap();
        }
        let owner = store.unlocked_with("e");
        for odd in ["folder/0000", "folder/1050", "folder/1099"] {
            owner.lock(odd, Lock::new().edit("odd")).unwrap();
            let before = store.history().newest;
            for refused in [
                store.unlocked_with("e").delete_folder("folder"),
                store.unlocked_with("e").rename_folder("folder", "other"),
            ] {
                match refused {
                    Err(Error::WrongPassword { key, .. }) => assert_eq!(key, odd),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(store.history().newest, before);
            store
                .unlocked_with("odd")
                .lock(odd, Lock::new().edit("e"))
                .unwrap();
        }
        let fresh = store.unlocked_with("e");
        assert_eq!(fresh.rename_folder("folder", "other").unwrap(), ENTRIES);
        let fresh = store.unlocked_with("e");
        assert_eq!(fresh.delete_folder("other").unwrap(), ENTRIES);
    }
}

/// Whatever of the locks the view has met before.
#[test]
fn of_the_entries_that_keep_a_folder_the_first_is_told() {
    for case in stores() {
        let store = case.store.clone();
        for (key, password) in [("f/a", "e"), ("f/b", "x"), ("f/c", "y")] {
            store.put(key, "1").unwrap();
            store.lock(key, Lock::new().edit(password)).unwrap();
        }
        for met in ["f/a", "f/b", "f/c"] {
            let view = store.unlocked_with("e");
            let _ = view.put(met, "2");
            for refused in [view.delete_folder("f"), view.rename_folder("f", "g")] {
                match refused {
                    Err(Error::WrongPassword { key, .. }) => assert_eq!(key, "f/b", "{met}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
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
