use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::backend::{Position, View};
use crate::options::{Lock, MergeOptions, PasswordCost, PutMode, PutOptions, WriteOptions};

const CHEAP: PasswordCost = PasswordCost::new(8, 1);
const DEAR: PasswordCost = PasswordCost::new(64, 2);
const LARGE: [u8; 10_000] = [1; 10_000];

/// The lock of an entry, and its revision.
fn stored(store: &Store, key: &str) -> (LockRecord, u64) {
    let key = store.key(key).unwrap();
    let present = store.row(View::Settled, &key).unwrap().unwrap();
    (present.record.lock.unwrap(), present.revision)
}

fn is_dear(phc: Option<&String>) -> bool {
    phc.unwrap().contains("$m=64,t=2,p=1$")
}

/// The same rows, under another cost.
fn at_cost(store: &Store, cost: PasswordCost) -> Store {
    let mut other = Store::on_backend(Arc::clone(&store.shared.backend)).unwrap();
    Arc::get_mut(&mut other.shared).unwrap().password_cost = cost;
    other
}

fn cheap_store() -> Store {
    let builder = Store::builder_in_memory().password_cost(CHEAP);
    builder.open().unwrap()
}

fn open(directory: &Path, cost: PasswordCost) -> Store {
    let builder = Store::builder(directory).durability(Durability::Eventual);
    builder.password_cost(cost).open().unwrap()
}

#[test]
fn what_no_password_can_be_slows_nobody() {
    let store = cheap_store();
    store.put("a", "1").unwrap();
    store.lock("a", Lock::new().edit("e")).unwrap();
    // A transaction does not wait.
    let delete = |password: &str| {
        let unlocked = store.unlocked_with(password);
        unlocked.transaction(|transaction| transaction.delete("a"))
    };
    for none in ["", "long".repeat(1000).as_str()] {
        for _ in 0..20 {
            assert!(matches!(delete(none), Err(Error::WrongPassword { .. })));
        }
    }
    assert!(delete("e").unwrap());
}

#[test]
fn a_right_password_strengthens_its_hash_once() {
    let cheap = cheap_store();
    cheap.put("a", "1").unwrap();
    cheap.lock("a", Lock::new().view("v").edit("e")).unwrap();
    let (before, _) = stored(&cheap, "a");
    let dear = at_cost(&cheap, DEAR);
    dear.unlocked_with("wrong").get("a").unwrap_err();
    assert!(stored(&dear, "a").0 == before);
    let view = dear.unlocked_with("v");
    view.get("a").unwrap();
    let (after, revision) = stored(&dear, "a");
    assert!(after.id == before.id && after.edit == before.edit);
    assert!(is_dear(after.view.as_ref()));
    for again in [&view, &dear.unlocked_with("v"), &cheap.unlocked_with("v")] {
        assert!(again.get("a").unwrap().is_some());
        assert_eq!(stored(&dear, "a").1, revision);
    }
    let told = dear.shared.backend.changes(Position::after(2), 10);
    assert!(told.unwrap().is_empty(), "only the revision is new");
}

/// A listing shows one moment and writes nothing; what it has found out the next call makes use of.
#[test]
fn a_listing_leaves_hashes_to_the_next_call() {
    for write in [false, true] {
        let cheap = cheap_store();
        cheap.put("a", "1").unwrap();
        cheap.lock("a", Lock::new().view("v")).unwrap();
        let dear = at_cost(&cheap, DEAR);
        let view = dear.unlocked_with("v");
        let item = view.list("").unwrap().next().unwrap().unwrap();
        let (lock, revision) = stored(&dear, "a");
        assert_eq!(item.metadata.unwrap().revision, revision);
        assert!(!is_dear(lock.view.as_ref()));
        if write {
            let options = PutOptions::update(revision);
            view.put_with("a", "2", options).unwrap();
        } else {
            view.get("a").unwrap();
        }
        let (lock, after) = stored(&dear, "a");
        assert!(is_dear(lock.view.as_ref()));
        assert_eq!(after, revision + 1);
    }
}

/// A call that opens the lock of an entry: what it is, where the entry is afterwards, and the revision it answered.
type Call = (&'static str, &'static str, fn(&Store) -> Option<u64>);

const READS: &[Call] = &[
    ("get", "k", |store| store.get("k").unwrap().and(None)),
    ("load", "d", |store| {
        store.load::<Value>("d").unwrap().and(None)
    }),
    ("load_at", "d", |store| {
        store.load_at::<Value>("d", "").unwrap().and(None)
    }),
    ("metadata", "k", |store| {
        Some(store.metadata("k").unwrap().unwrap().revision)
    }),
    ("reader", "k", |store| {
        let reader = store.reader("k").unwrap().unwrap();
        Some(reader.metadata().revision)
    }),
    ("export", "k", |store| {
        let exported = store.export(std::io::sink(), |_| ControlFlow::Continue(()));
        assert_eq!(exported.unwrap(), 4);
        None
    }),
];

fn present(store: &Store, key: &str) -> PutOptions {
    PutOptions::update(stored(store, key).1)
}

fn patch() -> json_patch::Patch {
    serde_json::from_value(json!([{"op": "add", "path": "/a", "value": 1}])).unwrap()
}

const WRITES: &[Call] = &[
    ("put", "k", |store| {
        Some(store.put("k", "new").unwrap().revision)
    }),
    ("put at a revision", "k", |store| {
        let put = store.put_with("k", "new", present(store, "k"));
        Some(put.unwrap().revision)
    }),
    ("put large", "k", |store| {
        Some(store.put("k", LARGE).unwrap().revision)
    }),
    ("put large at a revision", "k", |store| {
        let put = store.put_with("k", LARGE, present(store, "k"));
        Some(put.unwrap().revision)
    }),
    ("writer", "k", |store| {
        let mut writer = store.writer("k", WriteOptions::new()).unwrap();
        writer.write_all(&LARGE).unwrap();
        Some(writer.commit().unwrap().revision)
    }),
    ("writer at a revision", "k", |store| {
        let options = WriteOptions::from(present(store, "k"));
        let mut writer = store.writer("k", options).unwrap();
        writer.write_all(&LARGE).unwrap();
        Some(writer.commit().unwrap().revision)
    }),
    ("append", "k", |store| {
        let (_, before) = stored(store, "k");
        let mut writer = store.writer("k", WriteOptions::append()).unwrap();
        writer.write_all(b"more").unwrap();
        assert_eq!(stored(store, "k").1, before, "nothing before the commit");
        Some(writer.commit().unwrap().revision)
    }),
    ("upload", "k", |store| {
        let options = WriteOptions::from(present(store, "k")).into();
        Some(store.upload("k", &LARGE[..], options).unwrap().revision)
    }),
    ("save", "d", |store| {
        Some(store.save("d", &1).unwrap().revision)
    }),
    ("save at a revision", "d", |store| {
        let saved = store.save_with("d", &1, present(store, "d"));
        Some(saved.unwrap().revision)
    }),
    ("merge", "d", |store| {
        let options = MergeOptions::new().mode(present(store, "d").mode);
        let merged = store.merge_with("d", &json!({"a": 1}), options);
        Some(merged.unwrap().revision)
    }),
    ("patch", "d", |store| {
        Some(store.patch("d", &patch()).unwrap().revision)
    }),
    ("rename", "l", |store| {
        Some(store.rename("k", "l", PutMode::Create).unwrap())
    }),
    ("copy to", "k", |store| {
        let copied = store.copy("free", "k", present(store, "k").mode);
        Some(copied.unwrap().revision)
    }),
    ("rename_folder", "moved/k", |store| {
        assert_eq!(store.rename_folder("folder", "moved").unwrap(), 1);
        None
    }),
    ("import", "k", |store| {
        let other = Store::in_memory().unwrap();
        other.put("k", "imported").unwrap();
        let mut archive = Vec::new();
        other
            .export(&mut archive, |_| ControlFlow::Continue(()))
            .unwrap();
        let go_on = |_| ControlFlow::Continue(());
        store
            .import(&archive[..], PutMode::Overwrite, go_on)
            .unwrap();
        None
    }),
    ("put in a transaction", "k", |store| {
        let options = present(store, "k");
        store
            .transaction(|tx| tx.put_with("k", "new", options))
            .unwrap();
        None
    }),
    ("save in a transaction", "d", |store| {
        store.transaction(|tx| tx.save("d", &1)).unwrap();
        None
    }),
    ("merge in a transaction", "d", |store| {
        store
            .transaction(|tx| tx.merge("d", &json!({"a": 1})))
            .unwrap();
        None
    }),
    ("patch in a transaction", "d", |store| {
        store.transaction(|tx| tx.patch("d", &patch())).unwrap();
        None
    }),
    ("rename in a transaction", "l", |store| {
        let rename = store.transaction(|tx| tx.rename("k", "l", PutMode::Create));
        rename.unwrap();
        None
    }),
    ("copy to in a transaction", "k", |store| {
        let copy = store.transaction(|tx| tx.copy("free", "k", PutMode::Overwrite));
        copy.unwrap();
        None
    }),
    ("rename_folder in a transaction", "moved/k", |store| {
        let renamed = store.transaction(|tx| tx.rename_folder("folder", "moved"));
        assert_eq!(renamed.unwrap(), 1);
        None
    }),
    ("commit_blob", "k", |store| {
        let options = WriteOptions::from(present(store, "k"));
        let mut writer = store.writer("k", options).unwrap();
        writer.write_all(&LARGE).unwrap();
        store.transaction(|tx| tx.commit_blob(writer)).unwrap();
        None
    }),
];

/// Whatever call meets a password that is right leaves a hash as strong as the store asks for, in the commit it makes
/// anyway where it makes one: what it was told to expect still holds, and what it answers is the revision.
#[test]
fn every_call_strengthens_the_hashes_it_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let calls = || READS.iter().chain(WRITES).enumerate();
    let cheap = open(&path, CHEAP);
    for (number, _) in calls() {
        let store = cheap.scoped(&number.to_string()).unwrap();
        for key in ["k", "folder/k", "free"] {
            store.put(key, "content").unwrap();
        }
        store.save("d", &json!({})).unwrap();
        for key in ["k", "folder/k", "d"] {
            store.lock(key, Lock::new().view("v").edit("e")).unwrap();
        }
    }
    cheap.close().unwrap();
    drop(cheap);

    let dear = open(&path, DEAR);
    let mut strengthened = Vec::new();
    for (number, (name, key, call)) in calls() {
        let store = dear.scoped(&number.to_string()).unwrap();
        let newest = store.history().newest;
        let answered = call(&store.unlocked_with("e"));
        let (lock, revision) = stored(&store, key);
        assert!(is_dear(lock.edit.as_ref()), "{name}");
        assert!(!is_dear(lock.view.as_ref()), "{name}");
        assert!(
            answered.is_none_or(|answered| answered == revision),
            "{name}"
        );
        assert!(revision > newest, "{name}");
        assert!(
            store.unlocked_with("e").get(key).unwrap().is_some(),
            "{name}"
        );
        assert_eq!(
            stored(&store, key),
            (lock.clone(), revision),
            "{name}: once"
        );
        strengthened.push((lock, revision));
    }
    dear.close().unwrap();
    drop(dear);

    let again = open(&path, DEAR);
    for ((number, (name, key, _)), expected) in calls().zip(strengthened) {
        let store = again.scoped(&number.to_string()).unwrap();
        assert_eq!(stored(&store, key), expected, "{name}");
        for password in ["v", "e"] {
            assert!(store.unlocked_with(password).get(key).unwrap().is_some());
        }
    }
}

/// Of many that guess at the same moment only a few are tried, and the others need not wait to be told.
#[test]
fn a_crowd_that_guesses_is_turned_away() {
    const CROWD: usize = 64;
    let store = Store::builder_in_memory()
        .password_cost(PasswordCost::new(8, 1))
        .open()
        .unwrap();
    store.put("k", "1").unwrap();
    store.lock("k", Lock::new().view("v")).unwrap();
    let together = std::sync::Barrier::new(CROWD);
    let (together, store) = (&together, &store);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let guess = |number: usize| {
            let mut guess = store.unlocked_with(&format!("guess {number}"));
            guess.patience = Duration::from_secs(1);
            together.wait();
            guess.get("k").map(drop)
        };
        let threads: Vec<_> = (0..CROWD)
            .map(|number| scope.spawn(move || guess(number)))
            .collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers.collect()
    });
    let count = |is: fn(&Error) -> bool| {
        let answers = answers.iter().filter_map(|answer| answer.as_ref().err());
        answers.filter(|error| is(error)).count()
    };
    let wrong = count(|error| matches!(error, Error::WrongPassword { .. }));
    let slowed = count(|error| matches!(error, Error::TooManyTries { .. }));
    assert_eq!(wrong + slowed, CROWD);
    // Four at once, and others 100, 300 and 700 ms later; a few more on a machine that is slow.
    assert!((4..=9).contains(&wrong), "{wrong}");
}

/// Neither a stronger hash nor a token that has expired is a reason to wait for writers.
#[test]
fn a_reader_waits_for_no_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let cheap = open(&path, CHEAP);
    cheap.put("k", "content").unwrap();
    cheap.lock("k", Lock::new().view("v")).unwrap();
    let brief = crate::options::Grant::new().expires_in(Duration::ZERO);
    cheap.unlocked_with("v").grant("k", brief).unwrap();
    cheap.close().unwrap();
    let dear = open(&path, DEAR);
    let (tell, told) = std::sync::mpsc::channel();
    let read = dear.transaction(|_| {
        let reader = dear.clone();
        std::thread::spawn(move || {
            let tokens = reader.tokens().unwrap();
            let read = reader.unlocked_with("v").get("k").unwrap();
            tell.send((tokens.len(), read)).unwrap();
        });
        Ok(told.recv_timeout(Duration::from_secs(60)))
    });
    let (tokens, read) = read.unwrap().unwrap();
    assert_eq!((tokens, read.unwrap()), (0, "content".into()));
    let (lock, _) = stored(&dear, "k");
    assert!(!is_dear(lock.view.as_ref()));
    dear.unlocked_with("v").get("k").unwrap();
    let (lock, _) = stored(&dear, "k");
    assert!(is_dear(lock.view.as_ref()));
}
