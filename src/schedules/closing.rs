//! A store is closed while it is used: everyone is told, nobody hangs, and what was acknowledged is there afterwards.

use std::sync::Mutex as Shared;

use super::*;
use crate::delivery::Events;
use crate::options::Durability;
use crate::watch::Since;

/// What every call answers once the store is closed.
fn assert_closed<T>(answer: Result<T>) {
    let error = answer.err();
    assert!(matches!(error, Some(Error::Misuse { .. })), "{error:?}");
}

/// Calls until the store is closed, at most a few times.
fn until_closed(mut call: impl FnMut(u8) -> Result<()>) {
    for round in 0..4 {
        if let Err(error) = call(round) {
            return assert_closed::<()>(Err(error));
        }
    }
}

/// Keys that were written, and whether that was acknowledged.
type Told = Shared<Vec<(String, bool)>>;

/// Writes keys until the store is closed.
fn write(store: &Store, name: &str, told: &Told) {
    until_closed(|round| {
        let key = format!("{name}{round}");
        let put = store.put(&key, &key);
        told.lock().unwrap().push((key, put.is_ok()));
        put.map(drop)
    });
}

/// What was acknowledged is there, and nothing that was refused.
fn assert_told_right(directory: &TempDir, told: Told) {
    let store = reopened(directory);
    for (key, is_acknowledged) in told.into_inner().unwrap() {
        let found = store.get(&key).unwrap();
        assert_eq!(found.is_some(), is_acknowledged, "{key}");
        assert!(found.is_none_or(|found| found == key));
    }
    store.close().unwrap();
}

/// No clock helps: whoever waits must be woken.
#[test]
fn writers_readers_and_watchers_are_told_of_the_end() {
    explore(|| {
        let (store, directory) = fresh();
        stop_time();
        let told = Shared::default();
        thread::scope(|threads| {
            for durability in [Durability::Immediate, Durability::Eventual] {
                let (store, told) = (store.with_durability(durability), &told);
                threads.spawn(move || write(&store, &format!("{durability:?}"), told));
            }
            threads.spawn(|| {
                until_closed(|_| {
                    store.get("Immediate0")?;
                    store.list("")?.try_for_each(|item| item.map(drop))
                });
            });
            threads.spawn(|| {
                // It ends with the store, and with nothing else.
                let mut watcher = store.watch("", Since::Start).unwrap();
                assert_closed(watcher.find_map(Result::err).map_or(Ok(()), Err));
                assert!(watcher.next().is_none());
            });
            threads.spawn(|| store.close().unwrap());
        });
        assert_closed(store.put("late", ""));
        assert_closed(store.close());
        drop(store);
        assert_told_right(&directory, told);
    });
}

#[test]
fn uploads_callbacks_and_compactions_are_told_of_the_end() {
    explore(|| {
        let (store, directory) = fresh();
        let told = Shared::default();
        store.put("blob", vec![0; 20_000]).unwrap();
        let echo = store.clone();
        let subscription = store.on(Events::ALL, move |change| {
            if change.key.starts_with("from") {
                // Refused where the store is closed by now.
                let _ = echo.put("echo", "");
            }
        });
        thread::scope(|threads| {
            threads.spawn(|| write(&store, "from", &told));
            threads.spawn(|| {
                until_closed(|round| store.put("blob", vec![round; 20_000]).map(drop));
            });
            threads.spawn(|| {
                until_closed(|_| store.compact(|_| std::ops::ControlFlow::Continue(())));
            });
            threads.spawn(|| store.close().unwrap());
        });
        drop(subscription);
        drop(store);
        assert_told_right(&directory, told);
    });
}
