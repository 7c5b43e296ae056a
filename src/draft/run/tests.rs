use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::*;
use crate::backend::local::{Local, Options};
use crate::backend::{Backend, Tree, View};
use crate::delivery::Events;
use crate::options::{Grant, MergeOptions, PutMode, PutOptions, WriteOptions};

#[test]
fn a_refusal_waits_for_what_it_was_decided_on() {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(directory.path(), Options::default()).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    let latest = || local.get(View::Latest, Tree::Entries, b"key").unwrap();
    let refusals: [fn(&Store) -> Result<()>; 4] = [
        |store| store.save_with("key", &2, PutOptions::create()).map(drop),
        |store| {
            store
                .merge_with("key", &2, MergeOptions::new().mode(PutMode::Update(1)))
                .map(drop)
        },
        |store| store.writer("key", WriteOptions::create()).map(drop),
        |store| store.writer("key", WriteOptions::append()).map(drop),
    ];
    for refusal in refusals {
        store.delete("key").unwrap();
        let held = local.hold_syncs();
        std::thread::scope(|threads| {
            threads.spawn(|| store.save("key", &1).unwrap());
            while latest().is_none() {
                std::thread::yield_now();
            }
            let (refused, is_refused) = channel();
            let store = &store;
            threads.spawn(move || refused.send(refusal(store)).unwrap());
            let early = is_refused.recv_timeout(Duration::from_millis(50));
            let seen = store.exists("key").unwrap();
            drop(held);
            assert!(early.is_err() && !seen, "{early:?} while others see {seen}");
            is_refused.recv().unwrap().unwrap_err();
            assert!(store.exists("key").unwrap());
        });
    }
}

/// What an `Eventual` commit has done already, an `Immediate` call makes durable.
#[test]
fn an_answer_that_all_is_so_already_waits_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(directory.path(), Options::default()).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    store.save("k", &1).unwrap();
    let patch: json_patch::Patch = serde_json::from_str("[]").unwrap();
    let gone = store.grant("k", Grant::default()).unwrap();
    store.revoke_token(&gone).unwrap();
    let asks: [&(dyn Fn() -> Result<()> + Sync); 12] = [
        &|| store.merge("k", &1).map(drop),
        &|| store.patch("k", &patch).map(drop),
        &|| store.delete("none").map(drop),
        &|| store.rename("k", "k", PutMode::Overwrite).map(drop),
        &|| store.copy("k", "k", PutMode::Overwrite).map(drop),
        &|| store.unlock("k").map(drop),
        &|| store.create_folder("made"),
        &|| store.delete_folder("none").map(drop),
        &|| store.rename_folder("made", "made").map(drop),
        &|| store.revoke("k").map(drop),
        &|| store.revoke_token(&gone).map(drop),
        &|| store.transaction(|tx| tx.delete("none").map(drop)),
    ];
    store.create_folder("made").unwrap();
    for (number, ask) in asks.into_iter().enumerate() {
        let held = local.hold_syncs();
        let quick = store.with_durability(Durability::Eventual);
        quick.put("other", [number.to_le_bytes()[0]]).unwrap();
        // One that only reads does not wait, nor one that is not to be durable itself.
        store.transaction(|tx| tx.exists("k")).unwrap();
        quick.merge("k", &1).unwrap();
        std::thread::scope(|threads| {
            let (done, is_done) = channel();
            threads.spawn(move || done.send(ask()).unwrap());
            let early = is_done.recv_timeout(Duration::from_millis(50));
            drop(held);
            assert!(early.is_err(), "{number}: {early:?}");
            is_done.recv().unwrap().unwrap();
        });
    }
}

#[test]
fn nobody_is_told_of_a_commit_that_may_not_have_reached_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(directory.path(), Options::default()).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    let (told, is_told) = channel();
    let _subscription = store.on(Events::ALL, move |change| {
        told.send(change.key.clone()).unwrap();
    });
    store.put("before", "1").unwrap();
    local.fail_next_sync();
    let put = store.put("key", "1");
    assert!(matches!(put, Err(Error::Poisoned { .. })), "{put:?}");
    assert_eq!(is_told.try_iter().collect::<Vec<_>>(), ["before"]);
}

#[test]
fn a_refusal_is_of_one_moment() {
    let store = Store::in_memory().unwrap();
    store.save("from", &1).unwrap();
    let mut rounds = 0;
    // Either is there, never both.
    let refused = store.write::<()>(|draft| {
        let has_from = draft.read("from")?.is_some();
        if rounds == 0 {
            store.delete("from").unwrap();
            store.save("to", &1).unwrap();
        }
        rounds += 1;
        let key = "to".to_owned();
        match has_from && draft.read("to")?.is_some() {
            true => Err(Error::AlreadyExists { key }),
            false => Err(Error::NotFound { key }),
        }
    });
    assert!(
        matches!(refused, Err(Error::NotFound { .. })),
        "{refused:?}"
    );
}

/// Who takes something away is ordered, but not settled: a writer that looks then still finds it.
#[test]
fn who_looks_alone_waits_for_writers_that_found_what_was_going() {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(directory.path(), Options::default()).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    store.put("right", "").unwrap();
    let latest = || local.get(View::Latest, Tree::Entries, b"right").unwrap();
    let (found, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let guarded = {
        let (store, found, go) = (store.clone(), found.clone(), go.clone());
        let looks = store.clone();
        let permit = move || {
            assert!(looks.exists("right")?);
            found.wait();
            go.wait();
            Ok(())
        };
        Store {
            permit: Some(Arc::new(permit)),
            ..store
        }
    };
    let held = local.hold_syncs();
    std::thread::scope(|threads| {
        let (done, is_done) = channel();
        let store = &store;
        threads.spawn(move || {
            assert!(store.delete("right").unwrap());
            store.look_alone(|| Ok(())).unwrap();
            done.send(()).unwrap();
        });
        while latest().is_some() {
            std::thread::yield_now();
        }
        threads.spawn(|| guarded.put("written", "").unwrap());
        found.wait();
        drop(held);
        let early = is_done.recv_timeout(Duration::from_millis(100));
        go.wait();
        assert!(early.is_err(), "the writer is not done");
        is_done.recv().unwrap();
        assert!(store.exists("written").unwrap());
    });
}
