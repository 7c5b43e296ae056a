//! Every call against every lock: who is let do what, and that a refused call has done nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Case, stores_with};
use komatik::{
    Access, BlobWriter, Error, Grant, Lock, Metadata, PasswordCost, Patch, PutMode, Result, Since,
    Store, Transaction, UploadOptions, WriteOptions,
};
use serde_json::{Value, json};

/// What a call needs of the table of [`Lock`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Read,
    Write,
    ReadAndWrite,
    Relock,
}

type Operation = (&'static str, Needs, fn(&Store) -> Result<()>);

/// Every call of the store that reads or changes entries: the blob `k`, the document `d` beside it, and `folder/k`, all
/// of which have the same lock. `free` has none.
const OPERATIONS: &[Operation] = &[
    ("exists", Needs::Nothing, |store| {
        store.exists("k").map(|exists| assert!(exists))
    }),
    ("read_with", Needs::Nothing, |store| {
        let token = owner(store).grant("k", Grant::new()).unwrap();
        store.read_with(&token, "k").map(drop)
    }),
    ("create_folder", Needs::Nothing, |store| {
        store.create_folder("folder/k")
    }),
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
    ("import a blob", Needs::Write, |store| {
        let archive = archive_of(|other| other.put("k", "new").map(drop));
        import(store, &archive)
    }),
    ("import a document", Needs::Write, |store| {
        let archive = archive_of(|other| other.save("d", &1).map(drop));
        import(store, &archive)
    }),
    ("delete", Needs::Write, |store| store.delete("k").map(drop)),
    ("rename from", Needs::Write, |store| {
        store.rename("k", "l", PutMode::Create).map(drop)
    }),
    ("rename to", Needs::Write, |store| {
        store.rename("free", "k", PutMode::Overwrite).map(drop)
    }),
    ("rename to itself", Needs::Write, |store| {
        store.rename("k", "k", PutMode::Overwrite).map(drop)
    }),
    ("copy to", Needs::Write, |store| {
        store.copy("free", "k", PutMode::Overwrite).map(drop)
    }),
    ("delete_folder", Needs::Write, |store| {
        store.delete_folder("folder").map(drop)
    }),
    ("rename_folder", Needs::Write, |store| {
        store.rename_folder("folder", "moved").map(drop)
    }),
    ("merge", Needs::ReadAndWrite, |store| {
        store.merge("d", &json!({"a": 1})).map(drop)
    }),
    ("merge of nothing", Needs::ReadAndWrite, |store| {
        store.merge("d", &json!({})).map(drop)
    }),
    ("patch", Needs::ReadAndWrite, |store| {
        store.patch("d", &patch()).map(drop)
    }),
    ("append", Needs::ReadAndWrite, |store| {
        store.writer("k", WriteOptions::append()).map(drop)
    }),
    ("lock", Needs::Relock, |store| {
        store.lock("k", Lock::new().view("n"))
    }),
    ("unlock", Needs::Relock, |store| store.unlock("k").map(drop)),
];

type Step = (
    &'static str,
    Needs,
    fn(&mut Transaction<'_>, BlobWriter) -> Result<()>,
);

/// Every method of a transaction, with a writer of the blob `k` at hand.
const STEPS: &[Step] = &[
    ("exists", Needs::Nothing, |tx, _| {
        tx.exists("k").map(|exists| assert!(exists))
    }),
    ("create_folder", Needs::Nothing, |tx, _| {
        tx.create_folder("folder/k")
    }),
    ("get", Needs::Read, |tx, _| tx.get("k").map(drop)),
    ("load", Needs::Read, |tx, _| tx.load::<Value>("d").map(drop)),
    ("metadata", Needs::Read, |tx, _| tx.metadata("k").map(drop)),
    ("copy from", Needs::Read, |tx, _| {
        tx.copy("k", "l", PutMode::Create)
    }),
    ("put", Needs::Write, |tx, _| tx.put("k", "new")),
    ("put large", Needs::Write, |tx, _| {
        tx.put("k", vec![0; 10_000])
    }),
    ("save", Needs::Write, |tx, _| tx.save("d", &json!(1))),
    ("commit_blob", Needs::Write, |tx, writer| {
        tx.commit_blob(writer)
    }),
    ("delete", Needs::Write, |tx, _| tx.delete("k").map(drop)),
    ("rename from", Needs::Write, |tx, _| {
        tx.rename("k", "l", PutMode::Create)
    }),
    ("rename to", Needs::Write, |tx, _| {
        tx.rename("free", "k", PutMode::Overwrite)
    }),
    ("copy to", Needs::Write, |tx, _| {
        tx.copy("free", "k", PutMode::Overwrite)
    }),
    ("delete_folder", Needs::Write, |tx, _| {
        tx.delete_folder("folder").map(drop)
    }),
    ("rename_folder", Needs::Write, |tx, _| {
        tx.rename_folder("folder", "moved").map(drop)
    }),
    ("merge", Needs::ReadAndWrite, |tx, _| {
        tx.merge("d", &json!({"a": 1}))
    }),
    ("patch", Needs::ReadAndWrite, |tx, _| {
        tx.patch("d", &patch())
    }),
];

/// The entries a password of the table stands before.
const LOCKED: [&str; 3] = ["k", "d", "folder/k"];

fn patch() -> Patch {
    serde_json::from_value(json!([{"op": "add", "path": "/a", "value": 1}])).unwrap()
}

fn archive_of(fill: fn(&Store) -> Result<()>) -> Vec<u8> {
    let other = Store::in_memory().unwrap();
    fill(&other).unwrap();
    let mut archive = Vec::new();
    let exported = other.export(&mut archive, |_| ControlFlow::Continue(()));
    assert_eq!(exported.unwrap(), 1);
    archive
}

fn import(store: &Store, archive: &[u8]) -> Result<()> {
    let go_on = |_| ControlFlow::Continue(());
    store
        .import(archive, PutMode::Overwrite, go_on)
        .map(|imported| assert_eq!(imported, 1))
}

/// A view that is let do everything.
fn owner(store: &Store) -> Store {
    store.unlocked_with("view").unlocked_with("edit")
}

/// A lock, whose passwords are `view` and `edit`, and a password that is offered.
#[derive(Debug, Clone, Copy)]
struct Cell {
    view: bool,
    edit: bool,
    offered: Option<&'static str>,
}

impl Cell {
    fn all() -> impl Iterator<Item = Cell> {
        [(false, false), (true, false), (false, true), (true, true)]
            .into_iter()
            .flat_map(|(view, edit)| {
                [None, Some("wrong"), Some("view"), Some("edit")].map(|offered| Cell {
                    view,
                    edit,
                    offered,
                })
            })
    }

    fn lock(self) -> Option<Lock> {
        let mut lock = Lock::new();
        lock.view = self.view.then(|| "view".to_owned());
        lock.edit = self.edit.then(|| "edit".to_owned());
        (self.view || self.edit).then_some(lock)
    }

    /// Entries with this lock, in a folder of their own.
    fn fixture(self, case: &Case) -> Store {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let folder = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let store = case.store.scoped(&folder.to_string()).unwrap();
        for key in ["k", "free", "folder/k"] {
            store.put(key, "content").unwrap();
        }
        store.save("d", &json!({})).unwrap();
        if let Some(lock) = self.lock() {
            for key in LOCKED {
                store.lock(key, lock.clone()).unwrap();
            }
        }
        store
    }

    fn caller(self, store: &Store) -> Store {
        let offered = self.offered;
        offered.map_or(store.clone(), |it| store.unlocked_with(it))
    }

    /// What the table says: which password is asked for, if any.
    fn asked(self, needs: Needs) -> Option<Access> {
        match needs {
            Needs::Nothing => None,
            Needs::Read => self.view.then_some(Access::View),
            Needs::Write => self.edit.then_some(Access::Edit),
            Needs::ReadAndWrite | Needs::Relock if self.edit => Some(Access::Edit),
            Needs::ReadAndWrite | Needs::Relock => self.view.then_some(Access::View),
        }
    }

    fn opens(self, needs: Needs) -> bool {
        match self.asked(needs) {
            None => true,
            Some(Access::View) => {
                self.offered == Some("view") || self.edit && self.offered == Some("edit")
            }
            Some(_) => self.offered == Some("edit"),
        }
    }

    /// Holds what a call answered against the table; whether it was let through.
    fn check(self, needs: Needs, found: Result<()>, case: &str) -> bool {
        let (key, access, is_offered) = match found {
            Ok(()) => {
                assert!(self.opens(needs), "{case}");
                return true;
            }
            Err(Error::Locked { key, needs }) => (key, needs, false),
            Err(Error::WrongPassword { key, needs }) => (key, needs, true),
            Err(other) => panic!("{case}: {other}"),
        };
        assert!(!self.opens(needs), "{case}");
        assert_eq!(self.offered.is_some(), is_offered, "{case}");
        assert!(LOCKED.contains(&key.as_str()), "{case}: {key}");
        assert_eq!(Some(access), self.asked(needs), "{case}");
        false
    }
}

/// All there is to know of the entries.
fn all(store: &Store) -> Vec<(String, Option<Metadata>)> {
    let options = komatik::ListOptions::new().recursive();
    let items = owner(store).list_with("", options).unwrap();
    items
        .map(Result::unwrap)
        .map(|item| (item.name, item.metadata))
        .collect()
}

/// Runs a call; where it is refused nothing has changed and nothing is told.
fn check(
    case: &Case,
    cell: Cell,
    (name, needs): (&str, Needs),
    call: impl FnOnce(&Store, &Store) -> Result<()>,
) {
    let store = cell.fixture(case);
    let name = format!("{name}, {}, {cell:?}", case.name);
    let before = all(&store);
    let tokens = store.tokens().unwrap().len();
    let mut watcher = store.watch("", Since::Now).unwrap();
    let found = call(&cell.caller(&store), &store);
    if !cell.check(needs, found, &name) {
        assert_eq!(watcher.try_recv().unwrap(), None, "{name}");
        assert_eq!(all(&store), before, "{name}");
        assert_eq!(store.tokens().unwrap().len(), tokens, "{name}");
    }
}

fn stores() -> Vec<Case> {
    stores_with(|builder| builder.password_cost(PasswordCost::new(8, 1)))
}

#[test]
fn every_call_asks_for_what_the_table_says() {
    for case in stores() {
        for cell in Cell::all() {
            for (name, needs, operation) in OPERATIONS {
                check(&case, cell, (name, *needs), |caller, _| operation(caller));
            }
        }
    }
}

#[test]
fn every_step_of_a_transaction_asks_for_what_the_table_says() {
    for case in stores() {
        for cell in Cell::all() {
            for (name, needs, step) in STEPS {
                check(&case, cell, (name, *needs), |caller, store| {
                    let writer = owner(store).writer("k", WriteOptions::new()).unwrap();
                    caller.transaction(|tx| {
                        // What was done before a refusal is undone with it.
                        tx.put("free", "before")?;
                        step(tx, writer)
                    })
                });
            }
        }
    }
}

/// The lock that counts is the one there is at the commit.
#[test]
fn a_lock_that_appears_while_a_writer_is_open_is_asked_at_its_commit() {
    for case in stores() {
        for cell in Cell::all() {
            let Some(lock) = cell.lock() else { continue };
            let open = Cell {
                view: false,
                edit: false,
                ..cell
            };
            for large in [false, true] {
                let store = open.fixture(&case);
                let mut writer = cell
                    .caller(&store)
                    .writer("k", WriteOptions::new())
                    .unwrap();
                writer
                    .write_all(&vec![1; if large { 100_000 } else { 3 }])
                    .unwrap();
                store.lock("k", lock.clone()).unwrap();
                let before = all(&store);
                let mut watcher = store.watch("", Since::Now).unwrap();
                let name = format!("commit, {}, {cell:?}", case.name);
                if !cell.check(Needs::Write, writer.commit().map(drop), &name) {
                    assert_eq!(watcher.try_recv().unwrap(), None, "{name}");
                    assert_eq!(all(&store), before, "{name}");
                }
            }
        }
    }
}

/// A listing refuses nothing: it leaves out what the caller may not read.
#[test]
fn a_listing_tells_what_the_table_says() {
    for case in stores() {
        for cell in Cell::all() {
            let store = cell.fixture(&case);
            let options = komatik::ListOptions::new().recursive();
            let items = cell.caller(&store).list_with("", options).unwrap();
            let told = items.map(Result::unwrap).map(|item| {
                let key = item.metadata.map(|metadata| metadata.key);
                assert!(key.is_none_or(|key| key == item.name));
                item.name
            });
            assert_eq!(told.collect::<Vec<_>>(), ["d", "folder/k", "free", "k"]);
            for item in cell.caller(&store).list("").unwrap().map(Result::unwrap) {
                let expected = match item.name.as_str() {
                    "free" => true,
                    "folder" => false,
                    _ => cell.opens(Needs::Read),
                };
                assert_eq!(item.metadata.is_some(), expected, "{} {cell:?}", item.name);
            }
            let token = store.grant("", Grant::new().folder()).unwrap();
            let caller = cell.caller(&store);
            let items = caller.list_with_token(&token, "", komatik::ListOptions::new());
            let told = items.unwrap().map(Result::unwrap);
            let told = told.filter(|item| item.metadata.is_some()).count();
            assert_eq!(
                told,
                if cell.opens(Needs::Read) { 3 } else { 1 },
                "{cell:?}"
            );
        }
    }
}

/// A token that was granted before there was a lock asks for no password either, and opens nothing behind one.
#[test]
fn a_token_opens_no_later_lock_whatever_is_offered() {
    for case in stores() {
        for cell in Cell::all() {
            let Some(lock) = cell.lock() else { continue };
            let open = Cell {
                view: false,
                edit: false,
                ..cell
            };
            let store = open.fixture(&case);
            let token = store.grant("k", Grant::new()).unwrap();
            store.lock("k", lock).unwrap();
            let read = cell.caller(&store).read_with(&token, "k");
            if cell.view {
                assert!(matches!(read, Err(Error::TokenRefused)), "{cell:?}");
            } else {
                assert!(read.unwrap().is_some(), "{cell:?}");
            }
        }
    }
}
