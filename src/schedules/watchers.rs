//! A watcher is told of every change once, in order, when it has settled, and nobody waits for it.

use std::time::Duration;

use super::*;
use crate::metadata::Change;
use crate::options::Durability;
use crate::watch::{Since, Watcher};

/// What [`write_all`] commits.
const COMMITS: u64 = 6;

/// Three threads write two commits each; one of them two keys at a time.
fn write_all<'scope>(store: &'scope Store, threads: &'scope thread::Scope<'scope, '_>) {
    for durability in [Durability::Immediate, Durability::Eventual] {
        let store = store.with_durability(durability);
        threads.spawn(move || {
            for round in 0..2 {
                store.put(&format!("{durability:?}{round}"), "").unwrap();
            }
        });
    }
    threads.spawn(move || {
        for round in 0..2 {
            let both = store.transaction(|tx| {
                tx.put(&format!("one{round}"), "")?;
                tx.put(&format!("two{round}"), "")
            });
            both.unwrap();
        }
    });
}

/// Follows on from `position`: no commit is left out, none comes twice, and its changes come together.
fn assert_next(store: &Store, position: &mut u64, change: &Change) {
    let newest = store.history().newest;
    assert!(
        change.revision <= newest,
        "{} above {newest}",
        change.revision
    );
    assert_eq!(change.revision, *position + 1, "{change:?}");
    assert_eq!(change.last, !change.key.starts_with("one"), "{change:?}");
    *position += u64::from(change.last);
}

/// What there is now, from `position` on.
fn assert_rest(store: &Store, watcher: &mut Watcher, mut position: u64) {
    while let Some(change) = watcher.try_recv().unwrap() {
        assert_next(store, &mut position, &change);
    }
    assert!(watcher.caught_up());
    assert_eq!((position, Watcher::revision(watcher)), (COMMITS, COMMITS));
}

/// No clock helps: a watcher that sleeps must be woken.
#[test]
fn every_change_is_told_once_and_in_order() {
    explore(|| {
        let (store, _directory) = fresh();
        stop_time();
        // Nobody asks it for anything, and nobody minds.
        let _idle = store.watch("", Since::Start).unwrap();
        thread::scope(|threads| {
            write_all(&store, threads);
            threads.spawn(|| {
                let mut watcher = store.watch("", Since::Start).unwrap();
                let mut position = 0;
                while position < COMMITS {
                    let change = watcher.next().unwrap().unwrap();
                    assert_next(&store, &mut position, &change);
                }
                assert!(watcher.try_recv().unwrap().is_none());
            });
        });
    });
}

#[test]
fn a_watcher_with_an_end_to_its_patience_misses_nothing() {
    explore(|| {
        let (store, _directory) = fresh();
        thread::scope(|threads| {
            write_all(&store, threads);
            threads.spawn(|| {
                let mut watcher = store.watch("", Since::Start).unwrap();
                let mut position = 0;
                while position < COMMITS {
                    let next = watcher.recv_timeout(Duration::from_millis(10)).unwrap();
                    next.inspect(|change| assert_next(&store, &mut position, change));
                }
            });
        });
    });
}

#[test]
fn watchers_come_go_and_go_on_while_others_write() {
    explore(|| {
        let (store, _directory) = fresh();
        let watchers = thread::scope(|threads| {
            write_all(&store, threads);
            let new = threads.spawn(|| {
                let watcher = store.watch("", Since::Now).unwrap();
                let position = watcher.revision();
                (watcher, position)
            });
            let resumed = threads.spawn(|| {
                let mut watcher = store.watch("", Since::Start).unwrap();
                let mut position = 0;
                if let Some(change) = watcher.try_recv().unwrap() {
                    assert_next(&store, &mut position, &change);
                }
                let noted = watcher.revision();
                assert_eq!(noted, position);
                drop(watcher);
                (store.watch("", Since::After(noted)).unwrap(), noted)
            });
            [new.join().unwrap(), resumed.join().unwrap()]
        });
        for (mut watcher, position) in watchers {
            assert_rest(&store, &mut watcher, position);
        }
    });
}
